// Comparators. They never coerce: "10" is not 10, and values of different types have no order. Texts compare by code point.
// Absent and null satisfy only exists:false. All comparators of one condition must hold for the same value.
import type { Json } from '../core/event.ts'
import { compareTimes, type Decimal, thresholdOf } from './decimal.ts'
import type { Comparators, Scalar } from './definition.ts'
import { durationMs, instantOf } from './duration.ts'
import { Several } from './path.ts'
import { compilePattern } from './regex.ts'

/** UTF-16 puts the code points beyond 0xFFFF (its surrogates) below 0xE000; this puts them above. */
const unitRank = (unit: number): number => (unit >= 0xe000 ? unit - 0x800 : unit >= 0xd800 ? unit + 0x2000 : unit)

/** The order of texts by code point: negative, 0 or positive. */
export function compareTexts(a: string, b: string): number {
  if (a === b) return 0
  const shared = Math.min(a.length, b.length)
  let i = 0
  while (i < shared && a.charCodeAt(i) === b.charCodeAt(i)) i++
  if (i === shared) return a.length - b.length
  return unitRank(a.charCodeAt(i)) - unitRank(b.charCodeAt(i))
}

/** The order of two values: NaN where they have none. */
export function compareValues(a: Json, b: Scalar): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b
  if (typeof a === 'string' && typeof b === 'string') return compareTexts(a, b)
  return Number.NaN
}

/** A test of a value that is there. */
type Test = (value: Json, now: number) => boolean
type TestName = Exclude<keyof Comparators, 'exists'>
type Makers = { readonly [Name in TestName]: (argument: NonNullable<Comparators[Name]>) => Test }

const ofText =
  (holds: (text: string) => boolean): Test =>
  (value) =>
    typeof value === 'string' && holds(value)

const MAKERS: Makers = {
  eq: (x) => (value) => value === x,
  neq: (x) => (value) => value !== x,
  lt: (x) => (value) => compareValues(value, x) < 0,
  lte: (x) => (value) => compareValues(value, x) <= 0,
  gt: (x) => (value) => compareValues(value, x) > 0,
  gte: (x) => (value) => compareValues(value, x) >= 0,
  between:
    ([low, high]) =>
    (value) =>
      compareValues(value, low) >= 0 && compareValues(value, high) <= 0,
  in: (list) => {
    const known = new Set<Json>(list)
    return (value) => known.has(value)
  },
  notIn: (list) => {
    const known = new Set<Json>(list)
    return (value) => !known.has(value)
  },
  contains: (x) => (value) =>
    Array.isArray(value) ? value.includes(x) : typeof value === 'string' && typeof x === 'string' && value.includes(x),
  startsWith: (x) => ofText((text) => text.startsWith(x)),
  endsWith: (x) => ofText((text) => text.endsWith(x)),
  matches: (pattern) => {
    const compiled = compilePattern(pattern)
    return ofText((text) => compiled.test(text))
  },
  withinLast: (duration) => {
    const windowMs = durationMs(duration)
    return (value, now) => isBetween(instantOf(value), now - windowMs + 1, now)
  },
  beforeLast: (duration) => {
    const windowMs = durationMs(duration)
    return (value, now) => instantOf(value) <= now - windowMs
  },
  withinNext: (duration) => {
    const windowMs = durationMs(duration)
    return (value, now) => isBetween(instantOf(value), now + 1, now + windowMs - 1)
  },
  before: (text) => {
    const limit = instantOf(text)
    return (value) => instantOf(value) < limit
  },
  after: (text) => {
    const limit = instantOf(text)
    return (value) => instantOf(value) > limit
  },
}

/** Both ends belong to it; NaN lies nowhere. */
const isBetween = (x: number, low: number, high: number): boolean => x >= low && x <= high

const TEST_NAMES = Object.keys(MAKERS) as TestName[]

function makeTest<Name extends TestName>(name: Name, c: Comparators): Test | undefined {
  const argument = c[name]
  return argument === undefined ? undefined : MAKERS[name](argument as NonNullable<Comparators[Name]>)
}

/** Some comparators, compiled. */
export class Matcher {
  readonly #tests: readonly Test[]
  readonly #exists: boolean | undefined
  /** The windows of comparators that look at the clock. */
  readonly #agesMs: readonly number[]

  constructor(c: Comparators) {
    this.#tests = TEST_NAMES.map((name) => makeTest(name, c)).filter((test) => test !== undefined)
    this.#exists = c.exists
    this.#agesMs = [c.withinLast, c.beforeLast, c.withinNext].filter((text) => text !== undefined).map(durationMs)
  }

  /** Tests one value, at `now` where dates are compared with the clock. */
  test(value: Json | undefined, now: number): boolean {
    if (value === undefined || value === null) return this.#exists === false && this.#tests.length === 0
    if (this.#exists === false) return false
    for (const test of this.#tests) if (!test(value, now)) return false
    return true
  }

  /** Tests what a path has reached: any of its values. */
  any(reached: Json | Several | undefined, now: number): boolean {
    if (!(reached instanceof Several)) return this.test(reached, now)
    if (reached.values.length === 0) return this.test(undefined, now)
    return reached.values.some((value) => this.test(value, now))
  }

  get looksAtClock(): boolean {
    return this.#agesMs.length > 0
  }

  /** The instants at which the clock alone may change the test of a value. */
  changesOf(value: Json): number[] {
    const instant = instantOf(value)
    if (Number.isNaN(instant)) return []
    const changes = [instant]
    for (const ageMs of this.#agesMs) changes.push(instant + ageMs, instant - ageMs + 1)
    return changes
  }
}

/** A test of sum / n, exactly: how sums (n = 1) and averages compare. */
export type QuotientTest = (sum: Decimal, n: number) => boolean

/** Compiles comparators for an exact number that is always there. Comparators for texts, lists and dates never hold. */
export function compileQuotientTest(c: Comparators): QuotientTest {
  const tests: QuotientTest[] = []
  const order = (x: Scalar | undefined, holds: (sign: number) => boolean): void => {
    if (x === undefined) return
    if (typeof x !== 'number') tests.push(() => holds(Number.NaN))
    else {
      const threshold = thresholdOf(x)
      tests.push((sum, n) => holds(compareTimes(sum, n, threshold)))
    }
  }
  order(c.eq, (sign) => sign === 0)
  order(c.neq, (sign) => sign !== 0)
  order(c.lt, (sign) => sign < 0)
  order(c.lte, (sign) => sign <= 0)
  order(c.gt, (sign) => sign > 0)
  order(c.gte, (sign) => sign >= 0)
  order(c.between?.[0], (sign) => sign >= 0)
  order(c.between?.[1], (sign) => sign <= 0)
  for (const x of c.notIn ?? []) order(x, (sign) => sign !== 0)
  const known = c.in?.filter((x) => typeof x === 'number').map(thresholdOf)
  if (known) tests.push((sum, n) => known.some((threshold) => compareTimes(sum, n, threshold) === 0))
  const others = [c.contains, c.startsWith, c.endsWith, c.matches, c.withinLast, c.beforeLast, c.withinNext, c.before, c.after]
  if (c.exists === false || others.some((x) => x !== undefined)) tests.push(() => false)
  return (sum, n) => tests.every((test) => test(sum, n))
}

/** All numbers that a value is compared with: above the largest, no comparator tells values apart. */
export function numbersIn(c: Comparators): number[] {
  const scalars = [c.eq, c.neq, c.lt, c.lte, c.gt, c.gte, ...(c.between ?? []), ...(c.in ?? []), ...(c.notIn ?? [])]
  return scalars.filter((x) => typeof x === 'number')
}

/** The bound of comparators that are nothing but "at least so much", else undefined. */
export function onlyAtLeast(c: Comparators): number | undefined {
  return typeof c.gte === 'number' && Object.keys(c).length === 1 ? c.gte : undefined
}
