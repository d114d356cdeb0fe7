// Rows as bytes: the table, the cache and the block of a commit against plain maps.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import { Writer } from '../../src/core/bytes.ts'
import { RowBlock } from '../../src/state/row-block.ts'
import { RowCache } from '../../src/state/row-cache.ts'
import { NO_PLACE, RowTable, type Span } from '../../src/state/row-table.ts'

const CHUNK_BYTES = 1 << 17
/** TRIBUTARY_ROW_RUNS=5000 for a long run. */
const RUNS = { numRuns: Number(process.env.TRIBUTARY_ROW_RUNS ?? 80) }

const spanOf = (bytes: Buffer): Span => ({ bytes, from: 0, to: bytes.length })
const bytesOf = ({ bytes, from, to }: Span): Buffer => bytes.subarray(from, to)
const emptySpan = (): Span => ({ bytes: Buffer.alloc(0), from: 0, to: 0 })

/** Contents that tell rows and versions apart, of any length. */
const filled = (size: number, version: number): Buffer => Buffer.alloc(size, version + 1)

/** Only the last bytes of a key are hashed, so all of one long tail meet in one slot; the others are short, or very long. */
const keyOf = fc.oneof(
  { weight: 4, arbitrary: fc.nat(40).map((n) => `${String.fromCharCode(n + 200)}-the same twelve`) },
  { weight: 4, arbitrary: fc.nat(40).map((n) => `k${n}`) },
  { weight: 1, arbitrary: fc.constantFrom('\x00', '\xff', 'x'.repeat(64), 'x'.repeat(65), 'x'.repeat(65_535)) },
)
/** Short and long ones are copied in two ways; a few are larger than a chunk, or just fill it. */
const sizeOf = fc.oneof(
  { weight: 6, arbitrary: fc.nat(200) },
  { weight: 2, arbitrary: fc.integer({ min: 1000, max: 20_000 }) },
  { weight: 1, arbitrary: fc.integer({ min: CHUNK_BYTES - 40, max: CHUNK_BYTES + 40 }) },
)

describe('a table of rows', () => {
  type Step = { readonly key: string; readonly size: number; readonly isRemoved: boolean; readonly tag: number }
  const stepOf: fc.Arbitrary<Step> = fc.record({
    key: keyOf,
    size: sizeOf,
    isRemoved: fc.integer({ min: 0, max: 3 }).map((n) => n === 0),
    tag: fc.integer({ min: 0, max: 0xffff_ffff }),
  })

  interface Row {
    readonly place: number
    readonly value: Buffer
    readonly tag: number
    readonly flags: number
  }

  /** Puts, and notes what was put: by key, and for each chunk in order. */
  function put(table: RowTable, rows: Map<string, Row>, chunks: Map<number, number[]>, { key, size, tag }: Step): void {
    const flags = size % 4
    const before = rows.get(key)
    const value = filled(size, tag % 250)
    // The span lies somewhere in a larger buffer.
    const place = table.put(key, { bytes: Buffer.concat([Buffer.from('abc'), value, Buffer.from('d')]), from: 3, to: 3 + size }, flags, tag)
    if (before) expect(table.isNewest(before.place)).toBe(false)
    rows.set(key, { place, value, tag, flags })
    chunks.set(table.chunk, [...(chunks.get(table.chunk) ?? []), place])
  }

  function check(table: RowTable, rows: ReadonlyMap<string, Row>): void {
    expect(table.size).toBe(rows.size)
    for (const [key, { place, value, tag, flags }] of rows) {
      expect(table.find(key)).toBe(place)
      expect(table.isNewest(place)).toBe(true)
      expect([table.key(place), table.flags(place), table.tag(place)]).toEqual([key, flags, tag])
      expect(bytesOf(table.value(place, emptySpan())).equals(value)).toBe(true)
      expect(table.view(place).equals(value)).toBe(true)
    }
  }

  test('finds the newest version of each key, whatever was put and removed, and visits a chunk in the order of its puts', () => {
    fc.assert(
      fc.property(fc.array(stepOf, { maxLength: 80, size: 'max' }), (steps) => {
        const table = new RowTable()
        const rows = new Map<string, Row>()
        const chunks = new Map<number, number[]>()
        for (const step of steps) {
          if (!step.isRemoved) put(table, rows, chunks, step)
          else {
            table.remove(step.key)
            rows.delete(step.key)
          }
          expect(table.find(step.key) === NO_PLACE).toBe(step.isRemoved)
        }
        check(table, rows)
        for (const [chunk, places] of chunks) {
          const visited: number[] = []
          for (let place = table.firstIn(chunk); place !== NO_PLACE; place = table.after(place)) visited.push(place)
          expect(visited).toEqual(places)
        }
      }),
      RUNS,
    )
  })

  test('keeps bytes that were handed out as they were, and takes numbers of chunks that were given up again', () => {
    const table = new RowTable()
    table.put('old', spanOf(filled(CHUNK_BYTES, 1)), 0, 0)
    const [chunk, view, bytes] = [table.chunk, table.view(table.find('old')), table.bytes]
    table.put('new', spanOf(filled(CHUNK_BYTES, 2)), 0, 0)
    table.remove('old')
    table.giveUp(chunk)
    expect(table.bytes).toBe(bytes)
    table.put('newer', spanOf(filled(CHUNK_BYTES, 3)), 0, 0)
    expect(table.chunk).toBe(chunk)
    expect(view.equals(filled(CHUNK_BYTES, 1))).toBe(true)
    expect(['old', 'new', 'newer'].map((key) => table.find(key) === NO_PLACE)).toEqual([true, false, false])
    expect(() => table.giveUp(table.chunk)).toThrow('written')
    expect(() => table.put('', spanOf(Buffer.alloc(1)), 0, 0)).toThrow('65,535')
    expect(() => table.put('x'.repeat(65_536), spanOf(Buffer.alloc(1)), 0, 0)).toThrow('65,535')
  })

  test('grows past its first index, and closes gaps among keys of one slot', () => {
    const table = new RowTable()
    const key = (i: number): string => (i % 3 === 0 ? `${i}-the same twelve` : `k${i}`)
    for (let i = 0; i < 3000; i++) table.put(key(i), spanOf(Buffer.from(`${i}`)), 0, i)
    for (let i = 0; i < 3000; i += 2) table.remove(key(i))
    table.remove('never there')
    expect(table.size).toBe(1500)
    for (let i = 0; i < 3000; i++) {
      const place = table.find(key(i))
      expect(place === NO_PLACE ? undefined : table.view(place).toString()).toBe(i % 2 === 0 ? undefined : `${i}`)
    }
  })

  test('closes gaps where the keys of one slot go on at the beginning of the index', () => {
    // Ten keys meet at some slot of 1,024; for some of these tails at its end.
    for (let tail = 0; tail < 1000; tail++) {
      const table = new RowTable()
      const key = (i: number): string => `${i}-${String(tail).padStart(12, '0')}`
      for (let i = 0; i < 10; i++) table.put(key(i), spanOf(Buffer.alloc(0)), 0, i)
      for (let i = 0; i < 10; i += 3) table.remove(key(i))
      const found = Array.from({ length: 10 }, (_, i) => table.find(key(i)) !== NO_PLACE)
      expect(found).toEqual([false, true, true, false, true, true, false, true, true, false])
    }
  })

  test('compares keys by their bytes', () => {
    const keyOrBound = fc.string({ unit: fc.constantFrom('\x00', 'a', '\xff'), maxLength: 4 })
    fc.assert(
      fc.property(
        keyOrBound.filter((key) => key !== ''),
        keyOrBound,
        keyOrBound,
        (key, gte, lt) => {
          const table = new RowTable()
          const place = table.put(key, spanOf(Buffer.alloc(0)), 0, 0)
          expect(table.isBetween(place, gte, lt)).toBe(key >= gte && key < lt)
        },
      ),
    )
  })
})

describe('a cache of rows', () => {
  type Step =
    | { readonly do: 'put'; readonly key: string; readonly size: number | undefined }
    | { readonly do: 'find'; readonly key: string }
    | { readonly do: 'durable'; readonly behind: number }
    | { readonly do: 'evict'; readonly budget: number }

  const stepOf: fc.Arbitrary<Step> = fc.oneof(
    { weight: 8, arbitrary: fc.record({ do: fc.constant('put' as const), key: keyOf, size: fc.option(sizeOf, { nil: undefined }) }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('find' as const), key: keyOf }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('durable' as const), behind: fc.nat(3) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('evict' as const), budget: fc.constantFrom(0, 20_000, 300_000) }) },
  )

  /** What a cache says of a key. */
  const said = (cache: RowCache, key: string): Buffer | undefined | null => {
    const found = cache.find(key, emptySpan())
    return found && bytesOf(found)
  }

  /** Runs steps from commit number `first` on. */
  function run(first: number, steps: readonly Step[]): void {
    const cache = new RowCache()
    const rows = new Map<string, { readonly value: Buffer | undefined; readonly n: number }>()
    let [n, durableN] = [first, first]
    const mustKnow = (key: string, isSure: boolean): void => {
      const row = rows.get(key)
      if (!row) return expect(said(cache, key)).toBeNull()
      if (!isSure && !cache.has(key)) return expect(said(cache, key)).toBeNull()
      const value = said(cache, key)
      expect(value === undefined || value === null ? value : value.toString('latin1')).toBe(row.value?.toString('latin1'))
      expect(cache.isAtRest(key, durableN)).toBe(row.n <= durableN)
    }
    for (const [i, step] of steps.entries()) {
      if (step.do === 'put') {
        const value = step.size === undefined ? undefined : filled(step.size, i % 250)
        cache.put(step.key, value && spanOf(value), ++n)
        rows.set(step.key, { value, n })
      } else if (step.do === 'durable') durableN = Math.max(durableN, n - step.behind)
      else if (step.do === 'evict') cache.evict(step.budget, durableN)
      // Nobody else has a row that isn't durable.
      for (const [key, row] of rows) if (row.n > durableN) mustKnow(key, true)
      if (step.do === 'find') mustKnow(step.key, false)
    }
    for (const key of rows.keys()) mustKnow(key, false)
    expect(cache.size).toBe([...rows.keys()].filter((key) => cache.has(key)).length)
  }

  test('says of each key what was put last, or nothing, and never nothing of what is not durable', () => {
    fc.assert(
      fc.property(fc.array(stepOf, { maxLength: 80, size: 'max' }), (steps) => run(0, steps)),
      RUNS,
    )
  })

  test('tells commits apart where their numbers pass 32 bits', () => {
    fc.assert(
      fc.property(fc.array(stepOf, { maxLength: 30, size: 'max' }), (steps) => {
        run(2 ** 31 - 10, steps)
        run(2 ** 32 - 10, steps)
      }),
      { numRuns: RUNS.numRuns / 4 },
    )
  })

  test('keeps to its budget, and what was found stays longer than what was not', () => {
    const cache = new RowCache()
    const BUDGET = 1 << 20
    const hot = Array.from({ length: 50 }, (_, i) => `hot${i}`)
    for (const key of hot) cache.put(key, spanOf(filled(100, 0)), 1)
    for (let i = 0; i < 40_000; i++) {
      cache.put(`cold${i}`, spanOf(filled(100, 1)), 1)
      if (i % 1000 !== 0) continue
      for (const key of hot) must(cache.find(key, emptySpan()), 'a row that is used stays')
      cache.evict(BUDGET, 1)
      expect(cache.bytes).toBeLessThanOrEqual(BUDGET)
    }
    expect(cache.has('cold0')).toBe(false)
    expect(cache.has('cold39999')).toBe(true)
    cache.clear()
    expect([cache.size, said(cache, 'hot0')]).toEqual([0, null])
  })
})

describe('the rows of a commit', () => {
  test('come out in the order in which they were put, deleted ones too, without those of dropped ranges', () => {
    const rowOf = fc.tuple(keyOf, fc.option(fc.nat(300), { nil: undefined }), fc.boolean())
    fc.assert(
      fc.property(fc.array(rowOf, { maxLength: 30 }), fc.tuple(keyOf, keyOf), (rows, [gte, lt]) => {
        const block = new RowBlock()
        block.put('of the batch before', Buffer.from('x'))
        block.reset()
        const expected = rows.map(([key, size], i) => [key, size === undefined ? undefined : filled(size, i)] as const)
        for (const [i, [key, value]] of expected.entries()) {
          if (value !== undefined && rows[i]?.[2]) block.putWritten(key, new Writer(16).raw(value))
          else block.put(key, value)
        }
        const read = (b: RowBlock): unknown[] => [...b].map(([key, value]) => [key, value?.toString('latin1')])
        const shown = expected.map(([key, value]) => [key, value?.toString('latin1')])
        expect([block.count, read(block)]).toEqual([rows.length, shown])
        expect(RowBlock.of(expected).bytes.equals(block.bytes)).toBe(true)
        block.drop([{ gte, lt }])
        const kept = expected.filter(([key]) => !(key >= gte && key < lt))
        expect(read(block)).toEqual(kept.map(([key, value]) => [key, value?.toString('latin1')]))
        expect(RowBlock.of(kept).bytes.equals(block.bytes)).toBe(true)
      }),
      RUNS,
    )
  })
})
