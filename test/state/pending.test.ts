import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import { APPLIED_KEY, APPLYING_KEY, BOOT_KEY } from '../../src/state/marks.ts'
import { MemoryStore } from '../../src/state/memory-store.ts'
import { PENDING_DEFAULTS, type PendingOptions, PendingRows } from '../../src/state/pending.ts'
import { RowMap, RowWalk, UNKNOWN } from '../../src/state/row-map.ts'
import type { Span } from '../../src/state/row-table.ts'
import type { StoreBatch, StoreScan } from '../../src/state/store.ts'

type Row = readonly [key: string, value: Buffer | undefined]
type Range = readonly [from: string, to: string]

interface Commit {
  readonly position: number
  readonly rows: readonly Row[]
  readonly ranges: readonly Range[]
}

const text = (s: string): Buffer => Buffer.from(s)
const SMALL: Partial<PendingOptions> = { sliceRows: 2, groupedKinds: 't', groupAt: 1 }

/** What the rows are if every commit is applied one by one to a plain map. */
function applyTo(model: Map<string, string>, commit: Commit): void {
  for (const [from, to] of commit.ranges) for (const key of [...model.keys()]) if (key >= from && key < to) model.delete(key)
  for (const [key, value] of commit.rows) {
    if (value === undefined) model.delete(key)
    else model.set(key, value.toString())
  }
}

async function pages(scan: StoreScan, limit: number): Promise<[string, string][]> {
  const rows: [string, string][] = []
  for (;;) {
    const page = await scan.next(limit)
    if (page.length === 0) break
    expect(page.length).toBeLessThanOrEqual(limit)
    // The marks are rows of their own, in the store only.
    for (const [key, value] of page) if (key !== APPLIED_KEY && key !== APPLYING_KEY) rows.push([key, value.toString()])
  }
  await scan.close()
  return rows
}

function expectedRows(model: ReadonlyMap<string, string>, [gte, lt]: Range, reverse: boolean): [string, string][] {
  const rows = [...model].filter(([key]) => key >= gte && key < lt).sort(([a], [b]) => (a < b ? -1 : 1))
  return reverse ? rows.reverse() : rows
}

// Few keys, so that rows meet: three kinds, one of them grouped, one byte of 0x00 or 0xff among them.
const KEYS = [
  'ta',
  'ta1',
  'ta2',
  'tb',
  'tb1',
  'tb\xff',
  'tb\xff\xff',
  'p',
  'p1',
  'p\x00',
  'p\xff',
  'o1',
  'o2',
  'o3',
  'o4',
  '\xff',
  '\xff\xff',
] as const
const BOUNDS = ['', 'o', 'o1', 'o3', 'p', 'q', 't', 'ta', 'ta2', 'tb', 'tb1', 'tc', 'u', '\xff', '\xff\xff\xff'] as const

const keyOf = fc.constantFrom(...KEYS)
const rangeOf = fc.tuple(fc.constantFrom(...BOUNDS), fc.constantFrom(...BOUNDS))
const commitOf = fc.record({
  rows: fc.array(fc.tuple(keyOf, fc.option(fc.string({ maxLength: 3 }), { nil: undefined })), { maxLength: 5, size: 'max' }),
  ranges: fc.array(
    rangeOf.filter(([from]) => from > BOOT_KEY),
    { maxLength: 2, size: 'max' },
  ),
})

type Step =
  | { readonly do: 'commit'; readonly rows: [string, string | undefined][]; readonly ranges: [string, string][] }
  | { readonly do: 'apply' }
  | { readonly do: 'let'; readonly microtasks: number }
  | { readonly do: 'get'; readonly keys: string[] }
  | { readonly do: 'scan'; readonly range: [string, string]; readonly reverse: boolean; readonly limit: number }
  | { readonly do: 'barrier' }
  | { readonly do: 'crash'; readonly isPowerLoss: boolean; readonly kept: number }

const stepOf: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: commitOf.map((c) => ({ do: 'commit' as const, ...c })) },
  { weight: 3, arbitrary: fc.constant({ do: 'apply' as const }) },
  { weight: 3, arbitrary: fc.nat(12).map((microtasks) => ({ do: 'let' as const, microtasks })) },
  { weight: 2, arbitrary: fc.array(keyOf, { minLength: 1, maxLength: 6 }).map((keys) => ({ do: 'get' as const, keys })) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('scan' as const),
      range: rangeOf,
      reverse: fc.boolean(),
      limit: fc.integer({ min: 1, max: 4 }),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ do: 'barrier' as const }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('crash' as const), isPowerLoss: fc.boolean(), kept: fc.nat(6) }) },
)

async function microtasks(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await Promise.resolve()
}

/** Runs steps against PendingRows and against the model; reads are checked when they resolve, against the model as of their call. */
class Run {
  #store = new MemoryStore()
  #rows: PendingRows | undefined
  #applying: Promise<void> | undefined
  readonly #journal: Commit[] = []
  /** Position up to which the journal has been cut. */
  #cut = -1
  #model = new Map<string, string>()
  #checks: Promise<void>[] = []

  async start(): Promise<void> {
    // Slow enough for other steps to come between.
    this.#store.faults.beforeWrite = () => microtasks(4)
    this.#store.faults.afterWrite = () => microtasks(4)
    this.#store.faults.beforeRead = () => microtasks(9)
    this.#rows = await PendingRows.open(this.#store, SMALL)
    for (const commit of this.#journal) {
      if (commit.position > this.rows.appliedPosition()) this.rows.commit(commit.position, commit.rows, commit.ranges)
    }
    expect(this.rows.appliedPosition()).toBeGreaterThanOrEqual(this.#cut)
  }

  get rows(): PendingRows {
    return must(this.#rows, 'started')
  }

  async step(step: Step): Promise<void> {
    switch (step.do) {
      case 'commit':
        this.#commit(step)
        return
      case 'apply':
        await this.#applying
        this.#applying = this.rows.apply(this.#journal.at(-1)?.position ?? -1)
        return
      case 'let':
        await microtasks(step.microtasks)
        return
      case 'get':
        this.#get(step.keys)
        return
      case 'scan':
        this.#scan(step)
        return
      case 'barrier':
        this.#cut = await this.rows.barrier()
        return
      case 'crash':
        await this.#crash(step)
    }
  }

  #commit(step: Step & { do: 'commit' }): void {
    const rows = step.rows.map(([key, value]): Row => [key, value === undefined ? undefined : text(value)])
    // Positions skip some numbers: records that don't count take positions too.
    const position = (this.#journal.at(-1)?.position ?? -1) + 1 + (this.#journal.length % 3)
    const commit = { position, rows, ranges: step.ranges }
    this.#journal.push(commit)
    this.rows.commit(position, rows, step.ranges)
    this.#model = new Map(this.#model)
    applyTo(this.#model, commit)
  }

  #get(keys: string[]): void {
    const expected = keys.map((key) => this.#model.get(key))
    for (const [i, key] of keys.entries()) {
      const known = this.rows.peek(key)
      if (known !== UNKNOWN) expect(known?.toString()).toBe(expected[i])
    }
    this.#check(this.rows.getMany(keys).then((values) => expect(values.map((v) => v?.toString())).toEqual(expected)))
  }

  #scan({ range, reverse, limit }: Step & { do: 'scan' }): void {
    const expected = expectedRows(this.#model, range, reverse)
    const scan = this.rows.scan({ gte: range[0], lt: range[1], reverse })
    this.#check(pages(scan, limit).then((rows) => expect(rows).toEqual(expected)))
  }

  #check(check: Promise<void>): void {
    check.catch(() => {})
    this.#checks.push(check)
  }

  async #crash({ isPowerLoss, kept }: Step & { do: 'crash' }): Promise<void> {
    const left = isPowerLoss ? this.#store.afterPowerLoss(kept) : this.#store.snapshot()
    await this.settle()
    this.#store = new MemoryStore(left)
    await this.start()
  }

  /** Everything under way, before the process dies (what it still does goes to a store that nobody opens again). */
  async settle(): Promise<void> {
    await Promise.all(this.#checks)
    this.#checks = []
    await this.#applying
    this.#applying = undefined
  }

  async finish(): Promise<void> {
    await this.settle()
    await this.rows.apply(this.#journal.at(-1)?.position ?? -1)
    const everything = await pages(this.#store.scan({ gte: '', lt: '\xff\xff\xff' }), 100)
    expect(everything).toEqual(expectedRows(this.#model, ['', '\xff\xff\xff'], false))
    expect(this.rows.pendingBytes).toBe(0)
  }
}

describe('pending rows', () => {
  test('commits, applies, reads, crashes and replays are as if every commit had been applied to a map at once', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(stepOf, { maxLength: 60, size: 'max' }), async (steps) => {
        const run = new Run()
        await run.start()
        for (const step of steps) await run.step(step)
        await run.finish()
      }),
      { numRuns: 600 },
    )
  })

  test('an apply coalesces: a key is written once, at its last value, in slices, with the mark in the last', async () => {
    const store = new MemoryStore()
    const batches: StoreBatch[] = []
    store.faults.beforeWrite = (batch) => void batches.push(batch)
    const rows = await PendingRows.open(store, { sliceRows: 2 })
    for (let i = 0; i < 10; i++) {
      rows.commit(i, [
        ['p1', text(`a${i}`)],
        [`p2${i % 4}`, text(`b${i}`)],
      ])
    }
    await rows.apply(9)
    const written = batches.map((b) => b.puts.map(([k]) => k))
    expect(written.map((keys) => keys.length)).toEqual([3, 2, 2])
    expect([written[0]?.at(-1), written[2]?.at(-1)]).toEqual(['mapplying', 'mapplied'])
    expect(written.flat().sort()).toEqual(['mapplied', 'mapplying', 'p1', 'p20', 'p21', 'p22', 'p23'])
    expect((await store.getMany(['p1', 'p23'])).map(String)).toEqual(['a9', 'b7'])
    expect(rows.appliedPosition()).toBe(9)
    batches.length = 0
    await rows.apply(9)
    expect(batches).toEqual([])
    await rows.apply(12)
    expect(rows.appliedPosition()).toBe(12)
  })

  test('rows that are dirty again are skipped, and their newer values are read meanwhile', async () => {
    const store = new MemoryStore()
    const written: string[] = []
    const rows = await PendingRows.open(store, { sliceRows: 1 })
    rows.commit(0, [
      ['p1', text('1')],
      ['p2', text('1')],
      ['p3', text('1')],
    ])
    store.faults.beforeWrite = ({ puts }) => {
      written.push(...puts.map(([key, value]) => `${key}=${value}`))
      if (puts[0]?.[0] === 'p1') rows.commit(1, [['p3', text('2')]], [['p2', 'p3']])
    }
    await rows.apply(0)
    expect(written.filter((w) => w.startsWith('p'))).toEqual(['p1=1'])
    expect(rows.peek('p3')?.toString()).toBe('2')
    expect(rows.peek('p2')).toBeUndefined()
    expect(rows.peek('p1')).toBe(UNKNOWN)
    await rows.apply(1)
    expect((await rows.getMany(['p1', 'p2', 'p3'])).map((v) => v?.toString())).toEqual(['1', undefined, '2'])
  })

  test('dropped rows are never written; after a torn apply that had written them they are deleted', async () => {
    const commits: Row[] = ['o1', 'o2', 'o3', 'o4'].map((key) => [key, text(key)])
    const store = new MemoryStore()
    const rows = await PendingRows.open(store, { sliceRows: 1 })
    rows.commit(0, commits)
    const asked: string[] = []
    await rows.apply(0, (key) => {
      asked.push(key)
      return key < 'o3'
    })
    expect(asked).toEqual(['o1', 'o2', 'o3', 'o4'])
    expect((await store.getMany(['o1', 'o2', 'o3', 'o4'])).map((v) => v?.toString())).toEqual([undefined, undefined, 'o3', 'o4'])

    // Torn: the process dies after the slices of o1 and o2, and by the time of the replay both are dead.
    const torn = new MemoryStore()
    let writes = 0
    torn.faults.beforeWrite = () => {
      if (++writes > 2) throw new Error('the process dies')
    }
    const dying = await PendingRows.open(torn, { sliceRows: 1 })
    dying.commit(0, commits)
    await expect(dying.apply(0)).rejects.toMatchObject({ code: 'store_failed' })
    await expect(dying.apply(0)).rejects.toMatchObject({ code: 'store_failed' })
    const after = new MemoryStore(torn.snapshot())
    expect((await after.getMany(['o1', 'o2', 'o3'])).map((v) => v?.toString())).toEqual(['o1', 'o2', undefined])
    const replayed = await PendingRows.open(after, { sliceRows: 1 })
    expect(replayed.appliedPosition()).toBe(-1)
    replayed.commit(0, commits)
    await replayed.apply(0, (key) => key < 'o4')
    expect((await after.getMany(['o1', 'o2', 'o3', 'o4'])).map((v) => v?.toString())).toEqual([undefined, undefined, undefined, 'o4'])
  })

  test('an apply waits for the reads that were called before it', async () => {
    const store = new MemoryStore()
    const rows = await PendingRows.open(store)
    let answer = (): void => {}
    store.faults.beforeRead = () => new Promise<void>((resolve) => (answer = resolve))
    const read = rows.getMany(['p1', 'p2'])
    rows.commit(0, [['p1', text('new')]])
    const applied = rows.apply(0)
    for (let i = 0; i < 50; i++) await Promise.resolve()
    expect(store.unsyncedWrites).toBe(0)
    answer()
    expect(await read).toEqual([undefined, undefined])
    await applied
    expect(store.unsyncedWrites).toBe(1)
  })

  test('limits: by time, by bytes, and full at twice the bytes', async () => {
    const store = new MemoryStore()
    const rows = await PendingRows.open(store, { applyMs: 100, applyBytes: 10_000 })
    expect(rows.shouldApply(0)).toBe(false)
    rows.commit(0, [['p1', text('1')]])
    expect(rows.shouldApply(5000)).toBe(false)
    expect(rows.shouldApply(5099)).toBe(false)
    expect(rows.shouldApply(5100)).toBe(true)
    rows.commit(1, [['p2', Buffer.alloc(10_000)]])
    expect(rows.shouldApply(5001)).toBe(true)
    expect(rows.isFull).toBe(false)
    const applied = rows.apply(1)
    expect(rows.shouldApply(9999)).toBe(false)
    rows.commit(2, [['p3', Buffer.alloc(10_000)]])
    expect(rows.isFull).toBe(true)
    await applied
    expect(rows.isFull).toBe(false)
    expect(await rows.barrier()).toBe(1)
    expect(store.unsyncedWrites).toBe(0)
  })

  test('a barrier vouches only for what was applied before it began', async () => {
    const store = new MemoryStore()
    const rows = await PendingRows.open(store)
    rows.commit(0, [['p1', text('1')]])
    await rows.apply(0)
    store.faults.beforeSync = async () => {
      rows.commit(1, [['p2', text('1')]])
      await rows.apply(1)
    }
    expect(await rows.barrier()).toBe(0)
    expect(rows.appliedPosition()).toBe(1)
    expect((await PendingRows.open(new MemoryStore(store.afterPowerLoss()))).appliedPosition()).toBe(0)
  })

  test('commits out of order are refused', async () => {
    const rows = await PendingRows.open(new MemoryStore())
    rows.commit(3, [])
    expect(() => rows.commit(3, [])).toThrow('order of the journal')
    expect(() => rows.commit(4, [], [['a', 'z']])).toThrow('marks')
    await expect(rows.apply(2)).rejects.toThrow('every commit so far')
  })
})

const spanOf = (bytes: Buffer): Span => ({ bytes, from: 0, to: bytes.length })

describe('row map', () => {
  test('scans of a grouped kind look at their group only', () => {
    const map = new RowMap(PENDING_DEFAULTS)
    const profile = (i: number): string => `t\x00\x00${String.fromCharCode(i % 250)}${String(i).padStart(16, '0')}`
    for (let i = 0; i < 6000; i++) map.put(`${profile(i % 2000)}${i}`, spanOf(Buffer.alloc(1)))
    for (let i = 0; i < 1000; i++) map.put(`p${i}`, spanOf(Buffer.alloc(1)))
    let found = 0
    for (let i = 0; i < 500; i++) found += map.rowsIn(profile(i), `${profile(i)}\xff`).length
    expect(found).toBe(1500)
    // A group of 250 holds 24 of these rows.
    expect(map.looked).toBe(500 * 24)
  })

  test('ranges that touch or overlap are one; a key put after the range over it is there again', () => {
    const map = new RowMap(PENDING_DEFAULTS)
    map.put('e', spanOf(text('1')))
    map.deleteRange('c', 'e')
    map.deleteRange('a', 'c')
    map.deleteRange('g', 'i')
    map.deleteRange('h', 'k')
    map.deleteRange('m', 'm')
    expect(map.ranges).toEqual([
      ['a', 'e'],
      ['g', 'k'],
    ])
    expect(['a', 'c', 'd\xff', 'g', 'j'].map((key) => map.get(key))).toEqual(Array(5).fill(undefined))
    expect(['\x00', 'f', 'k', 'm'].map((key) => map.get(key))).toEqual(Array(4).fill(UNKNOWN))
    map.put('c', spanOf(text('2')))
    map.deleteRange('d', 'h')
    expect(map.ranges).toEqual([['a', 'k']])
    expect([map.get('c'), map.get('e')]).toEqual([text('2'), undefined])
    const walk = new RowWalk()
    expect([map.step(walk), walk.key, walk.value?.bytes.toString('latin1', walk.value.from, walk.value.to), map.step(walk)]).toEqual([
      true,
      'c',
      '2',
      false,
    ])
  })

  test('bytes count keys and all values put, overwritten ones too, and only an untouched map is empty', () => {
    const map = new RowMap(PENDING_DEFAULTS)
    expect(map.isEmpty).toBe(true)
    map.put('p1', spanOf(Buffer.alloc(1000)))
    const one = map.bytes
    map.put('p1', spanOf(Buffer.alloc(400)))
    expect(map.bytes).toBe(one + 400)
    map.put('p1', undefined)
    expect(map.bytes).toBe(one + 400)
    expect(map.isEmpty).toBe(false)
    const ranged = new RowMap(PENDING_DEFAULTS)
    ranged.deleteRange('a', 'b')
    expect(ranged.isEmpty).toBe(false)
  })
})
