// How much: {"event": E, "within": W?, "sum": path, comparators}, exact in decimal. Over no events it is 0.
//
// While no amount is negative, the newest entries whose sum exceeds the highest threshold decide: a window that reaches
// further back has a sum above that as well, and above the highest threshold no comparator tells sums apart. So older entries
// are forgotten. A negative amount breaks this: where one meets a state that has forgotten, the state is rebuilt (cannotAdd),
// and while one is kept nothing is forgotten.
import type { Reader, Writer } from '../core/bytes.ts'
import { compileQuotientTest, numbersIn, onlyAtLeast, type QuotientTest } from './compare.ts'
import {
  compareTimes,
  type Decimal,
  decimalOf,
  decodeDecimals,
  encodeDecimals,
  isCountable,
  minus,
  numberOf,
  plus,
  type Threshold,
  thresholdOf,
} from './decimal.ts'
import type { AggregateCondition, Comparators } from './definition.ts'
import { durationMs } from './duration.ts'
import { type EventCondition, type Keep, MAX_ENTRIES, NEVER, NO_NEED, type Operator, type Reading, type Truth } from './operator.ts'
import { decodeLostAt, decodeTimes, encodeLostAt, encodeTimes, firstNewer, interleave, loseUpTo, placeOf } from './window.ts'

export interface SumState {
  total: Decimal
  times: number[]
  amounts: Decimal[]
  /** Of the amounts kept. */
  kept: Decimal
  /** How many of the amounts kept are negative. */
  negatives: number
  /** Entries up to this instant were forgotten because they make no difference among amounts that are not negative. */
  forgottenAt: number
  /** Entries up to this instant were forgotten for lack of room. */
  lostAt: number
}

function drop(state: SumState, entries: number): void {
  if (entries === 0) return
  for (const amount of state.amounts.splice(0, entries)) {
    state.kept = minus(state.kept, amount)
    if (amount < 0) state.negatives--
  }
  state.times.splice(0, entries)
}

function trim(state: SumState, { need, now }: Keep): void {
  drop(state, firstNewer(state.times, now - need.windowMs))
  if (state.negatives === 0 && need.ceiling < NEVER) {
    let spare = 0
    // Rounding up keeps an entry too many at worst.
    const ceiling = need.ceiling + Math.abs(need.ceiling) * 1e-9
    let rest = state.kept
    while (spare < state.times.length) {
      rest = minus(rest, state.amounts[spare] as Decimal)
      if (numberOf(rest) <= ceiling) break
      spare++
    }
    if (spare > 0) state.forgottenAt = Math.max(state.forgottenAt, state.times[spare - 1] as number)
    drop(state, spare)
  }
  const excess = state.times.length - MAX_ENTRIES
  if (excess > 0) {
    loseUpTo(state, state.times[excess - 1] as number)
    drop(state, excess)
  }
}

const hasForgotten = (state: SumState, { need, now }: Keep): boolean => state.forgottenAt > now - need.windowMs

/** Where a state that has forgotten takes a negative amount all the same (there was no timeline), it says that it lacks entries. */
function admitGaps(state: SumState, keep: Keep): void {
  if (state.negatives > 0 && hasForgotten(state, keep) && state.lostAt < state.forgottenAt) loseUpTo(state, state.forgottenAt)
}

class WindowReading implements Reading<SumState> {
  readonly need
  readonly whenEmpty: boolean
  readonly #windowMs: number
  readonly #test: QuotientTest
  readonly #least: Threshold | undefined

  constructor(windowMs: number, c: Comparators) {
    this.#windowMs = windowMs
    this.#test = compileQuotientTest(c)
    this.need = { ...NO_NEED, windowMs, ceiling: Math.max(0, ...numbersIn(c)) }
    this.whenEmpty = this.#test(0, 1)
    const least = onlyAtLeast(c)
    this.#least = least === undefined || least <= 0 ? undefined : thresholdOf(least)
  }

  read(state: SumState, now: number, out: Truth): void {
    if (this.#least !== undefined && state.negatives === 0) this.#readLeast(state, this.#least, now, out)
    else this.#readAny(state, now, out)
  }

  /** "At least so much" of amounts none of which is negative: the newest entries that reach it decide. */
  #readLeast({ times, amounts }: SumState, least: Threshold, now: number, out: Truth): void {
    const edge = now - this.#windowMs
    let sum: Decimal = 0
    for (let i = times.length - 1; i >= 0 && (times[i] as number) > edge; i--) {
      sum = plus(sum, amounts[i] as Decimal)
      if (compareTimes(sum, 1, least) >= 0) {
        out.holds = true
        out.flipsAt = (times[i] as number) + this.#windowMs
        return
      }
    }
    out.holds = false
    out.flipsAt = NEVER
  }

  #readAny({ times, amounts }: SumState, now: number, out: Truth): void {
    let i = firstNewer(times, now - this.#windowMs)
    let sum: Decimal = 0
    for (let j = i; j < times.length; j++) sum = plus(sum, amounts[j] as Decimal)
    const holds = this.#test(sum, 1)
    out.holds = holds
    out.flipsAt = NEVER
    for (; i < times.length; i++) {
      sum = minus(sum, amounts[i] as Decimal)
      if (times[i] === times[i + 1] || this.#test(sum, 1) === holds) continue
      out.flipsAt = (times[i] as number) + this.#windowMs
      return
    }
  }

  value({ times, amounts }: SumState, now: number): number {
    return numberOf(amounts.slice(firstNewer(times, now - this.#windowMs)).reduce(plus, 0))
  }

  exact({ lostAt }: SumState, now: number): boolean {
    return lostAt <= now - this.#windowMs
  }
}

class TotalReading implements Reading<SumState> {
  readonly need = NO_NEED
  readonly whenEmpty: boolean
  readonly #test: QuotientTest

  constructor(c: Comparators) {
    this.#test = compileQuotientTest(c)
    this.whenEmpty = this.#test(0, 1)
  }

  read({ total }: SumState, _now: number, out: Truth): void {
    out.holds = this.#test(total, 1)
    out.flipsAt = NEVER
  }

  value({ total }: SumState): number {
    return numberOf(total)
  }

  exact(): boolean {
    return true
  }
}

export const sum: Operator<SumState> = {
  kind: 'sum',
  takes: (condition) => 'sum' in condition,
  path: (condition) => (condition as AggregateCondition).sum,
  reading(condition: EventCondition) {
    const { event: _event, where: _where, sum: _path, within, ...comparators } = condition as AggregateCondition
    return within === undefined ? new TotalReading(comparators) : new WindowReading(durationMs(within), comparators)
  },

  empty: () => ({ total: 0, times: [], amounts: [], kept: 0, negatives: 0, forgottenAt: -NEVER, lostAt: -NEVER }),
  counts: isCountable,
  add(state, at, value, keep) {
    const amount = decimalOf(value as number)
    state.total = plus(state.total, amount)
    if (at <= keep.now - keep.need.windowMs) return
    const place = placeOf(state.times, at)
    state.times.splice(place, 0, at)
    state.amounts.splice(place, 0, amount)
    state.kept = plus(state.kept, amount)
    if (amount < 0) state.negatives++
    admitGaps(state, keep)
    trim(state, keep)
  },
  merge(into, from, keep) {
    into.total = plus(into.total, from.total)
    into.kept = plus(into.kept, from.kept)
    into.negatives += from.negatives
    into.forgottenAt = Math.max(into.forgottenAt, from.forgottenAt)
    into.lostAt = Math.max(into.lostAt, from.lostAt)
    mergeValues(into.amounts, from.amounts, interleave(into.times, from.times))
    admitGaps(into, keep)
    trim(into, keep)
  },
  cannotAdd: (state, value, keep) => (value as number) < 0 && hasForgotten(state, keep),
  isHarmless: (value) => (value as number) >= 0,
  cannotMerge: (into, from, keep) => into.negatives + from.negatives > 0 && (hasForgotten(into, keep) || hasForgotten(from, keep)),
  takeOver(fresh, old) {
    fresh.total = old.total
  },

  encode(state, w: Writer) {
    encodeDecimals([state.total], w)
    encodeTimes(state.times, w)
    if (state.times.length > 0) encodeDecimals(state.amounts, w)
    encodeLostAt(state.forgottenAt, w)
    encodeLostAt(state.lostAt, w)
  },
  decode(r: Reader) {
    const [total = 0] = decodeDecimals(r, 1)
    const times = decodeTimes(r)
    const amounts = times.length > 0 ? decodeDecimals(r, times.length) : []
    const negatives = amounts.filter((amount) => amount < 0).length
    return { total, times, amounts, kept: amounts.reduce(plus, 0), negatives, forgottenAt: decodeLostAt(r), lostAt: decodeLostAt(r) }
  },
}

/** Merges values in the order that `interleave` has found for their times. */
export function mergeValues<V>(into: V[], from: readonly V[], isFrom: readonly boolean[]): void {
  const old = into.splice(0)
  let [i, j] = [0, 0]
  for (const other of isFrom) into.push((other ? from[j++] : old[i++]) as V)
}
