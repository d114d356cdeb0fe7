import { expect, test } from 'vitest'
import { Absent, Memory } from '../../src/engine/memory.ts'
import { Forward } from '../../src/engine/profile.ts'

test('a row is at rest unless it is dirty or its commit is under way', () => {
  const memory = new Memory()
  const row = new Forward('other')
  memory.setRow('k', row)
  memory.setRow('absent', new Absent())
  row.dirty = true
  expect(memory.isAtRest('k', 7)).toBe(false)
  memory.pinRow('k', 8)
  row.dirty = false
  expect([7, 8, 9].map((durableN) => memory.isAtRest('k', durableN))).toEqual([false, true, true])
  memory.evict(Number.POSITIVE_INFINITY, 8)
  expect(memory.isAtRest('k', 7)).toBe(true)
  expect(memory.isAtRest('absent', 0)).toBe(true)
  expect(memory.isAtRest('unknown', 0)).toBe(true)
})
