// A user's topics as records, through the client's own consumer group. Owns one membership and the positions that it commits. This
// group is not that of the engine's partitions (kafka-membership.ts): here a record that comes twice does no harm (record-group.ts 2).
//
// 1. Only what was said to be done is committed, soon after, and before this member leaves in good order.
// 2. `latest` means the ends as they were when a group without any position was first opened. From then on nothing is passed over: not
//    in partitions that are added, nor where positions are no longer kept.
// 3. What is given says of which topic and leader it is, and since when this process has read on (record-group.ts 3): source-runs.ts.
// 4. The client never starts again by itself: whatever it can't mend ends `run`.
import type { Admin, Consumer, EachBatchPayload, KafkaMessage } from 'kafkajs'
import { invariant, must } from '../core/assert.ts'
import type { Clock } from '../core/clock.ts'
import { TributaryError } from '../core/errors.ts'
import { KafkaLink, kafkaClient } from './kafka-client.ts'
import { addCodecs } from './kafka-codecs.ts'
import { kafkaError } from './kafka-errors.ts'
import type { KafkaSettings } from './kafka-settings.ts'
import type { Place, RecordGroup, SourceRecord, TakeBatch, Turn } from './record-group.ts'
import { type Answered, type Run, Runs } from './source-runs.ts'

export interface KafkaSourceOptions {
  readonly settings: KafkaSettings
  readonly clock: Clock
  readonly group: string
  readonly topics: readonly string[]
  readonly from: 'earliest' | 'latest'
  /** A member that is silent for so long is taken for dead. */
  readonly sessionMs?: number
}

const SESSION_MS = 6000
const REBALANCE_MS = 30_000
const HEARTBEAT_MS = 1000
/** A poll waits so long at the brokers: a change of the group is noticed at the latest then. */
const POLL_MS = 250
/** What is done is committed after so long: as much comes again after a crash. */
const COMMIT_MS = 500
/** Of one partition in one answer, and of all of them: what this process holds in memory. */
const PARTITION_BYTES = 1 << 20
const ANSWER_BYTES = 4 << 20
/** Partitions that are taken at once: while one waits for the disk, another is mapped. */
const AT_ONCE = 4
const RETRY = { initialRetryTime: 100, maxRetryTime: 500, retries: 5, restartOnFailure: async () => false }

export class KafkaSource implements RecordGroup {
  readonly #options: KafkaSourceOptions
  readonly #consumer: Consumer
  readonly #admin: Admin
  /** The next offset of each partition that this member reads, once something of it was done. */
  readonly #done = new Map<string, number>()
  /** Of those, what the group has not been told. */
  readonly #untold = new Map<string, number>()
  /** Where a new group begins (2), until it has been told. */
  readonly #starts = new Map<string, number>()
  readonly #runs = new Runs()
  /** What the topics of this session are; undefined: not asked yet. */
  #topicIds: Promise<ReadonlyMap<string, string> | undefined> | undefined
  #assigned: readonly (readonly [topic: string, partition: number])[] = []
  /** Batches that are being taken. */
  readonly #held = new Set<Promise<void>>()
  readonly #ended = Promise.withResolvers<void>()
  #begun: Promise<void> | undefined
  #isClosed = false
  #isCommitting = false
  #cancel = (): void => {}

  constructor(options: KafkaSourceOptions) {
    const { settings, clock, group, sessionMs = SESSION_MS } = options
    addCodecs()
    this.#options = options
    const kafka = kafkaClient(settings, { name: group, clock })
    this.#admin = kafka.admin({ retry: RETRY })
    this.#consumer = kafka.consumer({
      groupId: group,
      sessionTimeout: sessionMs,
      rebalanceTimeout: REBALANCE_MS,
      heartbeatInterval: Math.min(HEARTBEAT_MS, sessionMs / 3),
      maxWaitTimeInMs: POLL_MS,
      minBytes: 1,
      maxBytesPerPartition: PARTITION_BYTES,
      maxBytes: ANSWER_BYTES,
      allowAutoTopicCreation: false,
      retry: RETRY,
    })
    // Whoever awaits it may come later.
    this.#ended.promise.catch(() => undefined)
  }

  async run(take: TakeBatch, joined: () => void): Promise<void> {
    const { group, topics } = this.#options
    const consumer = this.#consumer
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
      this.#joined(payload.memberAssignment)
      joined()
    })
    consumer.on(consumer.events.CRASH, ({ payload }) => this.#ended.reject(payload.error))
    const begun = this.#begin(take)
    this.#begun = begun.catch(() => undefined)
    try {
      await begun
      if (this.#isClosed) return
      this.#commitLater()
      await this.#ended.promise
    } catch (error) {
      if (!this.#isClosed) throw kafkaError(error, `reading ${topics.join(', ')} as ${group}`)
    }
  }

  /** Resolves once this is a member, or has failed to become one (CRASH tells why). */
  async #begin(take: TakeBatch): Promise<void> {
    await this.#admin.connect()
    await this.#consumer.connect()
    await this.#consumer.subscribe({ topics: [...this.#options.topics], fromBeginning: true })
    if (this.#options.from === 'latest') await this.#findStarts()
    if (this.#isClosed) return
    await this.#consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      partitionsConsumedConcurrently: AT_ONCE,
      eachBatch: (payload) => this.#take(payload, take),
    })
  }

  /** (2) */
  async #findStarts(): Promise<void> {
    const { group, topics } = this.#options
    const told = await this.#admin.fetchOffsets({ groupId: group, topics: [...topics] })
    if (told.some((t) => t.partitions.some((p) => Number(p.offset) >= 0))) return
    for (const topic of topics)
      for (const { partition, offset } of await this.#admin.fetchTopicOffsets(topic))
        this.#starts.set(placeKey(topic, partition), Number(offset))
  }

  /** The client's positions are what was committed; whatever was done and not yet told comes again. */
  #joined(assignment: Readonly<Record<string, number[]>>): void {
    this.#assigned = Object.entries(assignment).flatMap(([topic, partitions]) => partitions.map((p) => [topic, p] as const))
    this.#runs.joined()
    this.#topicIds = undefined
    this.#done.clear()
    this.#untold.clear()
    for (const [topic, partition] of this.#assigned) {
      const start = this.#starts.get(placeKey(topic, partition))
      if (start === undefined) continue
      this.#consumer.seek({ topic, partition, offset: String(start) })
      this.#note(placeKey(topic, partition), start)
    }
  }

  #note(key: string, next: number): void {
    this.#done.set(key, next)
    this.#untold.set(key, next)
  }

  async #take({ batch, resolveOffset, heartbeat, isRunning, isStale }: EachBatchPayload, take: TakeBatch): Promise<void> {
    const { topic, partition } = batch
    const isClosed = (): boolean => this.#isClosed
    const turn = (run: Run | undefined): Turn => ({
      get isCurrent() {
        return isRunning() && !isStale() && !isClosed()
      },
      alive: () => this.#beat(heartbeat),
      done: async (next) => {
        resolveOffset(String(next - 1))
        if (run) run.next = Math.max(run.next, next)
        this.#note(placeKey(topic, partition), next)
        await this.#beat(heartbeat)
      },
    })
    const giveAll = async (): Promise<void> => {
      let asked = askedOf(batch)
      for (const { leader, records } of byLeader(batch.messages)) {
        const [first, last] = [must(records[0], 'not empty'), must(records.at(-1), 'not empty')]
        const run = await this.#runOf(topic, partition, { leader, asked, first: first.offset })
        const now = turn(run)
        if (!now.isCurrent) return
        await take({ topic, partition, records, ...(run ? { origin: run.origin } : {}) }, now)
        asked = last.offset + 1
        // Given up half-way: what is behind it comes again, too.
        if ((this.#done.get(placeKey(topic, partition)) ?? 0) < asked) return
      }
    }
    const held = giveAll()
    this.#held.add(held)
    await held.finally(() => this.#held.delete(held))
  }

  /** (3) */
  async #runOf(topic: string, partition: number, answered: Omit<Answered, 'topicId'>): Promise<Run | undefined> {
    const place = placeKey(topic, partition)
    if (this.#runs.isBack(place, answered.asked)) this.#topicIds = undefined
    this.#topicIds ??= this.#askTopicIds()
    const ids = await this.#topicIds
    return ids && this.#runs.of(place, { ...answered, topicId: must(ids.get(topic), 'it was found') })
  }

  async #askTopicIds(): Promise<ReadonlyMap<string, string> | undefined> {
    const { settings, clock, group, topics } = this.#options
    const link = await KafkaLink.open(settings, { name: group, clock })
    try {
      const ids = await link.topicIds(topics)
      const missing = topics.find((topic) => ids && !ids.has(topic))
      if (missing !== undefined) throw new TributaryError('kafka_topic', `the brokers don't know the topic ${missing}`)
      return ids
    } catch (error) {
      this.#topicIds = undefined
      throw error
    } finally {
      await link.close()
    }
  }

  /** A heartbeat rejects when the group changes: what was done so far is told before it has changed. */
  async #beat(heartbeat: () => Promise<void>): Promise<void> {
    try {
      await heartbeat()
    } catch (error) {
      await this.#commit().catch(() => undefined)
      throw error
    }
  }

  #commitLater(): void {
    this.#cancel = this.#options.clock.after(COMMIT_MS, () => {
      // What can't be told now is told the next time; a group that is lost says so elsewhere.
      void this.#commit()
        .catch(() => undefined)
        .finally(() => {
          if (!this.#isClosed) this.#commitLater()
        })
    })
  }

  async #commit(): Promise<void> {
    if (this.#untold.size === 0 || this.#isCommitting) return
    const told = [...this.#untold]
    this.#isCommitting = true
    try {
      await this.#consumer.commitOffsets(told.map(([key, next]) => ({ ...placeOf(key), offset: String(next) })))
      for (const [key, next] of told) {
        if (this.#untold.get(key) === next) this.#untold.delete(key)
        this.#starts.delete(key)
      }
    } finally {
      this.#isCommitting = false
    }
  }

  async places(): Promise<Place[]> {
    const { group, topics } = this.#options
    const assigned = this.#assigned
    if (assigned.length === 0) return []
    const committed = new Map<string, number>()
    for (const { topic, partitions } of await this.#admin.fetchOffsets({ groupId: group, topics: [...topics] }))
      for (const { partition, offset } of partitions) committed.set(placeKey(topic, partition), Number(offset))
    const places: Place[] = []
    for (const topic of new Set(assigned.map(([t]) => t))) {
      const reach = new Map((await this.#admin.fetchTopicOffsets(topic)).map((p) => [p.partition, p]))
      for (const [t, partition] of assigned) {
        const ends = reach.get(partition)
        if (t !== topic || !ends) continue
        const key = placeKey(topic, partition)
        const next = this.#done.get(key) ?? committed.get(key) ?? -1
        places.push({ topic, partition, next: Math.max(next, Number(ends.low)), end: Number(ends.high) })
      }
    }
    return places
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#cancel()
    // The client can't stop a member that is about to join: it would stay one, and keep partitions from the others.
    await this.#begun
    // Batches under way end early; what they have done is told by the member that is still one.
    await Promise.allSettled(this.#held)
    await this.#commit().catch(() => undefined)
    await this.#consumer.disconnect().catch(() => undefined)
    await this.#admin.disconnect().catch(() => undefined)
    this.#ended.reject(new TributaryError('shutting_down', 'the source is closed'))
  }
}

/** What the client knows of a batch and a message beyond its published types. */
type Inner = { readonly fetchedOffset?: unknown; readonly batchContext?: { readonly partitionLeaderEpoch?: unknown } }

function askedOf(batch: EachBatchPayload['batch']): number {
  const asked = Number((batch as Inner).fetchedOffset)
  invariant(Number.isSafeInteger(asked), 'the client says which offset it has asked for')
  return asked
}

/** Messages older than the format with leaders have none, and count as of one. */
function leaderOf(message: object): number {
  const leader = Number((message as Inner).batchContext?.partitionLeaderEpoch ?? -1)
  return Math.max(0, leader + 1)
}

/** Runs of messages of one leader, almost always one. */
function byLeader(messages: readonly KafkaMessage[]): { readonly leader: number; readonly records: SourceRecord[] }[] {
  const parts: { readonly leader: number; readonly records: SourceRecord[] }[] = []
  for (const m of messages) {
    const leader = leaderOf(m)
    let part = parts.at(-1)
    if (part?.leader !== leader) {
      part = { leader, records: [] }
      parts.push(part)
    }
    part.records.push({ offset: Number(m.offset), stamp: Number(m.timestamp), key: m.key, value: m.value, headers: m.headers ?? {} })
  }
  return parts
}

const placeKey = (topic: string, partition: number): string => `${topic}\u0000${partition}`

function placeOf(key: string): { topic: string; partition: number } {
  const [topic = '', partition = ''] = key.split('\u0000')
  return { topic, partition: Number(partition) }
}
