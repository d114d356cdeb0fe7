// Every operator against the naive oracle: entries in any order, late ones, merges in any split, windows at every boundary; the
// truth, and the instant at which it would next change.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Reader, Writer } from '../../src/core/bytes.ts'
import type { Json } from '../../src/core/event.ts'
import type { Comparators, Where } from '../../src/operators/definition.ts'
import { combineNeeds, type EventCondition, NEVER, type Need, NO_NEED, type Operator, type Truth } from '../../src/operators/operator.ts'
import { operatorOf } from '../../src/operators/registry.ts'
import { type CountedEvent, holds, nextFlip } from '../oracle/evaluate.ts'

const START = 1000
const NUMBERS = [0, 1, 2, 5, -3, 0.1, 0.2, 0.3, 12.34, 1e-9, 1e21, 1e31, -1e-31]
const number = fc.constantFrom(...NUMBERS)
const amount = fc.oneof({ weight: 4, arbitrary: fc.constantFrom(1, 2, 3, 5, 0.1, -2) }, { weight: 1, arbitrary: number })
const whole = fc.integer({ min: -1, max: 4 })
const within = fc.constantFrom('1ms', '7ms', '10ms', '25ms', '100ms')

function comparatorsOf(x: fc.Arbitrary<number>): fc.Arbitrary<Comparators> {
  const pair = fc.tuple(x, x).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const)
  return fc.oneof(
    { weight: 4, arbitrary: x.map((gte) => ({ gte })) },
    x.map((gt) => ({ gt })),
    x.map((lt) => ({ lt })),
    x.map((lte) => ({ lte })),
    x.map((eq) => ({ eq })),
    x.map((neq) => ({ neq })),
    pair.map((between) => ({ between })),
    fc.array(x, { maxLength: 3 }).map((list) => ({ in: list })),
    fc.array(x, { maxLength: 3 }).map((list) => ({ notIn: list })),
    fc.boolean().map((exists) => ({ exists })),
    fc.constantFrom<Comparators>({ eq: '1' }, { neq: '1' }, { contains: '1' }, { startsWith: '' }),
    fc.record({ gt: x, lt: x }),
  )
}

type Kind = 'count' | 'first' | 'last' | 'sum' | 'avg' | 'min' | 'max' | 'distinct'

function conditionOf(kind: Kind): fc.Arbitrary<EventCondition> {
  const window = fc.option(within, { nil: undefined, freq: 4 }).map((w) => (w === undefined ? {} : { within: w }))
  if (kind === 'count') {
    return fc
      .tuple(window, fc.option(comparatorsOf(whole), { nil: undefined }))
      .map(([w, count]) => ({ event: 'A', ...w, ...(count && { count }) }))
  }
  if (kind === 'first' || kind === 'last') {
    const age = fc.tuple(fc.constantFrom('within', 'before'), within).map(([name, w]) => ({ [name]: w }))
    return age.map((x) => ({ event: 'A', [kind]: x }) as EventCondition)
  }
  const comparators = comparatorsOf(kind === 'distinct' ? whole : fc.oneof(whole, number))
  return fc.tuple(window, comparators).map(([w, c]) => ({ event: 'A', ...w, [kind]: 'properties.x', ...c }) as EventCondition)
}

const measured: fc.Arbitrary<Json> = fc.oneof(
  { weight: 6, arbitrary: amount },
  fc.constantFrom<Json>('a', 'b', '1', true, 'a text of more than forty characters, so that it is hashed'),
)

type Step = { readonly age: number; readonly value: Json; readonly waitMs: number; readonly side: 0 | 1; readonly recode: boolean }

const stepArbitrary: fc.Arbitrary<Step> = fc.record({
  age: fc.oneof(fc.constantFrom(0, 1, 6, 7, 8, 9, 10, 11, 24, 25, 99, 100, 101), fc.integer({ min: 0, max: 120 })),
  value: measured,
  waitMs: fc.constantFrom(0, 0, 1, 2, 5, 7, 10, 30),
  side: fc.constantFrom(0, 1),
  recode: fc.boolean(),
})

class Subject {
  readonly operator: Operator<unknown>
  readonly need: Need
  state: unknown
  events: CountedEvent[] = []

  constructor(operator: Operator<unknown>, need: Need) {
    this.operator = operator
    this.need = need
  }

  add(at: number, value: Json, now: number): void {
    const { operator, need } = this
    const event = { name: 'A', at, message: { properties: { x: value } } }
    // What only looks at times passes over the value.
    const isCounted = operator.counts(value)
    if (isCounted) {
      const keep = { need, now }
      if (this.state !== undefined && operator.cannotAdd?.(this.state, value, keep)) this.rebuild(now)
      this.state ??= operator.empty()
      operator.add(this.state, at, value, keep)
    }
    this.events.push(event)
  }

  rebuild(now: number): void {
    const fresh = this.operator.empty()
    for (const { at, message } of this.events) {
      const value = (message.properties as { x: Json }).x
      if (this.operator.counts(value)) this.operator.add(fresh, at, value, { need: { ...this.need, ceiling: NEVER }, now })
    }
    if (this.state !== undefined) this.operator.takeOver(fresh, this.state)
    this.state = fresh
  }

  recode(): void {
    if (this.state === undefined) return
    const w = new Writer()
    this.operator.encode(this.state, w)
    const bytes = w.take()
    const r = new Reader(bytes)
    this.state = this.operator.decode(r)
    expect(r.done).toBe(true)
    this.operator.encode(this.state, w.reset())
    expect(w.take().equals(bytes)).toBe(true)
  }

  merge(from: Subject, now: number): void {
    this.events = [...this.events, ...from.events]
    if (from.state === undefined) return
    if (this.state === undefined) this.state = from.state
    else {
      const keep = { need: this.need, now }
      const rebuild = this.operator.cannotMerge?.(this.state, from.state, keep) === true
      this.operator.merge(this.state, from.state, keep)
      if (rebuild) this.rebuild(now)
    }
  }

  check(conditions: readonly EventCondition[], now: number): void {
    const out: Truth = { holds: false, flipsAt: NEVER }
    for (const condition of conditions) {
      const facts = { events: this.events, traits: new Map() }
      const reading = this.operator.reading(condition)
      if (this.state === undefined) {
        out.holds = reading.whenEmpty
        out.flipsAt = NEVER
      } else {
        expect(reading.exact(this.state, now)).toBe(true)
        reading.read(this.state, now, out)
      }
      const expected = { holds: holds(condition as Where, facts, now), flipsAt: nextFlip(condition as Where, facts, now)?.at ?? NEVER }
      expect({ condition, now, ...out }).toEqual({ condition, now, ...expected })
    }
  }
}

function run(conditions: readonly EventCondition[], steps: readonly Step[]): void {
  const operator = operatorOf(conditions[0] as EventCondition)
  const need = conditions.map((condition) => operator.reading(condition).need).reduce(combineNeeds, NO_NEED)
  const [a, b] = [new Subject(operator, need), new Subject(operator, need)]
  let now = START
  for (const { age, value, waitMs, side, recode } of steps) {
    now += waitMs
    const subject = side === 0 ? a : b
    subject.add(Math.max(0, now - age), value, now)
    subject.check(conditions, now)
    if (recode) subject.recode()
  }
  now += 3
  a.merge(b, now)
  a.check(conditions, now)
  a.recode()
  a.add(now - 5, -1, now)
  a.add(now, 2, now)
  // To every instant at which something changes, and 1 ms to either side.
  for (const event of [...a.events].slice(0, 6)) {
    for (const windowMs of [1, 7, 10, 25, 100]) {
      for (const t of [event.at + windowMs - 1, event.at + windowMs, event.at + windowMs + 1]) if (t >= now) a.check(conditions, t)
    }
  }
}

/** TRIBUTARY_OPERATOR_RUNS=10000 for a long run. */
const RUNS = Number(process.env.TRIBUTARY_OPERATOR_RUNS ?? 100)

const KINDS: readonly Kind[] = ['count', 'first', 'last', 'sum', 'avg', 'min', 'max', 'distinct']

describe('an operator reads as the oracle does', () => {
  test.each(KINDS)('%s', (kind) => {
    const conditions = fc.array(conditionOf(kind), { minLength: 1, maxLength: 3 })
    fc.assert(fc.property(conditions, fc.array(stepArbitrary, { minLength: 1, maxLength: 14, size: 'max' }), run), { numRuns: RUNS })
  })
})

test('the order in which entries are added does not matter', () => {
  const conditions = fc.constantFrom(...KINDS).chain((kind) => fc.array(conditionOf(kind), { minLength: 1, maxLength: 3 }))
  const entries = fc.array(fc.record({ at: fc.integer({ min: START - 100, max: START }), value: fc.constantFrom(0, 1, 2, 0.1, 7) }), {
    minLength: 2,
    maxLength: 12,
    size: 'max',
  })
  fc.assert(
    fc.property(conditions, entries, fc.infiniteStream(fc.nat()), (some, list, random) => {
      const operator = operatorOf(some[0] as EventCondition)
      const need = some.map((condition) => operator.reading(condition).need).reduce(combineNeeds, NO_NEED)
      const shuffled = list.map((entry) => ({ entry, key: random.next().value as number })).sort((a, b) => a.key - b.key)
      const [a, b] = [new Subject(operator, need), new Subject(operator, need)]
      for (const { at, value } of list) a.add(at, value, START)
      for (const { entry } of shuffled) b.add(entry.at, entry.value, START)
      a.check(some, START)
      b.check(some, START)
    }),
    { numRuns: 2 * RUNS },
  )
})
