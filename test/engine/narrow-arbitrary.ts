// Definitions and events so narrow that nearly every event matters to nearly every condition.
import fc from 'fast-check'
import type { Json } from '../../src/core/event.ts'
import type { Where } from '../../src/operators/definition.ts'
import { type EventSketch, manyIdentifiers, START_MS } from '../oracle/events-arbitrary.ts'

const within = fc.constantFrom('10ms', '20ms', '50ms', '100ms')
const smallNumber = fc.constantFrom(0, 1, 2, 3, 0.1, 0.3, -1)
const filter = fc.constantFrom(
  {},
  {},
  { 'properties.y': 'a' },
  { 'properties.y': { in: ['a', 'b'] } },
  { 'properties.y': 'b', 'properties.x': { gte: 1 } },
)
const filtered = fc.tuple(filter, fc.constantFrom('A', 'A', 'B', ['A', 'B'])).map(([where, event]) => ({ event, where }))
const optionallyWithin = fc.option(within, { freq: 5, nil: undefined }).map((w) => (w === undefined ? {} : { within: w }))
const compared = fc.tuple(fc.constantFrom('gte', 'gte', 'gte', 'lt', 'eq', 'neq'), smallNumber)
const measure = fc.constantFrom('sum', 'sum', 'sum', 'avg', 'min', 'max', 'distinct')
const condition: fc.Arbitrary<object> = fc.oneof(
  fc.tuple(filtered, optionallyWithin, compared).map(([e, w, [name, x]]) => ({ ...e, ...w, count: { [name]: Math.ceil(x) } })),
  fc.tuple(filtered, optionallyWithin, measure, compared).map(([e, w, m, [name, x]]) => ({ ...e, ...w, [m]: 'properties.x', [name]: x })),
  fc
    .tuple(filtered, fc.constantFrom('first', 'last'), fc.constantFrom('within', 'before'), within)
    .map(([e, end, age, w]) => ({ ...e, [end]: { [age]: w } })),
  fc.tuple(fc.constantFrom('withinLast', 'beforeLast', 'withinNext'), within).map(([name, w]) => ({ trait: 'd', [name]: w })),
  fc.constantFrom<object>(
    { trait: 'p', eq: 'a' },
    { trait: 'p', in: ['a', 'b'] },
    { trait: 'p', neq: 'a' },
    { trait: 'l', contains: 'a' },
    { trait: 'l.z', eq: 'a' },
  ),
)
export const narrowWhere = fc.oneof(
  { weight: 3, arbitrary: condition },
  { weight: 1, arbitrary: fc.tuple(condition, condition).map((all) => ({ all })) },
  { weight: 1, arbitrary: fc.tuple(condition, condition).map(([one, other]) => ({ any: [one, { not: other }] })) },
) as fc.Arbitrary<Where>

export const narrowEvent: fc.Arbitrary<EventSketch> = fc.record({
  name: fc.constantFrom('A', 'A', 'A', 'B', '$identify'),
  offsetMs: fc.oneof(
    fc.constantFrom(0, 0, -1, -9, -10, -11, -20, -50, -99, -100, -101),
    fc.integer({ min: -120, max: 0 }),
    fc.constantFrom(1, 10, 20, 50),
  ),
  properties: fc.record(
    { x: fc.oneof(smallNumber, fc.constantFrom<Json>([1], 'a')), y: fc.constantFrom('a', 'a', 'b', 'c') },
    { requiredKeys: ['y'] },
  ),
  traits: fc.record(
    {
      d: fc.integer({ min: 0, max: 300 }).map((ms) => new Date(START_MS + ms).toISOString()),
      p: fc.constantFrom('a', 'b', 'c', null),
      l: fc.constantFrom<Json>(['a'], [{ z: 'a' }, { z: 'a' }], []),
    },
    { requiredKeys: [] },
  ),
  contextTraits: fc.constant(undefined),
  identifiers: manyIdentifiers,
  sourcePriority: fc.constant(100),
  id: fc.integer({ min: 0, max: 200 }),
})
