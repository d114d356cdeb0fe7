// What every log must do for each of its partitions, whatever it is made of. Logs with one total order have more to do: conformance.ts.
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { PartitionReader, PartitionWriter } from '../../src/log/log.ts'

export interface OpenPartitions {
  readonly writer: PartitionWriter
  readonly reader: PartitionReader
  /** Lets the reader know what is durable by now. */
  refresh(): Promise<void>
}

export interface PartitionKind<L extends OpenPartitions = OpenPartitions> {
  open(): Promise<L>
  /** Opens what is there after the process that had `log` open was killed. */
  reopen(log: L): Promise<L>
  /** The next sync fails. */
  failNextSync(): void | Promise<void>
  dispose(): Promise<void>
  /** True where a release takes effect at once and to the record, for each partition by itself. */
  readonly releasesExactly?: boolean
}

export const PARTITIONS = 3
export const ALL = { maxRecords: 1_000_000, maxBytes: 1 << 30 }

/** A small seeded generator (mulberry32): tests replay exactly. */
export function seeded(seed: number): (below: number) => number {
  let state = seed >>> 0
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) % below
  }
}

export function payloadOf(partition: number, position: number, size = 20): Buffer {
  const payload = Buffer.alloc(size, `${partition}:${position};`)
  if (size >= 8) payload.writeDoubleLE(partition * 1e9 + position, 0)
  return payload
}

/** Appends what `payloadOf` makes of the place where it will be. */
export function appendTo(writer: PartitionWriter, partition: number, size = 20): number {
  return writer.append(partition, payloadOf(partition, writer.end(partition), size))
}

/** Reads on until there is no more: a page may end before its limits. */
export async function readOn(reader: PartitionReader, partition: number, from: number, maxRecords = ALL.maxRecords) {
  const records = []
  for (let at = from; records.length < maxRecords; ) {
    const page = await reader.read(partition, at, { ...ALL, maxRecords: maxRecords - records.length })
    if (page.length === 0) break
    records.push(...page)
    at = (page.at(-1)?.position ?? at) + 1
  }
  return records
}

const upTo = (from: number, end: number): number[] => Array.from({ length: end - from }, (_, i) => from + i)

export function partitionConformance<L extends OpenPartitions>(name: string, make: () => Promise<PartitionKind<L>>): void {
  describe(`partitions of a log: ${name}`, () => {
    let kind: PartitionKind<L>
    let log: L

    beforeEach(async () => {
      kind = await make()
      log = await kind.open()
    })
    afterEach(() => kind.dispose())

    const append = (partition: number, size = 20): number => appendTo(log.writer, partition, size)
    const appendMany = async (count: number, size = 20): Promise<void> => {
      for (let i = 0; i < count; i++) {
        append(i % PARTITIONS, size)
        if (i % 20 === 19) await log.writer.sync()
      }
      await log.writer.sync()
      await log.refresh()
    }

    test('positions of each partition are contiguous from 0', async () => {
      expect([append(0), append(1), append(0), append(0), append(1)]).toEqual([0, 0, 1, 2, 1])
      expect([0, 1, 2].map((p) => log.writer.end(p))).toEqual([3, 2, 0])
      await log.writer.sync()
    })

    test('a fresh log has nothing to read', async () => {
      expect([log.reader.first(0), log.reader.end(0)]).toEqual([0, 0])
      expect(await log.reader.read(0, 0, ALL)).toEqual([])
      expect(await log.reader.last(0)).toBeUndefined()
    })

    test('once it is synced a record is there', async () => {
      append(1)
      await log.writer.sync()
      await log.refresh()
      expect([0, 1, 2].map((p) => log.reader.end(p))).toEqual([0, 1, 0])
      expect((await log.reader.read(1, 0, ALL)).map((r) => r.payload.toString('hex'))).toEqual([payloadOf(1, 0).toString('hex')])
    })

    test('syncs called while one is under way resolve when their own records can be read', async () => {
      const found: boolean[] = []
      const waits: Promise<unknown>[] = []
      for (let i = 0; i < 20; i++) {
        const position = append(i % PARTITIONS)
        const isThere = async () => found.push((await log.reader.read(i % PARTITIONS, position, ALL)).length > 0)
        waits.push(log.writer.sync().then(log.refresh).then(isThere))
        if (i % 5 === 4) await new Promise((resolve) => setImmediate(resolve))
      }
      await Promise.all(waits)
      expect(found).toEqual(Array.from({ length: 20 }, () => true))
    })

    test('a sync with nothing to do resolves', async () => {
      await log.writer.sync()
      await appendMany(4)
      await log.writer.sync()
      expect(log.reader.end(0)).toBe(2)
    })

    test('the caller may reuse its buffer once the sync has resolved', async () => {
      const buffer = Buffer.from('first')
      log.writer.append(0, buffer)
      await log.writer.sync()
      buffer.fill('x')
      await log.refresh()
      expect(String((await log.reader.read(0, 0, ALL))[0]?.payload)).toBe('first')
    })

    test('reads keep to their limits, but give one record at least', async () => {
      await appendMany(300, 100)
      expect(await log.reader.read(0, 0, { maxRecords: 7, maxBytes: 1e9 })).toHaveLength(7)
      expect(await log.reader.read(0, 0, { maxRecords: 100, maxBytes: 250 })).toHaveLength(2)
      expect(await log.reader.read(0, 0, { maxRecords: 100, maxBytes: 300 })).toHaveLength(3)
      expect(await log.reader.read(0, 50, { maxRecords: 100, maxBytes: 1 })).toHaveLength(1)
      expect(await log.reader.read(0, 100, ALL)).toEqual([])
      expect(await log.reader.read(0, 101, ALL)).toEqual([])
    })

    test('one partition reads in order from any position', async () => {
      await appendMany(600)
      for (const from of [0, 1, 77, 199]) {
        const records = await readOn(log.reader, 2, from)
        expect(records.map((r) => r.position)).toEqual(upTo(from, 200))
        expect(records.every((r) => r.partition === 2 && r.payload.equals(payloadOf(2, r.position)))).toBe(true)
      }
    })

    test('the last record of a partition', async () => {
      await appendMany(200)
      append(0)
      expect((await log.reader.last(2))?.position).toBe(65)
      await log.writer.sync()
      await log.refresh()
      expect((await log.reader.last(0))?.position).toBe(67)
    })

    test('empty and large payloads come back', async () => {
      const sizes = [0, 1, 300_000, 0, 1_500_000, 5]
      for (const size of sizes) append(0, size)
      await log.writer.sync()
      await log.refresh()
      const records = await readOn(log.reader, 0, 0)
      expect(records.map((r) => r.payload.equals(payloadOf(0, r.position, sizes[r.position])))).toEqual(sizes.map(() => true))
    })

    test('payloads already handed out do not change while the log goes on', async () => {
      await appendMany(3)
      const early = (await log.reader.read(0, 0, ALL)).map((r) => [r, r.payload.toString('hex')] as const)
      for (let i = 0; i < 10; i++) {
        await appendMany(50, 400)
        await log.reader.read(0, log.reader.end(0) - 15, ALL)
      }
      expect(early.map(([record, hex]) => record.payload.toString('hex') === hex)).toEqual([true])
    })

    test('many readers at once see the same', async () => {
      await appendMany(900, 200)
      const reads = await Promise.all(Array.from({ length: 30 }, (_, i) => readOn(log.reader, i % PARTITIONS, i)))
      reads.forEach((records, i) => {
        expect(records.map((r) => r.position)).toEqual(upTo(i, 300))
        expect(records.every((r) => r.partition === i % PARTITIONS && r.payload.equals(payloadOf(r.partition, r.position, 200)))).toBe(true)
      })
    })

    test('after a kill everything synced is there, and positions go on', async () => {
      await appendMany(100)
      log = await kind.reopen(log)
      await log.refresh()
      expect([0, 1, 2].map((p) => log.writer.end(p))).toEqual([34, 33, 33])
      expect(append(1)).toBe(33)
      await log.writer.sync()
      await log.refresh()
      expect((await log.reader.last(1))?.position).toBe(33)
    })

    test('a partition keeps everything from its released position on', async () => {
      await appendMany(600)
      for (const p of [0, 1, 2]) await log.writer.release(p, 150)
      await log.refresh()
      const first = log.reader.first(2)
      if (kind.releasesExactly) expect(first).toBe(150)
      expect(first).toBeGreaterThan(50)
      expect(first).toBeLessThanOrEqual(150)
      expect((await readOn(log.reader, 2, first)).map((r) => r.position)).toEqual(upTo(first, 200))
      await expect(log.reader.read(2, first - 1, ALL)).rejects.toMatchObject({ code: 'data_corrupt' })
      log = await kind.reopen(log)
      await log.refresh()
      expect([log.reader.first(2), log.reader.end(2)]).toEqual([first, 200])
    })

    test('a release of what was released is nothing', async () => {
      await appendMany(60)
      await log.writer.release(0, 10)
      await log.writer.release(0, 5)
      await log.refresh()
      expect(log.reader.first(0)).toBeLessThanOrEqual(10)
      expect((await readOn(log.reader, 0, 10)).map((r) => r.position)).toEqual(upTo(10, 20))
    })

    test('a failed sync is final', async () => {
      await appendMany(3)
      await kind.failNextSync()
      append(0)
      await expect(log.writer.sync()).rejects.toMatchObject({ code: 'log_failed' })
      await expect(log.writer.sync()).rejects.toMatchObject({ code: 'log_failed' })
      await expect(log.writer.release(0, 1)).rejects.toMatchObject({ code: 'log_failed' })
      expect(() => log.writer.append(0, Buffer.alloc(1))).toThrow(expect.objectContaining({ code: 'log_failed' }))
    })

    test('syncs that wait behind a failing one fail too', async () => {
      await kind.failNextSync()
      append(0)
      const first = log.writer.sync()
      await Promise.resolve()
      append(1)
      const second = log.writer.sync()
      await expect(first).rejects.toMatchObject({ code: 'log_failed' })
      await expect(second).rejects.toMatchObject({ code: 'log_failed' })
    })

    test('close makes durable what was appended', async () => {
      append(0)
      append(2)
      await log.writer.close()
      log = await kind.reopen(log)
      await log.refresh()
      expect([0, 1, 2].map((p) => log.reader.end(p))).toEqual([1, 0, 1])
    })

    test('random runs with kills and releases equal a model', async () => {
      const seed = 20240602
      const random = seeded(seed)
      const sizes: number[][] = [[], [], []]
      for (let step = 0; step < 120; step++) {
        for (let i = random(12); i > 0; i--) {
          const p = random(PARTITIONS)
          const size = random(200)
          append(p, size)
          sizes[p]?.push(size)
        }
        if (random(3) === 0) void log.writer.sync()
        if (random(3) > 0) continue
        await log.writer.sync()
        if (random(8) === 0) log = await kind.reopen(log)
        const p = random(PARTITIONS)
        const own = sizes[p] ?? []
        if (random(4) === 0) await log.writer.release(p, random(own.length + 1))
        await log.refresh()
        expect([0, 1, 2].map((q) => log.reader.end(q))).toEqual(sizes.map((s) => s.length))
        const from = log.reader.first(p) + random(own.length - log.reader.first(p) + 1)
        const read = await log.reader.read(p, from, { maxRecords: 1 + random(100), maxBytes: random(5000) })
        expect(
          read.map((r) => r.position),
          `seed ${seed}, step ${step}`,
        ).toEqual(upTo(from, from + read.length))
        expect(read.every((r) => r.payload.equals(payloadOf(p, r.position, own[r.position])))).toBe(true)
        expect(read.length > 0 || from === own.length).toBe(true)
      }
    })
  })
}
