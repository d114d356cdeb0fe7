// Decimals, texts, paths, durations, and what operators forget.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Reader, Writer } from '../../src/core/bytes.ts'
import { compareTexts } from '../../src/operators/compare.ts'
import { count } from '../../src/operators/count.ts'
import {
  compareTimes,
  type Decimal,
  decimalOf,
  decodeDecimals,
  encodeDecimals,
  isCountable,
  minus,
  numberOf,
  plus,
  thresholdOf,
} from '../../src/operators/decimal.ts'
import { distinct } from '../../src/operators/distinct.ts'
import { durationMs, instantOf } from '../../src/operators/duration.ts'
import { MAX_ENTRIES } from '../../src/operators/operator.ts'
import { listOf, parsePath, valueAt } from '../../src/operators/path.ts'
import { type SumState, sum } from '../../src/operators/sum.ts'
import { instant } from '../oracle/evaluate.ts'

const countable = fc.double({ noNaN: true, noDefaultInfinity: true }).filter(isCountable)
const money = fc.integer({ min: -1e9, max: 1e9 }).map((cents) => cents / 100)
const anyNumber = fc.oneof(countable, money, fc.integer(), fc.maxSafeInteger())

/** A number in units of 10^-400: finer than any double. */
function exactly(x: number): bigint {
  const [mantissa = '', exponent = '0'] = String(x).split('e')
  const [whole = '', fraction = ''] = mantissa.split('.')
  return BigInt(whole + fraction) * 10n ** BigInt(400 + Number(exponent) - fraction.length)
}

describe('decimals', () => {
  test('0.1 + 0.2 is 0.3, and 0.1 taken ten times is 1', () => {
    expect(plus(decimalOf(0.1), decimalOf(0.2))).toBe(decimalOf(0.3))
    expect(Array.from({ length: 10 }, () => decimalOf(0.1)).reduce(plus, 0)).toBe(decimalOf(1))
  })
  test('sums are exact, in any order, and have one form', () => {
    fc.assert(
      fc.property(fc.array(anyNumber, { maxLength: 12, size: 'max' }), anyNumber, fc.integer({ min: 1, max: 9 }), (numbers, other, n) => {
        const forward = numbers.map(decimalOf).reduce(plus, 0)
        expect([...numbers].reverse().map(decimalOf).reduce(plus, 0)).toBe(forward)
        const sum = numbers.map(exactly).reduce((a, b) => a + b, 0n)
        const right = exactly(other) * BigInt(n)
        expect(Math.sign(compareTimes(forward, n, thresholdOf(other)))).toBe(sum < right ? -1 : sum > right ? 1 : 0)
        expect(minus(plus(forward, decimalOf(other)), decimalOf(other))).toBe(forward)
      }),
      { numRuns: 1000 },
    )
  })
  test('a sum that equals a threshold compares equal', () => {
    fc.assert(
      fc.property(anyNumber, (x) => {
        expect(compareTimes(decimalOf(x), 1, thresholdOf(x)) === 0).toBe(true)
        expect(numberOf(decimalOf(x)) === x).toBe(true)
      }),
    )
  })
  test('thresholds may be any number', () => {
    for (const tiny of [5e-324, 1e-300]) {
      expect(compareTimes(0, 1, thresholdOf(tiny))).toBeLessThan(0)
      expect(compareTimes(decimalOf(1e-30), 1, thresholdOf(tiny))).toBeGreaterThan(0)
    }
    expect(compareTimes(decimalOf(1e30), 1, thresholdOf(1.7e308))).toBeLessThan(0)
  })
  test('go through bytes', () => {
    fc.assert(
      fc.property(fc.array(anyNumber.map(decimalOf), { maxLength: 6 }), (values: Decimal[]) => {
        const w = new Writer()
        encodeDecimals(values, w)
        expect(decodeDecimals(new Reader(w.take()), values.length)).toEqual(values.map((x) => (x === 0 ? 0 : x)))
      }),
    )
  })
  test('what is no countable number', () => {
    for (const value of ['1', null, true, [1], 1.1e30, -1e31, 9e-31, Number.MIN_VALUE])
      expect(isCountable(value), String(value)).toBe(false)
    for (const value of [0, -0, 1e30, -1e30, 1e-30, 7]) expect(isCountable(value), String(value)).toBe(true)
  })
})

test('texts are in the order of their code points', () => {
  const texts = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('\uffff', '\u{10000}', 'a\u{1f600}', 'a\ufffd', '', 'a'))
  const codes = (text: string): number[] => [...text].map((c) => c.codePointAt(0) as number)
  fc.assert(
    fc.property(texts, texts, (a, b) => {
      const [x, y] = [codes(a), codes(b)]
      const i = x.findIndex((code, at) => code !== y[at])
      const expected = i < 0 ? x.length - y.length : (x[i] as number) - (y[i] ?? -1)
      expect(Math.sign(compareTexts(a, b))).toBe(Math.sign(expected))
    }),
    { numRuns: 1000 },
  )
})

test('paths', () => {
  const message = { a: [{ b: 1 }, { b: [{ c: 2 }, { c: null }] }, null, 5], 'x.y': 1, empty: [] }
  const at = (path: string) => listOf(valueAt(message, parsePath(path)))
  expect(at('a.b')).toEqual([1, [{ c: 2 }, { c: null }]])
  expect(at('a.b.c')).toEqual([2])
  expect(at('a.1.b.0.c')).toEqual([2])
  expect(at('a.01')).toEqual([])
  expect(at('a.7')).toEqual([])
  expect(at('empty')).toEqual([[]])
  expect(at('empty.b')).toEqual([])
  expect(at('toString')).toEqual([])
  expect(at('a.length')).toEqual([])
})

test('durations and dates', () => {
  expect(['5ms', '1.5s', '0.07s', '2m', '1.1h', '1d', '2w'].map(durationMs)).toEqual([
    5, 1500, 70, 120_000, 3_960_000, 86_400_000, 1_209_600_000,
  ])
  for (const text of ['', '5', 'd', '-1d', '1 d', '1y', '1e3s', '.5h', '0.3ms']) expect(() => durationMs(text), text).toThrow()
  for (const text of [
    '2026-05-03',
    '2026-02-29',
    '2024-02-29T24:00',
    '2026-05-03 10:11:12.3456+02:00',
    '2026-05-03T10:11:12-0130',
    '1',
    'May 3 2026',
  ]) {
    expect(instantOf(text), text).toBe(instant(text) ?? Number.NaN)
  }
  expect(instantOf(1_700_000_000_000)).toBeNaN()
})

describe('what is forgotten', () => {
  const keep = { need: { windowMs: 1_000_000, newest: 3, ceiling: 10 }, now: 100_000 }
  test('a count keeps as many instants as can matter', () => {
    const state = count.empty()
    for (let i = 0; i < 100; i++) count.add(state, 1000 + ((i * 37) % 100), null, keep)
    expect(state).toEqual({ total: 100, times: [1097, 1098, 1099], lostAt: Number.NEGATIVE_INFINITY })
  })
  test('a sum keeps what exceeds the highest threshold, until an amount is negative', () => {
    const state = sum.empty()
    for (let i = 0; i < 100; i++) sum.add(state, 1000 + i, 2, keep)
    expect(state.times).toEqual([1094, 1095, 1096, 1097, 1098, 1099])
    expect(sum.cannotAdd?.(state, 1, keep)).toBe(false)
    expect(sum.cannotAdd?.(state, -1, keep)).toBe(true)
    expect(sum.cannotAdd?.(state, -1, { ...keep, now: 2_000_000 })).toBe(false)
  })
  test('beyond the bound the state says that it lacks entries, for as long as that can matter', () => {
    const need = { windowMs: 1_000_000, newest: 100_000, ceiling: 1e9 }
    const counted = count.reading({ event: 'A', within: '1000000ms', count: { gte: 100_000 } })
    const summed = sum.reading({ event: 'A', within: '1000000ms', sum: 'x', gte: 1e9 })
    const different = distinct.reading({ event: 'A', within: '1000000ms', distinct: 'x', gte: 100_000 })
    const states = [count.empty(), sum.empty(), distinct.empty()] as const
    for (let i = 0; i <= MAX_ENTRIES; i++) {
      count.add(states[0], i, null, { need, now: i })
      sum.add(states[1], i, 1, { need, now: i })
      distinct.add(states[2], i, `v${i}`, { need, now: i })
      const isExact = i < MAX_ENTRIES
      if (i < MAX_ENTRIES - 1) continue
      expect([counted.exact(states[0], i), summed.exact(states[1], i), different.exact(states[2], i)]).toEqual([isExact, isExact, isExact])
    }
    expect(counted.value(states[0], MAX_ENTRIES)).toBe(MAX_ENTRIES)
    // The entry at 0 was dropped; once it has left the window nothing is missing.
    expect(counted.exact(states[0], 999_999)).toBe(false)
    expect(counted.exact(states[0], 1_000_000)).toBe(true)
    expect(summed.exact(states[1], 1_000_000)).toBe(true)
  })
  test('a negative amount that meets a state that has forgotten, without a timeline, is admitted', () => {
    const reading = sum.reading({ event: 'A', within: '1000000ms', sum: 'x', gte: 10 })
    const state: SumState = sum.empty()
    for (let i = 0; i < 100; i++) sum.add(state, 1000 + i, 2, keep)
    expect(reading.exact(state, keep.now)).toBe(true)
    sum.add(state, 1100, -1, keep)
    expect(reading.exact(state, keep.now)).toBe(false)
  })
})
