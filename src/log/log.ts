// The Log port: an append-only sequence of records per partition. What a record means is the reader's business:
// append, then read back; the reader decides what counts (a Kafka log gives repeats and stale writers, a file log does not).
//
// 1. Positions of a partition are contiguous from 0 and never reused.
// 2. A reader sees a record only after it is durable (LogWriter.sync), and all records of a partition in order.
// 3. A record that was once seen by a reader is never lost or changed; the head may be cut (retention).
// 4. A failed write or sync is final: the log refuses everything afterwards (`log_failed`); no second attempt.
//
// A log of files or in memory has one total order over all partitions besides, and knows its size; one on Kafka has neither.

export interface PartitionRecord {
  readonly partition: number
  /** Position in its partition. */
  readonly position: number
  readonly payload: Buffer
  /** When it was appended, ms, where the log says so: then the payload is the reader's own, and may be changed. */
  readonly stamp?: number
}

export interface LogRecord extends PartitionRecord {
  /** Place in the total order of the whole log, over all partitions: contiguous from 0. */
  readonly ordinal: number
}

export interface PartitionWriter {
  readonly partitions: number
  /** Appends; returns the record's position at once. Not durable before `sync`. The payload is copied or written before `sync` resolves; don't change it earlier. */
  append(partition: number, payload: Uint8Array): number
  /** Resolves when everything appended before the call is durable. Concurrent calls share one fsync (group commit), off the calling thread. */
  sync(): Promise<void>
  /** The position that the next append to this partition gets. */
  end(partition: number): number
  /** Allows the log to drop records of `partition` before `position` (whole segment files only, when all their records may go). */
  release(partition: number, position: number): Promise<void>
  close(): Promise<void>
}

export interface LogWriter extends PartitionWriter {
  /** Bytes on disk (or in memory). */
  bytes(): number
}

export interface PartitionReader {
  readonly partitions: number
  /** First position still kept. */
  first(partition: number): number
  /** Where `end` and `endOrdinal` lag behind what this reader was told: brings them up to date. */
  refresh?(): Promise<void>
  /** One past the last durable record that this reader knows of. */
  end(partition: number): number
  /** Durable records of one partition from `from` on, in order: at least one if there is any, at most the limits. Throws data_corrupt for a position below `first`; an empty array at `end`. */
  read(partition: number, from: number, limits: ReadLimits): Promise<PartitionRecord[]>
  /** The newest durable record of a partition, if any is kept. */
  last(partition: number): Promise<PartitionRecord | undefined>
  close(): Promise<void>
}

export interface LogReader extends PartitionReader {
  read(partition: number, from: number, limits: ReadLimits): Promise<LogRecord[]>
  /** Durable records of all partitions in the total order, from `ordinal` on. */
  readAll(ordinal: number, limits: ReadLimits): Promise<LogRecord[]>
  firstOrdinal(): number
  endOrdinal(): number
  last(partition: number): Promise<LogRecord | undefined>
}

export interface ReadLimits {
  readonly maxRecords: number
  readonly maxBytes: number
}
