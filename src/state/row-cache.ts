// The newest version of rows, under a byte budget. Owns which rows are kept; the store (with the pending rows before it) owns the truth.
//
// 1. A row is found under its key until it is evicted; that a row is absent is kept, too.
// 2. A row whose commit isn't durable yet (its tag is that commit's number) is never evicted: nobody else has it.
// 3. Eviction goes round in the order in which rows were put (CLOCK): what was found since the hand last passed moves to the end.
import { NO_PLACE, RowTable, type Span } from './row-table.ts'

const USED = 1
const ABSENT = 2
const NOTHING: Span = { bytes: Buffer.alloc(0), from: 0, to: 0 }

export class RowCache {
  #table = new RowTable()
  /** Chunks in the order in which they were begun. */
  #order: number[] = []

  /** Rows, absent ones included. */
  get size(): number {
    return this.#table.size
  }

  get bytes(): number {
    return this.#table.bytes
  }

  /** Puts a row of commit `n`, or that there is none. */
  put(key: string, value: Span | undefined, n: number): void {
    this.#put(key, value ?? NOTHING, value === undefined ? USED | ABSENT : USED, n)
  }

  #put(key: string, value: Span, flags: number, n: number): void {
    const { chunk } = this.#table
    this.#table.put(key, value, flags, n)
    if (this.#table.chunk !== chunk) this.#order.push(this.#table.chunk)
  }

  has(key: string): boolean {
    return this.#table.find(key) !== NO_PLACE
  }

  /** Where a row's value lies, undefined if the row is known to be absent, null if nothing is known. */
  find(key: string, out: Span): Span | undefined | null {
    const place = this.#table.find(key)
    if (place === NO_PLACE) return null
    const flags = this.#table.flags(place)
    if ((flags & USED) === 0) this.#table.setFlags(place, flags | USED)
    return (flags & ABSENT) !== 0 ? undefined : this.#table.value(place, out)
  }

  /** Whether what is kept is durable, commits up to `durableN` being so; true where nothing is kept. */
  isAtRest(key: string, durableN: number): boolean {
    const place = this.#table.find(key)
    return place === NO_PLACE || isDurable(this.#table.tag(place), durableN)
  }

  clear(): void {
    this.#table = new RowTable()
    this.#order = []
  }

  /** Evicts down to `budgetBytes`, as far as commits up to `durableN` allow (2, 3). */
  evict(budgetBytes: number, durableN: number): void {
    // What is used or not durable moves on once; a second round finds the marks of use gone.
    for (let left = 2 * this.#order.length; left > 0 && this.#order.length > 0 && this.bytes > budgetBytes; left--) {
      const chunk = this.#order.shift() as number
      if (chunk === this.#table.chunk) this.#table.closeChunk()
      for (let place = this.#table.firstIn(chunk); place !== NO_PLACE; place = this.#table.after(place)) this.#pass(place, durableN)
      this.#table.giveUp(chunk)
    }
  }

  /** The hand passes a row whose chunk is given up. */
  #pass(place: number, durableN: number): void {
    const table = this.#table
    if (!table.isNewest(place)) return
    const flags = table.flags(place)
    const n = table.tag(place)
    const key = table.key(place)
    if ((flags & USED) === 0 && isDurable(n, durableN)) table.remove(key)
    else this.#put(key, table.value(place, { ...NOTHING }), flags & ~USED, n)
  }
}

/** Tags are the low 32 bits of a commit's number; only a few commits are ever under way. */
const isDurable = (n: number, durableN: number): boolean => ((n - durableN) | 0) <= 0
