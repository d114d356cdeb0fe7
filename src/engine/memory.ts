// What a task has in memory of its rows: those of the batch at hand decoded, the rest as bytes under a budget. Owns which rows are
// here; the store and the pending rows own the truth.
//
// 1. A row changed by a batch or a commit that isn't durable yet is never evicted (dirty, pinned): the store doesn't have it.
// 2. A row known to be absent is remembered as such, so that founding needs no second look.
// 3. Decoded are the rows that the batch at hand has asked for, and busy roots; the others are bytes, which cost a million profiles
//    no garbage collection. A row is decoded anew by the batch that wants it: profiles decode lazily (profile.ts).
import { must } from '../core/assert.ts'
import type { IdentifierKey, ProfileKey } from '../core/identifier.ts'
import { decodeLeaf, encodeLeaf } from '../identity/codec.ts'
import type { Leaf } from '../identity/root.ts'
import { RowCache } from '../state/row-cache.ts'
import type { Span } from '../state/row-table.ts'
import { groupKey } from './keys.ts'
import { decodeProfileRow, Forward, forwardIn, Profile } from './profile.ts'

/** A profile row known not to exist. */
export class Absent {}

export type RowEntry = Profile | Forward | Absent

const ABSENT = new Absent()
const NO_BYTES = Buffer.alloc(0)
/** Of the budget, for leaves. */
const LEAVES_SHARE = 1 / 6

export class Memory {
  #decoded = new Map<ProfileKey, Profile | Forward>()
  /** Profile rows under their keys, rows of split-off groups under theirs. */
  readonly #rows = new RowCache()
  readonly #leaves = new RowCache()
  readonly #span: Span = { bytes: NO_BYTES, from: 0, to: 0 }
  #lastKey: ProfileKey | undefined
  #lastRow: RowEntry | undefined
  /** Commits up to here are durable, as of the last eviction: what is loaded is at least so. */
  #durableN = 0

  get bytes(): number {
    return this.#rows.bytes + this.#leaves.bytes
  }

  get size(): number {
    return this.#rows.size
  }

  // ---- profile rows

  hasRow(key: ProfileKey): boolean {
    return this.#decoded.has(key) || this.#rows.has(key)
  }

  /** Undefined: nothing is known about it. */
  row(key: ProfileKey): RowEntry | undefined {
    // One event asks for its profile several times.
    if (key === this.#lastKey) return this.#lastRow
    let entry: RowEntry | undefined = this.#decoded.get(key)
    if (entry === undefined) {
      entry = this.#read(key)
      if (entry instanceof Profile || entry instanceof Forward) this.#decoded.set(key, entry)
    }
    if (entry !== undefined) {
      this.#lastKey = key
      this.#lastRow = entry
    }
    return entry
  }

  /** Where a row forwards to, undefined if it doesn't or is absent, null if nothing is known. Decodes no profile. */
  forward(key: ProfileKey): ProfileKey | undefined | null {
    const decoded = this.#decoded.get(key)
    if (decoded !== undefined) return decoded instanceof Forward ? decoded.to : undefined
    const span = this.#rows.find(key, this.#span)
    return span ? forwardIn(span.bytes, span.from) : span
  }

  /** As `row`, for somebody outside the batch: what is decoded for it is not kept, and not to be changed. */
  peek(key: ProfileKey): RowEntry | undefined {
    return this.#decoded.get(key) ?? this.#read(key)
  }

  #read(key: ProfileKey): RowEntry | undefined {
    const span = this.#rows.find(key, this.#span)
    if (span === null) return undefined
    return span === undefined ? ABSENT : decodeProfileRow(key, span.bytes, span.from, span.to)
  }

  /** A row that the batch has made. */
  setRow(key: ProfileKey, row: Profile | Forward): void {
    this.#decoded.set(key, row)
    this.#lastKey = undefined
  }

  /** Takes in what the store has, unless something newer is here. */
  load(key: ProfileKey, value: Buffer | undefined): void {
    if (this.hasRow(key)) return
    this.#rows.put(key, value && whole(value), this.#durableN)
  }

  /** A row was encoded for commit `n`, into these bytes, which are copied. */
  encoded(key: ProfileKey, row: Span, n: number): void {
    const entry = must(this.#decoded.get(key), 'what is encoded is decoded')
    entry.dirty = false
    this.#rows.put(key, row, n)
    if (!(entry instanceof Profile && entry.busy)) this.#drop(key)
  }

  #drop(key: ProfileKey): void {
    this.#decoded.delete(key)
    if (key === this.#lastKey) this.#lastKey = undefined
  }

  /** As commits up to `durableN` have left a row, for somebody outside the batch; undefined where that is not here. */
  durableRow(key: ProfileKey, durableN: number): RowEntry | undefined {
    return this.#rows.isAtRest(key, durableN) ? this.#read(key) : undefined
  }

  // ---- rows of split-off groups

  group(key: ProfileKey, group: number): Buffer | undefined {
    const span = this.#rows.find(groupKey(key, group), this.#span)
    return span ? span.bytes.subarray(span.from, span.to) : undefined
  }

  setGroup(key: ProfileKey, group: number, body: Buffer, n = this.#durableN): void {
    this.#rows.put(groupKey(key, group), whole(body), n)
  }

  // ---- leaves

  hasLeaf(x: IdentifierKey): boolean {
    return this.#leaves.has(x)
  }

  /** Null: nothing is known about it; undefined: there is none. */
  leaf(x: IdentifierKey): Leaf | undefined | null {
    const span = this.#leaves.find(x, this.#span)
    return span ? decodeLeaf(span.bytes, span.from, span.to) : span
  }

  /** A leaf that the batch of commit `n` has set. */
  setLeaf(x: IdentifierKey, leaf: Leaf, n: number): void {
    this.#leaves.put(x, whole(encodeLeaf(leaf)), n)
  }

  /** Takes in what the store has, unless something newer is here. */
  loadLeaf(x: IdentifierKey, value: Buffer | undefined): void {
    if (!this.hasLeaf(x)) this.#leaves.put(x, value && whole(value), this.#durableN)
  }

  /** As `leaf`, as commits up to `durableN` have left it. */
  durableLeaf(x: IdentifierKey, durableN: number): Leaf | undefined | null {
    return this.#leaves.isAtRest(x, durableN) ? this.leaf(x) : null
  }

  // ----

  clear(): void {
    this.#decoded.clear()
    this.#rows.clear()
    this.#leaves.clear()
    this.#lastKey = undefined
  }

  /** A batch begins: what it decodes goes into a map as young as itself (batch.ts 1). */
  renew(): void {
    this.#decoded = new Map(this.#decoded)
  }

  /** Lets go of what is decoded, and of bytes down to the budget, as far as commits up to `durableN` allow. Between batches only. */
  evict(budgetBytes: number, durableN: number): void {
    this.#durableN = durableN
    for (const [key, row] of this.#decoded) {
      if (row.dirty || (row instanceof Profile && row.busy)) continue
      this.#decoded.delete(key)
    }
    this.#lastKey = undefined
    const leavesBytes = budgetBytes * LEAVES_SHARE
    this.#leaves.evict(leavesBytes, durableN)
    this.#rows.evict(budgetBytes - Math.min(leavesBytes, this.#leaves.bytes), durableN)
  }
}

const whole = (bytes: Buffer): Span => ({ bytes, from: 0, to: bytes.length })
