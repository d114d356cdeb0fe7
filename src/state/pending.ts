// The store behind the journal: committed rows wait in memory and are applied, coalesced, in slices. Owns the two maps of
// waiting rows and the mark in the store that says how far it has come. The store and the journal belong to the task.
//
//   commit ──▶ current ──apply(P)──▶ frozen ──slices──▶ store, and with the last slice the mark P
//
// 1. Only rows of durable commits are given to `commit`: the journal has everything that is not in the store yet.
// 2. With the mark P, the store holds everything of the journal up to P, as far as no newer row waits in memory. After a
//    torn apply the mark is the old one: replaying the journal behind it repairs the store.
// 3. A read sees exactly what was committed when it was called. So an apply writes nothing before the reads that were called
//    before its freeze have their rows; those called later find the frozen rows in memory.
// 4. A row that is to be dropped may be in the store only if an apply was torn after writing it (`applying` says how far that
//    one wanted to come): then it is deleted there. Keys that `drop` accepts are put once only.
// 5. The row `withMark` is in the store exactly as of the mark, whatever waits in memory: it says where replaying begins.
import { invariant } from '../core/assert.ts'
import { APPLIED_KEY, APPLYING_KEY, BARRIER_KEY, BOOT_KEY, barrierOf, type Marks, markOf, readMarks } from './marks.ts'
import { MergedScan } from './merged-scan.ts'
import { PackedBatch } from './packed.ts'
import { RowBlock } from './row-block.ts'
import { type Grouping, type KeyRange, type PendingRow, RowMap, RowWalk, UNKNOWN } from './row-map.ts'
import type { Span } from './row-table.ts'
import type { ScanRange, Store, StoreRow, StoreScan } from './store.ts'

export interface PendingOptions extends Grouping {
  /** Rows wait at most about so long … */
  readonly applyMs: number
  /** … or until there are so many; both maps together stay under twice that, or `isFull`. */
  readonly applyBytes: number
  /** A slice is one write to the store. */
  readonly sliceRows: number
  readonly sliceBytes: number
  /** Written together with the mark, and only then (5). */
  readonly withMark?: string
  /** Which boot of the machine this is, for a store that power loss can damage (marks.ts 1). */
  readonly bootId?: string
}

export const PENDING_DEFAULTS: PendingOptions = {
  applyMs: 1000,
  applyBytes: 4 << 20,
  sliceRows: 1000,
  sliceBytes: 256 << 10,
  // Timelines, accumulators and audit trails: their rows are scanned by profile.
  groupedKinds: 'tau',
  // The second byte of the profile's hash (core/identifier.ts): its first is nearly the same for all profiles of a partition.
  groupAt: 3,
}

/** Rows looked at before a slice ends, per row that it may hold: skipping takes time too. */
const VISITS_PER_ROW = 4
/** By so much a slice is larger than it should be, as a rule. */
const SLICE_SLACK_BYTES = 16 << 10
/** Rows of the first page that a scan takes from the store. */
const FIRST_PAGE_ROWS = 128

/** True for a row that nobody needs any more, though it was never deleted. Asked once for each row about to be written. */
export type Drop = (key: string) => boolean

export class PendingRows {
  readonly #store: Store
  readonly #options: PendingOptions
  #current: RowMap
  #frozen: RowMap | undefined
  /** Reads of the store called since the last freeze that have no answer yet (3). */
  #reads = new OpenReads()
  #applied: number
  #last: number
  /** First position in the current map. */
  #currentFrom: number | undefined
  #tornThrough: number
  readonly #marks: Marks
  #isTrusted: boolean
  #waitingSinceMs: number | undefined
  #isApplying = false
  #failure: unknown

  /** Reads from the store how far it has come; the journal behind that position is then to be given to `commit`. */
  static async open(store: Store, options: Partial<PendingOptions> = {}): Promise<PendingRows> {
    return new PendingRows(store, { ...PENDING_DEFAULTS, ...options }, await readMarks(store, options.bootId))
  }

  private constructor(store: Store, options: PendingOptions, marks: Marks) {
    this.#store = store
    this.#options = options
    this.#current = new RowMap(options)
    this.#applied = marks.applied
    this.#last = marks.applied
    this.#tornThrough = marks.tornThrough
    this.#marks = marks
    this.#isTrusted = marks.isTrusted
    if (marks.restored && options.withMark !== undefined) this.#current.put(options.withMark, spanOf(marks.restored.value))
  }

  /** The last journal position whose rows are all in the store, -1 for a new one. */
  appliedPosition(): number {
    return this.#applied
  }

  /** As `appliedPosition`, after power loss too: how far the store had come, whether it has it all or not. */
  claimedPosition(): number {
    return Math.max(this.#applied, this.#marks.claimed)
  }

  /** The store has nothing of any journal, not even of an apply that was torn. */
  get isBlank(): boolean {
    return this.claimedPosition() < 0 && this.#tornThrough < 0
  }

  /** Heap taken by rows that are not in the store yet, roughly. */
  get pendingBytes(): number {
    return this.#current.bytes + (this.#frozen?.bytes ?? 0)
  }

  /** Nothing more should be committed until an apply is done. */
  get isFull(): boolean {
    return this.pendingBytes >= 2 * this.#options.applyBytes
  }

  shouldApply(nowMs: number): boolean {
    if (this.#isApplying || this.#current.isEmpty) return false
    this.#waitingSinceMs ??= nowMs
    return this.#current.bytes >= this.#options.applyBytes || nowMs - this.#waitingSinceMs >= this.#options.applyMs
  }

  /** Takes the rows of the commit at this journal position; its range deletes come before its rows. */
  commit(
    position: number,
    rows: RowBlock | readonly (readonly [key: string, value: Uint8Array | undefined])[],
    deletedRanges: readonly KeyRange[] = [],
  ): void {
    invariant(position > this.#last, 'commits come in the order of the journal, each once')
    this.#last = position
    this.#currentFrom ??= position
    for (const [from, to] of deletedRanges) {
      invariant(from > BOOT_KEY || to <= APPLIED_KEY, 'range deletes leave the marks alone')
      this.#current.deleteRange(from, to)
    }
    const block = rows instanceof RowBlock ? rows : RowBlock.of(rows)
    const span: Span = { bytes: block.bytes, from: 0, to: 0 }
    for (let i = 0; i < block.count; i++) this.#current.put(block.key(i), block.span(i, span))
  }

  /** What memory knows of a key: its value, undefined if it is deleted, 'unknown' if only the store can tell. */
  peek(key: string): Buffer | undefined | typeof UNKNOWN {
    const row = this.#current.get(key)
    if (row !== UNKNOWN || !this.#frozen) return row
    return this.#frozen.get(key)
  }

  /** Values in the order of `keys`, as of the call. */
  async getMany(keys: readonly string[]): Promise<(Buffer | undefined)[]> {
    const values = new Array<Buffer | undefined>(keys.length)
    const missing: string[] = []
    const places: number[] = []
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i] as string
      const row = this.peek(key)
      if (row !== UNKNOWN) {
        values[i] = row
      } else {
        missing.push(key)
        places.push(i)
      }
    }
    if (missing.length === 0) return values
    const stored = await this.#reads.during(this.#store.getMany(missing))
    for (let i = 0; i < places.length; i++) values[places[i] as number] = stored[i]
    return values
  }

  /** Rows in order, all as of the call. */
  scan(range: ScanRange): StoreScan {
    const waiting = new Map<string, PendingRow>()
    for (const row of this.#frozen?.rowsIn(range.gte, range.lt) ?? []) {
      if (!this.#current.has(row[0])) waiting.set(row[0], row)
    }
    for (const row of this.#current.rowsIn(range.gte, range.lt)) waiting.set(row[0], row)
    const hidden = [...(this.#frozen?.ranges ?? []), ...this.#current.ranges].filter(([from, to]) => from < range.lt && to > range.gte)
    const stored = this.#store.scan(range)
    const firstPage = this.#reads.during(stored.next(FIRST_PAGE_ROWS))
    return new MergedScan({ stored, firstPage, waiting: [...waiting.values()], hidden, isReverse: range.reverse === true })
  }

  /** Rows of the store in [gte, lt), in order, of which nothing newer waits in memory: as of the call. */
  scanStored(range: ScanRange): StoreScan {
    // These two, even when they have been stored by the time of a page: what they have is newer than what the scan sees (3).
    const waiting = [this.#frozen, this.#current]
    const stored = this.#store.scan(range)
    let firstPage: Promise<StoreRow[]> | undefined = this.#reads.during(stored.next(FIRST_PAGE_ROWS))
    // Reported by `next`, if anybody asks.
    firstPage.catch(() => {})
    const isNewest = ([key]: StoreRow): boolean => !waiting.some((map) => map?.has(key))
    return {
      next: async (limit) => {
        for (;;) {
          const page = await (firstPage ?? stored.next(limit))
          firstPage = undefined
          const newest = page.filter(isNewest)
          if (page.length === 0 || newest.length > 0) return newest
        }
      },
      close: async () => {
        await firstPage?.catch(() => {})
        await stored.close()
      },
    }
  }

  /**
   * Brings the store to `position`, the last of the journal whose rows were given to `commit`. Commits may go on meanwhile: they
   * are the next apply's. After a failure nothing can be applied any more; the truth is to be read back.
   */
  async apply(position: number, drop: Drop = keepAll): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    invariant(!this.#isApplying, 'one apply at a time')
    invariant(position >= this.#last, 'an apply takes in every commit so far')
    if (position === this.#applied && this.#current.isEmpty) return
    const frozen = this.#current
    const mayBeStored = this.#currentFrom !== undefined && this.#currentFrom <= this.#tornThrough
    const reads = this.#reads
    this.#isApplying = true
    this.#frozen = frozen
    this.#current = new RowMap(this.#options)
    this.#reads = new OpenReads()
    this.#currentFrom = undefined
    this.#waitingSinceMs = undefined
    this.#last = position
    try {
      await reads.answered()
      await this.#drain(frozen, position, { drop, mayBeStored })
    } catch (error) {
      this.#failure = error
      throw error
    } finally {
      this.#isApplying = false
    }
    this.#applied = position
    this.#frozen = undefined
  }

  async #drain(frozen: RowMap, position: number, dead: { drop: Drop; mayBeStored: boolean }): Promise<void> {
    const { sliceRows, sliceBytes, withMark } = this.#options
    const aim = markOf(Math.max(position, this.#tornThrough))
    let isBegun = frozen.ranges.length > 0
    if (isBegun) await this.#store.write({ puts: [[APPLYING_KEY, aim]], deletedRanges: frozen.ranges })
    const usualBytes = Math.min(sliceBytes + SLICE_SLACK_BYTES, frozen.bytes)
    let slice = new PackedBatch(usualBytes)
    let visits = 0
    const walk = new RowWalk()
    while (frozen.step(walk)) {
      visits++
      const { key, value } = walk
      // What is newer in memory is in the journal behind the mark.
      if (!this.#current.has(key) && key !== withMark) {
        const isDead = value !== undefined && dead.drop(key)
        if (!isDead) slice.put(key, value)
        else if (dead.mayBeStored) slice.put(key, undefined)
      }
      if (slice.count < sliceRows && slice.bytes < sliceBytes && visits < sliceRows * VISITS_PER_ROW) continue
      if (!isBegun) slice.put(APPLYING_KEY, spanOf(aim))
      isBegun = true
      await this.#store.write(slice)
      slice = new PackedBatch(usualBytes)
      visits = 0
    }
    const marked = withMark === undefined ? UNKNOWN : frozen.get(withMark)
    if (withMark !== undefined && marked !== UNKNOWN) slice.put(withMark, spanOf(marked))
    slice.put(APPLIED_KEY, spanOf(markOf(position)))
    const { bootId } = this.#options
    if (bootId !== undefined) slice.put(BOOT_KEY, spanOf(Buffer.from(bootId)))
    await this.#store.write(slice)
    this.#isTrusted = true
  }

  /** Makes the applied rows durable; the journal up to the returned position is no longer needed. */
  async barrier(): Promise<number> {
    const { bootId, withMark } = this.#options
    // Before its first mark of this boot the store is good for the last barrier only (marks.ts 3).
    if (!this.#isTrusted) return this.#marks.applied
    const barrier = await barrierOf(this.#store, withMark)
    await this.#store.sync()
    if (bootId === undefined) return barrier.position
    // Only now, and synced before anybody rests on it: its row must not outlive what it vouches for.
    await this.#store.write({ puts: [[BARRIER_KEY, barrier.row]] })
    await this.#store.sync()
    return barrier.position
  }
}

/** Counts reads, so that somebody can wait until they are answered. */
class OpenReads {
  #count = 0
  #whenNone: (() => void) | undefined

  async during<T>(read: Promise<T>): Promise<T> {
    this.#count++
    try {
      return await read
    } finally {
      if (--this.#count === 0) this.#whenNone?.()
    }
  }

  /** Resolves when none is open; called once no more are added. */
  answered(): Promise<void> {
    if (this.#count === 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.#whenNone = resolve
    })
  }
}

function keepAll(): boolean {
  return false
}

function spanOf(bytes: Buffer | undefined): Span | undefined {
  return bytes && { bytes, from: 0, to: bytes.length }
}
