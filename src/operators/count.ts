// How often: {"event": E, "within": W?, "count": comparators}. The default is at least once; {"eq": 0} is "did not".
//
// The newest N times decide: at least n within W holds exactly while the n-th newest time lies inside. So it suffices to keep
// as many as the largest threshold can tell apart. All time needs the total only.
import type { Reader, Writer } from '../core/bytes.ts'
import { Matcher, numbersIn, onlyAtLeast } from './compare.ts'
import type { Comparators, CountCondition } from './definition.ts'
import { durationMs } from './duration.ts'
import { type EventCondition, type Keep, MAX_ENTRIES, NEVER, NO_NEED, type Operator, type Reading, type Truth } from './operator.ts'
import { decodeLostAt, decodeTimes, encodeLostAt, encodeTimes, firstNewer, interleave, loseUpTo, placeOf } from './window.ts'

export interface CountState {
  total: number
  /** The newest within the longest window, oldest first. */
  times: number[]
  /** Entries up to this instant were forgotten for lack of room. */
  lostAt: number
}

/** How many of the newest entries these comparators of a whole number can tell apart. */
export function entriesToldApart(c: Comparators): number {
  const least = onlyAtLeast(c)
  if (least !== undefined) return Math.max(0, Math.ceil(least))
  return Math.max(0, Math.floor(Math.max(-1, ...numbersIn(c))) + 1)
}

function trim(state: CountState, { need, now }: Keep): void {
  const { times } = state
  const room = Math.min(need.newest, MAX_ENTRIES)
  const expired = firstNewer(times, now - need.windowMs)
  const drop = Math.max(expired, times.length - room)
  if (drop === 0) return
  if (drop > expired && need.newest > MAX_ENTRIES) loseUpTo(state, times[drop - 1] as number)
  times.splice(0, drop)
}

/** The count within a window, as far as the kept entries tell. */
class WindowReading implements Reading<CountState> {
  readonly need
  readonly whenEmpty: boolean
  readonly #windowMs: number
  readonly #matcher: Matcher
  readonly #least: number | undefined

  constructor(windowMs: number, c: Comparators) {
    this.#windowMs = windowMs
    this.#matcher = new Matcher(c)
    this.need = { ...NO_NEED, windowMs, newest: entriesToldApart(c) }
    this.whenEmpty = this.#matcher.test(0, 0)
    const least = onlyAtLeast(c)
    this.#least = least === undefined || least <= 0 ? undefined : Math.ceil(least)
  }

  read({ times }: CountState, now: number, out: Truth): void {
    if (this.#least !== undefined) {
      const decider = times[times.length - this.#least]
      out.holds = decider !== undefined && decider > now - this.#windowMs
      out.flipsAt = out.holds ? (decider as number) + this.#windowMs : NEVER
      return
    }
    let i = firstNewer(times, now - this.#windowMs)
    const told = this.need.newest
    const holds = this.#matcher.test(Math.min(times.length - i, told), now)
    out.holds = holds
    out.flipsAt = NEVER
    for (; i < times.length; i++) {
      // The entries that expire together with this one leave together.
      if (times[i] === times[i + 1] || this.#matcher.test(Math.min(times.length - i - 1, told), now) === holds) continue
      out.flipsAt = (times[i] as number) + this.#windowMs
      return
    }
  }

  value({ times }: CountState, now: number): number {
    return times.length - firstNewer(times, now - this.#windowMs)
  }

  exact({ lostAt }: CountState, now: number): boolean {
    return lostAt <= now - this.#windowMs
  }
}

class TotalReading implements Reading<CountState> {
  readonly need = NO_NEED
  readonly whenEmpty: boolean
  readonly #matcher: Matcher

  constructor(c: Comparators) {
    this.#matcher = new Matcher(c)
    this.whenEmpty = this.#matcher.test(0, 0)
  }

  read({ total }: CountState, now: number, out: Truth): void {
    out.holds = this.#matcher.test(total, now)
    out.flipsAt = NEVER
  }

  value({ total }: CountState): number {
    return total
  }

  exact(): boolean {
    return true
  }
}

const AT_LEAST_ONCE: Comparators = { gte: 1 }

export const count: Operator<CountState> = {
  kind: 'count',
  // The plain form: whatever no other operator takes (registry.ts asks it last).
  takes: () => true,
  path: () => undefined,
  reading(condition: EventCondition) {
    const { within, count: comparators = AT_LEAST_ONCE } = condition as CountCondition
    return within === undefined ? new TotalReading(comparators) : new WindowReading(durationMs(within), comparators)
  },

  empty: () => ({ total: 0, times: [], lostAt: Number.NEGATIVE_INFINITY }),
  counts: () => true,
  add(state, at, _value, keep) {
    state.total++
    if (at <= keep.now - keep.need.windowMs) return
    const place = placeOf(state.times, at)
    if (place === state.times.length) state.times.push(at)
    else state.times.splice(place, 0, at)
    trim(state, keep)
  },
  merge(into, from, keep) {
    into.total += from.total
    into.lostAt = Math.max(into.lostAt, from.lostAt)
    interleave(into.times, from.times)
    trim(into, keep)
  },
  takeOver(fresh, old) {
    fresh.total = old.total
  },

  encode(state, w: Writer) {
    w.varint(state.total)
    encodeTimes(state.times, w)
    encodeLostAt(state.lostAt, w)
  },
  decode(r: Reader) {
    return { total: r.varint(), times: decodeTimes(r), lostAt: decodeLostAt(r) }
  },
}
