// How much on average: {"event": E, "within": W?, "avg": path, comparators}. Over no events it is absent.
// It compares as sum against n · threshold, so nothing is rounded. Every entry of the window is kept.
import type { Reader, Writer } from '../core/bytes.ts'
import { compileQuotientTest, type QuotientTest } from './compare.ts'
import { type Decimal, decimalOf, decodeDecimals, encodeDecimals, isCountable, minus, numberOf, plus } from './decimal.ts'
import type { AggregateCondition, Comparators } from './definition.ts'
import { durationMs } from './duration.ts'
import { type EventCondition, type Keep, MAX_ENTRIES, NEVER, NO_NEED, type Operator, type Reading, type Truth } from './operator.ts'
import { mergeValues } from './sum.ts'
import { decodeLostAt, decodeTimes, encodeLostAt, encodeTimes, firstNewer, interleave, loseUpTo, placeOf } from './window.ts'

export interface AverageState {
  total: Decimal
  count: number
  times: number[]
  amounts: Decimal[]
  /** Entries up to this instant were forgotten for lack of room. */
  lostAt: number
}

function trim(state: AverageState, { need, now }: Keep): void {
  const expired = firstNewer(state.times, now - need.windowMs)
  const drop = Math.max(expired, state.times.length - MAX_ENTRIES)
  if (drop > expired) loseUpTo(state, state.times[drop - 1] as number)
  if (drop === 0) return
  state.times.splice(0, drop)
  state.amounts.splice(0, drop)
}

/** Compiles comparators of an average that may be absent (n = 0). */
function averageTest(c: Comparators): QuotientTest {
  const test = compileQuotientTest(c)
  const onlyAbsent = c.exists === false && Object.keys(c).length === 1
  return (sum, n) => (n === 0 ? onlyAbsent : test(sum, n))
}

class WindowReading implements Reading<AverageState> {
  readonly need
  readonly whenEmpty: boolean
  readonly #windowMs: number
  readonly #test: QuotientTest

  constructor(windowMs: number, c: Comparators) {
    this.#windowMs = windowMs
    this.#test = averageTest(c)
    this.need = { ...NO_NEED, windowMs }
    this.whenEmpty = this.#test(0, 0)
  }

  read({ times, amounts }: AverageState, now: number, out: Truth): void {
    let i = firstNewer(times, now - this.#windowMs)
    let sum: Decimal = 0
    for (let j = i; j < times.length; j++) sum = plus(sum, amounts[j] as Decimal)
    const holds = this.#test(sum, times.length - i)
    out.holds = holds
    out.flipsAt = NEVER
    for (; i < times.length; i++) {
      sum = minus(sum, amounts[i] as Decimal)
      if (times[i] === times[i + 1] || this.#test(sum, times.length - i - 1) === holds) continue
      out.flipsAt = (times[i] as number) + this.#windowMs
      return
    }
  }

  value({ times, amounts }: AverageState, now: number): number | undefined {
    const inside = amounts.slice(firstNewer(times, now - this.#windowMs))
    return inside.length === 0 ? undefined : numberOf(inside.reduce(plus, 0)) / inside.length
  }

  exact({ lostAt }: AverageState, now: number): boolean {
    return lostAt <= now - this.#windowMs
  }
}

class TotalReading implements Reading<AverageState> {
  readonly need = NO_NEED
  readonly whenEmpty: boolean
  readonly #test: QuotientTest

  constructor(c: Comparators) {
    this.#test = averageTest(c)
    this.whenEmpty = this.#test(0, 0)
  }

  read({ total, count }: AverageState, _now: number, out: Truth): void {
    out.holds = this.#test(total, count)
    out.flipsAt = NEVER
  }

  value({ total, count }: AverageState): number | undefined {
    return count === 0 ? undefined : numberOf(total) / count
  }

  exact(): boolean {
    return true
  }
}

export const average: Operator<AverageState> = {
  kind: 'avg',
  takes: (condition) => 'avg' in condition,
  path: (condition) => (condition as AggregateCondition).avg,
  reading(condition: EventCondition) {
    const { event: _event, where: _where, avg: _path, within, ...comparators } = condition as AggregateCondition
    return within === undefined ? new TotalReading(comparators) : new WindowReading(durationMs(within), comparators)
  },

  empty: () => ({ total: 0, count: 0, times: [], amounts: [], lostAt: -NEVER }),
  counts: isCountable,
  add(state, at, value, keep) {
    const amount = decimalOf(value as number)
    state.total = plus(state.total, amount)
    state.count++
    if (at <= keep.now - keep.need.windowMs) return
    const place = placeOf(state.times, at)
    state.times.splice(place, 0, at)
    state.amounts.splice(place, 0, amount)
    trim(state, keep)
  },
  merge(into, from, keep) {
    into.total = plus(into.total, from.total)
    into.count += from.count
    into.lostAt = Math.max(into.lostAt, from.lostAt)
    mergeValues(into.amounts, from.amounts, interleave(into.times, from.times))
    trim(into, keep)
  },
  takeOver(fresh, old) {
    fresh.total = old.total
    fresh.count = old.count
  },

  encode(state, w: Writer) {
    w.varint(state.count)
    encodeDecimals([state.total], w)
    encodeTimes(state.times, w)
    encodeDecimals(state.amounts, w)
    encodeLostAt(state.lostAt, w)
  },
  decode(r: Reader) {
    const count = r.varint()
    const [total = 0] = decodeDecimals(r, 1)
    const times = decodeTimes(r)
    return { total, count, times, amounts: decodeDecimals(r, times.length), lostAt: decodeLostAt(r) }
  },
}
