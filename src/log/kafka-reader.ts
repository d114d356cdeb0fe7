// Reads partitions of one topic at explicit offsets, without a group: positions are the caller's. Owns the polls under way and what
// was read ahead of each cursor.
//
//   cursor:  behind ──has read up to the end──▶ live ──is read elsewhere, or its offset is refused──▶ behind
//
// 1. Cursors that are live share one long poll per leader, on a link of their own; what lies behind is fetched on another link, which
//    never waits at the brokers. So a restore doesn't stop the live ones, nor they it.
// 2. Records of a cursor come in order, each once, from the position asked for.
// 3. A page's `end` is beyond all that was there when the read was called: it is that of a request which was sent later. Where what is
//    given was asked for earlier, `end` lies beyond the page, so that nobody takes it for the whole.
// 4. A broker that has just become the leader may not know yet how far records are replicated, and names an end before what was read
//    already. It refuses an offset beyond what it has; where it doesn't, nothing is lost, and its end says nothing: it is asked again.
// 5. A cursor reads ahead at most BUFFER_BYTES, and what one answer exceeds it by.
import { setImmediate } from 'node:timers/promises'
import { invariant, must } from '../core/assert.ts'
import { type Clock, sleep } from '../core/clock.ts'
import { TributaryError } from '../core/errors.ts'
import type { Fetched, FetchedRecord, FetchWant, KafkaLink } from './kafka-client.ts'
import { protocolType } from './kafka-errors.ts'
import { unpackValue } from './kafka-pack.ts'
import type { PartitionRecord } from './log.ts'

export interface KafkaRecord extends PartitionRecord {
  /** When the brokers appended it, where the topic is set up so (events); ms. */
  readonly stamp: number
}

export interface KafkaPage {
  readonly records: readonly KafkaRecord[]
  readonly end: number
  /** One past the last record that is known to be there: never beyond one, as `end` may be (3). */
  readonly known: number
}

export interface KafkaReadLimits {
  readonly maxRecords: number
  readonly maxBytes: number
  /** Waits so long for the first record. */
  readonly waitMs: number
}

type ReadLink = Pick<KafkaLink, 'leaders' | 'fetch' | 'heal' | 'explained' | 'offsets'>

export interface ReaderOptions {
  readonly live: ReadLink
  readonly behind: ReadLink
  readonly topic: string
  readonly clock: Clock
}

/** A live poll waits so long at the brokers: a cursor that joins meanwhile waits as long. */
const POLL_MS = 250
const RETRY_MS = 100
/** A read that can't reach the brokers rejects after so long. */
const GIVE_UP_MS = 10_000
const BUFFER_BYTES = 4 << 20
/** Of one partition in one answer. */
const PARTITION_BYTES = 1 << 20
/** Of one answer: it is decoded in one go. */
const ANSWER_BYTES = 4 << 20

interface Answer extends Fetched {
  /** The offset was refused: it lies beyond what the leader has. */
  readonly isCut?: boolean
}

interface Waiting {
  readonly limits: KafkaReadLimits
  readonly until: number
  /** Polls from this number on were sent after the read was called (3). */
  readonly freshFrom: number
  readonly done: PromiseWithResolvers<KafkaPage>
}

export class KafkaReader {
  readonly options: ReaderOptions
  readonly #live = new Set<KafkaCursor>()
  readonly #polling = new Set<string>()
  #polls = 0
  #isClosed = false

  constructor(options: ReaderOptions) {
    this.options = options
  }

  cursor(partition: number): KafkaCursor {
    return new KafkaCursor(this, partition)
  }

  /** The number that the next poll gets. */
  get nextPoll(): number {
    return this.#polls
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  follow(cursor: KafkaCursor): void {
    this.#live.add(cursor)
    this.#pump()
  }

  leave(cursor: KafkaCursor): void {
    this.#live.delete(cursor)
  }

  /** One fetch that doesn't wait at the brokers. An offset beyond the end gives nothing; one that is no longer kept rejects with data_corrupt. */
  async fetch(partition: number, from: number, maxBytes: number): Promise<Answer> {
    const { behind, topic, clock } = this.options
    const want = { partition, offset: from, maxBytes: Math.min(Math.max(maxBytes, 1), PARTITION_BYTES) }
    for (const giveUpAt = clock.monotonicMs() + GIVE_UP_MS; ; ) {
      try {
        const leader = must(behind.leaders(topic, [partition])[0]?.[0], 'a partition of the topic has a leader, or this throws')
        const [fetched] = await behind.fetch(leader, topic, [want], { waitMs: 0, maxBytes: ANSWER_BYTES })
        return must(fetched, 'the wanted partition is answered')
      } catch (error) {
        if (isOutOfRange(error)) return await this.#outside(partition, from)
        const mayPass = await behind.heal(error)
        if (!mayPass || this.#isClosed || clock.monotonicMs() > giveUpAt)
          throw behind.explained(error, `reading partition ${partition} of ${topic} from ${from}`)
        await sleep(clock, RETRY_MS)
      }
    }
  }

  async #outside(partition: number, from: number): Promise<Answer> {
    const { behind, topic } = this.options
    const [first, end] = await Promise.all((['first', 'end'] as const).map((which) => behind.offsets(topic, [partition], which)))
    const begins = first?.get(partition) ?? 0
    if (from < begins)
      throw new TributaryError(
        'data_corrupt',
        `position ${from} of partition ${partition} of ${topic} is no longer kept: it begins at ${begins}`,
      )
    return { partition, end: end?.get(partition) ?? 0, records: [], isCut: true }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    for (const cursor of this.#live) cursor.reject(closed())
    this.#live.clear()
  }

  /** Sends a poll to each leader that has none under way. */
  #pump(): void {
    if (this.#isClosed) return
    const hungry = [...this.#live].filter((c) => c.isHungry)
    const byPartition = Map.groupBy(hungry, (c) => c.partition)
    if (byPartition.size === 0) return
    for (const [leader, partitions] of this.#leaders([...byPartition.keys()])) {
      if (this.#polling.has(leader)) continue
      this.#polling.add(leader)
      const cursors = partitions.flatMap((p) => byPartition.get(p) ?? [])
      void this.#poll(leader, cursors).finally(() => {
        this.#polling.delete(leader)
        this.#pump()
      })
    }
  }

  #leaders(partitions: readonly number[]): [string, readonly number[]][] {
    try {
      return this.options.live.leaders(this.options.topic, partitions)
    } catch {
      // A partition without a leader: asking nobody fails, and the metadata are read again.
      return [['', partitions]]
    }
  }

  async #poll(leader: string, cursors: readonly KafkaCursor[]): Promise<void> {
    const { live, topic, clock } = this.options
    const poll = this.#polls++
    const wants = new Map<number, FetchWant>()
    for (const { partition, next } of cursors) {
      const offset = Math.min(next, wants.get(partition)?.offset ?? next)
      wants.set(partition, { partition, offset, maxBytes: PARTITION_BYTES })
    }
    try {
      const limits = { waitMs: POLL_MS, maxBytes: ANSWER_BYTES }
      const answer = new Map((await live.fetch(leader, topic, [...wants.values()], limits)).map((f) => [f.partition, f]))
      for (const cursor of cursors) {
        const fetched = answer.get(cursor.partition)
        const from = wants.get(cursor.partition)?.offset ?? 0
        // It may have gone elsewhere meanwhile, before what was asked for.
        if (fetched && this.#live.has(cursor) && from <= cursor.next) cursor.take(fetched, poll)
      }
      // Whoever was answered asks again in this turn: the next poll then counts as sent after that (3).
      await setImmediate()
    } catch (error) {
      // An answer doesn't say whose offset was refused: each looks for itself, and comes back.
      if (isOutOfRange(error)) for (const cursor of cursors) cursor.lookAgain()
      const mayPass = await live.heal(error)
      for (const cursor of cursors) cursor.failed(live.explained(error, `reading ${topic}`), mayPass)
      await sleep(clock, RETRY_MS)
    }
  }
}

const isOutOfRange = (error: unknown): boolean => protocolType(error) === 'OFFSET_OUT_OF_RANGE'

/** One reader's place in one partition. One read at a time. */
export class KafkaCursor {
  readonly partition: number
  readonly #reader: KafkaReader
  /** What was read ahead, from `#start` on. */
  #buffer: FetchedRecord[] = []
  #bytes = 0
  #start = 0
  /** The next offset to fetch. */
  next = 0
  #end = 0
  #isLive = false
  #waiting: Waiting | undefined
  #isBusy = false
  #isClosed = false

  constructor(reader: KafkaReader, partition: number) {
    this.#reader = reader
    this.partition = partition
  }

  /** True while a page is being read: another read needs another cursor. */
  get isReading(): boolean {
    return this.#isBusy
  }

  /** True while it may read ahead (5). */
  get isHungry(): boolean {
    return this.#bytes < BUFFER_BYTES
  }

  /** Records from `from` on. Cheap where `from` continues the page before. */
  async read(from: number, limits: KafkaReadLimits): Promise<KafkaPage> {
    invariant(!this.#isBusy, 'a cursor reads one page at a time')
    if (this.#isClosed || this.#reader.isClosed) throw closed()
    this.#isBusy = true
    try {
      if (from !== this.#start) this.#seek(from)
      if (this.#buffer.length > 0) return this.#page(limits, undefined)
      if (this.#isLive && limits.waitMs >= POLL_MS) return await this.#wait(limits)
      const page = await this.#fetch(limits)
      return page.records.length > 0 || limits.waitMs < POLL_MS || !this.#isLive ? page : await this.#wait(limits)
    } finally {
      this.#isBusy = false
    }
  }

  async #fetch(limits: KafkaReadLimits): Promise<KafkaPage> {
    const fetched = await this.#reader.fetch(this.partition, this.next, PARTITION_BYTES)
    this.#add(fetched)
    // Beyond the end there is nothing to follow (a log that was cut): the caller is told by `end`.
    if (!this.#isLive && this.next === this.#end) {
      this.#isLive = true
      this.#reader.follow(this)
    }
    const end = this.#endIn(fetched)
    // It has nothing to say yet (4), and would be asked at once again.
    if (end === undefined && this.#buffer.length === 0) await sleep(this.#reader.options.clock, RETRY_MS)
    return this.#page(limits, end)
  }

  /** (4) */
  #endIn(fetched: Answer): number | undefined {
    return fetched.end < this.next && !fetched.isCut ? undefined : fetched.end
  }

  async #wait(limits: KafkaReadLimits): Promise<KafkaPage> {
    const until = this.#reader.options.clock.monotonicMs() + limits.waitMs
    this.#waiting = { limits, until, freshFrom: this.#reader.nextPoll, done: Promise.withResolvers() }
    return this.#waiting.done.promise
  }

  #seek(from: number): void {
    this.#leave()
    this.#buffer = []
    this.#bytes = 0
    this.#start = from
    this.next = from
  }

  #leave(): void {
    this.#isLive = false
    this.#reader.leave(this)
  }

  /** Adds what continues this cursor: the same answer may serve several (2). */
  #add(fetched: Fetched): void {
    for (const record of fetched.records) {
      if (record.offset < this.next) continue
      this.#buffer.push(record)
      this.#bytes += record.value?.length ?? 0
      this.next = record.offset + 1
    }
    this.#end = fetched.end
  }

  /** The answer to a poll of this number. */
  take(fetched: Fetched, poll: number): void {
    this.#add(fetched)
    const waiting = this.#waiting
    if (!waiting) return
    const isFresh = poll >= waiting.freshFrom
    if (this.#buffer.length === 0 && !(isFresh && this.#isOverdue(waiting))) return
    this.#waiting = undefined
    try {
      waiting.done.resolve(this.#page(waiting.limits, isFresh ? this.#endIn(fetched) : undefined))
    } catch (error) {
      waiting.done.reject(error)
    }
  }

  #isOverdue(waiting: Waiting): boolean {
    return this.#reader.options.clock.monotonicMs() >= waiting.until
  }

  /** Its offset may have been refused. */
  lookAgain(): void {
    this.#leave()
    const waiting = this.#waiting
    if (!waiting) return
    this.#waiting = undefined
    void this.#fetch(waiting.limits).then(waiting.done.resolve, waiting.done.reject)
  }

  /** A poll failed: a read that has waited long enough, or that can't be helped, rejects. */
  failed(error: TributaryError, mayPass: boolean): void {
    if (this.#waiting && (!mayPass || this.#isOverdue(this.#waiting))) this.reject(error)
  }

  reject(error: TributaryError): void {
    this.#waiting?.done.reject(error)
    this.#waiting = undefined
  }

  /** Takes a page from the buffer; `end` as in (3), if it is known. */
  #page(limits: KafkaReadLimits, end: number | undefined): KafkaPage {
    const records: KafkaRecord[] = []
    let bytes = 0
    let taken = 0
    for (const { offset, value, stamp } of this.#buffer) {
      if (taken >= limits.maxRecords) break
      const payload = unpackValue(value, `${this.#reader.options.topic} ${this.partition}:${offset}`)
      if (taken > 0 && bytes + payload.length > limits.maxBytes) break
      bytes += payload.length
      records.push({ partition: this.partition, position: offset, payload, stamp })
      this.#bytes -= value?.length ?? 0
      this.#start = offset + 1
      taken++
    }
    this.#buffer.splice(0, taken)
    return { records, end: end ?? Math.max(this.#end, this.#start + 1), known: Math.max(this.#end, this.#start) }
  }

  close(): void {
    this.#isClosed = true
    this.#leave()
    this.reject(closed())
  }
}

const closed = (): TributaryError => new TributaryError('shutting_down', 'the log is closed')
