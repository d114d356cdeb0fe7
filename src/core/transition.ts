// A transition: one profile entered or left one segment (INTERFACE.md).

export const CAUSES = ['event', 'timer', 'merge', 'split', 'definition', 'consent', 'erasure', 'list'] as const
export type Cause = (typeof CAUSES)[number]

/** As users see it. Times are milliseconds inside, ISO texts in the API. */
export interface Transition {
  /** Stable: `<origin partition>-<seq in that partition's stream>`. Repeats carry the same id. */
  readonly id: string
  readonly segment: string
  /** Version of the segment's definition that decided. */
  readonly version: number
  /** Public profile id. */
  readonly profile: string
  readonly userId?: string
  readonly transition: 'entered' | 'exited'
  readonly cause: Cause
  /** Message id of the causing event, where there is one. */
  readonly causeId?: string
  /** Gap-free per profile and segment, from 1. */
  readonly seq: number
  /** The flip's instant for `timer`, the deciding `now` otherwise; ms. */
  readonly at: number
  readonly decidedAt: number
}
