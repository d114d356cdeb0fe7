// How many different: {"event": E, "within": W?, "distinct": path, comparators}. Over no events it is 0.
//
// Kept is each value with its newest time, and of these only as many of the newest as the largest threshold can tell apart:
// at least n different values within W holds exactly while the n-th newest of these times lies inside. All time is a window
// without end. Values are texts, numbers and booleans; "1" and 1 differ; lists and objects do not count.
import { hash } from 'node:crypto'
import type { Reader, Writer } from '../core/bytes.ts'
import type { Json } from '../core/event.ts'
import { Matcher } from './compare.ts'
import { entriesToldApart } from './count.ts'
import { isCountable } from './decimal.ts'
import type { AggregateCondition, Comparators } from './definition.ts'
import { durationMs } from './duration.ts'
import { type EventCondition, type Keep, MAX_ENTRIES, NEVER, NO_NEED, type Operator, type Reading, type Truth } from './operator.ts'
import { decodeLostAt, decodeTimes, encodeLostAt, encodeTimes, firstNewer, loseUpTo, placeOf } from './window.ts'

export interface DistinctState {
  /** Oldest first; `keys[i]` was last seen at `times[i]`. */
  times: number[]
  keys: string[]
  /** Values last seen up to this instant were forgotten for lack of room. */
  lostAt: number
}

const LONGEST_KEY = 40

/** Tells values apart, also of different types; long texts by their hash. */
function keyOf(value: Json): string {
  if (typeof value !== 'string') return `=${value}`
  return value.length <= LONGEST_KEY ? `"${value}` : `#${hash('sha256', value, 'base64').slice(0, 22)}`
}

function place(state: DistinctState, at: number, key: string): void {
  const { times, keys } = state
  const known = keys.indexOf(key)
  if (known >= 0) {
    if ((times[known] as number) >= at) return
    times.splice(known, 1)
    keys.splice(known, 1)
  }
  const i = placeOf(times, at)
  times.splice(i, 0, at)
  keys.splice(i, 0, key)
}

function trim(state: DistinctState, { need, now }: Keep): void {
  const expired = firstNewer(state.times, now - need.windowMs)
  const drop = Math.max(expired, state.times.length - Math.min(need.newest, MAX_ENTRIES))
  if (drop > expired && need.newest > MAX_ENTRIES) loseUpTo(state, state.times[drop - 1] as number)
  if (drop === 0) return
  state.times.splice(0, drop)
  state.keys.splice(0, drop)
}

class DistinctReading implements Reading<DistinctState> {
  readonly need
  readonly whenEmpty: boolean
  readonly #windowMs: number
  readonly #matcher: Matcher

  constructor(windowMs: number, c: Comparators) {
    this.#windowMs = windowMs
    this.#matcher = new Matcher(c)
    this.need = { ...NO_NEED, windowMs, newest: entriesToldApart(c) }
    this.whenEmpty = this.#matcher.test(0, 0)
  }

  read({ times }: DistinctState, now: number, out: Truth): void {
    let i = firstNewer(times, now - this.#windowMs)
    const told = this.need.newest
    const holds = this.#matcher.test(Math.min(times.length - i, told), now)
    out.holds = holds
    out.flipsAt = NEVER
    for (; i < times.length; i++) {
      if (times[i] === times[i + 1] || this.#matcher.test(Math.min(times.length - i - 1, told), now) === holds) continue
      out.flipsAt = (times[i] as number) + this.#windowMs
      return
    }
  }

  value({ times }: DistinctState, now: number): number {
    return times.length - firstNewer(times, now - this.#windowMs)
  }

  exact({ lostAt }: DistinctState, now: number): boolean {
    return lostAt <= now - this.#windowMs
  }
}

export const distinct: Operator<DistinctState> = {
  kind: 'distinct',
  takes: (condition) => 'distinct' in condition,
  path: (condition) => (condition as AggregateCondition).distinct,
  reading(condition: EventCondition) {
    const { event: _event, where: _where, distinct: _path, within, ...comparators } = condition as AggregateCondition
    return new DistinctReading(within === undefined ? NEVER : durationMs(within), comparators)
  },

  empty: () => ({ times: [], keys: [], lostAt: -NEVER }),
  counts: (value) => (typeof value === 'number' ? isCountable(value) : typeof value === 'string' || typeof value === 'boolean'),
  add(state, at, value, keep) {
    if (at <= keep.now - keep.need.windowMs) return
    place(state, at, keyOf(value))
    trim(state, keep)
  },
  merge(into, from, keep) {
    into.lostAt = Math.max(into.lostAt, from.lostAt)
    for (const [i, at] of from.times.entries()) place(into, at, from.keys[i] as string)
    trim(into, keep)
  },
  takeOver() {
    // Nothing: it keeps no total.
  },

  encode(state, w: Writer) {
    encodeTimes(state.times, w)
    for (const key of state.keys) w.text(key)
    encodeLostAt(state.lostAt, w)
  },
  decode(r: Reader) {
    const times = decodeTimes(r)
    const keys = times.map(() => r.text())
    return { times, keys, lostAt: decodeLostAt(r) }
  },
}
