// One source: its records become events, in order, each acknowledged to its group only once it is durable. Owns the loop and what is
// known about it; where records come from is the group's business (record-group.ts), what becomes of them take.ts's.
//
//   connecting ──joined──▶ running ◀──▶ waiting (the engine takes nothing) or retrying (something doesn't answer)
//       ▲                     │ the group is lost
//       └───── a pause ── retrying                     any ──close──▶ closed
//
// 1. `done` is told after the events and dead letters of a chunk are durable, and never before those of an earlier chunk.
// 2. Whatever fails for a reason that isn't in the record is tried again, with growing pauses; nothing is passed over meanwhile.
// 3. A source holds one answer of its group in memory, however far the engine is behind.
import { must } from '../../core/assert.ts'
import { type Clock, sleep } from '../../core/clock.ts'
import { TributaryError } from '../../core/errors.ts'
import type { EventRecord } from '../../core/event.ts'
import { originKey, type Read } from '../../core/origin.ts'
import type { Place, RecordGroup, SourceBatch, SourceRecord, Turn } from '../../log/record-group.ts'
import { type SourceRejection, type Taken, type TakeOptions, takeRecords } from './take.ts'

/** What a source needs of the engine. */
export interface SourceEngine {
  acceptanceTime(): number
  pressure(): { readonly code: string; readonly retryAfterSeconds: number } | undefined
  ingest(events: readonly EventRecord[], rejected: readonly SourceRejection[], read?: Read): Promise<unknown>
}

export interface SourceLog {
  info(facts: object, message: string): void
  warn(facts: object, message: string): void
}

export interface SourceOptions {
  readonly name: string
  readonly topics: readonly string[]
  readonly open: () => RecordGroup
  readonly take: TakeOptions
  readonly clock: Clock
  readonly log: SourceLog
}

export type SourceState = 'connecting' | 'running' | 'waiting' | 'retrying' | 'closed'

export interface SourceFacts {
  readonly name: string
  readonly topics: readonly string[]
  readonly state: SourceState
  /** Since the process started. */
  readonly records: number
  readonly events: number
  readonly rejected: number
  readonly empty: number
  readonly failures: number
  readonly lag: number
  /** Of this process. */
  readonly partitions: readonly (Place & { readonly lag: number })[]
  readonly lastError?: { readonly code: string; readonly message: string; readonly at: string }
}

/** What is made durable in one go: its events go to many homes, and what a record of the log costs is to be paid for some hundred. */
const CHUNK_RECORDS = 4000
const CHUNK_BYTES = 1 << 20
const FIRST_PAUSE_MS = 250
const LONGEST_PAUSE_MS = 15_000
/** Between two signs of life to the group while something is waited for. */
const STEP_MS = 500
/** How often the group is asked how far its partitions reach. */
const LOOK_MS = 5000

export class Source {
  readonly #options: SourceOptions
  #engine: SourceEngine | undefined
  #group: RecordGroup | undefined
  #isClosed = false
  #isJoined = false
  /** Batches that wait for room in the engine, and batches or groups that try again. */
  #waiting = 0
  #retrying = 0
  #pauseMs = FIRST_PAUSE_MS
  #counts = { records: 0, events: 0, rejected: 0, empty: 0, failures: 0 }
  #places: readonly Place[] = []
  /** How often was asked: an answer that is overtaken tells of partitions that may be another's by now. */
  #looks = 0
  /** Where each partition goes on, since this member joined: newer than what the group said. */
  readonly #taken = new Map<string, number>()
  #lastError: SourceFacts['lastError']
  #ran: Promise<void> | undefined
  #cancel = (): void => {}
  readonly #closing = Promise.withResolvers<void>()

  constructor(options: SourceOptions) {
    this.#options = options
  }

  start(engine: SourceEngine): void {
    this.#engine = engine
    this.#ran = this.#run()
    this.#lookLater()
  }

  get #taker(): SourceEngine {
    return must(this.#engine, 'it was started')
  }

  facts(): SourceFacts {
    const { name, topics } = this.#options
    const partitions = this.#places.map((place) => this.#placeNow(place))
    return {
      name,
      topics,
      state: this.#state(),
      ...this.#counts,
      lag: partitions.reduce((sum, p) => sum + p.lag, 0),
      partitions,
      ...(this.#lastError ? { lastError: this.#lastError } : {}),
    }
  }

  #placeNow({ topic, partition, next: said, end: seen }: Place): Place & { lag: number } {
    const next = Math.max(said, this.#taken.get(`${topic}/${partition}`) ?? 0)
    const end = Math.max(seen, next)
    return { topic, partition, next, end, lag: end - next }
  }

  #state(): SourceState {
    if (this.#isClosed) return 'closed'
    if (this.#retrying > 0) return 'retrying'
    if (!this.#isJoined) return 'connecting'
    return this.#waiting > 0 ? 'waiting' : 'running'
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#cancel()
    this.#closing.resolve()
    await this.#group?.close()
    await this.#ran
  }

  /** Opens a group again and again (record-group.ts 4). */
  async #run(): Promise<void> {
    while (!this.#isClosed) {
      try {
        const group = this.#options.open()
        this.#group = group
        await group.run(
          (batch, turn) => this.#take(batch, turn),
          () => this.#joined(),
        )
      } catch (error) {
        this.#failed(error)
      }
      this.#isJoined = false
      await this.#group?.close()
      if (this.#isClosed) return
      this.#retrying++
      await Promise.race([this.#closing.promise, sleep(this.#options.clock, this.#longerPause())])
      this.#retrying--
    }
  }

  #joined(): void {
    const { name, log, topics } = this.#options
    if (!this.#isJoined) log.info({ source: name, topics }, 'the source reads')
    this.#isJoined = true
    this.#taken.clear()
    void this.#look()
  }

  #longerPause(): number {
    const pauseMs = this.#pauseMs
    this.#pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)
    return pauseMs
  }

  #failed(error: unknown): void {
    const { name, clock, log } = this.#options
    const known = error instanceof TributaryError ? error : new TributaryError('internal', String(error), { cause: error })
    this.#counts.failures++
    this.#lastError = { code: known.code, message: known.message, at: new Date(clock.now()).toISOString() }
    log.warn({ source: name, code: known.code, reason: known.message, hint: known.hint }, 'the source tries again')
  }

  // ---- a batch

  async #take(batch: SourceBatch, turn: Turn): Promise<void> {
    for (const records of chunksOf(batch.records)) {
      if (!(await this.#room(turn))) return
      const chunk = { ...batch, records }
      const engine = this.#taker
      const { take } = this.#options
      const taken = await this.#persist(turn, () => takeRecords(chunk, take, engine.acceptanceTime()))
      if (!taken) return
      const { events, rejected } = taken
      if (events.length + rejected.length > 0 && !(await this.#persist(turn, () => this.#ingest(taken, batch)))) return
      this.#count(records.length, taken)
      this.#pauseMs = FIRST_PAUSE_MS
      const next = (records.at(-1)?.offset ?? -1) + 1
      this.#taken.set(`${batch.topic}/${batch.partition}`, next)
      await turn.done(next)
    }
  }

  async #ingest({ events, places, rejected }: Taken, { topic, partition, origin }: SourceBatch): Promise<true> {
    const { name } = this.#options
    const read = origin && {
      reading: { origin: originKey(name, topic, origin.topicId, partition), leader: origin.leader, from: origin.from },
      places,
    }
    await this.#taker.ingest(events, rejected, read)
    return true
  }

  #count(records: number, { events, rejected, empty }: Taken): void {
    this.#counts.records += records
    this.#counts.events += events.length
    this.#counts.rejected += rejected.length
    this.#counts.empty += empty
  }

  /** Waits until the engine takes events (3). False when the batch is no longer ours. */
  async #room(turn: Turn): Promise<boolean> {
    if (!this.#taker.pressure()) return this.#isOurs(turn)
    this.#waiting++
    try {
      while (this.#taker.pressure()) if (!(await this.#hold(turn, STEP_MS))) return false
      return true
    } finally {
      this.#waiting--
    }
  }

  /** Does it until it succeeds (2). Undefined when the batch is no longer ours. */
  async #persist<T>(turn: Turn, work: () => Promise<T>): Promise<T | undefined> {
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
      try {
        return await work()
      } catch (error) {
        if (this.#isClosed) return undefined
        this.#failed(error)
      }
      this.#retrying++
      try {
        if (!(await this.#hold(turn, pauseMs))) return undefined
      } finally {
        this.#retrying--
      }
    }
  }

  /** Waits in steps, alive. False when the batch is no longer ours. */
  async #hold(turn: Turn, ms: number): Promise<boolean> {
    for (let left = ms; left > 0; left -= STEP_MS) {
      if (!this.#isOurs(turn)) return false
      await Promise.race([this.#closing.promise, sleep(this.#options.clock, Math.min(left, STEP_MS))])
      if (!this.#isOurs(turn)) return false
      await turn.alive()
    }
    return this.#isOurs(turn)
  }

  #isOurs(turn: Turn): boolean {
    return !this.#isClosed && turn.isCurrent
  }

  // ---- how far it is

  #lookLater(): void {
    if (this.#isClosed) return
    this.#cancel = this.#options.clock.after(LOOK_MS, () => void this.#look().then(() => this.#lookLater()))
  }

  async #look(): Promise<void> {
    if (!this.#isJoined || !this.#group) return
    const look = ++this.#looks
    try {
      const places = await this.#group.places()
      if (look === this.#looks) this.#places = places
    } catch {
      // Only figures are older than usual: a group that is lost says so by itself.
    }
  }
}

function* chunksOf(records: readonly SourceRecord[]): Generator<readonly SourceRecord[]> {
  let begin = 0
  let bytes = 0
  for (const [i, { value }] of records.entries()) {
    bytes += value?.length ?? 0
    if (i - begin + 1 < CHUNK_RECORDS && bytes < CHUNK_BYTES) continue
    yield records.slice(begin, i + 1)
    begin = i + 1
    bytes = 0
  }
  if (begin < records.length) yield records.slice(begin)
}
