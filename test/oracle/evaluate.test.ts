// The oracle must be right by itself: cases by hand for every operator and every sentence of the grammar's small print.
import { describe, expect, test } from 'vitest'
import type { Json, JsonObject } from '../../src/core/event.ts'
import { parseWhere } from '../../src/operators/parse.ts'
import { type CountedEvent, type Facts, holds, instant, milliseconds, nextFlip, timelineOfTruth } from './evaluate.ts'

const NOW = 1_000_000

function facts(events: CountedEvent[] = [], traits: { [name: string]: Json } = {}): Facts {
  return { events, traits: new Map(Object.entries(traits)) }
}

/** An event of `name`, so many ms before NOW. */
function ago(name: string, age: number, properties: JsonObject = {}): CountedEvent {
  return { name, at: NOW - age, message: { type: 'track', event: name, properties } }
}

const is = (where: unknown, f: Facts, now = NOW): boolean => holds(parseWhere(where), f, now)

describe('comparators of a trait', () => {
  const cases: [comparators: JsonObject, value: Json | undefined, expected: boolean][] = [
    [{ eq: 'a' }, 'a', true],
    [{ eq: 'a' }, 'A', false],
    [{ eq: 10 }, '10', false],
    [{ eq: '10' }, 10, false],
    [{ eq: 1 }, true, false],
    [{ eq: false }, false, true],
    [{ eq: 0 }, -0, true],
    [{ eq: '' }, '', true],
    [{ eq: 'a' }, ['a'], false],
    [{ eq: 'a' }, undefined, false],
    [{ neq: 'a' }, 'b', true],
    [{ neq: 'a' }, 'a', false],
    [{ neq: 10 }, '10', true],
    [{ neq: 'a' }, undefined, false],
    [{ neq: 'a' }, null, false],
    [{ lt: 10 }, 9, true],
    [{ lt: 10 }, 10, false],
    [{ lt: 10 }, '9', false],
    [{ lt: '10' }, '9', false],
    [{ lt: 'b' }, 'a', true],
    [{ lt: 'b' }, 'B', true],
    // By code point: U+1F600 lies above U+FFFD, though its first UTF-16 unit lies below.
    [{ lt: '\u{1f600}' }, '\ufffd', true],
    [{ gt: '\ufffd' }, '\u{1f600}', true],
    [{ lt: 'ab' }, 'a', true],
    [{ lte: 10 }, 10, true],
    [{ lte: 10 }, 11, false],
    [{ gt: 10 }, 10, false],
    [{ gt: 10 }, 10.5, true],
    [{ gte: 10 }, 10, true],
    [{ gte: 1 }, true, false],
    [{ gte: 'a' }, undefined, false],
    [{ lt: true }, false, false],
    [{ between: [1, 3] }, 1, true],
    [{ between: [1, 3] }, 3, true],
    [{ between: [1, 3] }, 3.001, false],
    [{ between: ['a', 'c'] }, 'bzz', true],
    [{ between: [1, 3] }, '2', false],
    [{ in: ['a', 1] }, 1, true],
    [{ in: ['a', 1] }, '1', false],
    [{ in: [] }, 'a', false],
    [{ in: ['a'] }, undefined, false],
    [{ notIn: ['a', 1] }, 'b', true],
    [{ notIn: ['a', 1] }, 1, false],
    [{ notIn: ['a'] }, undefined, false],
    [{ notIn: ['a'] }, null, false],
    [{ contains: 'ell' }, 'hello', true],
    [{ contains: '' }, 'hello', true],
    [{ contains: 'x' }, 'hello', false],
    [{ contains: 'a' }, ['a', 'b'], true],
    [{ contains: 'a' }, ['ab'], false],
    [{ contains: 1 }, [1, 2], true],
    [{ contains: '1' }, [1, 2], false],
    [{ contains: '1' }, 11, false],
    [{ contains: 'a' }, [], false],
    [{ startsWith: 'he' }, 'hello', true],
    [{ startsWith: 'el' }, 'hello', false],
    [{ startsWith: 'a' }, ['a'], false],
    [{ endsWith: 'lo' }, 'hello', true],
    [{ endsWith: 'hello!' }, 'hello', false],
    [{ endsWith: '' }, '', true],
    [{ matches: 'l+' }, 'hello', true],
    [{ matches: '^l+' }, 'hello', false],
    [{ matches: '(?i)HELLO$' }, 'hello', true],
    [{ matches: '1' }, 1, false],
    [{ exists: true }, '', true],
    [{ exists: true }, false, true],
    [{ exists: true }, 0, true],
    [{ exists: true }, [], true],
    [{ exists: true }, undefined, false],
    [{ exists: true }, null, false],
    [{ exists: false }, undefined, true],
    [{ exists: false }, null, true],
    [{ exists: false }, '', false],
    [{ exists: false, eq: 'a' }, undefined, false],
    // Several comparators are a conjunction.
    [{ gt: 1, lt: 3 }, 2, true],
    [{ gt: 1, lt: 3 }, 3, false],
    [{ gte: 1, neq: 2 }, 2, false],
    [{ before: '1970-01-01T00:00:10Z' }, '1970-01-01T00:00:09.999Z', true],
    [{ before: '1970-01-01T00:00:10Z' }, '1970-01-01T00:00:10Z', false],
    [{ after: '1970-01-01' }, '1970-01-01T00:00:00.001Z', true],
    [{ after: '1970-01-01' }, 'soon', false],
    [{ after: '1970-01-01' }, 1, false],
  ]
  test.each(cases)('%j of %j: %j', (comparators, value, expected) => {
    expect(is({ trait: 'x', ...comparators }, facts([], value === undefined ? {} : { x: value }))).toBe(expected)
  })
})

describe('ages of dates', () => {
  const date = (ms: number): string => new Date(ms).toISOString()
  const cases: [comparators: JsonObject, at: number, expected: boolean][] = [
    [{ withinLast: '10s' }, NOW, true],
    [{ withinLast: '10s' }, NOW - 9_999, true],
    [{ withinLast: '10s' }, NOW - 10_000, false],
    [{ withinLast: '10s' }, NOW + 1, false],
    [{ beforeLast: '10s' }, NOW - 10_000, true],
    [{ beforeLast: '10s' }, NOW - 9_999, false],
    [{ withinNext: '10s' }, NOW, false],
    [{ withinNext: '10s' }, NOW + 1, true],
    [{ withinNext: '10s' }, NOW + 9_999, true],
    [{ withinNext: '10s' }, NOW + 10_000, false],
  ]
  test.each(cases)('%j of %j: %j', (comparators, at, expected) => {
    expect(is({ trait: 'x', ...comparators }, facts([], { x: date(at) }))).toBe(expected)
  })
  test('flip at the instant to the millisecond', () => {
    const f = facts([], { x: date(500) })
    expect(timelineOfTruth(parseWhere({ trait: 'x', withinLast: '10ms' }), f, 0, 1000)).toEqual({
      initial: false,
      flips: [
        { at: 500, holds: true },
        { at: 510, holds: false },
      ],
    })
    expect(timelineOfTruth(parseWhere({ trait: 'x', beforeLast: '10ms' }), f, 0, 1000).flips).toEqual([{ at: 510, holds: true }])
    expect(timelineOfTruth(parseWhere({ trait: 'x', withinNext: '10ms' }), f, 0, 1000).flips).toEqual([
      { at: 491, holds: true },
      { at: 500, holds: false },
    ])
  })
  test('in a filter they count from the event itself', () => {
    const where = { event: 'A', where: { 'properties.due': { withinNext: '10s' } } }
    expect(is(where, facts([ago('A', 500_000, { due: date(NOW - 495_000) })]))).toBe(true)
    expect(is(where, facts([ago('A', 500_000, { due: date(NOW + 5_000) })]))).toBe(false)
  })
})

describe('paths', () => {
  const traits = {
    address: { city: 'Ulm', zip: null },
    items: [{ sku: 'a', price: 1 }, { sku: 'b', price: 5 }, { sku: null }, 'text'],
    tags: ['x', 'y'],
    matrix: [[{ v: 1 }], [{ v: 2 }]],
    empty: [],
  }
  const cases: [where: JsonObject, expected: boolean][] = [
    [{ trait: 'address.city', eq: 'Ulm' }, true],
    [{ trait: 'address.street', exists: false }, true],
    [{ trait: 'address.zip', exists: false }, true],
    [{ trait: 'address.city.length', exists: true }, false],
    [{ trait: 'constructor', exists: true }, false],
    [{ trait: 'address.toString', exists: true }, false],
    // Through a list: any element.
    [{ trait: 'items.sku', eq: 'b' }, true],
    [{ trait: 'items.sku', eq: 'c' }, false],
    [{ trait: 'items.sku', neq: 'a' }, true],
    [{ trait: 'items.price', gt: 1, lt: 5 }, false],
    [{ trait: 'items.price', gt: 1, lte: 5 }, true],
    [{ trait: 'items.weight', exists: false }, true],
    [{ trait: 'items.price', exists: false }, false],
    [{ trait: 'items.1.sku', eq: 'b' }, true],
    [{ trait: 'items.9.sku', exists: false }, true],
    [{ trait: 'matrix.v', eq: 2 }, true],
    [{ trait: 'matrix.0.v', eq: 2 }, false],
    [{ trait: 'tags.0', eq: 'x' }, true],
    // A list at the end is one value.
    [{ trait: 'tags', eq: 'x' }, false],
    [{ trait: 'tags', contains: 'x' }, true],
    [{ trait: 'empty', exists: true }, true],
    [{ trait: 'empty.x', exists: false }, true],
  ]
  test.each(cases)('%j: %j', (where, expected) => {
    expect(is(where, facts([], traits))).toBe(expected)
  })
})

describe('how often', () => {
  const three = facts([ago('A', 0, { n: 1 }), ago('A', 10_000, { n: 2 }), ago('A', 20_000, { n: 3 }), ago('B', 5_000)])
  const cases: [where: JsonObject, expected: boolean][] = [
    [{ event: 'A' }, true],
    [{ event: 'C' }, false],
    [{ event: 'a' }, false],
    [{ event: 'A', count: { gte: 3 } }, true],
    [{ event: 'A', count: { gt: 3 } }, false],
    [{ event: 'A', count: { eq: 3 } }, true],
    [{ event: 'A', count: { between: [4, 9] } }, false],
    [{ event: 'A', count: { in: [1, 3] } }, true],
    [{ event: 'A', count: { notIn: [1, 3] } }, false],
    [{ event: 'C', count: { eq: 0 } }, true],
    [{ event: 'C', count: { exists: true } }, true],
    [{ event: 'A', count: { eq: 0 } }, false],
    [{ event: 'A', count: { gte: '1' } }, false],
    [{ event: ['A', 'B'], count: { eq: 4 } }, true],
    // Half-open: (now - W, now].
    [{ event: 'A', within: '20s', count: { eq: 2 } }, true],
    [{ event: 'A', within: '20001ms', count: { eq: 3 } }, true],
    [{ event: 'B', within: '5s' }, false],
    [{ event: 'B', within: '5001ms' }, true],
    [{ event: 'A', where: { 'properties.n': 2 } }, true],
    [{ event: 'A', where: { 'properties.n': '2' } }, false],
    [{ event: 'A', where: { 'properties.n': { gte: 2 } }, count: { eq: 2 } }, true],
    [{ event: 'A', where: { 'properties.n': { gte: 2 }, 'properties.m': { exists: true } } }, false],
    [{ event: 'A', where: { type: 'track', 'properties.n': 1 } }, true],
    [{ all: [] }, true],
    [{ any: [] }, false],
    [{ not: { any: [] } }, true],
    [{ all: [{ event: 'A' }, { event: 'C' }] }, false],
    [{ any: [{ event: 'A' }, { event: 'C' }] }, true],
    [{ not: { event: 'C' } }, true],
  ]
  test.each(cases)('%j: %j', (where, expected) => {
    expect(is(where, three)).toBe(expected)
  })
  test('an event after now does not count yet', () => {
    expect(is({ event: 'A' }, facts([ago('A', -1)]))).toBe(false)
    expect(is({ event: 'A' }, facts([ago('A', -1)]), NOW + 1)).toBe(true)
  })
})

describe('aggregates', () => {
  const f = facts([
    ago('A', 0, { x: 0.1, t: 'p', many: [{ v: 1 }, { v: 2 }] }),
    ago('A', 10, { x: 0.2, t: 'q' }),
    ago('A', 20, { x: '5', t: 'p' }),
    ago('A', 30, { x: null, t: 1 }),
    ago('B', 0, { x: -7.5, t: ['p'] }),
    ago('B', 5, { x: 1e31, t: { a: 1 } }),
    ago('B', 6, { x: 1e-31, t: '1' }),
  ])
  const A = { event: 'A' }
  const B = { event: 'B' }
  const none = { event: 'none' }
  const x = 'properties.x'
  const cases: [where: JsonObject, expected: boolean][] = [
    [{ ...A, sum: x, eq: 0.3 }, true],
    [{ ...A, sum: x, gt: 0.3 }, false],
    [{ ...A, sum: x, within: '10ms', eq: 0.1 }, true],
    [{ ...A, sum: 'properties.many.v', eq: 3 }, true],
    [{ ...A, sum: x, between: [0.3, 0.3] }, true],
    [{ ...A, sum: x, in: [0.30000000000000004, 0.3] }, true],
    [{ ...A, sum: x, eq: 0.30000000000000004 }, false],
    [{ ...A, sum: x, notIn: [0.3] }, false],
    [{ ...A, sum: x, exists: true }, true],
    [{ ...A, sum: x, contains: '0' }, false],
    [{ ...A, sum: x, eq: '0.3' }, false],
    [{ ...A, sum: x, neq: '0.3' }, true],
    [{ ...B, sum: x, eq: -7.5 }, true],
    [{ event: ['A', 'B'], sum: x, eq: -7.2 }, true],
    [{ ...none, sum: x, eq: 0 }, true],
    [{ ...none, sum: x, exists: false }, false],
    [{ ...none, sum: x, lt: 1 }, true],
    [{ ...A, avg: x, eq: 0.15 }, true],
    [{ ...A, avg: x, lt: 0.15 }, false],
    [{ ...B, avg: x, eq: -7.5 }, true],
    [{ ...none, avg: x, lt: 1 }, false],
    [{ ...none, avg: x, neq: 1 }, false],
    [{ ...none, avg: x, exists: false }, true],
    [{ ...A, avg: x, exists: false }, false],
    [{ ...A, min: x, eq: 0.1 }, true],
    [{ ...A, max: x, eq: 0.2 }, true],
    [{ ...A, max: x, within: '10ms', eq: 0.1 }, true],
    [{ ...B, max: x, eq: -7.5 }, true],
    [{ ...B, min: x, eq: -7.5 }, true],
    [{ ...none, min: x, exists: false }, true],
    [{ ...none, max: x, notIn: [1] }, false],
    [{ ...A, min: 'properties.t', exists: true }, true],
    [{ ...A, min: 'properties.t', eq: 1 }, true],
    [{ ...A, distinct: 'properties.t', eq: 3 }, true],
    [{ ...A, distinct: 'properties.t', within: '20ms', eq: 2 }, true],
    [{ ...B, distinct: 'properties.t', eq: 1 }, true],
    [{ ...B, distinct: x, eq: 1 }, true],
    [{ ...none, distinct: x, eq: 0 }, true],
    [{ ...none, distinct: x, exists: true }, true],
    [{ event: ['A', 'B'], distinct: 'properties.t', eq: 4 }, true],
  ]
  test.each(cases)('%j: %j', (where, expected) => {
    expect(is(where, f)).toBe(expected)
  })
  test('a third is no decimal, but an average compares exactly', () => {
    const thirds = facts([ago('A', 0, { x: 1 }), ago('A', 1, { x: 0 }), ago('A', 2, { x: 0 })])
    expect(is({ ...A, avg: x, eq: 1 / 3 }, thirds)).toBe(false)
    expect(is({ ...A, avg: x, gt: 1 / 3 }, thirds)).toBe(true)
  })
})

describe('first and last', () => {
  const f = facts([ago('A', 5000), ago('A', 20_000), ago('A', 10_000)])
  const cases: [where: JsonObject, expected: boolean][] = [
    [{ event: 'A', last: { within: '5001ms' } }, true],
    [{ event: 'A', last: { within: '5s' } }, false],
    [{ event: 'A', last: { before: '5s' } }, true],
    [{ event: 'A', last: { before: '5001ms' } }, false],
    [{ event: 'A', first: { within: '20s' } }, false],
    [{ event: 'A', first: { before: '20s' } }, true],
    [{ event: 'A', first: { before: '20001ms' } }, false],
    [{ event: 'B', first: { before: '1ms' } }, false],
    [{ event: 'B', last: { within: '1w' } }, false],
  ]
  test.each(cases)('%j: %j', (where, expected) => {
    expect(is(where, f)).toBe(expected)
  })
})

describe('flips', () => {
  const events = [ago('A', 0), ago('A', 10), ago('A', 10)]
  test('a count leaves its window at t + W', () => {
    const where = parseWhere({ event: 'A', within: '100ms', count: { gte: 2 } })
    expect(nextFlip(where, facts(events), NOW)).toEqual({ at: NOW + 90, holds: false })
    expect(holds(where, facts(events), NOW + 89)).toBe(true)
    expect(nextFlip(where, facts(events), NOW + 90)).toBe(undefined)
  })
  test('did not: the last one leaving makes it hold', () => {
    const where = parseWhere({ event: 'A', within: '100ms', count: { eq: 0 } })
    expect(nextFlip(where, facts(events), NOW)).toEqual({ at: NOW + 100, holds: true })
  })
  test('several in time order, back and forth', () => {
    const where = parseWhere({ event: 'A', within: '100ms', count: { in: [3, 1] } })
    expect(timelineOfTruth(where, facts(events), NOW, NOW + 1000)).toEqual({ initial: true, flips: [{ at: NOW + 100, holds: false }] })
    const later = parseWhere({
      all: [
        { event: 'A', last: { before: '50ms' } },
        { event: 'A', first: { within: '200ms' } },
      ],
    })
    expect(timelineOfTruth(later, facts(events), NOW, NOW + 1000).flips).toEqual([
      { at: NOW + 50, holds: true },
      { at: NOW + 190, holds: false },
    ])
  })
  test('without a window nothing flips', () => {
    expect(nextFlip(parseWhere({ event: 'A', count: { gte: 2 } }), facts(events), NOW)).toBe(undefined)
  })
})

test('durations and dates', () => {
  expect(['5ms', '1.5s', '2m', '1h', '1d', '2w'].map(milliseconds)).toEqual([5, 1500, 120_000, 3_600_000, 86_400_000, 1_209_600_000])
  expect(instant('2026-05-03')).toBe(Date.UTC(2026, 4, 3))
  expect(instant('2026-05-03T10:11')).toBe(Date.UTC(2026, 4, 3, 10, 11))
  expect(instant('2026-05-03 10:11:12.3456+02:00')).toBe(Date.UTC(2026, 4, 3, 8, 11, 12, 345))
  expect(instant('2026-05-03T10:11:12-0130')).toBe(Date.UTC(2026, 4, 3, 11, 41, 12))
  for (const text of ['2026-02-30', '2026-13-01', 'yesterday', '2026-05-03T25:00', '1', '']) expect(instant(text), text).toBe(undefined)
})
