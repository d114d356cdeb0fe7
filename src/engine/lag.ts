// Events accepted and not yet committed, per partition, which is what intake is held back by. Owns the count. A partition that another
// process owns is known by what that one says now and then; what was accepted here is known to the event.
import type { Shared } from './shared.ts'

interface Mark {
  readonly record: number
  /** Events accepted here up to and including it. */
  readonly events: number
}

interface PartitionLag {
  /** On their way into the log. */
  underWay: number
  accepted: number
  /** Of the accepted ones. */
  committed: number
  readonly marks: Mark[]
  /** Records committed, and records there are, as its owner said last. */
  told: { readonly committed: number; readonly end: number }
}

export class Lag {
  readonly #shared: Pick<Shared, 'appendedEnd' | 'committedEnd'>
  readonly #partitions: readonly PartitionLag[]

  constructor(shared: Pick<Shared, 'appendedEnd' | 'committedEnd'>, partitions: number) {
    this.#shared = shared
    this.#partitions = Array.from({ length: partitions }, () => ({
      underWay: 0,
      accepted: 0,
      committed: 0,
      marks: [],
      told: { committed: 0, end: 0 },
    }))
  }

  appending(partition: number, events: number): void {
    const lag = this.#partitions[partition]
    if (lag) lag.underWay += events
  }

  /** They came to lie in this record; without one, it is not known whether they did. */
  appended(partition: number, events: number, record?: number): void {
    const lag = this.#partitions[partition]
    if (!lag) return
    lag.underWay -= events
    if (record === undefined) return
    lag.accepted += events
    lag.marks.push({ record, events: lag.accepted })
    this.of(partition)
  }

  /** What the owner of a partition, another process, says about it. */
  told(partition: number, committed: number, end: number): void {
    const lag = this.#partitions[partition]
    if (lag) lag.told = { committed: Math.max(lag.told.committed, committed), end: Math.max(lag.told.end, end) }
  }

  of(partition: number): number {
    const lag = this.#partitions[partition]
    if (!lag) return 0
    const { marks, told } = lag
    const here = this.#shared.committedEnd(partition)
    // A partition that is not in this process holds nothing up in it: its end is none (shared.ts).
    const committed = Number.isFinite(here) ? Math.max(here, told.committed) : told.committed
    let passed = 0
    while (passed < marks.length && (marks[passed]?.record ?? 0) < committed) passed++
    if (passed > 0) {
      lag.committed = marks[passed - 1]?.events ?? 0
      marks.splice(0, passed)
    }
    const end = Number.isFinite(here) ? Math.max(this.#shared.appendedEnd(partition), told.end) : told.end
    const before = Math.max(0, (marks[0]?.record ?? end) - committed)
    return lag.underWay + before + lag.accepted - lag.committed
  }

  largest(): number {
    let largest = 0
    for (let p = 0; p < this.#partitions.length; p++) largest = Math.max(largest, this.of(p))
    return largest
  }
}
