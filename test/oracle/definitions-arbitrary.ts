// Random definitions for fast-check, from the whole operator set, over the small universe of events-arbitrary.ts.
import fc from 'fast-check'
import type { Comparators, Condition, EventFilter, Scalar, Where } from '../../src/operators/definition.ts'
import { dateArbitrary, EVENT_NAMES, FIELDS, numberArbitrary, textArbitrary, WINDOWS_MS } from './events-arbitrary.ts'

const windowArbitrary: fc.Arbitrary<string> = fc.oneof(
  fc.constantFrom(...WINDOWS_MS).map((ms) => `${ms}ms`),
  fc.constantFrom('0.05s', '1s', '1m', '0.5h', '30d'),
)

const scalarArbitrary: fc.Arbitrary<Scalar> = fc.oneof(numberArbitrary, textArbitrary, fc.boolean(), dateArbitrary)

const betweenArbitrary: fc.Arbitrary<readonly [Scalar, Scalar]> = fc.oneof(
  fc.tuple(numberArbitrary, numberArbitrary).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const),
  fc.constantFrom(['', 'b'] as const, ['a', '\ufffd'] as const, ['\ufffd', '\u{1f600}'] as const),
)

const numbersArbitrary = (n: fc.Arbitrary<number>): { [name in keyof Comparators]: fc.Arbitrary<Comparators[name]> } => ({
  eq: n,
  neq: n,
  lt: n,
  lte: n,
  gt: n,
  gte: n,
  between: fc.tuple(n, n).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const),
  in: fc.array(n, { maxLength: 3 }),
  notIn: fc.array(n, { maxLength: 3 }),
  exists: fc.boolean(),
})

const anyComparators = {
  eq: scalarArbitrary,
  neq: scalarArbitrary,
  lt: scalarArbitrary,
  lte: scalarArbitrary,
  gt: scalarArbitrary,
  gte: scalarArbitrary,
  between: betweenArbitrary,
  in: fc.array(scalarArbitrary, { maxLength: 3 }),
  notIn: fc.array(scalarArbitrary, { maxLength: 3 }),
  contains: scalarArbitrary,
  startsWith: textArbitrary,
  endsWith: textArbitrary,
  matches: fc.constantFrom('a', '^a', 'b$', '(?i)ABC', '[0-9]+', '', '^$'),
  exists: fc.boolean(),
  withinLast: windowArbitrary,
  beforeLast: windowArbitrary,
  withinNext: windowArbitrary,
  before: dateArbitrary,
  after: dateArbitrary,
} satisfies { [name in keyof Comparators]-?: fc.Arbitrary<NonNullable<Comparators[name]>> }

/** One or two comparators. */
function someOf(all: { readonly [name: string]: fc.Arbitrary<unknown> }): fc.Arbitrary<Comparators> {
  const names = fc.uniqueArray(fc.constantFrom(...Object.keys(all)), { minLength: 1, maxLength: 2 })
  return names.chain((chosen) => {
    const parts = chosen.map((name) => [name, all[name] as fc.Arbitrary<unknown>] as const)
    return fc.record(Object.fromEntries(parts)) as fc.Arbitrary<Comparators>
  })
}

const comparatorsArbitrary = someOf(anyComparators)
/** Also texts, which never compare with a number. */
const measureArbitrary = fc.oneof(
  { weight: 8, arbitrary: someOf(numbersArbitrary(numberArbitrary)) },
  { weight: 1, arbitrary: someOf({ eq: textArbitrary, neq: textArbitrary, contains: textArbitrary, startsWith: textArbitrary }) },
)
const countArbitrary = someOf(numbersArbitrary(fc.integer({ min: -1, max: 4 })))

const fieldPath = fc.tuple(fc.constantFrom(...FIELDS), fc.constantFrom('', '', '.c', '.0', '.0.c')).map(([field, rest]) => field + rest)
const propertyPath = fieldPath.map((path) => `properties.${path}`)

const namesArbitrary = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...EVENT_NAMES) },
  { weight: 1, arbitrary: fc.uniqueArray(fc.constantFrom(...EVENT_NAMES), { minLength: 1, maxLength: 3 }) },
)

const filterArbitrary: fc.Arbitrary<EventFilter> = fc.dictionary(
  fc.oneof({ weight: 5, arbitrary: propertyPath }, { weight: 1, arbitrary: fc.constantFrom('type', 'event', 'context.traits.x') }),
  fc.oneof(scalarArbitrary, comparatorsArbitrary),
  { minKeys: 0, maxKeys: 2 },
)

const headArbitrary = fc.record({ event: namesArbitrary, where: filterArbitrary }, { requiredKeys: ['event'] })
const optionalWindow = fc.record({ within: windowArbitrary }, { requiredKeys: [] })
const recencyArbitrary = fc.oneof(fc.record({ within: windowArbitrary }), fc.record({ before: windowArbitrary }))

const merged = (...parts: fc.Arbitrary<object>[]): fc.Arbitrary<Condition> =>
  fc.tuple(...parts).map((values) => Object.assign({}, ...values) as Condition)

export const conditionArbitrary: fc.Arbitrary<Condition> = fc.oneof(
  {
    weight: 3,
    arbitrary: merged(
      fieldPath.map((trait) => ({ trait })),
      comparatorsArbitrary,
    ),
  },
  { weight: 3, arbitrary: merged(headArbitrary, optionalWindow, fc.record({ count: countArbitrary }, { requiredKeys: [] })) },
  {
    weight: 4,
    arbitrary: merged(
      headArbitrary,
      optionalWindow,
      fc.tuple(fc.constantFrom('sum', 'avg', 'min', 'max', 'distinct'), propertyPath).map(([aggregate, path]) => ({ [aggregate]: path })),
      measureArbitrary,
    ),
  },
  {
    weight: 2,
    arbitrary: merged(
      headArbitrary,
      fc.tuple(fc.constantFrom('first', 'last'), recencyArbitrary).map(([end, age]) => ({ [end]: age })),
    ),
  },
)

/** A definition that `parseWhere` accepts. */
export const whereArbitrary: fc.Arbitrary<Where> = fc.letrec<{ where: Where }>((tie) => ({
  where: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    { weight: 3, arbitrary: conditionArbitrary },
    { weight: 1, arbitrary: fc.array(tie('where'), { maxLength: 3 }).map((all) => ({ all })) },
    { weight: 1, arbitrary: fc.array(tie('where'), { maxLength: 3 }).map((any) => ({ any })) },
    { weight: 1, arbitrary: tie('where').map((not) => ({ not })) },
  ),
})).where
