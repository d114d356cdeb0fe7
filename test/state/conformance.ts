// What every Store must do; each implementation runs the same tests.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import { TributaryError } from '../../src/core/errors.ts'
import type { ScanRange, Store, StoreRow } from '../../src/state/store.ts'
import { applyTests } from './apply-conformance.ts'

export interface Harness {
  readonly name: string
  /** Opens the store in a directory, with what was written to it before. */
  open(dir: string): Promise<Store>
  /** Replaces the stored form of a row by bytes that no store has written. The store is closed. */
  damage(dir: string, key: string): Promise<void>
}

export const text = (s: string): Buffer => Buffer.from(s)
const EVERYTHING: ScanRange = { gte: '', lt: '\xff'.repeat(40) }

export async function readAll(store: Store, range: ScanRange = EVERYTHING, limit = 1000): Promise<[string, string][]> {
  const scan = store.scan(range)
  const rows: [string, string][] = []
  for (;;) {
    const page = await scan.next(limit)
    if (page.length === 0) break
    expect(page.length).toBeLessThanOrEqual(limit)
    for (const [key, value] of page) rows.push([key, value.toString()])
  }
  await scan.close()
  return rows
}

async function codeOf(failing: Promise<unknown>): Promise<string> {
  try {
    await failing
  } catch (error) {
    if (error instanceof TributaryError) return error.code
    throw error
  }
  return 'no error'
}

export function storeConformance(harness: Harness): void {
  describe(`store ${harness.name}`, () => {
    let dir: string
    let store: Store
    beforeEach(async () => {
      dir = await mkdtemp(join(tmpdir(), 'tributary-store-'))
      store = await harness.open(dir)
    })
    afterEach(async () => {
      await store.close()
      await rm(dir, { recursive: true, force: true })
    })
    const reopen = async (): Promise<void> => {
      await store.close()
      store = await harness.open(dir)
    }

    rowTests(() => store, reopen)
    rangeTests(() => store, reopen)
    scanTests(() => store)
    applyTests(() => store, reopen)

    test('concurrent reads and writes: every read sees one of the batches, whole', async () => {
      const keys = ['a', 'b', 'c', 'd']
      const read = async (): Promise<void> => {
        const values = (await store.getMany(keys)).map((v) => v?.toString())
        expect(new Set(values).size).toBe(1)
      }
      const reads: Promise<void>[] = []
      const writes: Promise<void>[] = []
      for (let i = 0; i < 200; i++) {
        // Every third batch also deletes the range that it writes to, and one beside it.
        const deletedRanges: [string, string][] = i % 3 === 0 ? [['a', 'e']] : []
        writes.push(store.write({ puts: keys.map((k) => [k, text(`value ${i}`)] as const), deletedRanges }))
        reads.push(read(), read())
        if (i % 10 === 0) await writes.at(-1)
      }
      await Promise.all([...reads, ...writes])
      expect((await store.getMany(['c']))[0]?.toString()).toBe('value 199')
    })

    test('a damaged value is noticed, by get and by scan, and named', async () => {
      await store.write({
        puts: [
          ['k\x01', text('good')],
          ['k\xfe', text('to be damaged')],
        ],
      })
      await store.close()
      await harness.damage(dir, 'k\xfe')
      store = await harness.open(dir)
      await expect(store.getMany(['k\x01', 'k\xfe'])).rejects.toMatchObject({
        code: 'data_corrupt',
        message: expect.stringContaining('6bfe'),
      })
      expect(await codeOf(readAll(store))).toBe('data_corrupt')
      expect((await store.getMany(['k\x01']))[0]?.toString()).toBe('good')
    })

    test('after close every call fails with store_failed, and close may be repeated', async () => {
      await store.close()
      expect(await codeOf(store.getMany(['a']))).toBe('store_failed')
      expect(await codeOf(store.write({ puts: [] }))).toBe('store_failed')
      expect(await codeOf(store.sync())).toBe('store_failed')
      await store.close()
    })

    test('close waits for what is under way, and for open scans', async () => {
      await store.write({ puts: [['a', text('1')]] })
      const scan = store.scan(EVERYTHING)
      expect(await scan.next(1)).toHaveLength(1)
      const calls = [
        store.write({ puts: [['b', text('2')]] }),
        store.write({ puts: [['c', text('3')]], deletedRanges: [['a', 'b']] }),
        store.getMany(['b']),
      ]
      await reopen()
      await Promise.all(calls)
      expect((await readAll(store)).map(([k]) => k)).toEqual(['b', 'c'])
    })

    test('bytes grows with the rows', async () => {
      const before = await store.bytes()
      await store.write({ puts: [['big', Buffer.alloc(100_000, 1)]] })
      expect(await store.bytes()).toBeGreaterThan(before + 50_000)
    })
  })
}

function rowTests(store: () => Store, reopen: () => Promise<void>): void {
  test('a new store is empty', async () => {
    expect(await store().getMany(['a'])).toEqual([undefined])
    expect(await store().getMany([])).toEqual([])
    expect(await readAll(store())).toEqual([])
  })

  test('values come back exactly, in the order asked for, empty ones and repeated keys too', async () => {
    const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
    await store().write({
      puts: [
        ['a', all],
        ['empty', Buffer.alloc(0)],
        ['large', Buffer.alloc(3_000_000, 7)],
      ],
    })
    const [large, absent, empty, a, again] = await store().getMany(['large', 'nothing', 'empty', 'a', 'a'])
    expect(must(large, 'just written').equals(Buffer.alloc(3_000_000, 7))).toBe(true)
    expect(absent).toBeUndefined()
    expect(empty).toEqual(Buffer.alloc(0))
    expect(a).toEqual(all)
    expect(again).toEqual(all)
  })

  test('a value may be changed by its owner once the write has resolved', async () => {
    const value = text('before')
    await store().write({ puts: [['a', value]] })
    value.fill('x')
    expect((await store().getMany(['a']))[0]?.toString()).toBe('before')
  })

  test('later entries of a batch win; undefined deletes', async () => {
    await store().write({
      puts: [
        ['a', text('1')],
        ['b', text('1')],
        ['a', undefined],
        ['b', undefined],
        ['b', text('2')],
      ],
    })
    expect(await readAll(store())).toEqual([['b', '2']])
    await store().write({ puts: [['b', undefined]] })
    expect(await readAll(store())).toEqual([])
  })

  test('keys sort as bytes, with 0x00 and 0xff', async () => {
    const keys = ['a', 'a\x00', 'a\x00\x00', 'a\x00b', 'a\x7f', 'a\x80', 'a\xff', 'a\xff\x00', 'a\xff\xff', 'b', '\x00', '\xff', '\xff\xff']
    await store().write({ puts: keys.toReversed().map((k) => [k, text(Buffer.from(k, 'latin1').toString('hex'))] as const) })
    const found = await readAll(store())
    expect(found.map(([k]) => k)).toEqual(keys.toSorted((a, b) => Buffer.compare(Buffer.from(a, 'latin1'), Buffer.from(b, 'latin1'))))
    for (const [k, v] of found) expect(v).toBe(Buffer.from(k, 'latin1').toString('hex'))
    expect((await store().getMany(keys)).every((v) => v !== undefined)).toBe(true)
  })

  test('writes are carried out in the order of the calls, and survive close and reopen', async () => {
    const writes: Promise<void>[] = []
    for (let i = 0; i < 50; i++) {
      writes.push(store().write({ puts: [['k', text(String(i))]], ...(i % 7 === 0 ? { deletedRanges: [['j', 'l'] as const] } : {}) }))
    }
    await Promise.all(writes)
    await reopen()
    expect(await readAll(store())).toEqual([['k', '49']])
    await store().sync()
  })

  test('a batch is all or nothing: one that cannot be written leaves nothing', async () => {
    await store().write({ puts: [['a', text('1')]] })
    await expect(
      store().write({
        puts: [
          ['a', text('2')],
          ['', text('no such key')],
        ],
        deletedRanges: [['a', 'b']],
      }),
    ).rejects.toThrow(/at least one byte|1 to 65,535/)
    expect(await readAll(store())).toEqual([['a', '1']])
  })
}

function rangeTests(store: () => Store, reopen: () => Promise<void>): void {
  const number = (i: number): string => String(i).padStart(5, '0')

  test('ranges are half-open and deleted before the puts of their batch', async () => {
    await store().write({ puts: ['a', 'b', 'c', 'd'].map((k) => [k, text('old')] as const) })
    await store().write({ puts: [['b', text('new')]], deletedRanges: [['b', 'd']] })
    expect(await readAll(store())).toEqual([
      ['a', 'old'],
      ['b', 'new'],
      ['d', 'old'],
    ])
    await store().write({
      puts: [],
      deletedRanges: [
        ['d', 'b'],
        ['a', 'a'],
      ],
    })
    expect(await readAll(store())).toHaveLength(3)
  })

  test('large ranges: with several to a batch, and after reopening', async () => {
    const puts = Array.from({ length: 3000 }, (_, i) => [number(i), text('x')] as const)
    await store().write({ puts })
    await store().write({
      puts: [
        [number(1), text('kept')],
        [number(2500), text('kept')],
      ],
      deletedRanges: [
        [number(0), number(1000)],
        [number(1500), number(1502)],
        [number(2000), '\xff'],
      ],
    })
    const expected = puts
      .map(([k]) => k)
      .filter(
        (k) => !(k < number(1000) || (k >= number(1500) && k < number(1502)) || k >= number(2000)) || [number(1), number(2500)].includes(k),
      )
    expect((await readAll(store())).map(([k]) => k)).toEqual(expected)
    await reopen()
    expect((await readAll(store())).map(([k]) => k)).toEqual(expected)
    expect((await store().getMany([number(1), number(2), number(1600)])).map((v) => v?.toString())).toEqual(['kept', undefined, 'x'])
  })

  test('reads during a large range delete see before or after, nothing between', async () => {
    const puts = Array.from({ length: 2000 }, (_, i) => [number(i), text('x')] as const)
    for (let round = 0; round < 5; round++) {
      await store().write({ puts: [...puts, ['mark', undefined]] })
      const reads: Promise<(Buffer | undefined)[]>[] = [store().getMany([number(0), number(1999), 'mark'])]
      const written = store().write({ puts: [['mark', text('deleted')]], deletedRanges: [[number(0), number(2000)]] })
      for (let i = 0; i < 20; i++) reads.push(store().getMany([number(0), number(1999), 'mark']))
      await written
      for (const [first, last, mark] of await Promise.all(reads)) {
        expect(first === undefined).toBe(mark !== undefined)
        expect(last === undefined).toBe(mark !== undefined)
      }
    }
  })
}

function scanTests(store: () => Store): void {
  const letters = [...'abcdefghijklmnopqrstuvwxyz']
  const fill = (value: string): Promise<void> => store().write({ puts: letters.map((k) => [k, text(value)] as const) })
  const keysOf = (rows: readonly (readonly [string, unknown])[]): string => rows.map(([k]) => k).join('')

  test('bounds, limits and reverse', async () => {
    await fill('1')
    expect(keysOf(await readAll(store(), { gte: 'c', lt: 'g' }))).toBe('cdef')
    expect(keysOf(await readAll(store(), { gte: 'c', lt: 'g' }, 3))).toBe('cdef')
    expect(keysOf(await readAll(store(), { gte: 'c', lt: 'g', reverse: true }, 1))).toBe('fedc')
    expect(keysOf(await readAll(store(), { gte: 'bb', lt: 'dd', reverse: true }))).toBe('dc')
    expect(await readAll(store(), { gte: 'g', lt: 'c' })).toEqual([])
    expect(await readAll(store(), { gte: 'c', lt: 'c' })).toEqual([])
    expect(keysOf(await readAll(store(), { gte: '', lt: 'd' }))).toBe('abc')
  })

  test('after the last row every page is empty; so it is after close', async () => {
    await fill('1')
    const scan = store().scan({ gte: 'x', lt: 'zz' })
    expect(keysOf(await scan.next(10))).toBe('xyz')
    expect(await scan.next(10)).toEqual([])
    expect(await scan.next(10)).toEqual([])
    await scan.close()
    const closed = store().scan({ gte: 'a', lt: 'zz' })
    await closed.next(1)
    await closed.close()
    expect(await closed.next(1)).toEqual([])
    await store().scan({ gte: 'a', lt: 'b' }).close()
  })

  for (const reverse of [false, true]) {
    test(`a scan shows the moment of its first page while rows change, ${reverse ? 'backwards' : 'forwards'}`, async () => {
      await fill('old')
      const scan = store().scan({ gte: 'a', lt: 'zz', reverse })
      const rows: StoreRow[] = await scan.next(2)
      await fill('new')
      await store().write({ puts: [['m', undefined]], deletedRanges: [['p', 'u']] })
      for (;;) {
        const page = await scan.next(5)
        if (page.length === 0) break
        rows.push(...page)
      }
      await scan.close()
      expect(keysOf(reverse ? rows.toReversed() : rows)).toBe(letters.join(''))
      expect(rows.every(([, v]) => v.toString() === 'old')).toBe(true)
      expect(keysOf(await readAll(store()))).toBe(letters.filter((k) => k !== 'm' && !(k >= 'p' && k < 'u')).join(''))
    })
  }

  test('large values and many rows page through', async () => {
    const puts = Array.from({ length: 40 }, (_, i) => [`v${String(i).padStart(3, '0')}`, Buffer.alloc(200_000, i)] as const)
    await store().write({ puts })
    const scan = store().scan({ gte: 'v', lt: 'w' })
    let seen = 0
    for (;;) {
      const page = await scan.next(1000)
      if (page.length === 0) break
      for (const [, value] of page) expect(value.equals(Buffer.alloc(200_000, seen++))).toBe(true)
    }
    await scan.close()
    expect(seen).toBe(40)
  })
}
