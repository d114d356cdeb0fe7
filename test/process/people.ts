// What people do, as messages: they come unknown on a device, log in, say their address, buy. Pure.
import type { JsonObject } from '../../src/core/event.ts'
import { below, pick, type Random } from '../identity/random.ts'

export type Message = JsonObject & { readonly messageId: string; readonly type: string }

interface Doing {
  readonly messageId: string
  readonly person: number
  /** Her own, or one that others use too. */
  readonly device: string
  /** When she does it, ms. */
  readonly timestamp: number
}

interface Said {
  readonly message: Message
  /** `namespace:value` of whom it is about. */
  readonly identifiers: readonly string[]
}

/** One of the devices that nobody else has. */
export const ownDevice = (random: Random, person: number): string => `d${person}-${below(random, 3)}`

export function drawMessage(random: Random, { messageId, person, device, timestamp }: Doing): Said {
  const user = `u${person}`
  const email = `p${person}@example.com`
  const base = { messageId, timestamp: new Date(timestamp).toISOString() }
  const order = { type: 'track', event: 'Order Completed', properties: { total: Math.round(random() * 10_000) / 100 } }
  const event = random() < 0.5 ? { type: 'track', event: 'View', properties: { page: below(random, 9) } } : order
  const traits = { email, plan: pick(random, ['free', 'pro', 'team']), score: below(random, 100) }
  const kinds: (readonly [share: number, message: Message, identifiers: readonly string[]])[] = [
    [0.4, { ...base, ...event, anonymousId: device }, [`anonymous_id:${device}`]],
    [0.2, { ...base, ...event, userId: user }, [`user_id:${user}`]],
    [0.15, { ...base, ...event, userId: user, anonymousId: device }, [`user_id:${user}`, `anonymous_id:${device}`]],
    [0.1, { ...base, ...event, context: { traits: { email } } }, [`email:${email}`]],
    [0.05, { ...base, type: 'page', name: 'Home', anonymousId: device }, [`anonymous_id:${device}`]],
    [0.03, { ...base, type: 'alias', previousId: device, userId: user }, [`user_id:${user}`, `anonymous_id:${device}`]],
    [1, { ...base, type: 'identify', userId: user, traits }, [`user_id:${user}`, `email:${email}`]],
  ]
  let draw = random()
  for (const [share, message, identifiers] of kinds) {
    draw -= share
    if (draw < 0) return { message, identifiers }
  }
  throw new Error('some kind is always drawn')
}
