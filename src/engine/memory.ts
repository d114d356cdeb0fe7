// What a task holds decoded: profile rows and leaves, under a byte budget. Owns which rows are in memory; the store and the
// pending rows own the truth.
//
// 1. A row changed by a batch or a commit that isn't durable yet is never evicted (dirty, pinned): the store doesn't have it.
// 2. An entry for an absent row is remembered as absent, so that founding needs no second look.
// 3. Eviction drops what wasn't used since the hand last passed (CLOCK, in the order of a Map).
import type { IdentifierKey, ProfileKey } from '../core/identifier.ts'
import type { Leaf } from '../identity/root.ts'
import { Forward, Profile } from './profile.ts'

/** A profile row known not to exist. */
export class Absent {
  used = true
}

export type RowEntry = Profile | Forward | Absent

interface LeafEntry {
  leaf: Leaf | undefined
  used: boolean
  /** Number of the commit that carries the last change. */
  pin: number
}

const LEAF_BYTES = 180
const SMALL_ROW_BYTES = 160
const PROFILE_BYTES = 2500
/** Decoded bytes per byte of row, as measured: what is kept undecoded plus objects for what was touched. */
const DECODED_FACTOR = 6

export function profileBytes(p: Profile): number {
  return PROFILE_BYTES + p.rowBytes * DECODED_FACTOR
}

export class Memory {
  readonly rows = new Map<ProfileKey, RowEntry>()
  readonly leaves = new Map<IdentifierKey, LeafEntry>()
  readonly #pins = new Map<ProfileKey, number>()
  #lastKey: ProfileKey | undefined
  #lastRow: RowEntry | undefined
  bytes = 0

  row(key: ProfileKey): RowEntry | undefined {
    // One event asks for its profile several times.
    if (key === this.#lastKey) return this.#lastRow
    const entry = this.rows.get(key)
    if (entry !== undefined) {
      entry.used = true
      this.#lastKey = key
      this.#lastRow = entry
    }
    return entry
  }

  setRow(key: ProfileKey, entry: RowEntry): void {
    const old = this.rows.get(key)
    if (old !== undefined) this.bytes -= weigh(old)
    this.rows.set(key, entry)
    this.#lastKey = undefined
    this.bytes += weigh(entry)
  }

  /** Called when a profile's row was encoded anew. */
  resized(p: Profile, rowBytes: number): void {
    this.bytes += (rowBytes - p.rowBytes) * DECODED_FACTOR
    p.rowBytes = rowBytes
  }

  /** Keeps a row in memory until commit `n` is durable (1). */
  pinRow(key: ProfileKey, n: number): void {
    this.#pins.set(key, n)
  }

  /** True when what the row shows is durable, commits up to `durableN` being so. */
  isAtRest(key: ProfileKey, durableN: number): boolean {
    const entry = this.rows.get(key)
    if (entry !== undefined && !(entry instanceof Absent) && entry.dirty) return false
    return (this.#pins.get(key) ?? 0) <= durableN
  }

  leaf(x: IdentifierKey): LeafEntry | undefined {
    const entry = this.leaves.get(x)
    if (entry !== undefined) entry.used = true
    return entry
  }

  setLeaf(x: IdentifierKey, leaf: Leaf | undefined, pin: number): void {
    const old = this.leaves.get(x)
    if (old === undefined) {
      this.bytes += LEAF_BYTES
      this.leaves.set(x, { leaf, used: true, pin })
    } else {
      old.leaf = leaf
      old.used = true
      old.pin = pin
    }
  }

  clear(): void {
    this.rows.clear()
    this.leaves.clear()
    this.#pins.clear()
    this.#lastKey = undefined
    this.bytes = 0
  }

  dropRow(key: ProfileKey): void {
    const entry = this.rows.get(key)
    if (entry === undefined) return
    this.bytes -= weigh(entry)
    this.rows.delete(key)
    if (key === this.#lastKey) this.#lastKey = undefined
  }

  dropLeaf(x: IdentifierKey): void {
    if (this.leaves.delete(x)) this.bytes -= LEAF_BYTES
  }

  /** Evicts down to `budgetBytes`, as far as commits up to `durableN` allow. Call only between batches. */
  evict(budgetBytes: number, durableN: number): void {
    for (const [key, n] of this.#pins) if (n <= durableN) this.#pins.delete(key)
    if (this.bytes <= budgetBytes) return
    // Two passes at the most: the first takes away the marks of use.
    for (let pass = 0; pass < 2 && this.bytes > budgetBytes; pass++) {
      this.#evictRows(budgetBytes, pass)
      this.#evictLeaves(budgetBytes, durableN, pass)
    }
  }

  #evictRows(budgetBytes: number, pass: number): void {
    let looked = this.rows.size
    for (const [key, entry] of this.rows) {
      if (looked-- <= 0 || this.bytes <= budgetBytes) break
      if (this.#pins.has(key) || (!(entry instanceof Absent) && entry.dirty) || (entry instanceof Profile && entry.busy)) continue
      if (entry.used && pass === 0) {
        entry.used = false
        this.rows.delete(key)
        this.rows.set(key, entry)
      } else this.dropRow(key)
    }
  }

  #evictLeaves(budgetBytes: number, durableN: number, pass: number): void {
    let looked = this.leaves.size
    for (const [x, entry] of this.leaves) {
      if (looked-- <= 0 || this.bytes <= budgetBytes) break
      if (entry.pin > durableN) continue
      if (entry.used && pass === 0) {
        entry.used = false
        this.leaves.delete(x)
        this.leaves.set(x, entry)
      } else this.dropLeaf(x)
    }
  }
}

function weigh(entry: RowEntry): number {
  return entry instanceof Profile ? profileBytes(entry) : entry instanceof Forward || entry instanceof Absent ? SMALL_ROW_BYTES : 0
}
