// What a partition has taken in of each origin (a partition of a user's topic that a source reads), so that a record counts once however
// late it comes again. Owns the rows of kind `k`; when they are written is the commit's business.
//
// A record is known by its leader and offset, for good: under one leader a partition only grows. A reader starts somewhere (its `from`)
// and appends what it reads in order, nothing of a chunk before all of the chunk before it is durable. It may be late: one that was
// overtaken can still append what the next owner has appended as well, and requests in doubt may arrive at any time, or twice. Even so,
// whichever append brings the message at x to this partition's log first, its reader has before that brought all from its `from` up to x
// that belongs here. Hence, in the order of this log:
//
// 1. When a message at x comes with `from` f, all in [f, x) that belongs here has come before. So [f, x] is taken from then on, by
//    whichever reader. A stretch is such an interval.
// 2. What lies within a stretch is a repeat; what lies in none has not been taken. So nothing counts twice and nothing is lost, and no
//    reader has to be fenced: what a late one appends either lies in a stretch, or is new.
// 3. Two stretches become one only where they overlap: between them may lie what nobody has read, as the positions of a group can be moved.
// 4. Beyond STRETCHES_KEPT of an origin the oldest is forgotten: what lies there would count again if it came again, rather than be lost.
import { Reader, unsortable, Writer } from '../core/bytes.ts'
import { comparePlaces, ORIGIN_KEY_BYTES, type OriginKey, type OriginPlace, type Reading } from '../core/origin.ts'
import type { RowBlock } from '../state/row-block.ts'
import { LEADER_BYTES, OFFSET_BYTES, originRowKey } from './keys.ts'

/** A new reader or leader begins one, unless it overlaps. */
export const STRETCHES_KEPT = 256

interface Stretch {
  readonly leader: number
  readonly from: number
  through: OriginPlace
}

const w = new Writer(32)

export class Origins {
  /** By leader and `from`. */
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
    const through = { offset: r.varint(), index: r.varint() }
    const behindOrigin = 1 + ORIGIN_KEY_BYTES
    const leader = unsortable(rowKey, behindOrigin, LEADER_BYTES)
    const from = unsortable(rowKey, behindOrigin + LEADER_BYTES, OFFSET_BYTES)
    this.#of(rowKey.slice(1, behindOrigin)).push({ leader, from, through })
  }

  /** Notes that the message at a place has come. False for a repeat (2). */
  take({ origin, leader, from }: Reading, place: OriginPlace): boolean {
    const stretches = this.#of(origin)
    // Usually the last one: that of the newest reader.
    for (let i = stretches.length - 1; i >= 0; i--) {
      const s = stretches[i] as Stretch
      if (s.leader === leader && s.from <= place.offset && comparePlaces(place, s.through) <= 0) return false
    }
    const at = stretches.findLastIndex((s) => s.leader === leader && s.from <= from && (s.from === from || from <= s.through.offset))
    const own = stretches[at]
    const above = stretches[at + 1]
    if (own && (above === undefined || above.leader > leader || above.from > place.offset)) {
      own.through = place
      this.#changed.set(own, origin)
    } else this.#unite(origin, stretches, { leader, from, through: place })
    return true
  }

  /** (3) */
  #unite(origin: OriginKey, stretches: readonly Stretch[], { leader, from: said, through }: Stretch): void {
    let from = said
    const all: Stretch[] = []
    for (const s of stretches) {
      if (s.leader === leader && s.from <= through.offset && said <= s.through.offset) {
        from = Math.min(from, s.from)
        this.#forget(origin, s)
      } else all.push(s)
    }
    const united = { leader, from, through }
    this.#changed.set(united, origin)
    all.push(united)
    all.sort((a, b) => a.leader - b.leader || a.from - b.from)
    // (4)
    const oldest = all.length > STRETCHES_KEPT ? all.shift() : undefined
    if (oldest) this.#forget(origin, oldest)
    this.#stretches.set(origin, all)
  }

  #forget(origin: OriginKey, stretch: Stretch): void {
    this.#changed.delete(stretch)
    this.#gone.push(originRowKey(origin, stretch.leader, stretch.from))
  }

  /** Puts what has changed since the last time. */
  write(rows: RowBlock): void {
    for (const key of this.#gone) rows.put(key, undefined)
    this.#gone = []
    for (const [{ leader, from, through }, origin] of this.#changed) {
      w.reset().varint(through.offset).varint(through.index)
      rows.putWritten(originRowKey(origin, leader, from), w)
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
