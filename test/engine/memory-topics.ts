// Topics of outputs in memory, written to as the appender of Kafka writes: each partition has a queue of which one batch is under way;
// a batch may be given up, and then be there at once, later or never. Owns the records. Nothing arrives but by `step` or `flush`.
//
// 1. What is given up takes all that waits behind it along, and refuses what comes until the next step (kafka-appender.ts 3).
import { must } from '../../src/core/assert.ts'
import { TributaryError } from '../../src/core/errors.ts'
import type { OutputEntry, OutputKind } from '../../src/log/kafka-outputs.ts'
import { partitionOfKey } from '../../src/log/kafka-partitioner.ts'
import type { Topic, TopicFollower, TopicPage, TopicRecord } from '../../src/log/topic.ts'

/** What becomes of a batch. */
export type Fate = 'there' | 'lost' | 'in doubt' | 'late'

interface Waiting {
  readonly entry: OutputEntry
  readonly done: PromiseWithResolvers<void>
}

export class MemoryTopic implements Topic {
  readonly partitions: number
  readonly records: TopicRecord[][]
  readonly #queues: Waiting[][]
  readonly #refuses = new Set<number>()
  readonly #late: { partition: number; entries: readonly OutputEntry[] }[] = []
  readonly #firsts: number[]
  readonly #followers = new Map<TopicFollower, number[]>()
  /** Partitions of which a follower hears nothing. */
  readonly silent = new Set<number>()
  stampMs = 1_000_000
  reads = 0
  /** When set, reads fail with it. */
  failure: Error | undefined

  constructor(partitions: number) {
    this.partitions = partitions
    this.records = Array.from({ length: partitions }, () => [])
    this.#queues = Array.from({ length: partitions }, () => [])
    this.#firsts = new Array(partitions).fill(0)
  }

  write(entries: readonly OutputEntry[]): Promise<unknown> {
    return Promise.all(entries.map((entry) => this.#queue(entry)))
  }

  #queue(entry: OutputEntry): Promise<void> {
    const partition = partitionOfKey(entry.key ?? `${entry.origin}-${entry.seq}`, this.partitions)
    if (this.#refuses.has(partition)) return Promise.reject(inDoubt())
    const done = Promise.withResolvers<void>()
    must(this.#queues[partition], 'a queue per partition').push({ entry, done })
    return done.promise
  }

  /** Settles what waits for one partition. */
  step(partition: number, fate: Fate): void {
    this.#refuses.clear()
    const batch = must(this.#queues[partition], 'a queue per partition').splice(0)
    if (batch.length === 0) return
    const entries = batch.map((w) => w.entry)
    if (fate === 'there' || fate === 'in doubt') this.#arrive(partition, entries)
    if (fate === 'late') this.#late.push({ partition, entries })
    if (fate !== 'there') this.#refuses.add(partition)
    for (const { done } of batch) {
      if (fate === 'there') done.resolve()
      else done.reject(inDoubt())
    }
  }

  /** Something that was given up arrives after all. */
  stepLate(): void {
    const late = this.#late.shift()
    if (late) this.#arrive(late.partition, late.entries)
  }

  flush(): void {
    for (let p = 0; p < this.partitions; p++) this.step(p, 'there')
  }

  #arrive(partition: number, entries: readonly OutputEntry[]): void {
    const list = must(this.records[partition], 'a list per partition')
    for (const { key, value, origin, seq } of entries)
      list.push({ partition, offset: list.length, stamp: this.stampMs, key, value, origin, seq })
  }

  /** Tells followers what is new. */
  poll(): void {
    for (const [follower, next] of this.#followers) {
      const heard: number[] = []
      for (const [p, records] of this.records.entries()) {
        if (this.silent.has(p)) continue
        const fresh = records.slice(next[p])
        next[p] = records.length
        if (fresh.length > 0) follower.take(fresh)
        heard.push(p)
      }
      follower.polled(heard)
    }
  }

  get followed(): boolean {
    return this.#followers.size > 0
  }

  /** What is before an offset is no longer kept. */
  drop(partition: number, before: number): void {
    this.#firsts[partition] = before
  }

  async firsts(): Promise<number[]> {
    return [...this.#firsts]
  }

  async ends(): Promise<number[]> {
    if (this.failure) throw this.failure
    return this.records.map((list) => list.length)
  }

  async since(stampMs: number): Promise<number[]> {
    return this.records.map((list, p) => Math.max(this.#firsts[p] ?? 0, list.filter((r) => r.stamp < stampMs).length))
  }

  async read(partition: number, from: number, maxBytes: number): Promise<TopicPage> {
    if (this.failure) throw this.failure
    this.reads++
    const list = must(this.records[partition], 'a list per partition')
    const records: TopicRecord[] = []
    let bytes = 0
    let next = Math.max(from, this.#firsts[partition] ?? 0)
    for (; next < list.length && (records.length === 0 || bytes < maxBytes); next++) {
      const record = must(list[next], 'index in range')
      records.push(record)
      bytes += record.value?.length ?? 0
    }
    return { records, next, isEnd: next >= list.length }
  }

  async follow(from: readonly number[], follower: TopicFollower): Promise<() => void> {
    this.#followers.set(follower, [...from])
    return () => this.#followers.delete(follower)
  }

  async close(): Promise<void> {}
}

export class MemoryTopics {
  readonly topics: Record<'transitions' | 'merges' | 'deadLetters' | 'profiles', MemoryTopic>
  /** What is written arrives at once. */
  isPrompt = false
  readonly writer = {
    write: async (kind: OutputKind, entries: readonly OutputEntry[]): Promise<void> => {
      const topic = this.topics[kind === 'dead-letters' ? 'deadLetters' : kind]
      const writing = topic.write(entries)
      if (this.isPrompt) topic.flush()
      await writing
    },
    close: async (): Promise<void> => {},
  }

  constructor(partitions: number) {
    const topic = () => new MemoryTopic(partitions)
    this.topics = { transitions: topic(), merges: topic(), deadLetters: topic(), profiles: topic() }
  }
}

const inDoubt = (): TributaryError => new TributaryError('append_in_doubt', 'no answer came')
