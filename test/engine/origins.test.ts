// What partitions have taken in of a source's partition: each record counts once, whoever brings it, however often and late.
import { describe, expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import { decodeInput } from '../../src/engine/inputs.ts'
import { Origins, STRETCHES_KEPT } from '../../src/engine/origins.ts'
import { RowBlock } from '../../src/state/row-block.ts'
import { seeded, seedsOf } from '../identity/random.ts'
import { HOMES, messageName, OriginWorld } from './origin-world.ts'

const SEEDS = seedsOf(300)
const STEPS = 600

/** The rows of a partition that keeps nothing else. */
class Rows {
  readonly #rows = new Map<string, Buffer>()

  get count(): number {
    return this.#rows.size
  }

  commit(origins: Origins): void {
    const block = new RowBlock()
    origins.write(block)
    for (const [key, value] of block) {
      if (value === undefined) this.#rows.delete(key)
      else this.#rows.set(key, Buffer.from(value))
    }
  }

  load(origins: Origins): void {
    origins.clear()
    for (const [key, value] of [...this.#rows].sort(([a], [b]) => (a < b ? -1 : 1))) origins.load(key, value)
  }
}

/** What a partition counts of its log, with a commit now and then, and crashes that lose what was not committed. */
function counted(log: readonly Buffer[], random: () => number): string[] {
  const rows = new Rows()
  const origins = new Origins()
  const counts: string[] = []
  let committed = { input: 0, counts: 0 }
  for (let input = 0; input < log.length; ) {
    if (random() < 0.02) {
      rows.load(origins)
      input = committed.input
      counts.length = committed.counts
    }
    const record = decodeInput(must(log[input++], 'index in range'))
    if (record.kind !== 'events' || !record.read) throw new Error('it is a pack of a source')
    for (const [i, event] of record.events.entries())
      if (origins.take(record.read.reading, must(record.read.places[i], 'each has one'))) counts.push(event.toString())
    if (random() < 0.1) {
      rows.commit(origins)
      committed = { input, counts: counts.length }
    }
  }
  return counts
}

const brought = (logs: readonly (readonly Buffer[])[]): number =>
  logs.flat().reduce((n, payload) => {
    const record = decodeInput(payload)
    return n + (record.kind === 'events' ? record.events.length : 0)
  }, 0)

describe('a record of a source', () => {
  test(`counts once, and none is lost (${SEEDS} seeds)`, () => {
    let [repeats, lost] = [0, 0]
    for (let seed = 0; seed < SEEDS; seed++) {
      const random = seeded(seed)
      const world = new OriginWorld(random)
      for (let step = 0; step < STEPS; step++) world.step()
      world.readAll()
      const counts = world.logs.map((log) => counted(log, random))
      const expected: string[][] = Array.from({ length: HOMES }, () => [])
      for (const record of world.topic) for (const [index, home] of record.homes.entries()) expected[home]?.push(messageName(record, index))
      // What a leader has lost may have been read before: then it counts, too.
      const gone = new Set(world.lost.flatMap((record) => record.homes.map((_, index) => messageName(record, index))))
      for (let home = 0; home < HOMES; home++) {
        const own = counts[home] ?? []
        expect(new Set(own).size, `seed ${seed}: nothing counts twice`).toBe(own.length)
        expect(own.filter((name) => !gone.has(name)).sort(), `seed ${seed}: nothing is lost`).toEqual(expected[home]?.sort())
      }
      repeats += brought(world.logs) - counts.flat().length
      lost += gone.size
    }
    // Else nothing was tried.
    expect(repeats).toBeGreaterThan(10 * SEEDS)
    expect(lost).toBeGreaterThan(SEEDS)
  })

  test('that lies before where anybody has begun counts when positions are set back, and what was read since does not', () => {
    const origins = new Origins()
    const take = (from: number, offset: number): boolean => origins.take({ origin: 'o'.repeat(16), leader: 1, from }, { offset, index: 0 })
    expect([100, 101, 102].map((o) => take(100, o))).toEqual([true, true, true])
    // Somebody skips to 500, and later reads all again.
    expect([500, 501].map((o) => take(500, o))).toEqual([true, true])
    const again = [0, 99, 100, 102, 103, 499, 500, 501, 502].map((o) => take(0, o))
    expect(again).toEqual([true, true, false, false, true, true, false, false, true])
    expect(take(0, 502)).toBe(false)
    const rows = new Rows()
    rows.commit(origins)
    // They have become one.
    expect(rows.count).toBe(1)
  })

  test('is known again by its leader, so that an offset that is used again is another record', () => {
    const origins = new Origins()
    const take = (leader: number, offset: number): boolean =>
      origins.take({ origin: 'o'.repeat(16), leader, from: 0 }, { offset, index: 0 })
    expect([take(1, 5), take(1, 6), take(2, 5), take(2, 5), take(1, 6)]).toEqual([true, true, true, false, false])
  })
})

test('of an origin so many stretches are kept, in rows of their own, and the oldest is forgotten', () => {
  const rows = new Rows()
  const origins = new Origins()
  const begin = (n: number): boolean => origins.take({ origin: 'o'.repeat(16), leader: 1, from: 10 * n }, { offset: 10 * n, index: 0 })
  for (let n = 0; n <= STRETCHES_KEPT; n++) expect(begin(n)).toBe(true)
  rows.commit(origins)
  expect(rows.count).toBe(STRETCHES_KEPT)
  rows.load(origins)
  for (let n = STRETCHES_KEPT; n > 0; n--) expect(begin(n)).toBe(false)
  expect(begin(0)).toBe(true)
})
