// The least and the most: {"event": E, "within": W?, "min" | "max": path, comparators}. Over no events it is absent.
//
// Of two entries the older one matters only if it is more extreme, so what is kept is a staircase: from old to new the
// values get less extreme, and the first one inside a window is that window's extreme.
import type { Reader, Writer } from '../core/bytes.ts'
import type { Json } from '../core/event.ts'
import { Matcher } from './compare.ts'
import { isCountable } from './decimal.ts'
import type { AggregateCondition, Comparators } from './definition.ts'
import { durationMs } from './duration.ts'
import { type EventCondition, type Keep, MAX_ENTRIES, NEVER, NO_NEED, type Operator, type Reading, type Truth } from './operator.ts'
import { decodeLostAt, decodeTimes, encodeLostAt, encodeTimes, firstNewer, loseUpTo, placeOf } from './window.ts'

export interface ExtremeState {
  /** Of all time. */
  best: number
  times: number[]
  values: number[]
  /** Entries up to this instant were forgotten for lack of room. */
  lostAt: number
}

function comparatorsOf(condition: AggregateCondition): Comparators {
  const { event: _event, where: _where, within: _within, min: _min, max: _max, ...comparators } = condition
  return comparators
}

class WindowReading implements Reading<ExtremeState> {
  readonly need
  readonly whenEmpty: boolean
  readonly #windowMs: number
  readonly #matcher: Matcher

  constructor(windowMs: number, c: Comparators) {
    this.#windowMs = windowMs
    this.#matcher = new Matcher(c)
    this.need = { ...NO_NEED, windowMs }
    this.whenEmpty = this.#matcher.test(undefined, 0)
  }

  read({ times, values }: ExtremeState, now: number, out: Truth): void {
    let i = firstNewer(times, now - this.#windowMs)
    const holds = this.#matcher.test(values[i], now)
    out.holds = holds
    out.flipsAt = NEVER
    for (; i < times.length; i++) {
      if (this.#matcher.test(values[i + 1], now) === holds) continue
      out.flipsAt = (times[i] as number) + this.#windowMs
      return
    }
  }

  value({ times, values }: ExtremeState, now: number): number | undefined {
    return values[firstNewer(times, now - this.#windowMs)]
  }

  exact({ lostAt }: ExtremeState, now: number): boolean {
    return lostAt <= now - this.#windowMs
  }
}

class TotalReading implements Reading<ExtremeState> {
  readonly need = NO_NEED
  readonly whenEmpty: boolean
  readonly #matcher: Matcher

  constructor(c: Comparators) {
    this.#matcher = new Matcher(c)
    this.whenEmpty = this.#matcher.test(undefined, 0)
  }

  read({ best }: ExtremeState, now: number, out: Truth): void {
    out.holds = this.#matcher.test(best, now)
    out.flipsAt = NEVER
  }

  value({ best }: ExtremeState): number | undefined {
    return Number.isFinite(best) ? best : undefined
  }

  exact(): boolean {
    return true
  }
}

/** One of the two; `exceeds(a, b)` says that a is more extreme than b. */
function extreme(kind: 'min' | 'max', exceeds: (a: number, b: number) => boolean): Operator<ExtremeState> {
  const better = (a: number, b: number): number => (exceeds(a, b) ? a : b)

  function place(state: ExtremeState, at: number, value: number): void {
    const { times, values } = state
    const i = placeOf(times, at)
    // A newer entry that is as extreme outlives it.
    const newer = values[i]
    if (newer !== undefined && !exceeds(value, newer)) return
    const isTie = i > 0 && times[i - 1] === at
    if (isTie && !exceeds(value, values[i - 1] as number)) return
    let from = i
    while (from > 0 && !exceeds(values[from - 1] as number, value)) from--
    times.splice(from, i - from, at)
    values.splice(from, i - from, value)
  }

  function trim(state: ExtremeState, { need, now }: Keep): void {
    const expired = firstNewer(state.times, now - need.windowMs)
    const drop = Math.max(expired, state.times.length - MAX_ENTRIES)
    if (drop > expired) loseUpTo(state, state.times[drop - 1] as number)
    if (drop === 0) return
    state.times.splice(0, drop)
    state.values.splice(0, drop)
  }

  return {
    kind,
    takes: (condition) => kind in condition,
    path: (condition) => (condition as AggregateCondition)[kind],
    reading(condition: EventCondition) {
      const aggregate = condition as AggregateCondition
      const comparators = comparatorsOf(aggregate)
      return aggregate.within === undefined ? new TotalReading(comparators) : new WindowReading(durationMs(aggregate.within), comparators)
    },

    // An empty state's best is never compared: the entry that creates a state is added at once.
    empty: () => ({ best: kind === 'min' ? NEVER : -NEVER, times: [], values: [], lostAt: -NEVER }),
    counts: isCountable,
    add(state, at, value: Json, keep) {
      state.best = better(state.best, value as number)
      if (at <= keep.now - keep.need.windowMs) return
      place(state, at, value as number)
      trim(state, keep)
    },
    merge(into, from, keep) {
      into.best = better(into.best, from.best)
      into.lostAt = Math.max(into.lostAt, from.lostAt)
      for (const [i, at] of from.times.entries()) place(into, at, from.values[i] as number)
      trim(into, keep)
    },
    takeOver(fresh, old) {
      fresh.best = better(fresh.best, old.best)
    },

    encode(state, w: Writer) {
      w.f64(state.best)
      encodeTimes(state.times, w)
      for (const value of state.values) w.f64(value)
      encodeLostAt(state.lostAt, w)
    },
    decode(r: Reader) {
      const best = r.f64()
      const times = decodeTimes(r)
      const values = times.map(() => r.f64())
      return { best, times, values, lostAt: decodeLostAt(r) }
    },
  }
}

export const minimum = extreme('min', (a, b) => a < b)
export const maximum = extreme('max', (a, b) => a > b)
