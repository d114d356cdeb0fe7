// Reads topics from their first record on while they grow, through the client's own consumer, as a user would: the verifier's way to
// what processes have written, which shares nothing with their readers. Owns the places up to which it has read.
//
// 1. Each record is given once and in order; what the client gives again after a rebalance is passed over.
// 2. A client that fails is given up for another, in a group of its own: one that joins its old group again waits there until the session
//    of its former self is over, and meanwhile processes delete what it has not read.
// 3. A gap is no accident of the client's: the place is sought again, and `caughtUp` fails where it stays, or where what was not read is deleted.
import { randomUUID } from 'node:crypto'
import type { Admin, Consumer, EachBatchPayload, Kafka } from 'kafkajs'
import { systemClock } from '../../src/core/clock.ts'
import { kafkaClient } from '../../src/log/kafka-client.ts'
import { pause } from '../process/server.ts'

export interface SeenRecord {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  /** ms. */
  readonly stamp: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: Readonly<Record<string, string>>
}

export interface FollowerOptions {
  readonly brokers: string
  readonly topics: readonly string[]
  /** Whose offsets need not be contiguous. */
  readonly compacted: readonly string[]
  readonly take: (record: SeenRecord) => void
}

const SESSION_MS = 10_000
const RETRY_MS = 200
const POLL_MS = 100
const CATCH_UP_MS = 90_000

const textOf = (header: unknown): string => (Buffer.isBuffer(header) || typeof header === 'string' ? String(header) : '')

export class TopicsFollower {
  readonly #options: FollowerOptions
  readonly #admin: Admin
  readonly #kafka: Kafka
  #consumer: Consumer | undefined
  #isClosed = false
  /** The next offset to be given, by topic and partition. */
  readonly #next = new Map<string, number>()
  #failed: Error | undefined

  constructor(options: FollowerOptions) {
    this.#options = options
    this.#kafka = kafkaClient({ brokers: [options.brokers], prefix: 'verifier' }, { name: 'verifier', clock: systemClock })
    this.#admin = this.#kafka.admin()
  }

  async start(): Promise<void> {
    await this.#admin.connect()
    await this.#follow()
  }

  async #follow(): Promise<void> {
    const consumer = this.#kafka.consumer({
      groupId: `verifier-${randomUUID()}`,
      sessionTimeout: SESSION_MS,
      maxWaitTimeInMs: 250,
      retry: { initialRetryTime: 100, maxRetryTime: 500, retries: 2, restartOnFailure: async () => false },
    })
    this.#consumer = consumer
    consumer.on(consumer.events.CRASH, () => void this.#again(consumer))
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
      for (const [topic, partitions] of Object.entries(payload.memberAssignment))
        for (const partition of partitions) consumer.seek({ topic, partition, offset: String(this.#nextOf(topic, partition)) })
    })
    await consumer.connect()
    await consumer.subscribe({ topics: [...this.#options.topics], fromBeginning: true })
    await consumer.run({ autoCommit: false, eachBatchAutoResolve: true, eachBatch: (payload) => this.#take(consumer, payload) })
  }

  /** (2) */
  async #again(failed: Consumer): Promise<void> {
    if (this.#consumer !== failed) return
    for (let last: Consumer | undefined = failed; last && !this.#isClosed; ) {
      this.#consumer = undefined
      await last.disconnect().catch(() => undefined)
      await pause(RETRY_MS)
      last = await this.#follow().then(
        () => undefined,
        () => this.#consumer ?? failed,
      )
    }
  }

  #nextOf(topic: string, partition: number): number {
    return this.#next.get(`${topic}/${partition}`) ?? 0
  }

  async #take(consumer: Consumer, { batch, heartbeat, isRunning, isStale }: EachBatchPayload): Promise<void> {
    const { topic, partition } = batch
    for (const message of batch.messages) {
      if (!isRunning() || isStale()) return
      const offset = Number(message.offset)
      const next = this.#nextOf(topic, partition)
      if (offset < next) continue
      if (offset > next && !this.#options.compacted.includes(topic)) {
        consumer.seek({ topic, partition, offset: String(next) })
        return
      }
      const headers = Object.fromEntries(Object.entries(message.headers ?? {}).map(([name, value]) => [name, textOf(value)]))
      try {
        this.#options.take({ topic, partition, offset, stamp: Number(message.timestamp), key: message.key, value: message.value, headers })
      } catch (error) {
        this.#failed ??= error as Error
      }
      this.#next.set(`${topic}/${partition}`, offset + 1)
    }
    await heartbeat()
  }

  /** Where each partition begins by now. */
  async firsts(topic: string): Promise<number[]> {
    return (await this.#admin.fetchTopicOffsets(topic)).map(({ low }) => Number(low))
  }

  /** Resolves once everything is read that was there when this was called. */
  async caughtUp(): Promise<void> {
    const ends = await Promise.all(this.#options.topics.map(async (topic) => [topic, await this.#admin.fetchTopicOffsets(topic)] as const))
    const deadline = Date.now() + CATCH_UP_MS
    for (const [topic, partitions] of ends) {
      for (const { partition, low, high } of partitions) {
        const next = this.#nextOf(topic, partition)
        if (next < Number(low)) throw new Error(`${topic}/${partition} begins at ${low}, and was read up to ${next}`)
        // The last records of a compacted topic may be gone; nothing is compacted within the life of a test.
        while (this.#nextOf(topic, partition) < Number(high)) {
          if (this.#failed) throw this.#failed
          if (Date.now() > deadline) throw new Error(`${topic}/${partition} ends at ${high}, read up to ${this.#nextOf(topic, partition)}`)
          await pause(POLL_MS)
        }
      }
    }
    if (this.#failed) throw this.#failed
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await this.#consumer?.disconnect().catch(() => undefined)
    await this.#admin.disconnect().catch(() => undefined)
  }
}
