// What the engine wants of its output streams, wherever they lie: in files of this process, or in topics of a cluster. Owns nothing;
// outputs.ts and outputs-kafka.ts are the two.
//
// 1. A block that is taken resolves when it is there for good. Taken again after a crash, its entries carry the same ids.
// 2. What a page or a follower is given is durable. From files each entry comes once; from topics one may be repeated, none is missed.
import type { Transition } from '../core/transition.ts'
import type { OutputEnds } from './agreement.ts'
import type { DeadLetter, DeliverTransitions, MergeRecord, Page, PageQuery, ProfileView } from './engine.ts'
import type { OutboxStream } from './outbox.ts'

/** Segments by number inside, by id outside: the registry. */
export interface SegmentNames {
  idOf(number: number): string
  /** Undefined for an id that was never used. */
  numberOf(id: string): number | undefined
}

/** The profile of a root by its key, as of what is committed, if it is in this partition; rejects where the partition isn't open here. */
export type ProfileAt = (partition: number, key: string) => Promise<ProfileView | undefined>

/** Entries as blocks hold them. */
export interface MergeEntry {
  readonly survivor: string
  readonly absorbed: string
  readonly at: number
  readonly messageId?: string
}

export interface DeadLetterEntry {
  readonly code: string
  readonly reason: string
  readonly at: number
  readonly message?: unknown
}

export interface FollowOptions {
  readonly after?: string
  readonly segment?: string
  readonly deliver: DeliverTransitions
  /** It can't go on. */
  failed(error: Error): void
}

export interface OutputPort {
  open(names: SegmentNames, profileAt: ProfileAt): Promise<void>
  /** Takes a block of a partition (1). */
  take(stream: OutboxStream, partition: number, payload: Uint8Array, lastSeq: number): Promise<void>
  /** Takes dead letters of intake: an origin of their own. */
  reject(letters: readonly DeadLetterEntry[]): Promise<void>
  /** What is known of a partition's last seqs, for agreement.ts. */
  ends(partition: number): OutputEnds
  /** To be called now and then. */
  mark(): Promise<void>
  transitionsPage(query: PageQuery & { segment?: string }): Promise<Page<Transition>>
  followTransitions(options: FollowOptions): Promise<() => void>
  /** The place behind all that is there now. */
  transitionsEnd(): Promise<string>
  mergesPage(page: PageQuery): Promise<Page<MergeRecord>>
  deadLettersPage(page: PageQuery): Promise<Page<DeadLetter>>
  close(): Promise<void>
}
