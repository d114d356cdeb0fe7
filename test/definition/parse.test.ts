import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { TributaryError } from '../../src/core/errors.ts'
import { durationMs, instantOf } from '../../src/operators/duration.ts'
import { LIMITS, parseSegment, parseWhere } from '../../src/operators/parse.ts'
import { compilePattern } from '../../src/operators/regex.ts'
import { whereArbitrary } from '../oracle/definitions-arbitrary.ts'

const A = { event: 'A' }

/** The message of the error, which must be invalid_definition. */
function refusal(parse: () => unknown): string {
  try {
    parse()
  } catch (error) {
    if (error instanceof TributaryError && error.code === 'invalid_definition') return error.message
    throw error
  }
  return 'accepted'
}

describe('accepted', () => {
  const cases: unknown[] = [
    { all: [] },
    { any: [] },
    { not: { all: [] } },
    { trait: 'address.city', eq: 'Ulm' },
    { trait: 'x', between: [1, 1] },
    { trait: 'x', between: ['a', 'b'] },
    { trait: 'x', gt: 1, lt: 3, exists: true },
    { trait: 'x', in: [] },
    { trait: 'x', contains: 1 },
    { trait: 'x', eq: '' },
    { trait: 'x', matches: '' },
    { trait: 'x', withinLast: '7d', after: '2026-01-01' },
    A,
    { event: ['A', '$page'], within: '0.5s' },
    { ...A, where: {} },
    { ...A, where: { 'properties.x': 1, 'context.y': { exists: false } } },
    { ...A, count: { eq: 0 } },
    { ...A, count: { between: [1, 3] } },
    { ...A, count: { gte: 1_000_000 } },
    { ...A, within: '3660d', count: { lte: 4095 } },
    { ...A, sum: 'properties.total', gte: 1e300 },
    { ...A, avg: 'properties.total', within: '1w', lt: -1.5 },
    { ...A, min: 'properties.total', exists: false },
    { ...A, max: 'properties.total', in: [1] },
    { ...A, distinct: 'properties.sku', eq: 0 },
    { ...A, first: { within: '7d' } },
    { ...A, last: { before: '30d' }, where: { 'properties.x': true } },
  ]
  test.each(cases)('%j', (json) => {
    const where = parseWhere(json)
    expect(where).toEqual(json)
    expect(where).not.toBe(json)
  })

  test('whatever the grammar can say, unchanged', () => {
    fc.assert(
      fc.property(whereArbitrary, (where) => {
        const json: unknown = JSON.parse(JSON.stringify(where))
        expect(parseWhere(json)).toEqual(json)
      }),
      { numRuns: 500 },
    )
  })

  test('a segment with a name, and with an id', () => {
    expect(parseSegment({ where: A })).toEqual({ where: A })
    expect(parseSegment({ id: 's', name: 'S', where: A })).toEqual({ id: 's', name: 'S', where: A })
  })

  test('a path named __proto__ stays a path', () => {
    const where = parseWhere(JSON.parse('{"event": "A", "where": {"__proto__": {"eq": 1}}}')) as { where: object }
    expect(Object.keys(where.where)).toEqual(['__proto__'])
    expect(Object.getPrototypeOf(where.where)).toBe(Object.prototype)
  })
})

describe('refused', () => {
  const nested = (depth: number): unknown => (depth === 0 ? A : { not: nested(depth - 1) })
  const cases: [json: unknown, message: RegExp][] = [
    [undefined, /^where: is missing/],
    [null, /^where: needs an object/],
    [[], /^where: needs an object/],
    ['A', /^where: needs an object/],
    [{}, /^where: needs one of/],
    [{ all: {} }, /^where\.all: needs a list/],
    [{ all: [null] }, /^where\.all\[0\]: needs an object/],
    [{ all: [], any: [] }, /^where\.any: is not known here/],
    [{ not: [A] }, /^where\.not: needs an object/],
    [{ not: A, event: 'A' }, /^where\.event: is not known here/],
    [{ and: [A] }, /^where: needs one of/],
    [{ all: [A, { event: 'A', count: { gte: null } }] }, /^where\.all\[1\]\.count\.gte: null is no value/],
    [{ trait: 'x' }, /^where: a trait needs a comparator.*"exists": true/],
    [{ trait: '', eq: 1 }, /^where\.trait: is empty/],
    [{ trait: 'a..b', eq: 1 }, /empty component/],
    [{ trait: 'a.', eq: 1 }, /empty component/],
    [{ trait: 5, eq: 1 }, /^where\.trait: needs a text/],
    [{ trait: 'x', event: 'A' }, /not both/],
    [{ trait: 'x', eq: null }, /^where\.eq: null is no value/],
    [{ trait: 'x', eq: [1] }, /^where\.eq: needs a text, a number/],
    [{ trait: 'x', eq: Number.POSITIVE_INFINITY }, /^where\.eq: needs a finite number/],
    [{ trait: 'x', lt: Number.NaN }, /^where\.lt: needs a finite number/],
    [{ trait: 'x', equals: 1 }, /^where\.equals: is not known here/],
    [{ trait: 'x', 'a b': 1 }, /^where\["a b"\]: is not known here/],
    [{ trait: 'x', eq: 1, within: '3d' }, /^where\.within: is not known here/],
    [{ trait: 'x', between: [3, 1] }, /^where\.between: 3 is above 1/],
    [{ trait: 'x', between: ['b', 'a'] }, /^where\.between: "b" comes behind "a"/],
    [{ trait: 'x', between: ['\u{1f600}', '\ufffd'] }, /comes behind/],
    [{ trait: 'x', between: [1, '3'] }, /^where\.between: needs two numbers or two texts/],
    [{ trait: 'x', between: [1] }, /^where\.between: needs two values/],
    [{ trait: 'x', between: [1, 2, 3] }, /^where\.between: needs two values/],
    [{ trait: 'x', between: { low: 1 } }, /^where\.between: needs a list/],
    [{ trait: 'x', in: 'a' }, /^where\.in: needs a list/],
    [{ trait: 'x', notIn: ['a', null] }, /^where\.notIn\[1\]: null/],
    [{ trait: 'x', startsWith: 1 }, /^where\.startsWith: needs a text/],
    [{ trait: 'x', contains: ['a'] }, /^where\.contains: needs/],
    [{ trait: 'x', exists: 'yes' }, /^where\.exists: needs true or false/],
    [{ trait: 'x', matches: '(' }, /^where\.matches: not a pattern of RE2's dialect/],
    [{ trait: 'x', matches: '(a)\\1' }, /RE2/],
    [{ trait: 'x', matches: 'a(?=b)' }, /RE2/],
    [{ trait: 'x', matches: '(?<!a)b' }, /RE2/],
    [{ trait: 'x', matches: 'a{1001}' }, /RE2/],
    [{ trait: 'x', matches: '((a{100}){100}){100}' }, /RE2/],
    [{ trait: 'x', matches: 'a'.repeat(LIMITS.patternCharacters + 1) }, /characters, more than/],
    [{ trait: 'x', withinLast: 7 }, /^where\.withinLast: needs a duration/],
    [{ trait: 'x', after: 'soon' }, /^where\.after: needs an ISO 8601 date/],
    [{ trait: 'x', before: '2026-02-30' }, /^where\.before: needs an ISO/],
    [{ event: '' }, /^where\.event: is empty/],
    [{ event: [] }, /^where\.event: names no event/],
    [{ event: ['A', ''] }, /^where\.event\[1\]: is empty/],
    [{ event: null }, /^where\.event: needs a text/],
    [{ ...A, gte: 2 }, /^where\.gte: is not known here.*inside it/],
    [{ ...A, count: 2 }, /^where\.count: needs comparators, such as \{"eq": 2\}/],
    [{ ...A, count: {} }, /^where\.count: needs a comparator/],
    [{ ...A, count: { atLeast: 1 } }, /^where\.count\.atLeast: is not known here/],
    [{ ...A, count: { withinLast: '1d' } }, /^where\.count\.withinLast: is not known here/],
    [{ ...A, within: '1d', count: { gte: 4096 } }, /^where\.count\.gte: counts within a window go up to 4095/],
    [{ ...A, within: '1d', count: { in: [1, 10_001] } }, /^where\.count\.in: counts within/],
    [{ ...A, count: { gte: 1 }, sum: 'properties.x', gte: 1 }, /has "sum" and "count"/],
    [{ ...A, sum: 'properties.x', avg: 'properties.x', gte: 1 }, /has "sum" and "avg"/],
    [{ ...A, sum: 'properties.x' }, /^where: "sum" needs a comparator/],
    [{ ...A, sum: 5, gte: 1 }, /^where\.sum: needs a text/],
    [{ ...A, sum: 'properties.x', after: '2026-01-01' }, /^where\.after: is not known here/],
    [{ ...A, first: { within: '1d' }, last: { within: '1d' } }, /has "first" and "last"/],
    [{ ...A, first: { within: '1d' }, within: '2d' }, /^where\.within: is not known here: "first" has its own/],
    [{ ...A, last: { within: '1d' }, gte: 1 }, /^where\.gte: is not known here/],
    [{ ...A, last: {} }, /^where\.last: needs either/],
    [{ ...A, last: { within: '1d', before: '2d' } }, /^where\.last: needs either/],
    [{ ...A, last: '1d' }, /^where\.last: needs an object/],
    [{ ...A, where: [] }, /^where\.where: needs an object/],
    [{ ...A, where: { 'properties.x': null } }, /^where\.where\["properties\.x"\]: needs an object/],
    [{ ...A, where: { 'properties.x': {} } }, /needs a comparator/],
    [{ ...A, where: { 'properties.x': [1] } }, /needs an object/],
    [{ ...A, where: { '': 1 } }, /^where\.where\[""\]: is empty/],
    [{ ...A, where: { 'properties.x': { gt: 1, near: 2 } } }, /^where\.where\["properties\.x"\]\.near: is not known here/],
    [{ ...A, within: 30 }, /^where\.within: needs a duration/],
    [{ ...A, within: '30' }, /^where\.within: not a duration: "30"/],
    [{ ...A, within: '30 d' }, /not a duration/],
    [{ ...A, within: '-1d' }, /not a duration/],
    [{ ...A, within: '1e3d' }, /not a duration/],
    [{ ...A, within: '1y' }, /not a duration/],
    [{ ...A, within: '0d' }, /longer than 0/],
    [{ ...A, within: '0.5ms' }, /not a whole number/],
    [{ ...A, within: '3661d' }, /longer than ten years/],
    [{ ...A, within: '999999999999999w' }, /longer than ten years/],
    [nested(LIMITS.depth + 1), /nested more than/],
    [nested(5000), /nested more than/],
    [{ all: Array.from({ length: LIMITS.conditions + 1 }, () => A) }, /more than 500/],
    [{ all: [1, 2, 3].map(() => ({ any: Array.from({ length: 200 }, () => A) })) }, /a segment may hold 500 conditions/],
    [{ trait: 'x', in: Array.from({ length: LIMITS.listItems + 1 }, (_, i) => i) }, /10001 items, more than 10000/],
    [{ trait: 'x', in: Array.from({ length: 9000 }, (_, i) => `${i}${'x'.repeat(100)}`) }, /characters as JSON, more than/],
    [{ trait: 'x', eq: 'x'.repeat(LIMITS.textCharacters + 1) }, /characters, more than/],
    [{ trait: Array.from({ length: 21 }, () => 'a').join('.'), eq: 1 }, /20 components/],
  ]
  test.each(cases)('%.80j', (json, message) => {
    expect(refusal(() => parseWhere(json))).toMatch(message)
  })

  test('a segment with anything else, or without where', () => {
    expect(refusal(() => parseSegment({}))).toBe('where: is missing')
    expect(refusal(() => parseSegment({ where: A, nmae: 'x' }))).toBe('nmae: is not known here')
    expect(refusal(() => parseSegment({ where: A, name: 5 }))).toBe('name: needs a text')
    expect(refusal(() => parseSegment('x'))).toBe('segment: needs an object')
  })

  test('arbitrary JSON is refused with invalid_definition, never with another error', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (json) => {
        refusal(() => parseSegment({ where: json }))
      }),
      { numRuns: 500 },
    )
  })
})

describe('durations', () => {
  test.each([
    ['1ms', 1],
    ['1.5s', 1500],
    ['0.07s', 70],
    ['0.001s', 1],
    ['90m', 5_400_000],
    ['0.5h', 1_800_000],
    ['30d', 2_592_000_000],
    ['2w', 1_209_600_000],
    ['007d', 604_800_000],
  ])('%s is %d ms', (text, ms) => {
    expect(durationMs(text)).toBe(ms)
  })
})

describe('dates', () => {
  test.each([
    ['2026-05-03', Date.UTC(2026, 4, 3)],
    ['2026-05-03T10:11', Date.UTC(2026, 4, 3, 10, 11)],
    ['2026-05-03 10:11:12.5+02', Date.UTC(2026, 4, 3, 8, 11, 12, 500)],
    ['2024-02-29', Date.UTC(2024, 1, 29)],
    ['2026-02-29', Number.NaN],
    ['2026-04-31T00:00Z', Number.NaN],
    ['1777777777000', Number.NaN],
    ['', Number.NaN],
  ])('%s', (text, ms) => {
    expect(instantOf(text)).toBe(ms)
  })
})

test('patterns are compiled once, unanchored, and take linear time', () => {
  expect(compilePattern('b+')).toBe(compilePattern('b+'))
  expect(compilePattern('b+').test('abc')).toBe(true)
  // Whoever went back to try the other ways would be at it for ever.
  expect(compilePattern('(a|a)*(a*)*b').test('a'.repeat(20_000))).toBe(false)
})
