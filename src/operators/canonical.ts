// One spelling per meaning: definitions that differ only in the order of keys and list items, in defaults left out, or in how a
// duration is written have equal canonical forms. So saving the same definition again is no new version, and equal
// conditions are shared between segments. (It does not try to recognise all logical equivalences.)
import type { Json, JsonObject } from '../core/event.ts'
import { hash128 } from '../core/identifier.ts'
import type { Comparators, Condition, EventFilter, Recency, Where } from './definition.ts'
import { durationMs, instantOf } from './duration.ts'

/** A definition's canonical form as text. */
export function canonicalText(where: Where): string {
  return sortedText(canonicalWhere(where))
}

/** A 128-bit hash of the canonical form, as a binary string. */
export function canonicalHash(where: Where): string {
  return hash128(canonicalText(where))
}

/** JSON with the keys of every object in order. */
export function sortedText(json: unknown): string {
  return JSON.stringify(json, (_key, value: unknown) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
    return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
  })
}

function canonicalWhere(where: Where): Json {
  if ('all' in where) return { all: unordered(where.all.map(canonicalWhere)) }
  if ('any' in where) return { any: unordered(where.any.map(canonicalWhere)) }
  if ('not' in where) return { not: canonicalWhere(where.not) }
  return canonicalCondition(where)
}

/** A list whose order and repeats mean nothing. */
function unordered(items: readonly Json[]): Json[] {
  const byText = new Map(items.map((item) => [sortedText(item), item]))
  return [...byText].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, item]) => item)
}

export function canonicalCondition(condition: Condition): JsonObject {
  if ('trait' in condition) {
    const { trait, ...comparators } = condition
    return { trait, ...canonicalComparators(comparators) }
  }
  const { event, where, ...measure } = condition
  const head = {
    event: unordered(typeof event === 'string' ? [event] : event),
    ...(where === undefined || Object.keys(where).length === 0 ? {} : { where: canonicalFilter(where) }),
  }
  if ('first' in measure && measure.first) return { ...head, first: canonicalRecency(measure.first) }
  if ('last' in measure && measure.last) return { ...head, last: canonicalRecency(measure.last) }
  const { within, count, sum, avg, min, max, distinct, ...comparators } = measure as Measure
  const window = within === undefined ? {} : { within: durationMs(within) }
  const path = Object.fromEntries(Object.entries({ sum, avg, min, max, distinct }).filter(([, path]) => path !== undefined)) as JsonObject
  if (Object.keys(path).length > 0) return { ...head, ...window, ...path, ...canonicalComparators(comparators) }
  return { ...head, ...window, count: canonicalComparators(count ?? { gte: 1 }) }
}

/** What an event condition may hold besides its events, filter and recency. */
interface Measure extends Comparators {
  readonly within?: string
  readonly count?: Comparators
  readonly sum?: string
  readonly avg?: string
  readonly min?: string
  readonly max?: string
  readonly distinct?: string
}

function canonicalFilter(filter: EventFilter): JsonObject {
  const terms = Object.entries(filter).map(([path, term]) => [path, canonicalComparators(typeof term === 'object' ? term : { eq: term })])
  return Object.fromEntries(terms) as JsonObject
}

function canonicalRecency(recency: Recency): JsonObject {
  return 'within' in recency ? { within: durationMs(recency.within) } : { before: durationMs(recency.before) }
}

function canonicalComparators(comparators: Comparators): JsonObject {
  return Object.fromEntries(Object.entries(comparators).map(([name, argument]) => [name, canonicalArgument(name, argument as Json)]))
}

function canonicalArgument(name: string, argument: Json): Json {
  switch (name) {
    case 'in':
    case 'notIn':
      return unordered(argument as Json[])
    case 'withinLast':
    case 'beforeLast':
    case 'withinNext':
      return durationMs(argument as string)
    case 'before':
    case 'after':
      return instantOf(argument)
    default:
      return argument
  }
}
