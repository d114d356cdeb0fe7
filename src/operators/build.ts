// Definitions from TypeScript: the same JSON as by hand, with the compiler's help.
//
//   segment('recent-buyers')
//     .named('Recent buyers')
//     .where(all(event('Order Completed').within('30d').count({ gte: 1 }), not(trait('plan').eq('free'))))
//
// Everything is a plain value: conditions can be kept in variables and used twice. `parse.ts` remains the judge.
import type {
  AggregateCondition,
  Comparators,
  CountCondition,
  EventFilter,
  RecencyCondition,
  Scalar,
  SegmentDefinition,
  TraitCondition,
  Where,
} from './definition.ts'
import type { Unit } from './duration.ts'
import type { Aggregate } from './parse.ts'

/** Such as '30d' or '1.5h'. */
export type Duration = `${number}${Unit}`

/** A condition, or one on events that needs nothing more. */
type Part = Where | Events
const plain = (part: Part): Where => (part instanceof Events ? part.atLeastOnce : part)

export const all = (...parts: Part[]): Where => ({ all: parts.map(plain) })
export const any = (...parts: Part[]): Where => ({ any: parts.map(plain) })
export const not = (part: Part): Where => ({ not: plain(part) })

/** One method per comparator; each yields what `make` makes of it. */
class Comparing<Made> {
  readonly is: (comparators: Comparators) => Made
  constructor(make: (comparators: Comparators) => Made) {
    this.is = make
  }
  eq(value: Scalar): Made {
    return this.is({ eq: value })
  }
  neq(value: Scalar): Made {
    return this.is({ neq: value })
  }
  lt(value: Scalar): Made {
    return this.is({ lt: value })
  }
  lte(value: Scalar): Made {
    return this.is({ lte: value })
  }
  gt(value: Scalar): Made {
    return this.is({ gt: value })
  }
  gte(value: Scalar): Made {
    return this.is({ gte: value })
  }
  between(low: Scalar, high: Scalar): Made {
    return this.is({ between: [low, high] })
  }
  in(...values: Scalar[]): Made {
    return this.is({ in: values })
  }
  notIn(...values: Scalar[]): Made {
    return this.is({ notIn: values })
  }
  contains(value: Scalar): Made {
    return this.is({ contains: value })
  }
  startsWith(text: string): Made {
    return this.is({ startsWith: text })
  }
  endsWith(text: string): Made {
    return this.is({ endsWith: text })
  }
  matches(pattern: string): Made {
    return this.is({ matches: pattern })
  }
  exists(expected = true): Made {
    return this.is({ exists: expected })
  }
}

class TraitComparing extends Comparing<TraitCondition> {
  withinLast(age: Duration): TraitCondition {
    return this.is({ withinLast: age })
  }
  beforeLast(age: Duration): TraitCondition {
    return this.is({ beforeLast: age })
  }
  withinNext(time: Duration): TraitCondition {
    return this.is({ withinNext: time })
  }
  before(date: string): TraitCondition {
    return this.is({ before: date })
  }
  after(date: string): TraitCondition {
    return this.is({ after: date })
  }
}

/** A condition on a trait: `trait('address.city').eq('Ulm')`, or `.is({…})` with several comparators. */
export function trait(path: string): TraitComparing {
  return new TraitComparing((comparators) => ({ trait: path, ...comparators }))
}

interface EventHead {
  readonly event: string | readonly string[]
  readonly where?: EventFilter
}

/** Events by name and filter, perhaps within a window; by itself: at least one such event. */
class Events {
  readonly atLeastOnce: CountCondition

  constructor(condition: CountCondition) {
    this.atLeastOnce = condition
  }

  count(comparators: Comparators): CountCondition {
    return { ...this.atLeastOnce, count: comparators }
  }
  didNot(): CountCondition {
    return this.count({ eq: 0 })
  }

  sum(path: string): Comparing<AggregateCondition> {
    return this.#measure('sum', path)
  }
  avg(path: string): Comparing<AggregateCondition> {
    return this.#measure('avg', path)
  }
  min(path: string): Comparing<AggregateCondition> {
    return this.#measure('min', path)
  }
  max(path: string): Comparing<AggregateCondition> {
    return this.#measure('max', path)
  }
  distinct(path: string): Comparing<AggregateCondition> {
    return this.#measure('distinct', path)
  }
  #measure(aggregate: Aggregate, path: string): Comparing<AggregateCondition> {
    return new Comparing((comparators) => ({ ...this.atLeastOnce, [aggregate]: path, ...comparators }))
  }
}

/** Events of all time: they can still be filtered, be cut to a window, or be asked for their age. */
class AllEvents extends Events {
  readonly #head: EventHead

  constructor(head: EventHead) {
    super(head)
    this.#head = head
  }

  /** Only events whose message satisfies this: by path, a value or comparators. */
  where(filter: EventFilter): AllEvents {
    return new AllEvents({ ...this.#head, where: { ...this.#head.where, ...filter } })
  }
  /** Only events less than this long ago. */
  within(window: Duration): Events {
    return new Events({ ...this.#head, within: window })
  }

  /** The age of the first such event. */
  first(age: Age): RecencyCondition {
    return { ...this.#head, first: age }
  }
  last(age: Age): RecencyCondition {
    return { ...this.#head, last: age }
  }
}

type Age = { readonly within: Duration } | { readonly before: Duration }

/** A condition on events: `event('Order Completed').where({ 'properties.total': { gte: 50 } }).within('30d').count({ gte: 2 })`. */
export function event(...names: [string, ...string[]]): AllEvents {
  return new AllEvents({ event: names.length === 1 ? names[0] : names })
}

interface SegmentBuilder {
  /** The segment's name for people. */
  named(name: string): SegmentBuilder
  where(part: Part): SegmentDefinition
}

export function segment(id: string, name?: string): SegmentBuilder {
  return {
    named: (text) => segment(id, text),
    where: (part) => ({ id, ...(name === undefined ? {} : { name }), where: plain(part) }),
  }
}
