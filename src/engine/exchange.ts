// Messages between partitions of different hosts, of one process or several, over a topic that may lose, repeat and reorder them. Owns what is on its way out,
// the reading of the partitions that run here, and the asking again; the messages themselves stay in the outboxes of their senders.
//
//   origin's task ──send──▶ exchange[target] ──read──▶ target's task        and   confirm, again: the other way round
//
// 1. Nothing rests on the topic: a message stays in its sender's outbox until the receiver's commit with it is durable and confirmed.
// 2. A task gets the messages of an origin in order, each once. A repeat is dropped, and confirmed again as far as is durable; behind
//    a gap everything is dropped, and the origin is asked to say it again, at most once per ASK_MS.
// 3. Whoever begins to read a partition begins at its end as of then, and asks all origins to say again what came before.
// 4. A sender that hears nothing says the oldest again by itself, ever more rarely: no message waits for ever, whatever was lost.
// 5. What is appended is tried until it is there; while it can't be, there is at most one record per partition under way and what
//    waits is kept packed only up to WAITING_BYTES: what goes beyond is dropped, and said again by (4).
import { must } from '../core/assert.ts'
import { type Clock, sleep } from '../core/clock.ts'
import { TributaryError } from '../core/errors.ts'
import type { SharedPage, SharedReadLimits } from '../log/claimed.ts'
import { decodeExchange, type ExchangeEntry, ExchangePack } from './exchange-record.ts'

/** The topic, as far as it is needed. All of it may reject, and be asked again. */
export interface ExchangeTopic {
  readonly partitions: number
  append(partition: number, payload: Uint8Array): Promise<unknown>
  end(partition: number): Promise<number>
  cursor(partition: number): {
    read(from: number, limits: SharedReadLimits): Promise<SharedPage>
    close(): void
  }
}

export type Taken = 'taken' | 'repeat' | 'gap' | 'absent'

export interface ExchangeMessage {
  readonly origin: number
  readonly target: number
  readonly seq: number
  readonly bytes: Buffer
}

/** The tasks that run here. */
export interface ExchangeTasks {
  /** Gives a message to the task of `target` if it is the next of its origin. */
  deliver(message: ExchangeMessage): Taken
  /** What of an origin is durable here. */
  durableMark(target: number, origin: number): number
  /** True when the task of `origin` runs here: now it knows. */
  confirmed(origin: number, target: number, seq: number): boolean
  /** True when the task of `origin` runs here: it sends again what `target` has not confirmed. */
  sayAgain(origin: number, target: number): boolean
  /** What the tasks here have sent and not heard of: the oldest per target. */
  unconfirmed(): Iterable<{ readonly origin: number; readonly target: number; readonly seq: number }>
}

export interface ExchangeOptions {
  readonly topic: ExchangeTopic
  readonly tasks: ExchangeTasks
  readonly clock: Clock
  readonly troubled?: (error: Error) => void
}

/** How often one origin is asked to say again (2). */
const ASK_MS = 1000
/** Requests to all origins of what begins at about the same time go together. */
const GATHER_MS = 20
/** A sender waits so long for a confirmation before it says again (4); twice that the next time, up to the second. */
const RESEND_MS = 5000
const RESEND_MAX_MS = 60_000
const LOOK_MS = 1000
const RETRY_MS = 200
const WAIT_MS = 500
const READ = { maxRecords: 1000, maxBytes: 4 << 20, waitMs: WAIT_MS }
const WAITING_BYTES = 8 << 20

interface Outgoing {
  pack: ExchangePack
  bytes: number
  /** Confirmations that wait: by target, the highest. */
  confirms: Map<number, number>
  again: Set<number>
  isSending: boolean
}

interface Reading {
  isLeft: boolean
  /** Everything before it has been taken. */
  next: number
  /** By origin: a message whose parts have not all come. */
  readonly partial: Map<number, { readonly seq: number; readonly parts: Buffer[] }>
  /** By origin: when it was last asked. */
  readonly askedMs: Map<number, number>
  close(): void
}

interface Silence {
  seq: number
  atMs: number
  delayMs: number
}

export class Exchange {
  readonly #options: ExchangeOptions
  readonly #outgoing: Outgoing[]
  readonly #reading = new Map<number, Reading>()
  readonly #beginning = new Set<number>()
  readonly #silences = new Map<string, Silence>()
  #isScheduled = false
  #isClosed = false
  #cancelLook: () => void

  constructor(options: ExchangeOptions) {
    this.#options = options
    this.#outgoing = Array.from({ length: options.topic.partitions }, emptied)
    this.#cancelLook = options.clock.after(LOOK_MS, () => this.#look())
  }

  // ---- out

  send(message: ExchangeMessage): void {
    if (this.#deliver(message)) return
    const out = this.#to(message.target)
    // (5)
    if (out.bytes > WAITING_BYTES) return
    out.bytes += message.bytes.length
    out.pack.message(message.origin, message.seq, message.bytes)
    this.#schedule()
  }

  confirm(origin: number, target: number, seq: number): void {
    if (this.#options.tasks.confirmed(origin, target, seq)) return
    const { confirms } = this.#to(origin)
    confirms.set(target, Math.max(confirms.get(target) ?? 0, seq))
    this.#schedule()
  }

  #askAgain(origin: number, target: number): void {
    if (this.#options.tasks.sayAgain(origin, target)) return
    this.#to(origin).again.add(target)
    this.#schedule()
  }

  #to(partition: number): Outgoing {
    return must(this.#outgoing[partition], `partition ${partition} of the exchange`)
  }

  /** What is said in one turn goes out together. */
  #schedule(): void {
    if (this.#isScheduled || this.#isClosed) return
    this.#isScheduled = true
    queueMicrotask(() => {
      this.#isScheduled = false
      for (const [partition, out] of this.#outgoing.entries()) if (!out.isSending) this.#flush(partition, out)
    })
  }

  #flush(partition: number, out: Outgoing): void {
    const records = recordsOf(out)
    if (records.length === 0) return
    out.isSending = true
    this.#append(partition, records).then(
      () => {
        out.isSending = false
        if (!this.#isClosed) this.#flush(partition, out)
      },
      (error: Error) => this.#troubled(error),
    )
  }

  /** In order: what comes behind waits until this is there (5). */
  async #append(partition: number, records: readonly Buffer[]): Promise<void> {
    const { topic, clock } = this.#options
    for (const record of records) {
      while (!this.#isClosed) {
        try {
          await topic.append(partition, record)
          break
        } catch (error) {
          this.#troubled(error as Error)
          await sleep(clock, RETRY_MS)
        }
      }
    }
  }

  #troubled(error: Error): void {
    if (!this.#isClosed) this.#options.troubled?.(error)
  }

  // ---- in

  /** Reads what comes for a partition whose task runs here from now on (3). `failed` is told when that can't go on. */
  begin(target: number, failed: (error: Error) => void): void {
    this.leave(target)
    const cursor = this.#options.topic.cursor(target)
    const reading: Reading = { isLeft: false, next: 0, partial: new Map(), askedMs: new Map(), close: () => cursor.close() }
    this.#reading.set(target, reading)
    this.#follow(target, reading, cursor).catch((error: Error) => {
      if (!reading.isLeft) failed(error)
    })
  }

  /** What comes for a partition that runs here has been read up to this position. */
  readThrough(target: number): number {
    return this.#reading.get(target)?.next ?? 0
  }

  leave(target: number): void {
    const reading = this.#reading.get(target)
    if (!reading) return
    reading.isLeft = true
    reading.close()
    this.#reading.delete(target)
    this.#beginning.delete(target)
  }

  async #follow(target: number, reading: Reading, cursor: ReturnType<ExchangeTopic['cursor']>): Promise<void> {
    let next: number | undefined
    while (!reading.isLeft) {
      try {
        if (next === undefined) {
          next = await this.#options.topic.end(target)
          this.#askAll(target)
        }
        const page = await cursor.read(next, READ)
        for (const { position, payload } of page.records) {
          if (reading.isLeft) return
          for (const entry of decodeExchange(payload)) this.#take(target, reading, entry)
          next = position + 1
          reading.next = next
        }
      } catch (error) {
        if (reading.isLeft) return
        this.#troubled(error as Error)
        // What was to be read is gone: it is said again (1).
        if (error instanceof TributaryError && error.code === 'data_corrupt') next = undefined
        await sleep(this.#options.clock, RETRY_MS)
      }
    }
  }

  #askAll(target: number): void {
    if (this.#beginning.size === 0) {
      this.#options.clock.after(GATHER_MS, () => {
        const targets = [...this.#beginning]
        this.#beginning.clear()
        if (this.#isClosed) return
        for (let origin = 0; origin < this.#outgoing.length; origin++) for (const t of targets) this.#askAgain(origin, t)
      })
    }
    this.#beginning.add(target)
  }

  #take(partition: number, reading: Reading, entry: ExchangeEntry): void {
    const { tasks } = this.#options
    if (entry.t === 'confirm') tasks.confirmed(partition, entry.target, entry.seq)
    else if (entry.t === 'again') tasks.sayAgain(partition, entry.target)
    else {
      const bytes = wholeOf(entry, reading)
      if (bytes) this.#deliver({ origin: entry.origin, target: partition, seq: entry.seq, bytes })
    }
  }

  /** Gives a message to a task that runs here, wherever it came from (2); false when none does. */
  #deliver(message: ExchangeMessage): boolean {
    const { tasks } = this.#options
    const { origin, target } = message
    const taken = tasks.deliver(message)
    if (taken === 'repeat') this.#confirmAgain(origin, target)
    if (taken === 'gap') this.#missing(origin, target)
    return taken !== 'absent'
  }

  #confirmAgain(origin: number, target: number): void {
    const mark = this.#options.tasks.durableMark(target, origin)
    if (mark > 0) this.confirm(origin, target, mark)
  }

  #missing(origin: number, target: number): void {
    const reading = this.#reading.get(target)
    if (!reading) return
    const now = this.#options.clock.monotonicMs()
    if (now - (reading.askedMs.get(origin) ?? Number.NEGATIVE_INFINITY) < ASK_MS) return
    reading.askedMs.set(origin, now)
    // Not in this turn: the origin may be in the middle of sending.
    queueMicrotask(() => {
      if (!this.#isClosed && !reading.isLeft) this.#askAgain(origin, target)
    })
  }

  // ---- silence (4)

  #look(): void {
    if (this.#isClosed) return
    const { tasks, clock } = this.#options
    const now = clock.monotonicMs()
    const heard = new Set(this.#silences.keys())
    for (const { origin, target, seq } of tasks.unconfirmed()) {
      const key = `${origin}>${target}`
      heard.delete(key)
      const silence = this.#silences.get(key)
      if (silence?.seq !== seq) this.#silences.set(key, { seq, atMs: now + RESEND_MS, delayMs: RESEND_MS })
      else if (now >= silence.atMs) {
        silence.delayMs = Math.min(2 * silence.delayMs, RESEND_MAX_MS)
        silence.atMs = now + silence.delayMs
        tasks.sayAgain(origin, target)
      }
    }
    for (const key of heard) this.#silences.delete(key)
    this.#cancelLook = clock.after(LOOK_MS, () => this.#look())
  }

  close(): void {
    this.#isClosed = true
    this.#cancelLook()
    for (const target of [...this.#reading.keys()]) this.leave(target)
  }
}

const emptied = (): Outgoing => ({ pack: new ExchangePack(), bytes: 0, confirms: new Map(), again: new Set(), isSending: false })

function recordsOf(out: Outgoing): Buffer[] {
  for (const [target, seq] of out.confirms) out.pack.confirm(target, seq)
  for (const target of out.again) out.pack.again(target)
  out.confirms.clear()
  out.again.clear()
  out.bytes = 0
  return out.pack.take()
}

/** The bytes of a message once its last part has come. Parts that don't continue what is there begin anew, or are dropped (1). */
function wholeOf(entry: ExchangeEntry & { t: 'message' }, reading: Reading): Buffer | undefined {
  const { origin, seq, part, parts, bytes } = entry
  if (parts === 1) return bytes
  if (part === 0) reading.partial.set(origin, { seq, parts: [] })
  const partial = reading.partial.get(origin)
  if (partial?.seq !== seq || partial.parts.length !== part) return undefined
  partial.parts.push(bytes)
  if (part + 1 < parts) return undefined
  reading.partial.delete(origin)
  return Buffer.concat(partial.parts)
}
