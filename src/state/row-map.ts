// The rows that a run of commits left behind, in memory: puts, deletes and range deletes, coalesced. Owns no position and
// writes nothing (pending.ts does).
//
// 1. A row says what its key's last put or delete was, unless a range delete came after it: such a row is hidden.
// 2. Ranges are kept sorted and disjoint; `revived` holds the keys that were put after the range over them.
// 3. Rows lie in one map per first byte (the kind of row), so that a scan looks through the rows of its kind only. In kinds with
//    many rows, keys are also listed by one more byte of theirs, so that a scan within one profile looks through few of them.
// 4. Values are copied into slabs and found by a small integer: rows wait long enough to grow old, and a million of them as
//    objects of their own is what garbage collection would spend its time on.
import { invariant } from '../core/assert.ts'

/** What a row in memory costs beside its key and value. */
export const ROW_OVERHEAD_BYTES = 64

export interface Grouping {
  /** First characters of the keys that are listed in groups. */
  readonly groupedKinds: string
  /** Place of the byte that decides the group: one that is spread evenly over the rows. */
  readonly groupAt: number
}

export type PendingRow = readonly [key: string, value: Buffer | undefined]
export type KeyRange = readonly [from: string, to: string]

/** What is said about a key of which nothing is known. */
export const UNKNOWN = 'unknown'
/** Stands for a deleted row in the maps. */
const DELETED = -1

/** Places in a slab are 18 bits of a location, the slab's number the rest of a small integer. */
const SLAB_BITS = 18
const SLAB_BYTES = 1 << SLAB_BITS
const MOST_SLABS = 1 << 12
const LENGTH_BYTES = 4

/** Values one behind the other, each with its length; a large one has a slab of its own. */
class Slabs {
  readonly #slabs: Buffer[] = []
  #last = -1
  #used = SLAB_BYTES

  add(value: Buffer): number {
    const size = LENGTH_BYTES + value.length
    if (this.#used + size > SLAB_BYTES) {
      invariant(this.#slabs.length < MOST_SLABS, 'rows that wait fit into the slabs that a location can name')
      this.#slabs.push(Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, size)))
      this.#last = this.#slabs.length - 1
      this.#used = 0
    }
    const slab = this.#slabs[this.#last] as Buffer
    const at = this.#used
    slab.writeUInt32LE(value.length, at)
    slab.set(value, at + LENGTH_BYTES)
    // One that fills a slab of its own leaves no room behind it.
    this.#used = at + size
    return (this.#last << SLAB_BITS) | at
  }

  at(location: number): Buffer {
    const slab = this.#slabs[location >> SLAB_BITS] as Buffer
    const start = (location & (SLAB_BYTES - 1)) + LENGTH_BYTES
    return slab.subarray(start, start + slab.readUInt32LE(start - LENGTH_BYTES))
  }
}
/** Groups of a kind: one for each byte, and one for keys that are too short. */
const GROUPS = 257
const NO_GROUP = 256

export class RowMap {
  readonly #slabs = new Slabs()
  readonly #kinds: (Map<string, number> | undefined)[] = new Array(256).fill(undefined)
  readonly #groupAt: number
  readonly #isGrouped: boolean[] = new Array(256).fill(false)
  /** By kind and group: keys. */
  readonly #groups = new Map<number, string[]>()
  readonly #ranges: KeyRange[] = []
  readonly #revived = new Set<string>()
  /** Estimate of the heap that this takes. */
  bytes = 0

  constructor(grouping: Grouping) {
    this.#groupAt = grouping.groupAt
    for (let i = 0; i < grouping.groupedKinds.length; i++) this.#isGrouped[grouping.groupedKinds.charCodeAt(i)] = true
  }

  get ranges(): readonly KeyRange[] {
    return this.#ranges
  }

  get isEmpty(): boolean {
    return this.bytes === 0
  }

  put(key: string, value: Buffer | undefined): void {
    const kind = key.charCodeAt(0)
    const rows = this.#kinds[kind] ?? this.#newKind(kind)
    const before = rows.get(key)
    rows.set(key, value === undefined ? DELETED : this.#slabs.add(value))
    // What is overwritten keeps its place in the slab until the map goes.
    this.bytes += value?.length ?? 0
    if (before === undefined) {
      this.bytes += key.length + ROW_OVERHEAD_BYTES
      if (this.#isGrouped[kind]) this.#list(kind, key)
    }
    if (this.#ranges.length > 0 && this.#isInRange(key)) this.#revived.add(key)
  }

  #newKind(kind: number): Map<string, number> {
    const rows = new Map<string, number>()
    this.#kinds[kind] = rows
    return rows
  }

  #list(kind: number, key: string): void {
    const group = this.#groupNumber(kind, key)
    const keys = this.#groups.get(group)
    if (keys) keys.push(key)
    else this.#groups.set(group, [key])
  }

  #groupNumber(kind: number, key: string): number {
    return kind * GROUPS + (key.length > this.#groupAt ? key.charCodeAt(this.#groupAt) : NO_GROUP)
  }

  deleteRange(from: string, to: string): void {
    if (from >= to) return
    for (const key of this.#revived) if (key >= from && key < to) this.#revived.delete(key)
    const first = this.#firstEndingAtOrAfter(from)
    let low = from
    let high = to
    let joined = 0
    for (let range = this.#ranges[first]; range && range[0] <= to; range = this.#ranges[first + joined]) {
      if (range[0] < low) low = range[0]
      if (range[1] > high) high = range[1]
      joined++
    }
    if (joined === 0) this.bytes += from.length + to.length + ROW_OVERHEAD_BYTES
    this.#ranges.splice(first, joined, [low, high])
  }

  /** Index of the first range that ends at or after `key`. */
  #firstEndingAtOrAfter(key: string): number {
    let low = 0
    let high = this.#ranges.length
    while (low < high) {
      const mid = (low + high) >>> 1
      if ((this.#ranges[mid] as KeyRange)[1] < key) low = mid + 1
      else high = mid
    }
    return low
  }

  #isInRange(key: string): boolean {
    // A range that ends at the key is followed by one that begins after it: those that touch are joined (2).
    const range = this.#ranges[this.#firstEndingAtOrAfter(key)]
    return range !== undefined && range[0] <= key && key < range[1]
  }

  /** The value, undefined if deleted, UNKNOWN if nothing here concerns the key. */
  get(key: string): Buffer | undefined | typeof UNKNOWN {
    const row = this.#kinds[key.charCodeAt(0)]?.get(key)
    if (row === undefined) return this.#ranges.length > 0 && this.#isInRange(key) ? undefined : UNKNOWN
    return row === DELETED || this.#isHidden(key) ? undefined : this.#slabs.at(row)
  }

  #isHidden(key: string): boolean {
    return this.#ranges.length > 0 && !this.#revived.has(key) && this.#isInRange(key)
  }

  /** All rows that are not hidden, in no particular order. */
  *rows(): Generator<PendingRow> {
    for (const rows of this.#kinds) {
      if (!rows) continue
      for (const [key, row] of rows) if (!this.#isHidden(key)) yield [key, row === DELETED ? undefined : this.#slabs.at(row)]
    }
  }

  /** The rows in [gte, lt) that are not hidden, in no particular order. */
  rowsIn(gte: string, lt: string): PendingRow[] {
    const found: PendingRow[] = []
    if (gte >= lt) return found
    const last = lt.charCodeAt(0)
    for (let kind = gte === '' ? 0 : gte.charCodeAt(0); kind <= last; kind++) {
      const rows = this.#kinds[kind]
      if (!rows) continue
      for (const key of this.#groupOf(kind, gte, lt) ?? rows.keys()) {
        if (key < gte || key >= lt || this.#isHidden(key)) continue
        const row = rows.get(key) ?? DELETED
        found.push([key, row === DELETED ? undefined : this.#slabs.at(row)])
      }
    }
    return found
  }

  /** The keys of the one group that the range lies in, if it does. */
  #groupOf(kind: number, gte: string, lt: string): readonly string[] | undefined {
    if (!this.#isGrouped[kind] || gte.length <= this.#groupAt) return undefined
    const shared = gte.slice(0, this.#groupAt + 1)
    if (!lt.startsWith(shared) && lt > successor(shared)) return undefined
    return this.#groups.get(this.#groupNumber(kind, gte)) ?? []
  }
}

/** The smallest key above all that begin with `prefix`. */
function successor(prefix: string): string {
  let end = prefix.length
  while (end > 0 && prefix.charCodeAt(end - 1) === 255) end--
  return end === 0 ? prefix : prefix.slice(0, end - 1) + String.fromCharCode(prefix.charCodeAt(end - 1) + 1)
}
