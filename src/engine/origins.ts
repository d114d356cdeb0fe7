// What a partition has taken in of each origin (a partition of a user's topic that a source reads), so that a record counts once however
// late it comes again. Owns the rows of kind `k`; when they are written is the commit's business.
//
// A reader starts somewhere (its `from`), and appends what it reads in order; nothing of a chunk before all of the chunk before it is
// durable. It may be late: one that was overtaken can still append what the next owner has appended as well, and requests in doubt may
// arrive at any time. Even so, whatever reader first brings the record at place x to this partition has before that brought, or knows that
// it had brought, all between its `from` and x that belongs here. Hence, in the order of this partition's log:
//
// 1. When a message at x with `from` f comes, all in [f, x) that belongs here has come before. So [f, x] is taken from then on, by
//    whichever reader; a stretch is the greatest known such interval.
// 2. What lies within a stretch is a repeat. What lies outside of all has not been taken: a reader that is late appends only what lies in
//    the stretch of another one, or what nobody has brought. So nothing counts twice, nothing is lost, and no reader has to be fenced.
// 3. Two stretches become one only where they overlap in one leader's records: between them may lie what nobody has read, because the
//    positions of a group were moved by hand, or because a cluster has lost records and used their offsets again.
// 4. Beyond STRETCHES_KEPT the lowest is forgotten: what lies there would count again if it came again, rather than be lost.
import { Reader, unsortable, Writer } from '../core/bytes.ts'
import { comparePlaces, ORIGIN_KEY_BYTES, type OriginKey, type OriginPlace } from '../core/origin.ts'
import type { RowBlock } from '../state/row-block.ts'
import { originRowKey } from './keys.ts'

/** One reader's begins one; hand-overs in good order leave two that don't overlap. */
export const STRETCHES_KEPT = 256

interface Stretch {
  from: number
  through: OriginPlace
}

/** A message's place, and what its reader says of those before it. */
export interface OriginEvent {
  readonly origin: OriginKey
  readonly from: number
  readonly place: OriginPlace
}

const w = new Writer(32)

export class Origins {
  /** By `from`. */
  readonly #stretches = new Map<OriginKey, Stretch[]>()
  /** Not written yet, and rows to be deleted before. */
  readonly #changed = new Map<Stretch, OriginKey>()
  #gone: string[] = []

  /** Forgets all, to be loaded again. */
  clear(): void {
    this.#stretches.clear()
    this.#changed.clear()
    this.#gone = []
  }

  /** Rows come in the order of their keys. */
  load(rowKey: string, value: Buffer): void {
    const r = new Reader(value)
    const through = { leader: r.varint(), offset: r.varint(), index: r.varint() }
    const origin = rowKey.slice(1, 1 + ORIGIN_KEY_BYTES)
    this.#of(origin).push({ from: unsortable(rowKey, 1 + ORIGIN_KEY_BYTES), through })
  }

  /** Notes that a message has come. False for a repeat (2). */
  take({ origin, from, place }: OriginEvent): boolean {
    const stretches = this.#of(origin)
    for (const s of stretches) if (s.from <= place.offset && comparePlaces(place, s.through) <= 0) return false
    const at = stretches.findLastIndex((s) => s.from === from || (s.from < from && overlap(s, from, place)))
    const own = stretches[at]
    const above = stretches[at + 1]
    if (own && (above === undefined || above.from > place.offset)) {
      own.through = place
      this.#changed.set(own, origin)
    } else this.#unite(origin, stretches, { from, through: place })
    return true
  }

  #unite(origin: OriginKey, stretches: readonly Stretch[], { from, through: place }: Stretch): void {
    const united = { from, through: place }
    const apart: Stretch[] = []
    for (const s of stretches) {
      const isWithin = s.from >= from && comparePlaces(s.through, place) <= 0
      if (isWithin || overlap(s, from, place)) {
        united.from = Math.min(united.from, s.from)
        this.#forget(origin, s)
      } else apart.push(s)
    }
    this.#changed.set(united, origin)
    apart.push(united)
    apart.sort((a, b) => a.from - b.from)
    // (4)
    const lowest = apart.length > STRETCHES_KEPT ? apart.shift() : undefined
    if (lowest) this.#forget(origin, lowest)
    this.#stretches.set(origin, apart)
  }

  #forget(origin: OriginKey, stretch: Stretch): void {
    this.#changed.delete(stretch)
    this.#gone.push(originRowKey(origin, stretch.from))
  }

  /** Puts what has changed since the last time. */
  write(rows: RowBlock): void {
    for (const key of this.#gone) rows.put(key, undefined)
    this.#gone = []
    for (const [{ from, through }, origin] of this.#changed) {
      w.reset().varint(through.leader).varint(through.offset).varint(through.index)
      rows.putWritten(originRowKey(origin, from), w)
    }
    this.#changed.clear()
  }

  #of(origin: OriginKey): Stretch[] {
    const known = this.#stretches.get(origin)
    if (known) return known
    const fresh: Stretch[] = []
    this.#stretches.set(origin, fresh)
    return fresh
  }
}

/** (3): of a stretch, and of what a message at `place` says to have come since `from`. */
function overlap(s: Stretch, from: number, place: OriginPlace): boolean {
  return s.through.leader === place.leader && s.from <= place.offset && from <= s.through.offset
}
