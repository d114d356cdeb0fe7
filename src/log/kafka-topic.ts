// One topic of outputs on Kafka, for reading. Owns its links to the cluster, which are opened when they are first needed: most processes
// are never asked about most topics.
//
//   behind   pages, offsets: requests that never wait at the brokers
//   live     the long polls of the follower, one per leader
import { must } from '../core/assert.ts'
import { type Clock, sleep } from '../core/clock.ts'
import { type FetchedRecord, type FetchWant, KafkaLink, type WhichOffset } from './kafka-client.ts'
import { protocolType } from './kafka-errors.ts'
import type { KafkaSettings } from './kafka-settings.ts'
import { type TopicKind, topicName } from './kafka-topics.ts'
import type { Topic, TopicFollower, TopicPage, TopicRecord } from './topic.ts'

export interface KafkaTopicOptions {
  readonly settings: KafkaSettings
  readonly clock: Clock
  readonly kind: TopicKind
  /** What is said as JSON, Avro or nothing is the reader's business. */
  readonly partitions: number
}

const POLL_MS = 500
const RETRY_MS = 100
/** A read that can't reach the brokers rejects after so long. */
const GIVE_UP_MS = 10_000
/** Of one partition in a poll, and of the whole answer: it is decoded in one go. */
const PARTITION_BYTES = 1 << 20
const ANSWER_BYTES = 4 << 20

export class KafkaTopic implements Topic {
  readonly partitions: number
  readonly #options: KafkaTopicOptions
  readonly #topic: string
  #behind: Promise<KafkaLink> | undefined
  #live: Promise<KafkaLink> | undefined
  #isClosed = false

  constructor(options: KafkaTopicOptions) {
    this.#options = options
    this.#topic = topicName(options.settings, options.kind)
    this.partitions = options.partitions
  }

  async #open(role: string): Promise<KafkaLink> {
    const { settings, clock, kind } = this.#options
    const link = await KafkaLink.open(settings, { name: `${kind}.${role}`, clock })
    try {
      await link.know(this.#topic)
      return link
    } catch (error) {
      await link.close()
      throw link.explained(error, `opening ${this.#topic}`)
    }
  }

  #behindLink(): Promise<KafkaLink> {
    this.#behind ??= this.#open('behind').catch((error) => {
      this.#behind = undefined
      throw error
    })
    return this.#behind
  }

  /** Asks again while that may help. */
  async #asked<T>(doing: string, ask: (link: KafkaLink) => Promise<T>): Promise<T> {
    const { clock } = this.#options
    const link = await this.#behindLink()
    for (const giveUpAt = clock.monotonicMs() + GIVE_UP_MS; ; ) {
      try {
        return await ask(link)
      } catch (error) {
        const mayPass = await link.heal(error)
        if (!mayPass || this.#isClosed || clock.monotonicMs() > giveUpAt) throw link.explained(error, `${doing} ${this.#topic}`)
        await sleep(clock, RETRY_MS)
      }
    }
  }

  async #offsets(which: WhichOffset): Promise<number[]> {
    const all = Array.from({ length: this.partitions }, (_, p) => p)
    const found = await this.#asked('asking for offsets of', (link) => link.offsets(this.#topic, all, which))
    return all.map((p) => must(found.get(p), 'every partition is answered'))
  }

  firsts(): Promise<number[]> {
    return this.#offsets('first')
  }

  ends(): Promise<number[]> {
    return this.#offsets('end')
  }

  async since(stampMs: number): Promise<number[]> {
    // The ends first: what comes in between is behind them.
    const ends = await this.ends()
    const found = await this.#offsets({ since: stampMs })
    return found.map((offset, p) => (offset < 0 ? must(ends[p], 'an end per partition') : offset))
  }

  async read(partition: number, from: number, maxBytes: number): Promise<TopicPage> {
    const want = { partition, offset: from, maxBytes: Math.min(Math.max(1, maxBytes), PARTITION_BYTES) }
    const limits = { waitMs: 0, maxBytes: ANSWER_BYTES }
    try {
      return await this.#asked(`reading partition ${partition} of`, async (link) => {
        const leader = must(link.leaders(this.#topic, [partition])[0]?.[0], 'a partition has a leader, or this throws')
        const [fetched] = await link.fetch(leader, this.#topic, [want], limits)
        const { records, end } = must(fetched, 'the wanted partition is answered')
        const next = nextOf(records, from)
        return { records: records.map((r) => recordOf(partition, r)), next, isEnd: next >= end }
      })
    } catch (error) {
      if (!isOutOfRange(error)) throw error
      return this.#outside(partition, from)
    }
  }

  /** Before the first offset kept: on from there. Behind the end, as a cursor of another cluster may be: nothing. */
  async #outside(partition: number, from: number): Promise<TopicPage> {
    const first = must((await this.firsts())[partition], `partition ${partition} of ${this.partitions}`)
    return { records: [], next: Math.max(first, from), isEnd: from >= first }
  }

  async follow(from: readonly number[], follower: TopicFollower): Promise<() => void> {
    this.#live ??= this.#open('live').catch((error) => {
      this.#live = undefined
      throw error
    })
    const link = await this.#live
    const polls = new Polls({ link, topic: this.#topic, clock: this.#options.clock, firsts: () => this.firsts() }, [...from], follower)
    polls.pump()
    return () => polls.stop()
  }

  async close(): Promise<void> {
    this.#isClosed = true
    for (const opening of [this.#behind, this.#live]) await (await opening?.catch(() => undefined))?.close()
  }
}

const isOutOfRange = (error: unknown): boolean => protocolType(error) === 'OFFSET_OUT_OF_RANGE'

interface PollOptions {
  readonly link: KafkaLink
  readonly topic: string
  readonly clock: Clock
  firsts(): Promise<number[]>
}

/** A long poll per leader, again and again. */
class Polls {
  readonly #options: PollOptions
  readonly #next: number[]
  readonly #follower: TopicFollower
  readonly #polling = new Set<string>()
  #isStopped = false

  constructor(options: PollOptions, next: number[], follower: TopicFollower) {
    this.#options = options
    this.#next = next
    this.#follower = follower
  }

  stop(): void {
    this.#isStopped = true
  }

  /** Sends a poll to each leader that has none under way. */
  pump(): void {
    if (this.#isStopped) return
    for (const [leader, partitions] of this.#leaders()) {
      if (this.#polling.has(leader)) continue
      this.#polling.add(leader)
      void this.#poll(leader, partitions).finally(() => {
        this.#polling.delete(leader)
        this.pump()
      })
    }
  }

  #leaders(): [string, readonly number[]][] {
    const all = [...this.#next.keys()]
    try {
      return this.#options.link.leaders(this.#options.topic, all)
    } catch {
      // A partition without a leader: asking nobody fails, and the metadata are read again.
      return [['', all]]
    }
  }

  async #poll(leader: string, partitions: readonly number[]): Promise<void> {
    const { link, topic, clock } = this.#options
    const wants = partitions.map((partition): FetchWant => ({ partition, offset: this.#at(partition), maxBytes: PARTITION_BYTES }))
    try {
      const answers = await link.fetch(leader, topic, wants, { waitMs: POLL_MS, maxBytes: ANSWER_BYTES })
      if (this.#isStopped) return
      const drained: number[] = []
      for (const { partition, records, end } of answers) {
        // Another leader may have answered meanwhile.
        const fresh = records.filter((r) => r.offset >= this.#at(partition))
        this.#next[partition] = nextOf(fresh, this.#at(partition))
        if (fresh.length > 0) this.#follower.take(fresh.map((r) => recordOf(partition, r)))
        if (this.#at(partition) >= end) drained.push(partition)
      }
      this.#follower.polled(drained)
    } catch (error) {
      if (isOutOfRange(error)) await this.#passOver()
      await link.heal(error)
      await sleep(clock, RETRY_MS)
    }
  }

  /** What is no longer kept. */
  async #passOver(): Promise<void> {
    const firsts = await this.#options.firsts().catch(() => [])
    for (const [p, first] of firsts.entries()) this.#next[p] = Math.max(this.#at(p), first)
  }

  #at(partition: number): number {
    return must(this.#next[partition], 'a place per partition')
  }
}

const nextOf = (records: readonly FetchedRecord[], from: number): number => (records.at(-1)?.offset ?? from - 1) + 1

function recordOf(partition: number, { offset, stamp, key, value, headers }: FetchedRecord): TopicRecord {
  const numberIn = (header: unknown): number => (header === undefined ? Number.NaN : Number(String(header)))
  const [origin, seq] = [numberIn(headers.origin), numberIn(headers.seq)]
  return { partition, offset, stamp, key: key === null ? undefined : key.toString('utf8'), value, origin, seq }
}
