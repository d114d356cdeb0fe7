import { expect, test } from 'vitest'
import { Absent, Memory } from '../../src/engine/memory.ts'
import { encodeForward, Forward } from '../../src/engine/profile.ts'

const KEY = 'k'.repeat(19)
const row = encodeForward('o'.repeat(19))
const place = { bytes: row, from: 0, to: row.length }

test('others are shown a row as durable commits have left it, or nothing', () => {
  const memory = new Memory()
  const target = (n: number): string => String(n).repeat(19)
  const shown = (durableN: number): unknown => memory.durableRow(KEY, durableN)
  const write = (to: string, n: number): void => {
    const row = new Forward(to)
    row.dirty = true
    memory.setRow(KEY, row)
    const bytes = encodeForward(to)
    if (n > 0) memory.encoded(KEY, { bytes, from: 0, to: bytes.length }, n)
  }
  expect(shown(7)).toBeUndefined()
  memory.load(KEY, undefined)
  expect(shown(7)).toBeInstanceOf(Absent)
  write(target(1), 0)
  expect(shown(7)).toBeInstanceOf(Absent)
  write(target(1), 8)
  expect(shown(7)).toBeUndefined()
  expect([8, 9].map(shown)).toEqual([new Forward(target(1)), new Forward(target(1))])
  // The next batch is at it.
  write(target(2), 0)
  expect(shown(8)).toEqual(new Forward(target(1)))
  write(target(2), 9)
  expect(shown(8)).toBeUndefined()
  expect(shown(9)).toEqual(new Forward(target(2)))
})

test('others are shown a leaf as durable commits have left it', () => {
  const memory = new Memory()
  const leaf = { key: 'o'.repeat(19), v: 1 }
  memory.loadLeaf('x', undefined)
  expect(memory.durableLeaf('x', 7)).toBeUndefined()
  memory.setLeaf('x', leaf, 8)
  expect(memory.durableLeaf('x', 7)).toBeNull()
  expect(memory.durableLeaf('x', 8)).toMatchObject(leaf)
  expect(memory.durableLeaf('y', 8)).toBeNull()
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
