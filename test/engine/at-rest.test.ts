import { expect, test } from 'vitest'
import { Memory } from '../../src/engine/memory.ts'
import { encodeForward, Forward } from '../../src/engine/profile.ts'

const KEY = 'k'.repeat(19)
const row = encodeForward('o'.repeat(19))
const place = { bytes: row, from: 0, to: row.length }

test('a row is at rest unless it is dirty or its commit is under way', () => {
  const memory = new Memory()
  const forward = new Forward('o'.repeat(19))
  memory.setRow(KEY, forward)
  memory.load('absent', undefined)
  forward.dirty = true
  expect(memory.isAtRest(KEY, 7)).toBe(false)
  memory.encoded(KEY, place, 8)
  expect([7, 8, 9].map((durableN) => memory.isAtRest(KEY, durableN))).toEqual([false, true, true])
  expect(memory.isAtRest('absent', 0)).toBe(true)
  expect(memory.isAtRest('unknown', 0)).toBe(true)
})

test('what is not durable outlives every eviction, and what is may go', () => {
  const memory = new Memory()
  const keys = Array.from({ length: 20_000 }, (_, i) => String(i).padStart(19, 'p'))
  for (const [i, key] of keys.entries()) {
    memory.setRow(key, new Forward('o'.repeat(19)))
    memory.encoded(key, place, i < 5000 ? 3 : 2)
  }
  memory.evict(0, 2)
  expect(keys.slice(0, 5000).every((key) => memory.hasRow(key))).toBe(true)
  expect(memory.size).toBeLessThan(9000)
  memory.evict(0, 3)
  expect(memory.size).toBeLessThan(4000)
})
