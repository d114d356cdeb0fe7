// One topic of the engine as a log: positions are offsets, a record is durable when all replicas in sync have it, and any process may
// append at any time. Owns the links to the cluster that this topic uses.
//
// Three faces, on the same appender and reader:
//   KafkaLog          appends that resolve to an offset, reads that wait: what many processes share
//   shared(p)         one partition as claimed.ts wants it, for journals
//   soleWriter()      the LogWriter of log.ts, where this process alone appends to the topic
//
// 1. An append that rejects with append_in_doubt may be in the log, now or later. No record is ever there twice for one append that
//    resolved.
// 2. Only replicated records are read (log.ts 2), and a record that was read stays (log.ts 3) as far as the cluster's replicas do:
//    `unclean.leader.election.enable` is off for these topics.
import { invariant, must } from '../core/assert.ts'
import { type Clock, sleep } from '../core/clock.ts'
import { TributaryError } from '../core/errors.ts'
import type { SharedLog } from './claimed.ts'
import { KafkaAppender } from './kafka-appender.ts'
import { KafkaLink, withAdmin } from './kafka-client.ts'
import { packValue, unpackValue } from './kafka-pack.ts'
import { type KafkaCursor, type KafkaPage, KafkaReader, type KafkaReadLimits, type KafkaRecord } from './kafka-reader.ts'
import type { KafkaSettings } from './kafka-settings.ts'
import { type TopicKind, topicName } from './kafka-topics.ts'
import type { PartitionReader, PartitionWriter, ReadLimits } from './log.ts'

export interface KafkaLogOptions {
  readonly settings: KafkaSettings
  readonly clock: Clock
  readonly kind: TopicKind
  readonly partitions: number
  /** After so long without an answer an append is in doubt. */
  readonly giveUpMs?: number
  /** A request without an answer has failed after so long; then it is sent again. */
  readonly requestMs?: number
}

const GIVE_UP_MS = 30_000
/** A question for offsets is asked again for so long. */
const ASK_GIVE_UP_MS = 10_000
const ASK_RETRY_MS = 100

export class KafkaLog {
  readonly partitions: number
  readonly topic: string
  readonly #options: KafkaLogOptions
  readonly #links: readonly KafkaLink[]
  readonly #behind: KafkaLink
  readonly #appender: KafkaAppender
  readonly #reader: KafkaReader

  private constructor(options: KafkaLogOptions, append: KafkaLink, live: KafkaLink, behind: KafkaLink) {
    const { partitions, clock } = options
    this.#options = options
    this.partitions = partitions
    this.topic = topicName(options.settings, options.kind)
    this.#links = [append, live, behind]
    this.#behind = behind
    this.#appender = new KafkaAppender({ link: append, topic: this.topic, partitions, clock, giveUpMs: options.giveUpMs ?? GIVE_UP_MS })
    this.#reader = new KafkaReader({ live, behind, topic: this.topic, clock })
  }

  /** Connects to a topic that `ensureTopics` has made or checked. */
  static async open(options: KafkaLogOptions): Promise<KafkaLog> {
    const topic = topicName(options.settings, options.kind)
    const opening = await Promise.allSettled(
      ['append', 'live', 'behind'].map(async (role) => {
        const link = await KafkaLink.open(options.settings, { ...options, name: `${options.kind}.${role}` })
        try {
          await link.know(topic)
          const found = link.partitionsOf(topic)
          if (found !== options.partitions)
            throw new TributaryError('kafka_topic', `the topic ${topic} has ${found} partitions, not ${options.partitions}`)
          return link
        } catch (error) {
          await link.close()
          throw link.explained(error, `opening ${topic}`)
        }
      }),
    )
    const links = opening.flatMap((o) => (o.status === 'fulfilled' ? [o.value] : []))
    const failed = opening.find((o) => o.status === 'rejected')
    if (failed) {
      await Promise.all(links.map((link) => link.close()))
      throw failed.reason
    }
    const [append, live, behind] = links.map((link) => must(link, 'three links are open'))
    return new KafkaLog(options, must(append, 'first'), must(live, 'second'), must(behind, 'third'))
  }

  /** Resolves to the offset once all replicas in sync have the record (1). The payload is copied at once. */
  append(partition: number, payload: Uint8Array): Promise<number> {
    return this.#appender.append(partition, { key: null, value: packValue(payload) })
  }

  /** A place to read from; each reader has its own. */
  cursor(partition: number): KafkaCursor {
    return this.#reader.cursor(partition)
  }

  /** Records from `from` on that are there now, without reading ahead. */
  async read(partition: number, from: number, limits: ReadLimits): Promise<KafkaRecord[]> {
    const { records } = await this.#reader.fetch(partition, from, limits.maxBytes)
    const page: KafkaRecord[] = []
    let bytes = 0
    for (const { offset, value, stamp } of records) {
      if (page.length === limits.maxRecords) break
      const payload = unpackValue(value, `${this.topic} ${partition}:${offset}`)
      bytes += payload.length
      if (page.length > 0 && bytes > limits.maxBytes) break
      page.push({ partition, position: offset, payload, stamp })
    }
    return page
  }

  /** First offset kept, per partition. */
  firsts(): Promise<number[]> {
    return this.#offsets('first')
  }

  /** One past the last replicated record, per partition. */
  ends(): Promise<number[]> {
    return this.#offsets('end')
  }

  async #offsets(which: 'first' | 'end'): Promise<number[]> {
    const all = Array.from({ length: this.partitions }, (_, p) => p)
    const ask = (): Promise<Map<number, number>> => this.#behind.offsets(this.topic, all, which)
    const { clock } = this.#options
    // Who leads a partition that was just made, or has moved, takes a while to be known everywhere.
    for (const giveUpAt = clock.monotonicMs() + ASK_GIVE_UP_MS; ; await sleep(clock, ASK_RETRY_MS)) {
      try {
        const found = await ask()
        return all.map((p) => must(found.get(p), 'every partition is answered'))
      } catch (error) {
        const mayPass = await this.#behind.heal(error)
        if (!mayPass || clock.monotonicMs() > giveUpAt) throw this.#behind.explained(error, `asking for offsets of ${this.topic}`)
      }
    }
  }

  /** Deletes the records of a partition before `position`, for everybody. */
  release(partition: number, position: number): Promise<void> {
    return this.releaseAll(new Map([[partition, position]]))
  }

  /** The same of several partitions. */
  async releaseAll(positions: ReadonlyMap<number, number>): Promise<void> {
    const { settings, clock } = this.#options
    const partitions = [...positions].map(([partition, position]) => ({ partition, offset: String(position) }))
    await withAdmin(settings, clock, async (admin) => {
      // The client forgets to find out who leads the partitions; asking for offsets makes it.
      await admin.fetchTopicOffsets(this.topic)
      await admin.deleteTopicRecords({ topic: this.topic, partitions })
    })
  }

  /** One partition for a claimed journal, or for whoever else shares it; closing it leaves the log open. Reads at the same time are answered. */
  shared(partition: number): SharedLog {
    const cursor = this.cursor(partition)
    return {
      first: async () => must((await this.firsts())[partition], `partition ${partition} of ${this.partitions}`),
      append: async (payload) => void (await this.append(partition, payload)),
      read: (from, limits) => (cursor.isReading ? this.#readOnce(partition, from, limits) : cursor.read(from, limits)),
      close: async () => cursor.close(),
    }
  }

  async #readOnce(partition: number, from: number, limits: KafkaReadLimits): Promise<KafkaPage> {
    const cursor = this.cursor(partition)
    try {
      return await cursor.read(from, limits)
    } finally {
      cursor.close()
    }
  }

  /** The reader of log.ts: `first` and `end` are as of the last `refresh`. */
  async reader(): Promise<PartitionReader> {
    let [firsts, ends] = await Promise.all([this.firsts(), this.ends()])
    const at = (list: readonly number[], p: number): number => must(list[p], `partition ${p} of ${this.partitions}`)
    return {
      partitions: this.partitions,
      first: (p) => at(firsts, p),
      end: (p) => at(ends, p),
      refresh: async () => {
        ;[firsts, ends] = await Promise.all([this.firsts(), this.ends()])
      },
      read: (p, from, limits) => this.read(p, from, limits),
      last: async (p) => {
        const end = at(await this.ends(), p)
        return end > at(await this.firsts(), p) ? (await this.read(p, end - 1, { maxRecords: 1, maxBytes: 1 }))[0] : undefined
      },
      close: async () => undefined,
    }
  }

  async soleWriter(): Promise<PartitionWriter> {
    return new SoleWriter(this, await this.ends())
  }

  /** What was appended settles first. */
  async close(): Promise<void> {
    await this.#appender.close()
    await this.#reader.close()
    await Promise.all(this.#links.map((link) => link.close()))
  }
}

/** Knows positions before the brokers say them, because nobody else appends. Whatever contradicts that is final (log.ts 4). */
class SoleWriter implements PartitionWriter {
  readonly partitions: number
  readonly #log: KafkaLog
  readonly #ends: number[]
  readonly #underWay = new Set<Promise<void>>()
  #failed: TributaryError | undefined

  constructor(log: KafkaLog, ends: number[]) {
    this.#log = log
    this.#ends = ends
    this.partitions = log.partitions
  }

  append(partition: number, payload: Uint8Array): number {
    if (this.#failed) throw this.#failed
    const position = this.end(partition)
    this.#ends[partition] = position + 1
    const done = this.#log
      .append(partition, payload)
      .then((offset) =>
        invariant(
          offset === position,
          `position ${position} of ${this.#log.topic}:${partition} became offset ${offset}: somebody else appends`,
        ),
      )
      .catch((cause: Error) => {
        this.#failed ??= new TributaryError('log_failed', cause.message, { cause })
      })
      .finally(() => this.#underWay.delete(done))
    this.#underWay.add(done)
    return position
  }

  async sync(): Promise<void> {
    await Promise.all(this.#underWay)
    if (this.#failed) throw this.#failed
  }

  end(partition: number): number {
    return must(this.#ends[partition], `partition ${partition} of ${this.partitions}`)
  }

  async release(partition: number, position: number): Promise<void> {
    if (this.#failed) throw this.#failed
    await this.#log.release(partition, position)
  }

  async close(): Promise<void> {
    if (!this.#failed) await this.sync()
  }
}
