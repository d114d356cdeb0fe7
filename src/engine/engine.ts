// What the engine offers to the API, the command line and tests: the whole surface in one place.
// The implementation is `embedded.ts`; every answer obeys "nothing is shown before its commit is durable".
import type { EventRecord, JsonObject } from '../core/event.ts'
import type { Read } from '../core/origin.ts'
import type { Transition } from '../core/transition.ts'
import type { Where } from '../operators/definition.ts'
import type { Answer, Question } from './questions.ts'

/** `behind` has the cursor behind each, where a transition's id doesn't lead to just that place (on Kafka). */
export type DeliverTransitions = (transitions: Transition[], behind?: readonly string[]) => unknown

/** One page of a list; `next` is the cursor to pass as `after`, absent on the last page. */
export interface Page<T> {
  readonly items: T[]
  readonly next?: string
}

export interface PageQuery {
  readonly limit: number
  readonly after?: string
}

export interface ProfileView {
  readonly id: string
  readonly identifiers: { namespace: string; value: string }[]
  readonly traits: JsonObject
  readonly computedTraits: JsonObject
  readonly segments: string[]
  readonly createdAt: string
  readonly updatedAt: string
  readonly position: string
}

export interface TimelineEvent {
  readonly messageId: string
  readonly type: string
  readonly event: string
  readonly timestamp: string
  readonly acceptedAt: string
  readonly appliedAt: string
  /** The message as it was normalised by intake. */
  readonly message: JsonObject
}

export interface MembershipView {
  readonly segment: string
  readonly member: boolean
  readonly seq: number
}

export interface AuditEntry {
  readonly seq: number
  readonly at: string
  readonly action: string
  readonly messageId?: string
  readonly identifier?: { namespace: string; value: string }
  readonly profile?: string
  readonly reason?: string
}

export interface SegmentView {
  readonly id: string
  readonly name?: string
  readonly where: Where
  readonly version: number
  readonly status: 'filling' | 'live'
  /** 0 to 1. */
  readonly progress: number
  readonly size: number
  /** Set when the definition holds for a profile without any event: every new profile enters. */
  readonly warning?: string
}

export interface DeletingSegment {
  readonly id: string
  /** The definitions version that deleted it. */
  readonly version: number
  /** 0 to 1. */
  readonly progress: number
}

export interface MergeRecord {
  readonly id: string
  readonly survivor: string
  readonly absorbed: string
  readonly at: string
  readonly messageId?: string
}

export interface DeadLetter {
  readonly id: string
  readonly code: string
  readonly reason: string
  readonly at: string
  /** The message as received, as far as it could be read. */
  readonly message?: unknown
}

/** Rejected by intake: kept as a dead letter. */
export interface RejectedMessage {
  readonly code: string
  readonly reason: string
  readonly message: unknown
}

export interface PartitionStatus {
  readonly partition: number
  /** `moving`: in a cluster, nobody answers for it right now; the rest is as it was told last. */
  readonly state: 'starting' | 'running' | 'stopped' | 'moving'
  /** In a cluster, the process that runs it, or is to. */
  readonly owner?: string
  readonly position: number
  readonly end: number
  readonly lag: number
  readonly now: string
  readonly profiles: number
  readonly reason?: string
}

export interface ProcessStatus {
  readonly name: string
  readonly address: string
  readonly partitions: readonly number[]
  /** Set while it doesn't answer this process. */
  readonly silent?: true
}

export interface EngineStatus {
  readonly ready: boolean
  readonly clock: 'wall' | 'manual'
  readonly now: string
  readonly partitions: PartitionStatus[]
  readonly profiles: number
  readonly definitionsVersion: number
  /** Deleted segments that some member has not left yet. */
  readonly deleting: DeletingSegment[]
  /** Set while the machine's clock has stepped ahead and nobody has confirmed it: time stands still. */
  readonly clockStopped?: true
  /** In a cluster, the name of the process that answers (empty while it is no member), and all of them. */
  readonly process?: string
  readonly processes?: readonly ProcessStatus[]
}

export interface ProfileRef {
  readonly namespace: string
  readonly value: string
}

export interface ReadOptions {
  /** A position from an ingestion reply: answer once all that it set off is applied, else position_timeout. */
  readonly minPosition?: string
}

export interface Engine {
  /** The acceptance time for a request, ms: never goes back. */
  acceptanceTime(): number
  /** Undefined when there is room for an ingestion, else why not (answer 429 and retry after so many seconds). */
  pressure(): { code: 'back_pressure' | 'disk_full'; retryAfterSeconds: number } | undefined
  /** Appends events and rejected messages durably; with their places where a source has read them. `position` is what `minPosition` takes. */
  ingest(events: readonly EventRecord[], rejected: readonly RejectedMessage[], read?: Read): Promise<{ position: string }>

  profile(ref: ProfileRef, options?: ReadOptions): Promise<ProfileView | undefined>
  profileEvents(ref: ProfileRef, page: PageQuery, options?: ReadOptions): Promise<Page<TimelineEvent> | undefined>
  profileMemberships(ref: ProfileRef, page: PageQuery, options?: ReadOptions): Promise<Page<MembershipView> | undefined>
  profileAudit(ref: ProfileRef, page: PageQuery, options?: ReadOptions): Promise<Page<AuditEntry> | undefined>

  segments(): Promise<SegmentView[]>
  segment(id: string): Promise<SegmentView | undefined>
  /** `where` must be a checked definition (operators/parse.ts). */
  putSegment(id: string, definition: { name?: string; where: Where }): Promise<SegmentView>
  deleteSegment(id: string): Promise<boolean>
  previewSegment(where: Where): Promise<{ size: number; total: number; warning?: string }>
  segmentMembers(id: string, page: PageQuery): Promise<Page<{ profile: string; userId?: string }> | undefined>

  transitions(query: PageQuery & { segment?: string }): Promise<Page<Transition>>
  /**
   * Calls `deliver` for every transition after `after` (a transition's id or a page cursor; absent: from now on), in the total order, each
   * once, until the returned function is called. While a promise that it returned is pending, nothing more is read.
   */
  followTransitions(query: { after?: string; segment?: string }, deliver: DeliverTransitions): Promise<() => void>
  /** A cursor behind all transitions until now. */
  transitionsEnd(): Promise<string>
  merges(page: PageQuery): Promise<Page<MergeRecord>>
  deadLetters(page: PageQuery): Promise<Page<DeadLetter>>

  status(): Promise<EngineStatus>
  /** Whether this process does its part: its partitions run, and it is a member of its cluster. */
  isReady(): Promise<boolean>
  /** Answers another process of the cluster, about what is in this one. */
  answer(question: Question): Promise<Answer>
  /** Resolves when everything accepted before the call is processed, exchanged and relayed. */
  settle(): Promise<void>
  /** Manual clock only: settles, moves time to `nowMs` in every partition, and resolves when all that this set off is relayed. */
  setClock(nowMs: number): Promise<void>
  /** The machine's clock, which has stepped ahead, is right: time goes on. */
  confirmClock(): Promise<void>
  /** Prometheus text. */
  metrics(): Promise<string>
  /** Finishes what was accepted, commits, closes. */
  close(): Promise<void>
}
