// Owners that take a journal over from one another, rewrite it in rounds, and cut off its head, on a log that repeats, delays and
// overtakes; readers of every kind build the rows from what is left. Owns the world and the truth about it, which is told by what each
// commit was given, folded over the commits that count by another reader of the rule. What must hold is judged by rewrite.test.ts.
import { must } from '../../src/core/assert.ts'
import { Writer } from '../../src/core/bytes.ts'
import { systemClock, VirtualClock } from '../../src/core/clock.ts'
import { TributaryError } from '../../src/core/errors.ts'
import { encodeCommit } from '../../src/engine/journal.ts'
import { claimedJournal, countedCommit } from '../../src/engine/journal-claimed.ts'
import { isCut } from '../../src/engine/journal-port.ts'
import { META_KEY } from '../../src/engine/keys.ts'
import { Rewrite, type RewriteLimits, type RewriteOptions } from '../../src/engine/rewrite.ts'
import { type Base, ClaimedReader, type SharedLog, type SharedRecord } from '../../src/log/claimed.ts'
import { MemoryStore } from '../../src/state/memory-store.ts'
import { PendingRows } from '../../src/state/pending.ts'
import { RowBlock } from '../../src/state/row-block.ts'
import { below, pick, type Random, seeded } from '../identity/random.ts'
import { Judge } from '../sim/owners/judge.ts'
import { turns } from './disk.ts'

export const LIMITS: RewriteLimits = {
  ...{ ratio: 0.5, leastBytes: 60, mostBytes: 400, mostOwedBytes: 1000, lowBytes: 300, fetchBytes: 500, pageRows: 4 },
}
const PENDING = { applyMs: 1000, applyBytes: 2000, sliceRows: 3, sliceBytes: 300, withMark: META_KEY }
const LARGE_BYTES = 300_000
const KEYS = 90
/** The keys from here on are above those of a task's own rows. */
const MARKS_AT = 60
/** What a record and a commit have besides rows. */
const MOST_HEAD_BYTES = 64
/** Of a task's own rows. */
const OWN_BYTES = 100
const LOOK_EVERY = 10
/** Reads of any store and log are answered within so many turns. */
const TURNS = 6

/** What a mistaken owner or reader does otherwise. */
export interface Mistakes {
  /** Deletes up to here instead. */
  readonly releasable?: (owner: { readonly rewrite: Rewrite; readonly lastPosition: number }) => number
  /** A round starts behind the last commit, wherever the store's mark is. */
  readonly startsAhead?: boolean
  /** Goes on with a round whose start the store has not come to. */
  readonly waitsForNothing?: boolean
  /** The rewrite is not told of what a commit puts and deletes. */
  readonly hidesRows?: boolean
  readonly hidesRanges?: boolean
  /** Reads on with whatever store there is. */
  readonly keepsStores?: boolean
}

type Range = readonly [string, string]
type Puts = readonly (readonly [string, string | undefined])[]

interface Given {
  readonly puts: Puts
  readonly ranges: readonly Range[]
}

/** One partition of a log: visible at once, if it isn't held up; may be cut. */
export class CutLog {
  readonly records: SharedRecord[] = []
  first = 0
  /** Appends that are still to come, and repeats of such as have come. */
  readonly late: (() => void)[] = []
  readonly #random: Random
  readonly #wakers = new Set<() => void>()

  constructor(random: Random) {
    this.#random = random
  }

  cut(position: number): void {
    this.first = Math.max(this.first, Math.min(position, this.records.length))
  }

  #push(payload: Buffer): void {
    this.records.push({ position: this.records.length, payload })
    for (const wake of [...this.#wakers]) wake()
  }

  connect(): SharedLog {
    let isClosed = false
    const closers = new Set<() => void>()
    return {
      first: async () => this.first,
      append: (bytes) => {
        const payload = Buffer.from(bytes)
        if (this.#random() < 0.15) this.late.push(() => this.#push(payload))
        return new Promise((resolve) => {
          const arrive = (): void => {
            this.#push(payload)
            resolve()
          }
          if (this.#random() < 0.1) this.late.push(arrive)
          else arrive()
        })
      },
      read: async (from, { maxRecords, waitMs }) => {
        while (waitMs > 0 && from >= this.records.length && !isClosed) {
          await new Promise<void>((resolve) => {
            this.#wakers.add(resolve)
            closers.add(resolve)
          })
        }
        if (isClosed) throw new Error('the connection is closed')
        if (from < this.first) throw new TributaryError('data_corrupt', `position ${from} is no longer kept`)
        return { records: this.records.slice(from, from + Math.min(maxRecords, 7)), end: this.records.length }
      },
      close: async () => {
        isClosed = true
        for (const close of closers) close()
      },
    }
  }
}

export async function baseOf(rows: PendingRows): Promise<Base | undefined> {
  const [row] = await rows.getMany([META_KEY])
  if (rows.isBlank) return undefined
  const [claim = 0, n = 0] = row ? row.toString().split(' ').map(Number) : []
  return { claim, n }
}

class Owner {
  readonly store: MemoryStore
  readonly #world: RewriteWorld
  readonly #name: string
  lastPosition = -1
  #rows: PendingRows | undefined
  #rewrite: Rewrite | undefined
  #journal: ReturnType<typeof claimedJournal> | undefined
  #claim = 0
  #n = 0
  #applying: Promise<void> | undefined
  isLost = false
  isOpen = false
  isCommitting = false

  constructor(world: RewriteWorld, name: string, store: MemoryStore) {
    this.#world = world
    this.#name = name
    this.store = store
  }

  /** As a task does it. */
  async open(): Promise<void> {
    const { log } = this.#world
    const rows = await PendingRows.open(this.store, PENDING)
    this.#rows = rows
    const options: RewriteOptions = {
      rows: this.#seen(rows),
      pause: () => undefined,
      limits: this.#world.limits,
      failed: (error) => this.#world.troubles.push(error),
    }
    const rewrite = new Rewrite(options)
    this.#rewrite = rewrite
    this.#journal = claimedJournal({ log: log.connect(), owner: this.#name, clock: new VirtualClock(), troubled: () => {} })
    const base = await baseOf(rows)
    this.lastPosition = rows.appliedPosition()
    this.#n = base?.n ?? 0
    this.#claim = await this.#journal.open({
      ...{ from: this.lastPosition + 1, claim: base?.claim ?? 0, n: this.#n, isBlank: rows.isBlank },
      visit: (commit, position) => {
        rows.commit(position, commit.rows, commit.deletedRanges)
        rewrite.reached(position, commit)
        this.lastPosition = position
        this.#n = commit.n
        return rows.isFull ? rows.apply(position) : undefined
      },
      lost: () => {
        this.isLost = true
      },
    })
    await rewrite.open()
    this.isOpen = true
  }

  async commit({ puts, ranges }: Given): Promise<void> {
    const [rows, rewrite] = [must(this.#rows, 'open'), must(this.#rewrite, 'open')]
    const claim = this.#claim
    this.isCommitting = true
    const n = ++this.#n
    const block = RowBlock.of(puts.map(([key, value]) => [key, value === undefined ? undefined : Buffer.from(value)]))
    block.put(META_KEY, Buffer.from(`${claim} ${n}`))
    this.#world.given.set(`${claim} ${n}`, { puts, ranges })
    const { hidesRows, hidesRanges } = this.#world.mistakes
    const told = hidesRows ? new RowBlock() : block
    const cold = rewrite.join(told, hidesRanges ? [] : ranges)
    if (hidesRows) for (const [key, value] of told) block.put(key, value)
    this.#world.coldRows += cold?.count ?? 0
    const w = new Writer(1024)
    encodeCommit({ claim, n, rows: block, cold, deletedRanges: ranges }, w)
    const position = await must(this.#journal, 'open').commit(w.view(), rewrite.start)
    this.lastPosition = position
    rows.commit(position, block, ranges)
    if (this.#world.mistakes.startsAhead) {
      rewrite.reached(position, { claim, n })
      rewrite.applying()
    }
    rewrite.committed(position, { claim, n })
    this.isCommitting = false
  }

  /** As the rewrite sees them. */
  #seen(rows: PendingRows): PendingRows {
    const { startsAhead, waitsForNothing } = this.#world.mistakes
    const applied = (): number => {
      if (startsAhead) return this.lastPosition
      return waitsForNothing ? Math.max(rows.appliedPosition(), (this.#rewrite?.start?.from ?? 0) - 1) : rows.appliedPosition()
    }
    return new Proxy(rows, {
      get: (target, name) => {
        const value = Reflect.get(target, name, target)
        if (name === 'appliedPosition') return applied
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
  }

  /** Begins to bring the store up to the last commit, unless it is being done. */
  apply(): void {
    const rows = must(this.#rows, 'open')
    if (this.#applying) return
    must(this.#rewrite, 'open').applying()
    this.#applying = rows.apply(this.lastPosition).then(
      () => {
        this.#applying = undefined
      },
      (error: Error) => void this.#world.troubles.push(error),
    )
  }

  get releasable(): number {
    const rewrite = must(this.#rewrite, 'open')
    return this.#world.mistakes.releasable?.({ rewrite, lastPosition: this.lastPosition }) ?? rewrite.releasable
  }

  get isFull(): boolean {
    return this.#rows?.isFull ?? false
  }
}

export class RewriteWorld {
  readonly log: CutLog
  readonly mistakes: Mistakes
  readonly limits: RewriteLimits
  readonly given = new Map<string, Given>()
  readonly troubles: Error[] = []
  readonly owners: Owner[] = []
  /** Stores as processes that were killed left them. */
  readonly left: MemoryStore[] = [new MemoryStore()]
  coldRows = 0
  cuts = 0
  leftBehind = 0
  readonly #random: Random
  readonly #judge = new Judge()
  /** Of rows, those that take a record's parts. */
  #largeShare = 0.001
  #judged = 0
  readonly #truth = new Map<string, string>()
  /** Follows far behind. */
  readonly #standby = new SlowReader(this, new MemoryStore())

  constructor(seed: number, mistakes: Mistakes = {}, limits = LIMITS) {
    this.limits = limits
    this.#random = seeded(seed)
    this.log = new CutLog(seeded(seed + 1_000_000))
    this.mistakes = mistakes
  }

  async run(steps: number): Promise<void> {
    await this.#begin(new MemoryStore())
    for (let i = 0; i < steps; i++) {
      await this.#step()
      if (this.log.first > 0 && i % LOOK_EVERY === 0) await this.#look(i)
    }
    for (const arrive of this.log.late.splice(0)) arrive()
    await this.#begin(this.#inherited())
    for (let i = 0; i < 5; i++) await this.#commit()
  }

  /** One owner, whose store keeps up, and nothing goes wrong: bytes of what is left of the journal with each commit, of all rows and of that commit. */
  async *steady(commits: number): AsyncGenerator<{ kept: number; live: number; last: number }> {
    this.#largeShare = 0
    await this.#begin(new MemoryStore())
    for (let i = 0; i < commits; i++) {
      await this.#commit()
      for (const arrive of this.log.late.splice(0)) arrive()
      await turns(TURNS)
      const owner = must(this.#current(), 'nobody takes over')
      owner.apply()
      await turns(TURNS)
      const left = this.log.records.slice(owner.releasable)
      const bytes = left.map(({ payload }) => payload.length - MOST_HEAD_BYTES)
      const kept = bytes.reduce((sum, x) => sum + x, 0)
      yield {
        kept,
        last: bytes.at(-1) ?? 0,
        live: [...this.truth()].reduce((sum, [key, value]) => sum + key.length + value.length, OWN_BYTES),
      }
    }
  }

  async #step(): Promise<void> {
    const random = this.#random
    const dice = random()
    const owners = this.owners.filter((owner) => owner.isOpen)
    if (dice < 0.02) await this.#begin(this.#inherited())
    else if (dice < 0.12 && owners.length > 0) {
      // By whoever thinks that it may, living or not; and now and then less comes of it.
      const { releasable } = pick(random, owners)
      const { first } = this.log
      this.log.cut(random() < 0.8 ? releasable : first + below(random, Math.max(1, releasable - first + 1)))
      if (this.log.first > first) this.cuts++
    } else if (dice < 0.3) this.#current()?.apply()
    else if (dice < 0.4) this.#arriveLate()
    else if (dice < 0.45) this.left.push(new MemoryStore(pick(random, this.owners).store.snapshot()))
    else if (dice < 0.5) await this.#standby.read()
    else await this.#commit()
    await turns(below(random, 2))
  }

  #arriveLate(): void {
    const { late } = this.log
    if (late.length > 0) late.splice(below(this.#random, late.length), 1)[0]?.()
  }

  /** Somebody who knows nothing finds everything, at any time. */
  async #look(step: number): Promise<void> {
    const [found, truth] = [await this.found(new MemoryStore()), this.truth()]
    const missing = [...truth].filter(([key, value]) => found.get(key) !== value)
    if (missing.length > 0 || found.size !== truth.size)
      this.troubles.push(new Error(`step ${step}: ${found.size} rows, not ${truth.size}`))
  }

  #current(): Owner | undefined {
    return this.owners.findLast((owner) => owner.isOpen && !owner.isLost)
  }

  #inherited(): MemoryStore {
    return new MemoryStore(pick(this.#random, this.left).snapshot())
  }

  /** A new owner, whose predecessor goes on. */
  async #begin(store: MemoryStore): Promise<void> {
    const owner = new Owner(this, `owner ${this.owners.length + 1}`, store)
    this.owners.push(owner)
    const opening = owner.open().catch(async (error: Error) => {
      if (!isCut(error)) throw error
      this.leftBehind++
      await this.#begin(new MemoryStore())
    })
    opening.catch((error: Error) => this.troubles.push(error))
    await turns(TURNS)
  }

  async #commit(): Promise<void> {
    const owner = this.#current()
    if (!owner || owner.isCommitting) {
      if (this.#random() < 0.5) this.#arriveLate()
      await turns(1)
      return
    }
    if (owner.isFull) {
      owner.apply()
      return
    }
    owner.commit(this.#changes()).catch(() => undefined)
    await turns(1)
  }

  #changes(): Given {
    const random = this.#random
    const ranges: Range[] = random() < 0.08 ? [this.#range()] : []
    const puts: [string, string | undefined][] = []
    // Some people are busy, most are not.
    for (let i = below(random, 4); i >= 0; i--) {
      const key = keyOf(random() < 0.6 ? below(random, 8) : below(random, KEYS))
      const size = random() < this.#largeShare ? LARGE_BYTES : below(random, 40)
      puts.push([key, random() < 0.25 ? undefined : `${this.given.size} ${'.'.repeat(size)}`])
    }
    return { puts, ranges }
  }

  #range(): Range {
    const at = below(this.#random, KEYS)
    // Not over the store's marks.
    const last = at < MARKS_AT ? MARKS_AT - 1 : KEYS - 1
    return [keyOf(at), keyOf(Math.min(last, at + 1 + below(this.#random, 12)))]
  }

  /** All rows that count by now. */
  truth(): ReadonlyMap<string, string> {
    for (; this.#judged < this.log.records.length; this.#judged++) {
      const payload = this.#judge.take(must(this.log.records[this.#judged], 'index in range'), 0)
      if (!payload) continue
      const n = this.#judge.counted.length - 1
      const { puts, ranges } = must(this.given.get(`${this.#judge.claim} ${n}`), 'what counts was given')
      for (const [from, to] of ranges) for (const key of [...this.#truth.keys()]) if (key >= from && key < to) this.#truth.delete(key)
      for (const [key, value] of puts) {
        if (value === undefined) this.#truth.delete(key)
        else this.#truth.set(key, value)
      }
    }
    return this.#truth
  }

  /** The rows as somebody finds them who begins with this store, and reads to the end. */
  async found(store: MemoryStore): Promise<Map<string, string>> {
    const reader = new SlowReader(this, store)
    await reader.readAll()
    return reader.rows()
  }

  /** The same of the one that has followed all the time. */
  async followed(): Promise<Map<string, string>> {
    await this.#standby.readAll()
    return this.#standby.rows()
  }
}

/** Kinds of rows, in turns: that of a task's own rows is not among them. */
const keyOf = (i: number): string => `${'abdltz'[Math.floor(i / 15)] ?? 'z'}${String(i).padStart(3, '0')}`

/** Reads a few pages when it is told to, as a standby does it; is left behind now and then, and begins anew. */
class SlowReader {
  readonly #world: RewriteWorld
  #store: MemoryStore
  #rows: PendingRows | undefined
  #reader: ClaimedReader | undefined
  #last = -1

  constructor(world: RewriteWorld, store: MemoryStore) {
    this.#world = world
    this.#store = store
  }

  async read(): Promise<boolean> {
    const { log, mistakes } = this.#world
    if (!this.#rows) {
      this.#rows = await PendingRows.open(this.#store, PENDING)
      this.#last = this.#rows.appliedPosition()
    }
    const rows = this.#rows
    const options = { log: log.connect(), clock: systemClock, retryMs: 1, troubled: () => {}, isStopped: () => false }
    this.#reader ??= new ClaimedReader(options, this.#last + 1, await baseOf(rows))
    try {
      for (const counted of await this.#reader.next(0)) {
        if (counted.t !== 'commit') continue
        const commit = countedCommit(counted.n, counted.payload)
        rows.commit(counted.position, commit.rows, commit.deletedRanges)
        this.#last = counted.position
        if (rows.isFull) await rows.apply(this.#last)
      }
      return this.#reader.isCaughtUp
    } catch (error) {
      if (!isCut(error as Error)) throw error
      this.#world.leftBehind++
      if (!mistakes.keepsStores) this.#store = new MemoryStore()
      else await this.#store.write({ puts: ['mapplied', 'mapplying', META_KEY].map((key) => [key, undefined] as const) })
      this.#rows = undefined
      this.#reader = undefined
      return false
    }
  }

  async readAll(): Promise<void> {
    while (!(await this.read()));
  }

  async rows(): Promise<Map<string, string>> {
    const rows = must(this.#rows, 'read before')
    const scan = rows.scan({ gte: '', lt: '\u007f' })
    const found = new Map<string, string>()
    for (;;) {
      const page = await scan.next(100)
      if (page.length === 0) break
      for (const [key, value] of page) if (!key.startsWith('m')) found.set(key, value.toString())
    }
    await scan.close()
    return found
  }
}
