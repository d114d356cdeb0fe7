// The names and values that the workload draws from. Their order is part of its definition.

/** By rank: the weight of the event at place i is 1/(i + 1)^0.9. */
export const EVENT_NAMES = [
  'Page Viewed',
  'Product Viewed',
  'Product List Viewed',
  'Product Clicked',
  'Products Searched',
  'Product Added',
  'Cart Viewed',
  'Email Opened',
  'Checkout Started',
  'Order Completed',
  'Email Link Clicked',
  'Push Received',
  'Coupon Applied',
  'Product Removed',
  'Wishlist Product Added',
  'Signed In',
  'Video Started',
  'Order Refunded',
  'Review Submitted',
  'Trial Started',
] as const

/** Events that carry an amount. */
export const MONETARY_EVENTS = [
  'Product Viewed',
  'Product Added',
  'Checkout Started',
  'Order Completed',
  'Product Removed',
  'Order Refunded',
  'Wishlist Product Added',
] as const

/** Properties whose last-seen value every system keeps per profile. */
export const TRAITS = ['plan', 'country', 'device', 'channel', 'category'] as const
export type Trait = (typeof TRAITS)[number]

export const VALUES: { readonly [trait in Trait]: readonly string[] } = {
  plan: ['free', 'starter', 'pro', 'team', 'enterprise'],
  country: ['DE', 'US', 'FR', 'GB', 'ES', 'IT', 'NL', 'PL', 'SE', 'BR', 'IN', 'JP'],
  device: ['mobile', 'desktop', 'tablet'],
  channel: ['organic', 'paid', 'email', 'social', 'referral', 'direct'],
  category: [
    'shoes',
    'shirts',
    'jackets',
    'hats',
    'bags',
    'watches',
    'books',
    'games',
    'garden',
    'kitchen',
    'audio',
    'phones',
    'laptops',
    'toys',
    'sports',
  ],
}

/** True for events that carry a channel; the others carry a country. */
export function carriesChannel(eventRank: number): boolean {
  return eventRank % 2 === 1
}
