// The definitions log on the main thread: which segments exist, since which version. Owns the versions; the plan (plan.ts) owns
// what they compile to.
//
// 1. A record counts iff the version that it claims is the last one that counted, plus 1. So of two processes that change
//    definitions at one time the first is heard, the other sees that and looks again; repeats and late records change nothing. What
//    counts is a function of the records alone: all processes have the same versions.
// 2. A change is durable, and was read back, before anybody hears of it. Each is told once, in order.
// 3. The log is a registry: activation is by control records in the events log.
import { InvariantError } from '../core/assert.ts'
import { type Clock, sleep } from '../core/clock.ts'
import { type ErrorCode, TributaryError } from '../core/errors.ts'
import type { SharedLog } from '../log/claimed.ts'
import { canonicalText } from '../operators/canonical.ts'
import type { Where } from '../operators/definition.ts'
import { type DefinitionChange, Definitions } from './definitions.ts'
import type { DeletingSegment, SegmentView } from './engine.ts'
import type { PartitionFacts } from './questions.ts'

interface Current {
  readonly id: string
  readonly number: number
  readonly version: number
  readonly name?: string
  readonly where: Where
}

/** A record of the log. One of before several processes shared it says neither version nor author: it counts. */
type Recorded = DefinitionChange & { readonly version?: number; readonly by?: string }

/** The change that this process wants to make, and whether it has become that version. */
interface Wanted {
  readonly version: number
  readonly by: string
  isMade?: boolean
}

export interface RegistryOptions {
  readonly log: SharedLog
  readonly clock: Clock
  /** A name that no other process has, ever. */
  readonly name: string
  /** Is told of each change that is read after `open` (2). */
  readonly heard: (version: number, change: DefinitionChange) => void
}

/** Segments that may exist at one time. */
const SEGMENTS = 20_000
const READ = { maxRecords: 1000, maxBytes: 8 << 20 }
/** A read that follows the log waits so long for something new. */
const FOLLOW_WAIT_MS = 500
const RETRY_MS = 100
/** What can't be read for so long, or was appended and does not come back, is given up. */
const TROUBLE_MS = 10_000
/** After these an append is of no use. */
const FINAL: readonly ErrorCode[] = ['log_failed', 'kafka_forbidden', 'kafka_topic', 'kafka_login', 'data_corrupt']

export class Registry {
  readonly #options: RegistryOptions
  readonly #definitions = new Definitions()
  readonly #current = new Map<string, Current>()
  /** Deleted ids, by the version that did it, until every member has left. */
  readonly #leaving = new Map<string, number>()
  readonly changes: DefinitionChange[] = []
  #wanted: Wanted | undefined
  /** The next position to read. */
  #next = 0
  #appends = 0
  #isOpen = false
  #isClosed = false
  /** Changes are made one after another. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(options: RegistryOptions) {
    this.#options = options
  }

  get version(): number {
    return this.changes.length
  }

  async open(): Promise<void> {
    this.#next = await this.#options.log.first()
    await this.refresh()
    this.#isOpen = true
  }

  /** Reads on for as long as the registry is open: what other processes change is heard of. */
  async follow(): Promise<void> {
    while (!this.#isClosed) {
      try {
        await this.#read(FOLLOW_WAIT_MS)
      } catch (error) {
        if (this.#isClosed) return
        if (isFinal(error)) throw error
        await sleep(this.#options.clock, RETRY_MS)
      }
    }
  }

  /** Reads everything that was there at the time of the call. What can't be read for a while is asked for again. */
  async refresh(): Promise<void> {
    const { clock } = this.#options
    const untilMs = clock.monotonicMs() + TROUBLE_MS
    for (let end = Number.POSITIVE_INFINITY; this.#next < end; ) {
      try {
        end = await this.#read(0)
      } catch (error) {
        if (this.#isClosed || isFinal(error) || clock.monotonicMs() > untilMs) throw error
        await sleep(clock, RETRY_MS)
      }
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await this.#options.log.close()
  }

  /** Reads a page; returns where the log ended. Others may read at the same time: each record is taken once. */
  async #read(waitMs: number): Promise<number> {
    const { records, end } = await this.#options.log.read(this.#next, { ...READ, waitMs })
    for (const { position, payload } of records) {
      if (position < this.#next) continue
      this.#next = position + 1
      this.#take(JSON.parse(payload.toString('utf8')) as Recorded)
    }
    return end
  }

  /** (1) */
  #take({ version = this.version + 1, by = '', ...change }: Recorded): void {
    if (version !== this.version + 1) return
    if (this.#wanted?.version === version) this.#wanted.isMade = by === this.#wanted.by
    this.#learn(change as DefinitionChange)
    if (this.#isOpen) this.#options.heard(version, change as DefinitionChange)
  }

  #learn(change: DefinitionChange): void {
    this.changes.push(change)
    const version = this.changes.length
    this.#definitions.apply(version, change)
    if ('delete' in change) {
      this.#current.delete(change.delete)
      this.#leaving.set(change.delete, version)
      return
    }
    const { id, name, where } = change.put
    this.#leaving.delete(id)
    const number = this.#definitions.numberOf(id)
    this.#current.set(id, { id, number, version, ...(name === undefined ? {} : { name }), where })
  }

  /** Appends the change as the next version, the same bytes until that version is known; undefined when it went to another change. */
  async #append(change: DefinitionChange): Promise<number | undefined> {
    const { clock, name } = this.#options
    const version = this.version + 1
    const wanted: Wanted = { version, by: `${name}.${++this.#appends}` }
    this.#wanted = wanted
    const payload = Buffer.from(JSON.stringify({ ...wanted, ...change }))
    const untilMs = clock.monotonicMs() + TROUBLE_MS
    for (let tries = 1; this.version < version; tries++) {
      if (clock.monotonicMs() > untilMs)
        throw new TributaryError('append_in_doubt', 'it is not known whether the definition was saved: look before it is saved again')
      try {
        await this.#options.log.append(payload)
      } catch (error) {
        if (isFinal(error)) throw error
      }
      if (tries > 1) await sleep(clock, RETRY_MS)
      await this.refresh()
    }
    return wanted.isMade ? version : undefined
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work)
    this.#turn = result.catch(() => {})
    return result
  }

  /** Makes the change that is called for, if any, as things stand by then; returns its version. */
  #change(callFor: () => DefinitionChange | undefined): Promise<number | undefined> {
    return this.#inTurn(async () => {
      for (;;) {
        await this.refresh()
        const change = callFor()
        const version = change && (await this.#append(change))
        if (!change || version !== undefined) return version
      }
    })
  }

  /** Saves a definition; undefined when it is saved already, word for word in canonical form. */
  put(id: string, definition: { name?: string; where: Where }): Promise<number | undefined> {
    return this.#change(() => {
      const old = this.#current.get(id)
      if (old && old.name === definition.name && canonicalText(old.where) === canonicalText(definition.where)) return undefined
      if (!old && this.#current.size >= SEGMENTS) throw new TributaryError('invalid_definition', `there are ${SEGMENTS} segments already`)
      return { put: { id, ...definition } }
    })
  }

  remove(id: string): Promise<number | undefined> {
    return this.#change(() => (this.#current.has(id) ? { delete: id } : undefined))
  }

  current(): Current[] {
    return [...this.#current.values()].sort((a, b) => (a.id < b.id ? -1 : 1))
  }

  get(id: string): Current | undefined {
    return this.#current.get(id)
  }

  /** The id behind a number; deleted segments included. */
  idOf(number: number): string {
    return this.#definitions.idOf(number)
  }

  /** Resolves when these numbers are known: another process may have heard of a segment first. */
  async knows(numbers: readonly number[]): Promise<void> {
    if (!numbers.every((number) => this.#definitions.hasNumber(number))) await this.refresh()
  }

  /** The number of an id that was ever used, else undefined. */
  numberOf(id: string): number | undefined {
    return this.#definitions.knows(id) ? this.#definitions.numberOf(id) : undefined
  }

  warningFor(where: Where): string | undefined {
    if (!this.#definitions.holdsForEmpty(where)) return undefined
    return 'This definition holds for a profile without any event: every new profile enters at its first event, unless that event says otherwise.'
  }

  /** What was deleted and is not yet out of every profile; forgets what is. */
  deleting(facts: readonly PartitionFacts[]): DeletingSegment[] {
    const list: DeletingSegment[] = []
    for (const [id, version] of this.#leaving) {
      const progress = progressOf(version, facts)
      if (progress === 1) this.#leaving.delete(id)
      else list.push({ id, version, progress })
    }
    return list
  }

  view(s: Current, facts: readonly PartitionFacts[]): SegmentView {
    let size = 0
    for (const f of facts) for (const [segment, n] of f.sizes) if (segment === s.number) size += n
    const progress = progressOf(s.version, facts)
    const warning = this.warningFor(s.where)
    return {
      id: s.id,
      ...(s.name === undefined ? {} : { name: s.name }),
      where: s.where,
      version: s.version,
      status: progress === 1 ? 'live' : 'filling',
      progress,
      size,
      ...(warning === undefined ? {} : { warning }),
    }
  }
}

/** Trying again is of no use. */
export function isFinal(error: unknown): boolean {
  return error instanceof InvariantError || (error instanceof TributaryError && FINAL.includes(error.code))
}

/** How far all profiles are filled to a version; 1 only when each of them is. */
function progressOf(version: number, facts: readonly PartitionFacts[]): number {
  if (facts.every((f) => f.sweptVersion >= version)) return 1
  let progress = 0
  for (const f of facts) {
    if (f.sweptVersion >= version) progress += 1
    else if (f.activeVersion >= version) progress += f.progress
  }
  return Math.min(0.99, Math.floor((progress / facts.length) * 100) / 100)
}
