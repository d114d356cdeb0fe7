// What a source reads from: a group of processes that share the partitions of a user's topics. Owns the port alone; `kafka-source.ts` is
// the implementation on Kafka, tests have one in memory.
//
// 1. Records of a partition come in order, one batch at a time; batches of several partitions may come at once.
// 2. Delivery is at least once: what was not said to be done comes again, to this process or to another.
// 3. Of an origin: `from` is where this process began, and since then all was given in order, and nothing before what comes before it was
//    done. Under one leader and topic id, an offset is always the same record.
// 4. A group that is lost ends `run` with an error and is of no use any more: whoever wants to go on opens another.

export interface SourceRecord {
  readonly offset: number
  /** When it was produced or appended, by the topic's setting, ms. */
  readonly stamp: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: Readonly<Record<string, unknown>>
}

/** What can be said of records so that they are known again for good (core/origin.ts). */
export interface BatchOrigin {
  readonly topicId: string
  readonly leader: number
  readonly from: number
}

export interface SourceBatch {
  readonly topic: string
  readonly partition: number
  readonly records: readonly SourceRecord[]
  /** Absent where the cluster does not say which topic of this name it is. */
  readonly origin?: BatchOrigin
}

/** What whoever takes a batch may ask and say meanwhile. */
export interface Turn {
  /** False once the rest of the batch is somebody else's, or nobody's. */
  readonly isCurrent: boolean
  /** To be called at least once a second while a batch is held: the group else takes this process for dead. */
  alive(): Promise<void>
  /** All before `next` is durable. */
  done(next: number): Promise<void>
}

export type TakeBatch = (batch: SourceBatch, turn: Turn) => Promise<void>

/** How far this process has come in a partition that it reads. */
export interface Place {
  readonly topic: string
  readonly partition: number
  /** The next offset to be taken. */
  readonly next: number
  /** One past the newest record. */
  readonly end: number
}

export interface RecordGroup {
  /** Joins and reads until `close` (then it resolves) or until the group is lost (then it rejects). */
  run(take: TakeBatch, joined: () => void): Promise<void>
  /** Of the partitions that this process reads now. */
  places(): Promise<Place[]>
  /** Leaves, and resolves once no batch is held any more. */
  close(): Promise<void>
}
