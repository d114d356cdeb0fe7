import { expect, test } from 'vitest'
import { parseInstant } from '../../src/intake/timestamp.ts'

const NOON = Date.UTC(2026, 4, 3, 12)

test.each([
  ['2026-05-03T12:00:00.000Z', NOON],
  ['2026-05-03T12:00:00Z', NOON],
  ['2026-05-03T12:00Z', NOON],
  ['2026-05-03T12:00:00', NOON],
  ['2026-05-03 12:00:00', NOON],
  ['2026-05-03T14:00:00+02:00', NOON],
  ['2026-05-03T14:00:00+0200', NOON],
  ['2026-05-03T14:00:00+02', NOON],
  ['2026-05-03T12:00:00.123456Z', NOON + 123],
  ['2026-05-03T12:00:00,5Z', NOON + 500],
  [' 2026-05-03T12:00:00z ', NOON],
  ['2026-05-03', NOON - 43_200_000],
  [NOON, NOON],
  [NOON + 0.7, NOON],
])('%j', (raw, ms) => {
  expect(parseInstant(raw)).toBe(ms)
})

test.each([
  '1',
  '2026',
  'Sun, 03 May 2026 12:00:00 GMT',
  '2026-5-3',
  '2026-05-03T25:00:00Z',
  '2026-13-03T12:00:00.000Z',
  'May-03-202T12:00:00.000Z',
  1_777_000_000,
  Number.NaN,
  null,
  {},
  '',
])('%j is no instant', (raw) => {
  expect(parseInstant(raw)).toBeNaN()
})
