// Timers of one partition in memory: those due first; the rest lie in the store and are loaded in stretches.
// Owns which timers are in memory; does not own the rows, nor `armedAt`, by which the task tells a stale timer from a live one.
//
// 1. Every committed or uncommitted timer with (due, key) at or below `loadedThrough` is in memory: those loaded in a list, for a scan
//    brings them in their order, those armed since in a heap.
// 2. There may be stale and repeated entries; firing one that isn't the profile's `armedAt` does nothing.
import type { ProfileKey } from '../core/identifier.ts'

export interface Timer {
  readonly due: number
  readonly key: ProfileKey
}

export class TimerHeap {
  #items: Timer[] = []

  get size(): number {
    return this.#items.length
  }

  peek(): Timer | undefined {
    return this.#items[0]
  }

  push(timer: Timer): void {
    const items = this.#items
    let i = items.length
    items.push(timer)
    while (i > 0) {
      const up = (i - 1) >> 1
      const parent = items[up] as Timer
      if (!before(timer, parent)) break
      items[i] = parent
      i = up
    }
    items[i] = timer
  }

  pop(): Timer | undefined {
    const items = this.#items
    const first = items[0]
    const last = items.pop()
    if (first === undefined || last === undefined || items.length === 0) return first
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= items.length) break
      if (child + 1 < items.length && before(items[child + 1] as Timer, items[child] as Timer)) child++
      if (!before(items[child] as Timer, last)) break
      items[i] = items[child] as Timer
      i = child
    }
    items[i] = last
    return first
  }

  clear(): void {
    this.#items = []
  }
}

function before(a: Timer, b: Timer): boolean {
  return a.due < b.due || (a.due === b.due && a.key < b.key)
}

export class Timers {
  /** Loaded, in order, and how many of them were taken. */
  #loaded: readonly Timer[] = []
  #taken = 0
  /** Armed below `loadedThrough`. */
  readonly #heap = new TimerHeap()
  #loadedDue = -1
  #loadedKey = ''
  /** Armed beyond what is loaded and perhaps not yet visible to a scan. */
  #beyond: { readonly timer: Timer; readonly n: number }[] = []
  #scanning = false

  /** Timers up to here are all in memory. */
  get loadedThrough(): Timer {
    return { due: this.#loadedDue, key: this.#loadedKey }
  }

  get inMemory(): number {
    return this.#heap.size + this.#loaded.length - this.#taken
  }

  #isLoaded(t: Timer): boolean {
    return t.due < this.#loadedDue || (t.due === this.#loadedDue && t.key <= this.#loadedKey)
  }

  /** Arms a timer whose row is part of commit `n`. */
  arm(timer: Timer, n: number): void {
    if (this.#isLoaded(timer)) this.#heap.push(timer)
    else this.#beyond.push({ timer, n })
  }

  /** A scan behind `loadedThrough` begins: until it ends, nothing armed is forgotten. */
  scanBegins(): void {
    this.#scanning = true
  }

  /** Commit `n` is durable: scans that begin from now on see its rows. */
  committed(n: number): void {
    if (!this.#scanning && this.#beyond.length > 0) this.#beyond = this.#beyond.filter((b) => b.n > n)
  }

  /** Takes in the timers of a scan that began after `loadedThrough` and ended at `through`, in their order. */
  loaded(timers: readonly Timer[], through: Timer): void {
    this.#loaded = this.#taken === this.#loaded.length ? timers : [...this.#loaded.slice(this.#taken), ...timers]
    this.#taken = 0
    this.#scanning = false
    this.#loadedDue = through.due
    this.#loadedKey = through.key
    const beyond = this.#beyond
    this.#beyond = []
    for (const { timer, n } of beyond) this.arm(timer, n)
  }

  /** The first timer, if it is due by `now`. */
  takeDue(now: number): Timer | undefined {
    const loaded = this.#loaded[this.#taken]
    const armed = this.#heap.peek()
    if (loaded !== undefined && (armed === undefined || before(loaded, armed))) {
      if (loaded.due > now) return undefined
      this.#taken++
      return loaded
    }
    return armed === undefined || armed.due > now ? undefined : this.#heap.pop()
  }

  nextDue(): number {
    return Math.min(this.#loaded[this.#taken]?.due ?? Number.POSITIVE_INFINITY, this.#heap.peek()?.due ?? Number.POSITIVE_INFINITY)
  }
}
