// Checks unknown JSON against the definition grammar (INTERFACE.md, docs/segments.md) and yields the types of definition.ts.
//
// Unknown keys are errors, so a misspelt comparator can't silently widen a segment. Errors name the place:
// `where.all[1].count.gte: …`. What comes back is a fresh copy that holds nothing but what was checked.
import { TributaryError } from '../core/errors.ts'
import { compareTexts } from './compare.ts'
import type { Comparators, Condition, EventFilter, Recency, Scalar, Where } from './definition.ts'
import { durationMs, instantOf } from './duration.ts'
import { MAX_ENTRIES } from './operator.ts'
import { compilePattern } from './regex.ts'

/** What a definition may hold at most. */
export const LIMITS = {
  /** Of all, any and not inside one another. */
  depth: 32,
  conditions: 500,
  eventNames: 1000,
  filterPaths: 50,
  listItems: 10_000,
  textCharacters: 2000,
  patternCharacters: 1000,
  nameCharacters: 256,
  pathComponents: 20,
  /** Ten years. */
  windowMs: 3660 * 86_400_000,
  /** Of a count within a window, which needs as many instants per profile, or one more, to be exact. */
  windowedCount: MAX_ENTRIES - 1,
  /** Of the whole definition as JSON. */
  characters: 512 * 1024,
} as const

export const AGGREGATES = ['sum', 'avg', 'min', 'max', 'distinct'] as const
export type Aggregate = (typeof AGGREGATES)[number]

export interface ParsedSegment {
  readonly id?: string
  readonly name?: string
  readonly where: Where
}

type Fields = { readonly [key: string]: unknown }

function fail(place: string, message: string): never {
  throw new TributaryError('invalid_definition', `${place}: ${message}`)
}

/** Parses the body of PUT /v1/segments/{id}: `{name?, where}`; an `id` may be given too. */
export function parseSegment(json: unknown): ParsedSegment {
  const fields = object(json, 'segment')
  only(fields, ['id', 'name', 'where'], '')
  const { id, name, where } = fields
  return {
    ...(id === undefined ? {} : { id: text(id, 'id', LIMITS.nameCharacters) }),
    ...(name === undefined ? {} : { name: text(name, 'name', LIMITS.nameCharacters) }),
    where: parseWhere(where),
  }
}

/** Parses the `where` of a segment. */
export function parseWhere(json: unknown): Where {
  const budget = { conditions: 0 }
  const where = node(json, 'where', { depth: 0, budget })
  const size = JSON.stringify(where).length
  if (size > LIMITS.characters) fail('where', `it holds ${size} characters as JSON, more than ${LIMITS.characters}`)
  return where
}

interface Nesting {
  readonly depth: number
  readonly budget: { conditions: number }
}

const COMBINATORS = ['all', 'any', 'not']

function node(json: unknown, place: string, { depth, budget }: Nesting): Where {
  const fields = object(json, place)
  const combinator = COMBINATORS.find((key) => Object.hasOwn(fields, key))
  if (combinator === undefined) {
    if (++budget.conditions > LIMITS.conditions) fail(place, `a segment may hold ${LIMITS.conditions} conditions`)
    return condition(fields, place)
  }
  if (depth >= LIMITS.depth) fail(place, `nested more than ${LIMITS.depth} levels deep`)
  only(fields, [combinator], place, `"${combinator}" stands alone in its object`)
  const within = `${place}.${combinator}`
  const inner = { depth: depth + 1, budget }
  if (combinator === 'not') return { not: node(fields.not, within, inner) }
  const members = list(fields[combinator], within, LIMITS.conditions).map((member, i) => node(member, `${within}[${i}]`, inner))
  return combinator === 'all' ? { all: members } : { any: members }
}

function condition(fields: Fields, place: string): Condition {
  const isTrait = Object.hasOwn(fields, 'trait')
  const isEvent = Object.hasOwn(fields, 'event')
  if (isTrait && isEvent) fail(place, 'a condition has a "trait" or an "event", not both')
  if (isTrait) return traitCondition(fields, place)
  if (isEvent) return eventCondition(fields, place)
  return fail(place, 'needs one of "all", "any", "not", "trait", "event"')
}

function traitCondition(fields: Fields, place: string): Condition {
  only(fields, ['trait', ...COMPARATOR_NAMES], place)
  const trait = path(fields.trait, `${place}.trait`)
  const comparators = comparatorsAmong(fields, place)
  if (isEmpty(comparators)) fail(place, 'a trait needs a comparator; {"exists": true} asks whether it is there')
  return { trait, ...comparators }
}

function eventCondition(fields: Fields, place: string): Condition {
  const measures = [...AGGREGATES, 'first', 'last', 'count'].filter((key) => Object.hasOwn(fields, key))
  const [measure, second] = measures
  if (second !== undefined) fail(place, `has "${measure}" and "${second}"; a condition measures one thing`)
  const head = {
    event: eventNames(fields.event, `${place}.event`),
    ...(fields.where === undefined ? {} : { where: filter(fields.where, `${place}.where`) }),
  }
  if (measure === 'first' || measure === 'last') {
    only(fields, ['event', 'where', measure], place, `"${measure}" has its own "within" or "before", and no comparators`)
    const age = recency(fields[measure], `${place}.${measure}`)
    return measure === 'first' ? { ...head, first: age } : { ...head, last: age }
  }
  const within = fields.within === undefined ? {} : { within: duration(fields.within, `${place}.within`) }
  const aggregate = AGGREGATES.find((key) => key === measure)
  if (aggregate === undefined) {
    only(fields, ['event', 'where', 'within', 'count'], place, 'comparators of a count go inside it: "count": {"gte": 2}')
    return fields.count === undefined ? { ...head, ...within } : { ...head, ...within, count: count(fields, place) }
  }
  only(fields, ['event', 'where', 'within', aggregate, ...NUMBER_COMPARATORS], place)
  const comparators = comparatorsAmong(fields, place)
  if (isEmpty(comparators)) fail(place, `"${aggregate}" needs a comparator, such as "gte": 100`)
  return { ...head, ...within, [aggregate]: path(fields[aggregate], `${place}.${aggregate}`), ...comparators }
}

function count(fields: Fields, place: string): Comparators {
  const inside = `${place}.count`
  const comparators = comparatorsOf(fields.count, inside, NUMBER_COMPARATORS)
  if (fields.within === undefined) return comparators
  for (const [name, argument] of Object.entries(comparators)) {
    for (const x of Array.isArray(argument) ? argument : [argument]) {
      if (typeof x === 'number' && x > LIMITS.windowedCount)
        fail(`${inside}.${name}`, `counts within a window go up to ${LIMITS.windowedCount}`)
    }
  }
  return comparators
}

function eventNames(json: unknown, place: string): string | readonly string[] {
  if (!Array.isArray(json)) return text(json, place, LIMITS.textCharacters, 1)
  const names = list(json, place, LIMITS.eventNames)
  if (names.length === 0) fail(place, 'names no event')
  return names.map((name, i) => text(name, `${place}[${i}]`, LIMITS.textCharacters, 1))
}

function filter(json: unknown, place: string): EventFilter {
  const entries = Object.entries(object(json, place))
  if (entries.length > LIMITS.filterPaths) fail(place, `a filter may hold ${LIMITS.filterPaths} paths`)
  const terms = entries.map(([key, argument]) => {
    const inside = `${place}[${JSON.stringify(key)}]`
    const term = isScalar(argument) ? scalar(argument, inside) : comparatorsOf(argument, inside, COMPARATOR_NAMES)
    return [path(key, inside), term] as const
  })
  return Object.fromEntries(terms)
}

function recency(json: unknown, place: string): Recency {
  const fields = object(json, place)
  only(fields, ['within', 'before'], place)
  const { within, before } = fields
  if ((within === undefined) === (before === undefined)) fail(place, 'needs either "within" or "before"')
  if (within !== undefined) return { within: duration(within, `${place}.within`) }
  return { before: duration(before, `${place}.before`) }
}

// ---- comparators

type ComparatorName = keyof Comparators
type Readers = { readonly [Name in ComparatorName]-?: (argument: unknown, place: string) => NonNullable<Comparators[Name]> }

const anyText = (argument: unknown, place: string): string => text(argument, place, LIMITS.textCharacters)

const READERS: Readers = {
  eq: scalar,
  neq: scalar,
  lt: scalar,
  lte: scalar,
  gt: scalar,
  gte: scalar,
  between: range,
  in: scalars,
  notIn: scalars,
  contains: scalar,
  startsWith: anyText,
  endsWith: anyText,
  matches: pattern,
  exists: flag,
  withinLast: duration,
  beforeLast: duration,
  withinNext: duration,
  before: date,
  after: date,
}

export const COMPARATOR_NAMES = Object.keys(READERS) as ComparatorName[]
const DATE_COMPARATORS: readonly ComparatorName[] = ['withinLast', 'beforeLast', 'withinNext', 'before', 'after']
/** What a count or an aggregate takes: a number is no date. */
const NUMBER_COMPARATORS = COMPARATOR_NAMES.filter((name) => !DATE_COMPARATORS.includes(name))

function comparatorsOf(json: unknown, place: string, names: readonly ComparatorName[]): Comparators {
  if (isScalar(json)) fail(place, `needs comparators, such as {"eq": ${JSON.stringify(json)}}`)
  const fields = object(json, place)
  only(fields, names, place)
  const comparators = comparatorsAmong(fields, place)
  if (isEmpty(comparators)) fail(place, 'needs a comparator, such as "eq"')
  return comparators
}

/** The comparators in an object that may hold other keys as well. */
function comparatorsAmong(fields: Fields, place: string): Comparators {
  const present = COMPARATOR_NAMES.filter((name) => fields[name] !== undefined)
  return Object.fromEntries(present.map((name) => [name, READERS[name](fields[name], `${place}.${name}`)]))
}

const isEmpty = (comparators: Comparators): boolean => Object.keys(comparators).length === 0

function isScalar(json: unknown): json is Scalar {
  return typeof json === 'string' || typeof json === 'number' || typeof json === 'boolean'
}

function scalar(json: unknown, place: string): Scalar {
  if (json === null) fail(place, 'null is no value to compare with; {"exists": false} asks for absence')
  if (!isScalar(json)) fail(place, 'needs a text, a number or true or false')
  if (typeof json === 'string') return text(json, place, LIMITS.textCharacters)
  if (typeof json === 'number' && !Number.isFinite(json)) fail(place, 'needs a finite number')
  return json
}

function scalars(json: unknown, place: string): Scalar[] {
  return list(json, place, LIMITS.listItems).map((x, i) => scalar(x, `${place}[${i}]`))
}

function range(json: unknown, place: string): [Scalar, Scalar] {
  const [first, second, ...more] = list(json, place, LIMITS.listItems)
  if (first === undefined || second === undefined || more.length > 0) fail(place, 'needs two values: [lowest, highest]')
  const low = scalar(first, `${place}[0]`)
  const high = scalar(second, `${place}[1]`)
  if (typeof low === 'number' && typeof high === 'number') {
    if (low > high) fail(place, `${low} is above ${high}`)
  } else if (typeof low === 'string' && typeof high === 'string') {
    if (compareTexts(low, high) > 0) fail(place, `${JSON.stringify(low)} comes behind ${JSON.stringify(high)}`)
  } else fail(place, 'needs two numbers or two texts')
  return [low, high]
}

function pattern(json: unknown, place: string): string {
  const source = text(json, place, LIMITS.patternCharacters)
  at(place, () => compilePattern(source))
  return source
}

function flag(json: unknown, place: string): boolean {
  if (typeof json !== 'boolean') fail(place, 'needs true or false')
  return json
}

function duration(json: unknown, place: string): string {
  if (typeof json !== 'string') fail(place, 'needs a duration, such as "30d"; its units are ms, s, m, h, d, w')
  const ms = at(place, () => durationMs(json))
  if (ms > LIMITS.windowMs) fail(place, `${json} is longer than ten years`)
  return json
}

function date(json: unknown, place: string): string {
  if (typeof json !== 'string' || Number.isNaN(instantOf(json))) fail(place, 'needs an ISO 8601 date, such as "2026-05-03T10:00:00Z"')
  return json
}

// ---- plain JSON

function object(json: unknown, place: string): Fields {
  if (json === undefined) fail(place, 'is missing')
  if (typeof json !== 'object' || json === null || Array.isArray(json)) fail(place, 'needs an object')
  return json as Fields
}

function list(json: unknown, place: string, most: number): readonly unknown[] {
  if (!Array.isArray(json)) fail(place, 'needs a list')
  if (json.length > most) fail(place, `holds ${json.length} items, more than ${most}`)
  return json
}

function text(json: unknown, place: string, most: number, least = 0): string {
  if (typeof json !== 'string') fail(place, 'needs a text')
  if (json.length > most) fail(place, `holds ${json.length} characters, more than ${most}`)
  if (json.length < least) fail(place, 'is empty')
  return json
}

function path(json: unknown, place: string): string {
  const whole = text(json, place, LIMITS.textCharacters, 1)
  const components = whole.split('.')
  if (components.includes('')) fail(place, `${JSON.stringify(whole)} has an empty component`)
  if (components.length > LIMITS.pathComponents) fail(place, `a path may have ${LIMITS.pathComponents} components`)
  return whole
}

function only(fields: Fields, allowed: readonly string[], place: string, hint?: string): void {
  const unknown = Object.keys(fields).find((key) => !allowed.includes(key) && fields[key] !== undefined)
  if (unknown === undefined) return
  const shown = /^\w{1,100}$/.test(unknown) ? `.${unknown}` : `[${JSON.stringify(unknown.slice(0, 100))}]`
  fail(place === '' ? unknown : place + shown, hint === undefined ? 'is not known here' : `is not known here: ${hint}`)
}

/** Puts the place in front of an error that knows none. */
function at<T>(place: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (error instanceof TributaryError) return fail(place, error.message)
    throw error
  }
}
