// Events accepted and not yet committed, where the partition is here and where it is elsewhere.
import { expect, test } from 'vitest'
import { Lag } from '../../src/engine/lag.ts'
import { Shared } from '../../src/engine/shared.ts'

test('what is under way counts, what was committed does not', () => {
  const shared = new Shared(1, 2)
  const lag = new Lag(shared, 2)
  lag.appending(0, 7)
  expect(lag.of(0)).toBe(7)
  lag.appended(0, 7, 0)
  lag.appending(0, 5)
  lag.appended(0, 5, 1)
  shared.appended(0, 2)
  expect([lag.of(0), lag.of(1), lag.largest()]).toEqual([12, 0, 12])
  shared.committed(0, 1)
  expect(lag.of(0)).toBe(5)
  shared.committed(0, 2)
  expect(lag.of(0)).toBe(0)
})

test('what got nowhere counts no more', () => {
  const lag = new Lag(new Shared(1, 1), 1)
  lag.appending(0, 7)
  lag.appended(0, 7)
  expect(lag.of(0)).toBe(0)
})

test('of a partition elsewhere, it is what its owner said last and what was accepted here since', () => {
  const shared = new Shared(1, 1)
  shared.committed(0, Number.POSITIVE_INFINITY)
  const lag = new Lag(shared, 1)
  lag.told(0, 10, 30)
  expect(lag.of(0)).toBe(20)
  lag.appending(0, 100)
  lag.appended(0, 100, 30)
  expect(lag.of(0)).toBe(120)
  lag.told(0, 31, 31)
  expect(lag.of(0)).toBe(0)
  // It was told late, by an owner that is out of date.
  lag.told(0, 20, 25)
  expect(lag.of(0)).toBe(0)
})
