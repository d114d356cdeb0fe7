// Appends to the partitions of one topic, as many callers as like. Owns the queue of each partition, the requests under way and
// the numbers by which the brokers recognise what is sent again; what a record means is the caller's business.
//
//   queued ──its partition and leader are free──▶ under way ──acknowledged──▶ done
//      ▲                                              │  └────no answer in time, or refused────▶ in doubt (rejected)
//      └───────a failure that may pass: same bytes────┘
//
// 1. One batch per partition is under way, and one request per leader: so records lie in the order in which they were appended.
// 2. What is sent again is the same batch with the same producer id and number: the brokers drop repeats.
// 3. After a batch was given up, its partition goes on under another producer id. Otherwise the next batch, under the same number,
//    would be taken for a repeat of the one given up: acknowledged and nowhere. Until those who appended have heard of it (RETRY_MS),
//    what comes for that partition is refused too: it must not overtake what may come again.
// 4. A rejected append may be in the log, now or later, once or, after a change of producer id, never again twice.
// 5. What may be sent until some instant only is given up by then, whether it was sent before or not. Asked right before a request is made.
import { invariant, must } from '../core/assert.ts'
import type { Clock } from '../core/clock.ts'
import { sleep } from '../core/clock.ts'
import { TributaryError } from '../core/errors.ts'
import type { KafkaLink, KafkaMessage, Produce, ProducerId } from './kafka-client.ts'
import { MAX_BATCH_BYTES } from './kafka-topics.ts'

export interface AppenderOptions {
  readonly link: KafkaLink
  readonly topic: string
  readonly partitions: number
  readonly clock: Clock
  /** After so long without an answer a batch is in doubt. */
  readonly giveUpMs: number
}

/** Numbers of batches wrap here, by the protocol. */
const SEQUENCES = 2 ** 31
/** Of one partition in a request; a batch's head and a record's take a little more than the bytes. */
const BATCH_BYTES = 900_000
/** Of a request: it is encoded in one go, about 10 ms of CPU per MB. */
const REQUEST_BYTES = 1_000_000
const RECORD_OVERHEAD_BYTES = 100
export const MAX_RECORD_BYTES = MAX_BATCH_BYTES - 1000
const RETRY_MS = 50

interface Waiting {
  readonly message: KafkaMessage
  readonly bytes: number
  /** Of the monotonic clock (5). */
  readonly untilMs: number
  readonly done: PromiseWithResolvers<number>
}

interface Queue {
  readonly partition: number
  readonly waiting: Waiting[]
  /** What is under way, or to be sent again (2). */
  batch: readonly Waiting[]
  /** When the batch was taken. */
  since: number
  /** What came right behind a batch that was given up (3); undefined when none was just now. */
  refused: Waiting[] | undefined
  producer: ProducerId | undefined
  sequence: number
}

export class KafkaAppender {
  readonly #options: AppenderOptions
  readonly #queues: Queue[]
  readonly #busyLeaders = new Set<string>()
  readonly #busy = new Set<Queue>()
  #producer: Promise<ProducerId> | undefined
  #isScheduled = false
  #isClosed = false
  #idle: PromiseWithResolvers<void> | undefined

  constructor(options: AppenderOptions) {
    this.#options = options
    this.#queues = Array.from({ length: options.partitions }, (_, partition) => ({
      ...{ partition, waiting: [], batch: [], since: 0, refused: undefined, producer: undefined, sequence: 0 },
    }))
  }

  /** Resolves to the record's offset; rejects with append_in_doubt, or too_large when it was not tried. */
  append(partition: number, message: KafkaMessage, untilMs = Number.POSITIVE_INFINITY): Promise<number> {
    invariant(!this.#isClosed, 'a closed log takes nothing')
    const queue = must(this.#queues[partition], `partition ${partition} of ${this.#options.partitions}`)
    const bytes = bytesOf(message)
    if (bytes > MAX_RECORD_BYTES)
      return Promise.reject(new TributaryError('too_large', `a record of ${bytes} bytes, more than Kafka takes (${MAX_RECORD_BYTES})`))
    const waiting = { message, bytes, untilMs, done: Promise.withResolvers<number>() }
    if (queue.refused) queue.refused.push(waiting)
    else queue.waiting.push(waiting)
    this.#schedule()
    return waiting.done.promise
  }

  /** Resolves when nothing is under way. */
  async settled(): Promise<void> {
    if (this.#queues.every(isIdle)) return
    this.#idle ??= Promise.withResolvers<void>()
    return this.#idle.promise
  }

  /** What is under way settles first. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.settled()
  }

  /** What is appended in one turn goes out together. */
  #schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    queueMicrotask(() => {
      this.#isScheduled = false
      this.#pump()
    })
  }

  #pump(): void {
    const ready = this.#queues.filter((q) => !this.#busy.has(q) && !isIdle(q))
    for (const [leader, queues] of this.#byLeader(ready)) {
      if (this.#busyLeaders.has(leader)) continue
      const taken = takeBatches(queues, this.#options.clock.monotonicMs())
      this.#busyLeaders.add(leader)
      for (const q of taken) this.#busy.add(q)
      void this.#send(leader, taken).finally(() => {
        this.#busyLeaders.delete(leader)
        for (const q of taken) this.#busy.delete(q)
        if (this.#queues.every(isIdle)) {
          this.#idle?.resolve()
          this.#idle = undefined
        } else this.#schedule()
      })
    }
  }

  /** An unknown leader is asked for like any other, and fails; then the metadata are read again. */
  #byLeader(queues: readonly Queue[]): [string, Queue[]][] {
    if (queues.length === 0) return []
    const byPartition = new Map(queues.map((q) => [q.partition, q]))
    try {
      const leaders = this.#options.link.leaders(this.#options.topic, [...byPartition.keys()])
      const found = leaders.map(([leader, ps]): [string, Queue[]] => [leader, ps.map((p) => must(byPartition.get(p), 'asked for'))])
      if (found.reduce((n, [, qs]) => n + qs.length, 0) === queues.length) return found
    } catch {
      // No metadata, or a partition without a leader.
    }
    return [['', [...queues]]]
  }

  async #send(leader: string, queues: readonly Queue[]): Promise<void> {
    const { link, topic, clock } = this.#options
    try {
      // By producer: after a batch was given up its partition has another one (3).
      const groups = Map.groupBy(queues, (q) => q.producer)
      for (const [producer, group] of groups) {
        const own = producer ?? (await this.#renewed(group))
        if (group.some((q) => isLate(q, clock.monotonicMs()))) throw LATE
        const offsets = await link.produce(leader, topic, own, group.map(produceOf))
        for (const q of group) acknowledge(q, must(offsets.get(q.partition), 'each partition is answered'))
      }
    } catch (error) {
      await this.#failed(
        error,
        queues.filter((q) => q.batch.length > 0),
      )
    }
  }

  async #renewed(queues: readonly Queue[]): Promise<ProducerId> {
    this.#producer ??= this.#options.link.producerId()
    const producer = await this.#producer.catch((error) => {
      this.#producer = undefined
      throw error
    })
    for (const q of queues) {
      q.producer = producer
      q.sequence = 0
    }
    return producer
  }

  async #failed(error: unknown, queues: readonly Queue[]): Promise<void> {
    const { clock, giveUpMs, link } = this.#options
    const mayPass = error === LATE || (await link.heal(error))
    const nowMs = clock.monotonicMs()
    const givenUp = queues.filter((q) => !mayPass || nowMs - q.since >= giveUpMs || isLate(q, nowMs))
    const why = (q: Queue) => link.explained(error, `appending to partition ${q.partition} of ${this.#options.topic}`)
    for (const q of givenUp) giveUp(q, why(q))
    // (3): whoever needs one from now on gets a new one.
    if (givenUp.length > 0) this.#producer = undefined
    await sleep(clock, RETRY_MS)
    for (const q of givenUp) refuse(q, why(q))
  }
}

const isIdle = (q: Queue): boolean => q.batch.length === 0 && q.waiting.length === 0 && q.refused === undefined

const isLate = (q: Queue, nowMs: number): boolean => q.batch.some(({ untilMs }) => nowMs >= untilMs)

/** (5); others of the same request are sent by the next one. */
const LATE = new TributaryError('append_in_doubt', 'it could not be sent in time')

function bytesOf(message: KafkaMessage): number {
  const headers = Object.entries(message.headers ?? {}).reduce((n, [name, value]) => n + name.length + value.length + 8, 0)
  return (message.key?.length ?? 0) + (message.value?.length ?? 0) + headers + RECORD_OVERHEAD_BYTES
}

/** Fills the batches of some partitions, up to the limits; the others' turn comes next. */
function takeBatches(queues: readonly Queue[], now: number): Queue[] {
  const taken: Queue[] = []
  let request = 0
  // Longest waiting first, so that nobody starves; those to be sent again keep their batch (2).
  for (const q of queues.toSorted((a, b) => a.since - b.since)) {
    if (request >= REQUEST_BYTES) break
    if (q.batch.length === 0) {
      let bytes = 0
      let count = 0
      for (const w of q.waiting) {
        if (count > 0 && bytes + w.bytes > BATCH_BYTES) break
        bytes += w.bytes
        count++
      }
      q.batch = q.waiting.splice(0, count)
      q.since = now
    }
    request += q.batch.reduce((n, w) => n + w.bytes, 0)
    taken.push(q)
  }
  return taken
}

const produceOf = (q: Queue): Produce => ({
  partition: q.partition,
  firstSequence: q.sequence,
  messages: q.batch.map((w) => w.message),
})

function acknowledge(q: Queue, base: number): void {
  const { batch } = q
  q.batch = []
  q.sequence = (q.sequence + batch.length) % SEQUENCES
  batch.forEach((w, i) => {
    w.done.resolve(base + i)
  })
}

/** The batch is in doubt, and so is what waits behind it: it must not overtake what may come again. */
function giveUp(q: Queue, why: TributaryError): void {
  const lost = [...q.batch, ...q.waiting.splice(0)]
  q.batch = []
  q.producer = undefined
  q.refused = []
  for (const w of lost) w.done.reject(inDoubt(why))
}

/** Likewise what came before it was known that a batch was given up (3). */
function refuse(q: Queue, why: TributaryError): void {
  const { refused = [] } = q
  q.refused = undefined
  for (const w of refused) w.done.reject(inDoubt(why))
}

const inDoubt = (why: TributaryError): TributaryError =>
  new TributaryError('append_in_doubt', `${why.message} (${why.code})`, { cause: why })
