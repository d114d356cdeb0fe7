// What executing one batch yields: changed rows and outputs, collected until the commit. Owns nothing after that.
//
// 1. One is made when its execution begins, not before: a Map or Set that grows leaves its old tables behind, each of which refers to
//    the next. Where the first of them is old enough for the old generation of the heap, all that was ever in it outlives many
//    collections (the decoded profiles of each batch did, and were copied twice).
import type { IdentifierKey, ProfileKey } from '../core/identifier.ts'
import type { CauseRef, IdentityMessage } from '../identity/messages.ts'
import type { Leaf } from '../identity/root.ts'
import type { RowBlock } from '../state/row-block.ts'
import { JsonBlock, ProfileBlock, TransitionBlock } from './outbox.ts'
import type { Forward, Profile } from './profile.ts'

/** An exchange message on its way, and in the sender's outbox until the receiver's commit with it is durable. */
export interface Sent {
  readonly target: number
  readonly seq: number
  readonly bytes: Buffer
  /** What it keeps open. */
  readonly causes: readonly CauseRef[]
}

export class Batch {
  /** Those that are dirty, once each; one that isn't any more has become a forward. */
  readonly profiles: Profile[] = []
  readonly forwards = new Map<ProfileKey, Forward>()
  readonly leaves = new Map<IdentifierKey, Leaf>()
  /** Rows that are final as they are: timeline, audit, dedupe, public ids, timers; the others follow at the commit. */
  readonly rows: RowBlock
  readonly deletedRanges: [string, string][] = []
  readonly transitions = new TransitionBlock()
  readonly merges = new JsonBlock()
  readonly deadLetters = new JsonBlock()
  /** Where profiles are told (TaskLimits.tellsProfiles); those that changed are added at the commit. */
  readonly profileChanges = new ProfileBlock()
  readonly sent: Sent[] = []
  /** Exchange messages that were taken in. */
  readonly taken: IdentityMessage[] = []
  /** Message hashes of the events that this batch counted. */
  readonly seen = new Set<string>()
  /** Profiles whose whole timeline is in memory; given up at the end of the batch. */
  readonly withTimeline: Set<Profile>
  /** Size rows that changed, by block. */
  readonly sizeBlocks = new Set<number>()
  /** The oldest acceptance stamp among the causes of its inputs. */
  oldestStamp = Number.POSITIVE_INFINITY
  inputs = 0
  events = 0
  /** States that lost what a condition may notice. */
  inexact = 0
  /** Work counters, for tests and metrics. */
  transitionsEmitted = 0

  /** `rows` is taken over, and emptied. `withTimeline`: what was loaded for it beforehand. */
  constructor(rows: RowBlock, withTimeline: Iterable<Profile> = []) {
    rows.reset()
    this.rows = rows
    this.withTimeline = new Set(withTimeline)
  }

  get isEmpty(): boolean {
    return this.inputs === 0
  }

  /** Its rows are bytes: what they were decoded to is let go, while the rest waits for the journal. */
  encoded(): void {
    this.profiles.length = 0
    this.forwards.clear()
    this.leaves.clear()
    this.withTimeline.clear()
  }
}
