// A topic of outputs as readers see it: partitions of records at offsets, without an order between partitions. Owns the port alone;
// `kafka-topic.ts` is the implementation on Kafka, tests have one in memory.
//
// 1. Records of a partition come in the order of their offsets, each once per reading; only replicated ones are given.
// 2. Offsets ascend, not always by one. What is no longer kept is passed over without an error.

export interface TopicRecord {
  readonly partition: number
  readonly offset: number
  /** When it was written, ms: nearly ascending within a partition. */
  readonly stamp: number
  readonly key: string | undefined
  readonly value: Buffer | null
  /** Where the entry comes from, and its number there (kafka-outputs.ts); NaN where a record of somebody else has none. */
  readonly origin: number
  readonly seq: number
}

export interface TopicPage {
  readonly records: readonly TopicRecord[]
  /** Where to go on. */
  readonly next: number
  /** True when nothing was behind `next` as the read was answered. */
  readonly isEnd: boolean
}

export interface TopicFollower {
  /** Records of one partition that continue what was given before. */
  take(records: readonly TopicRecord[]): void
  /** These partitions have been asked for what is new, and have no more. */
  polled(partitions: readonly number[]): void
}

export interface Topic {
  readonly partitions: number
  /** First offset kept, per partition. */
  firsts(): Promise<number[]>
  /** One past the last replicated record, per partition. */
  ends(): Promise<number[]>
  /** Per partition the offset of the first record that isn't older than `stampMs`, or the end. */
  since(stampMs: number): Promise<number[]>
  /** Records from `from` on, about `maxBytes` of them and at least one if there is any; doesn't wait. */
  read(partition: number, from: number, maxBytes: number): Promise<TopicPage>
  /** Gives all that comes from these offsets on, partition by partition, until the returned function is called. */
  follow(from: readonly number[], follower: TopicFollower): Promise<() => void>
  close(): Promise<void>
}
