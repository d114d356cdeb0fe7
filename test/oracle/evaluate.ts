// The naive evaluator: whether a definition holds for a list of events and some traits at an instant, read straight off the
// grammar. It shares no code with src/operators: not the paths, not the comparisons, not the decimals, not the dates.
import { RE2JS } from 're2js'
import type { Json, JsonObject } from '../../src/core/event.ts'
import type { Comparators, Scalar, Where } from '../../src/operators/definition.ts'

export interface CountedEvent {
  readonly name: string
  /** When it happened, ms. */
  readonly at: number
  /** The whole message; paths of filters and measures start here. */
  readonly message: JsonObject
}

export interface Facts {
  /** In any order. Those after `now` are passed over. */
  readonly events: readonly CountedEvent[]
  readonly traits: ReadonlyMap<string, Json>
}

/** All keys that any kind of condition may have; only this file needs them in one type. */
interface AnyCondition extends Comparators {
  readonly trait?: string
  readonly event?: string | readonly string[]
  readonly where?: { readonly [path: string]: Comparators | Scalar }
  readonly within?: string
  readonly count?: Comparators
  readonly sum?: string
  readonly avg?: string
  readonly min?: string
  readonly max?: string
  readonly distinct?: string
  readonly first?: { readonly within?: string; readonly before?: string }
  readonly last?: { readonly within?: string; readonly before?: string }
}

export function holds(where: Where, facts: Facts, now: number): boolean {
  if ('all' in where) return where.all.every((part) => holds(part, facts, now))
  if ('any' in where) return where.any.some((part) => holds(part, facts, now))
  if ('not' in where) return !holds(where.not, facts, now)
  const c = where as AnyCondition
  return c.trait === undefined ? eventHolds(c, facts.events, now) : traitHolds(c, c.trait, facts.traits, now)
}

function traitHolds(c: AnyCondition, path: string, traits: ReadonlyMap<string, Json>, now: number): boolean {
  return anyMatches(reach(Object.fromEntries(traits), path), c, now)
}

function eventHolds(c: AnyCondition, all: readonly CountedEvent[], now: number): boolean {
  const names = typeof c.event === 'string' ? [c.event] : (c.event ?? [])
  const past = all.filter((e) => e.at <= now && names.includes(e.name) && passes(c, e))
  const age = c.first ?? c.last
  if (age !== undefined) {
    if (past.length === 0) return false
    const instants = past.map((e) => e.at).sort((a, b) => a - b)
    const instant = (c.first === undefined ? instants.at(-1) : instants[0]) as number
    return age.within === undefined ? now - instant >= milliseconds(age.before as string) : now - instant < milliseconds(age.within)
  }
  const counted = c.within === undefined ? past : past.filter((e) => e.at > now - milliseconds(c.within as string))
  const values = (path: string): Json[] => counted.flatMap((e) => reach(e.message, path))
  if (c.sum !== undefined) return quotientMatches(values(c.sum).filter(isCountable), 1, c)
  if (c.avg !== undefined) {
    const numbers = values(c.avg).filter(isCountable)
    return numbers.length === 0 ? matches(undefined, c, now) : quotientMatches(numbers, numbers.length, c)
  }
  if (c.min !== undefined) return matches(least(values(c.min).filter(isCountable)), c, now)
  if (c.max !== undefined) return matches(least(values(c.max).filter(isCountable), -1), c, now)
  if (c.distinct !== undefined) {
    const distinct = values(c.distinct).filter((v) => typeof v === 'string' || typeof v === 'boolean' || isCountable(v))
    return matches(new Set(distinct.map((v) => JSON.stringify(v))).size, c, now)
  }
  return matches(counted.length, c.count ?? { gte: 1 }, now)
}

function passes(c: AnyCondition, e: CountedEvent): boolean {
  return Object.entries(c.where ?? {}).every(([path, term]) =>
    // Ages in a filter are measured from the event's own instant.
    anyMatches(reach(e.message, path), typeof term === 'object' ? term : { eq: term }, e.at),
  )
}

function least(numbers: number[], sign = 1): number | undefined {
  return numbers.sort((a, b) => sign * (a - b))[0]
}

// ---- paths

/** All values that a path reaches, without nulls: several when it leads through lists. */
export function reach(from: Json | undefined, path: string): Json[] {
  let reached: Json[] = from === undefined ? [] : [from]
  for (const step of path.split('.')) reached = reached.flatMap((value) => stepInto(value, step))
  return reached.filter((value) => value !== null)
}

function stepInto(value: Json, step: string): Json[] {
  if (value === null || typeof value !== 'object') return []
  if (Array.isArray(value)) {
    if (/^\d{1,9}$/.test(step) && String(Number(step)) === step) return value.slice(Number(step), Number(step) + 1)
    return value.flatMap((element) => stepInto(element, step))
  }
  const own = Object.getOwnPropertyDescriptor(value, step)?.value as Json | undefined
  return own === undefined ? [] : [own]
}

// ---- comparators

function anyMatches(values: readonly Json[], c: Comparators, now: number): boolean {
  return values.length === 0 ? matches(undefined, c, now) : values.some((value) => matches(value, c, now))
}

const TESTED = [
  ...(['eq', 'neq', 'lt', 'lte', 'gt', 'gte', 'between', 'in', 'notIn', 'contains', 'startsWith', 'endsWith', 'matches'] as const),
  ...(['exists', 'withinLast', 'beforeLast', 'withinNext', 'before', 'after'] as const),
]

/** Whether one value satisfies all comparators. */
function matches(value: Json | undefined, c: Comparators, now: number): boolean {
  return TESTED.every((name) => c[name] === undefined || matchesOne(value, name, c, now))
}

function matchesOne(value: Json | undefined, name: (typeof TESTED)[number], c: Comparators, now: number): boolean {
  const argument = c[name]
  if (name === 'exists') return argument === (value !== undefined && value !== null)
  if (value === undefined || value === null) return false
  const list = (Array.isArray(argument) ? argument : []) as readonly Scalar[]
  const text = String(argument)
  switch (name) {
    case 'eq':
      return value === argument
    case 'neq':
      return value !== argument
    case 'lt':
      return order(value, argument) === '<'
    case 'lte':
      return order(value, argument) === '<' || order(value, argument) === '='
    case 'gt':
      return order(value, argument) === '>'
    case 'gte':
      return order(value, argument) === '>' || order(value, argument) === '='
    case 'between':
      return ['>', '='].includes(order(value, list[0])) && ['<', '='].includes(order(value, list[1]))
    case 'in':
      return list.some((x) => x === value)
    case 'notIn':
      return list.every((x) => x !== value)
    case 'contains':
      if (Array.isArray(value)) return value.some((x) => x === argument)
      return typeof value === 'string' && typeof argument === 'string' && value.includes(argument)
    case 'startsWith':
      return typeof value === 'string' && value.slice(0, text.length) === text
    case 'endsWith':
      return typeof value === 'string' && value.length >= text.length && value.slice(value.length - text.length) === text
    case 'matches':
      return typeof value === 'string' && RE2JS.compile(text).matcher(value).find()
    default:
      return dateMatches(instant(value), name, text, now)
  }
}

type DateComparator = 'withinLast' | 'beforeLast' | 'withinNext' | 'before' | 'after'

function dateMatches(when: number | undefined, name: DateComparator, argument: string, now: number): boolean {
  if (when === undefined) return false
  switch (name) {
    case 'withinLast':
      return when <= now && now - when < milliseconds(argument)
    case 'beforeLast':
      return when <= now && now - when >= milliseconds(argument)
    case 'withinNext':
      return when > now && when - now < milliseconds(argument)
    case 'before':
      return when < (instant(argument) as number)
    case 'after':
      return when > (instant(argument) as number)
  }
}

/** '?' where two values have no order: different types, or neither texts nor numbers. */
function order(a: Json, b: unknown): '<' | '=' | '>' | '?' {
  if (typeof a === 'number' && typeof b === 'number') return a < b ? '<' : a > b ? '>' : '='
  if (typeof a !== 'string' || typeof b !== 'string') return '?'
  const [left, right] = [[...a], [...b]]
  for (const [i, character] of left.entries()) {
    const other = right[i]
    if (other === undefined) return '>'
    const difference = (character.codePointAt(0) as number) - (other.codePointAt(0) as number)
    if (difference !== 0) return difference < 0 ? '<' : '>'
  }
  return left.length === right.length ? '=' : '<'
}

// ---- exact numbers: integers in units of 10^-400, finer than any double

const PLACES = 400

function isCountable(value: Json): value is number {
  return typeof value === 'number' && (value === 0 || (Math.abs(value) >= 1e-30 && Math.abs(value) <= 1e30))
}

function exactly(x: number): bigint {
  const [mantissa = '', exponent = '0'] = String(x).split('e')
  const [whole = '', fraction = ''] = mantissa.split('.')
  return BigInt(whole + fraction) * 10n ** BigInt(PLACES + Number(exponent) - fraction.length)
}

/** Comparators of (sum of `numbers`) / n, without dividing. */
function quotientMatches(numbers: readonly number[], n: number, c: Comparators): boolean {
  const sum = numbers.map(exactly).reduce((a, b) => a + b, 0n)
  const sign = (x: unknown): number => {
    if (typeof x !== 'number') return Number.NaN
    const other = exactly(x) * BigInt(n)
    return sum < other ? -1 : sum > other ? 1 : 0
  }
  const tests: { readonly [name: string]: (argument: unknown) => boolean } = {
    eq: (x) => sign(x) === 0,
    neq: (x) => sign(x) !== 0,
    lt: (x) => sign(x) < 0,
    lte: (x) => sign(x) <= 0,
    gt: (x) => sign(x) > 0,
    gte: (x) => sign(x) >= 0,
    between: (x) => sign((x as Scalar[])[0]) >= 0 && sign((x as Scalar[])[1]) <= 0,
    in: (x) => (x as Scalar[]).some((one) => sign(one) === 0),
    notIn: (x) => (x as Scalar[]).every((one) => sign(one) !== 0),
    exists: (x) => x === true,
  }
  // A number satisfies no comparator of texts.
  return TESTED.every((name) => c[name] === undefined || (tests[name]?.(c[name]) ?? false))
}

// ---- time

const UNIT_MS: { readonly [unit: string]: number } = {
  ms: 1,
  s: 1000,
  m: 60 * 1000,
  h: 3600 * 1000,
  d: 24 * 3600 * 1000,
  w: 7 * 24 * 3600 * 1000,
}

export function milliseconds(duration: string): number {
  const unit = duration.replace(/[\d.]/g, '')
  return Math.round(Number(duration.slice(0, duration.length - unit.length)) * (UNIT_MS[unit] as number))
}

const DATE = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?(Z|z|([+-])(\d\d)(?::?(\d\d))?)?)?$/

/** The instant of an ISO 8601 text; undefined for anything else. */
export function instant(value: Json): number | undefined {
  const parts = typeof value === 'string' ? DATE.exec(value) : null
  if (!parts) return undefined
  const number = (i: number): number => Number(parts[i] ?? 0)
  const date = new Date(0)
  date.setUTCFullYear(number(1), number(2) - 1, number(3))
  if (date.getUTCMonth() !== number(2) - 1 || date.getUTCDate() !== number(3)) return undefined
  const [hour, minute, second] = [number(4), number(5), number(6)]
  const ms = Number((parts[7] ?? '').padEnd(3, '0').slice(0, 3))
  const isMidnight = hour === 24 && minute === 0 && second === 0 && ms === 0
  if ((hour > 23 && !isMidnight) || minute > 59 || second > 59 || number(10) > 23 || number(11) > 59) return undefined
  const offset = (number(10) * 60 + number(11)) * (parts[9] === '-' ? -60_000 : 60_000)
  return date.getTime() + ((hour * 60 + minute) * 60 + second) * 1000 + ms - offset
}

// ---- when truth may change

/** All instants at which time alone can change the truth of `where`; a superset, unsorted. */
export function candidates(where: Where, facts: Facts): number[] {
  if ('all' in where) return where.all.flatMap((part) => candidates(part, facts))
  if ('any' in where) return where.any.flatMap((part) => candidates(part, facts))
  if ('not' in where) return candidates(where.not, facts)
  const c = where as AnyCondition
  if (c.trait !== undefined) {
    const ages = [c.withinLast, c.beforeLast, c.withinNext].filter((age) => age !== undefined).map(milliseconds)
    const dates = reach(Object.fromEntries(facts.traits), c.trait).map(instant)
    return dates
      .filter((when) => when !== undefined)
      .flatMap((when) => [when, ...ages.flatMap((age) => [when + age, when - age, when - age + 1])])
  }
  const windows = [c.within, c.first?.within, c.first?.before, c.last?.within, c.last?.before]
    .filter((w) => w !== undefined)
    .map(milliseconds)
  return facts.events.flatMap((e) => [e.at, ...windows.map((w) => e.at + w)])
}

export interface Flip {
  readonly at: number
  readonly holds: boolean
}

/** The truth at `from` and every change of it in (from, to], by testing every candidate. */
export function timelineOfTruth(where: Where, facts: Facts, from: number, to: number): { initial: boolean; flips: Flip[] } {
  const initial = holds(where, facts, from)
  const instants = [...new Set(candidates(where, facts))].filter((t) => t > from && t <= to).sort((a, b) => a - b)
  const flips: Flip[] = []
  let truth = initial
  for (const at of instants) {
    const next = holds(where, facts, at)
    if (next !== truth) flips.push({ at, holds: next })
    truth = next
  }
  return { initial, flips }
}

/** The next change of truth after `now`, if any. */
export function nextFlip(where: Where, facts: Facts, now: number): Flip | undefined {
  return timelineOfTruth(where, facts, now, Number.POSITIVE_INFINITY).flips[0]
}
