// The rows that a run of commits left behind, in memory: puts, deletes and range deletes, coalesced. Owns no position and
// writes nothing (pending.ts does).
//
// 1. A row says what its key's last put or delete was, unless a range delete came after it: such a row is hidden.
// 2. Ranges are kept sorted and disjoint; `revived` holds the keys that were put after the range over them.
// 3. Keys are listed by their first byte (the kind of row), so that a scan looks through the rows of its kind only. In kinds with
//    many rows, they are listed by one more byte of theirs, so that a scan within one profile looks through few of them.
import { NO_PLACE, RowTable, type Span } from './row-table.ts'

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

const DELETED = 1
const NOTHING: Span = { bytes: Buffer.alloc(0), from: 0, to: 0 }
/** Groups of a kind: one for each byte, and one for keys that are too short. */
const GROUPS = 257
const NO_GROUP = 256

/** Where one stands among the rows of a map, which is not changed meanwhile. Key and value are those of the last step. */
export class RowWalk {
  chunk = 0
  place = NO_PLACE
  key = ''
  value: Span | undefined
  readonly span: Span = { ...NOTHING }
}

export class RowMap {
  readonly #table = new RowTable()
  readonly #chunks: number[] = []
  readonly #groupAt: number
  readonly #isGrouped: boolean[] = new Array(256).fill(false)
  /** By kind and group: the place where each key was first put. */
  readonly #groups = new Map<number, number[]>()
  readonly #ranges: KeyRange[] = []
  readonly #revived = new Set<string>()
  /** Estimate of the memory that this takes. */
  bytes = 0
  /** Rows that scans have looked at (3): for tests. */
  looked = 0

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

  put(key: string, value: Span | undefined): void {
    const before = this.#table.find(key)
    const { chunk } = this.#table
    const place = this.#table.put(key, value ?? NOTHING, value === undefined ? DELETED : 0, 0)
    if (this.#table.chunk !== chunk) this.#chunks.push(this.#table.chunk)
    // What is overwritten keeps its place until the map goes.
    if (value !== undefined) this.bytes += value.to - value.from
    if (before === NO_PLACE) {
      this.bytes += key.length + ROW_OVERHEAD_BYTES
      this.#list(key, place)
    }
    if (this.#ranges.length > 0 && this.#isInRange(key)) this.#revived.add(key)
  }

  #list(key: string, place: number): void {
    const group = this.#groupNumber(key.charCodeAt(0), key)
    const places = this.#groups.get(group)
    if (places) places.push(place)
    else this.#groups.set(group, [place])
  }

  /** Kinds that are not grouped are one group. */
  #groupNumber(kind: number, key: string): number {
    return kind * GROUPS + (this.#isGrouped[kind] && key.length > this.#groupAt ? key.charCodeAt(this.#groupAt) : NO_GROUP)
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
    const place = this.#table.find(key)
    if (place === NO_PLACE) return this.#ranges.length > 0 && this.#isInRange(key) ? undefined : UNKNOWN
    return this.#isHidden(key) ? undefined : this.#valueAt(place)
  }

  /** True if something here concerns the key. */
  has(key: string): boolean {
    return this.#table.find(key) !== NO_PLACE || (this.#ranges.length > 0 && this.#isInRange(key))
  }

  #valueAt(place: number): Buffer | undefined {
    return this.#table.flags(place) === DELETED ? undefined : this.#table.view(place)
  }

  #isHidden(key: string): boolean {
    return this.#ranges.length > 0 && !this.#revived.has(key) && this.#isInRange(key)
  }

  /** Takes a walk to its next row; false at the end. A walk passes all rows that are not hidden, in no particular order. */
  step(walk: RowWalk): boolean {
    const table = this.#table
    for (;;) {
      walk.place = walk.place === NO_PLACE ? table.firstIn(this.#chunks[walk.chunk] ?? NO_PLACE) : table.after(walk.place)
      if (walk.place === NO_PLACE) {
        if (++walk.chunk >= this.#chunks.length) return false
        continue
      }
      if (!table.isNewest(walk.place)) continue
      walk.key = table.key(walk.place)
      if (this.#isHidden(walk.key)) continue
      walk.value = table.flags(walk.place) === DELETED ? undefined : table.value(walk.place, walk.span)
      return true
    }
  }

  /** The rows in [gte, lt) that are not hidden, in no particular order. */
  rowsIn(gte: string, lt: string): PendingRow[] {
    const found: PendingRow[] = []
    if (gte >= lt) return found
    const only = this.#groupOf(gte, lt)
    if (only !== undefined) {
      this.#collect(this.#groups.get(only), gte, lt, found)
      return found
    }
    const [first, last] = [gte === '' ? 0 : gte.charCodeAt(0), lt.charCodeAt(0)]
    for (const [group, places] of this.#groups) {
      const kind = Math.floor(group / GROUPS)
      if (kind >= first && kind <= last) this.#collect(places, gte, lt, found)
    }
    return found
  }

  #collect(places: readonly number[] | undefined, gte: string, lt: string, found: PendingRow[]): void {
    this.looked += places?.length ?? 0
    for (const place of places ?? []) {
      if (!this.#table.isBetween(place, gte, lt)) continue
      const key = this.#table.key(place)
      if (!this.#isHidden(key)) found.push([key, this.#valueAt(this.#table.find(key))])
    }
  }

  /** The one group that the range lies in, if it does. */
  #groupOf(gte: string, lt: string): number | undefined {
    const kind = gte === '' ? 0 : gte.charCodeAt(0)
    const depth = this.#isGrouped[kind] ? this.#groupAt + 1 : 1
    if (gte.length < depth) return undefined
    const shared = gte.slice(0, depth)
    if (!lt.startsWith(shared) && lt > successor(shared)) return undefined
    return this.#groupNumber(kind, gte)
  }
}

/** The smallest key above all that begin with `prefix`. */
function successor(prefix: string): string {
  let end = prefix.length
  while (end > 0 && prefix.charCodeAt(end - 1) === 255) end--
  return end === 0 ? prefix : prefix.slice(0, end - 1) + String.fromCharCode(prefix.charCodeAt(end - 1) + 1)
}
