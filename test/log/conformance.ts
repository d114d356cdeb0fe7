// What a log with one total order must do, besides what every log must for each partition: run against each with small segments.
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { LogRecord } from '../../src/log/log.ts'
import { faultConformance, type LogKind, type OpenLog } from './fault-conformance.ts'
import { ALL, appendTo, PARTITIONS, partitionConformance, payloadOf, seeded } from './partition-conformance.ts'

const places = (records: readonly LogRecord[]): string[] => records.map((r) => `${r.ordinal}=${r.partition}:${r.position}`)

export function logConformance(name: string, make: () => Promise<LogKind>): void {
  partitionConformance(name, make)
  faultConformance(name, make)
  describe(`a log in one order: ${name}`, () => {
    let kind: LogKind
    let log: OpenLog

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

    test('a fresh log is empty', async () => {
      expect([
        log.reader.first(0),
        log.reader.end(0),
        log.reader.firstOrdinal(),
        log.reader.endOrdinal(),
        log.writer.syncedOrdinal(),
      ]).toEqual([0, 0, 0, 0, 0])
      expect(await log.reader.read(0, 0, ALL)).toEqual([])
      expect(await log.reader.readAll(0, ALL)).toEqual([])
      expect(await log.reader.last(0)).toBeUndefined()
    })

    test('a record shows once it is synced, not before', async () => {
      append(1)
      await log.refresh()
      expect([log.reader.end(1), log.reader.endOrdinal(), log.writer.syncedOrdinal()]).toEqual([0, 0, 0])
      expect(await log.reader.read(1, 0, ALL)).toEqual([])
      await log.writer.sync()
      await log.refresh()
      expect([log.reader.end(1), log.reader.endOrdinal(), log.writer.syncedOrdinal()]).toEqual([1, 1, 1])
      expect((await log.reader.read(1, 0, ALL)).map((r) => r.payload.toString('hex'))).toEqual([payloadOf(1, 0).toString('hex')])
    })

    test('syncs called while one is under way resolve when their own records are durable', async () => {
      const seen: number[] = []
      const waits: Promise<void>[] = []
      for (let i = 0; i < 20; i++) {
        append(i % PARTITIONS)
        const ordinal = i
        waits.push(log.writer.sync().then(() => void seen.push(Math.min(ordinal, log.writer.syncedOrdinal() - 1))))
        if (i % 5 === 4) await new Promise((resolve) => setImmediate(resolve))
      }
      await Promise.all(waits)
      expect(seen.sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => i))
    })

    test('a sync with nothing to do resolves', async () => {
      await log.writer.sync()
      await appendMany(4)
      await log.writer.sync()
      expect(log.writer.syncedOrdinal()).toBe(4)
    })

    test('reads keep to their limits, but give one record at least', async () => {
      await appendMany(300, 100)
      expect(await log.reader.read(0, 0, { maxRecords: 7, maxBytes: 1e9 })).toHaveLength(7)
      expect(await log.reader.read(0, 0, { maxRecords: 100, maxBytes: 250 })).toHaveLength(2)
      expect(await log.reader.read(0, 0, { maxRecords: 100, maxBytes: 300 })).toHaveLength(3)
      expect(await log.reader.read(0, 50, { maxRecords: 100, maxBytes: 1 })).toHaveLength(1)
      expect(await log.reader.readAll(10, { maxRecords: 5, maxBytes: 1e9 })).toHaveLength(5)
      expect(await log.reader.readAll(10, { maxRecords: 5, maxBytes: 1 })).toHaveLength(1)
      expect(await log.reader.read(0, 100, ALL)).toEqual([])
      expect(await log.reader.read(0, 101, ALL)).toEqual([])
      expect(await log.reader.readAll(300, ALL)).toEqual([])
    })

    test('one partition reads in order from any position, over all segments', async () => {
      await appendMany(600)
      for (const from of [0, 1, 77, 199]) {
        const records = await log.reader.read(2, from, ALL)
        expect(records.map((r) => r.position)).toEqual(Array.from({ length: 200 - from }, (_, i) => from + i))
        for (const r of records) {
          expect(r.partition).toBe(2)
          expect(r.ordinal).toBe(r.position * 3 + 2)
          expect(r.payload.equals(payloadOf(2, r.position))).toBe(true)
        }
      }
    })

    test('all partitions read in one total order from any ordinal', async () => {
      const expected: string[] = []
      const random = seeded(7)
      for (let i = 0; i < 500; i++) {
        const p = random(PARTITIONS)
        expected.push(`${i}=${p}:${append(p)}`)
        if (random(20) === 0) await log.writer.sync()
      }
      await log.writer.sync()
      await log.refresh()
      for (const from of [0, 1, 250, 499]) expect(places(await log.reader.readAll(from, ALL))).toEqual(expected.slice(from))
    })

    test('payloads already handed out do not change while the log goes on', async () => {
      await appendMany(3)
      const early = (await log.reader.readAll(0, ALL)).map((r) => [r, r.payload.toString('hex')] as const)
      for (let i = 0; i < 20; i++) {
        await appendMany(50, 400)
        await log.reader.readAll(log.reader.endOrdinal() - 53, ALL)
      }
      for (const [record, hex] of early) expect(record.payload.toString('hex')).toBe(hex)
    })

    test('after a kill everything synced is there, and positions go on', async () => {
      await appendMany(100)
      log = await kind.reopen(log)
      await log.refresh()
      expect([0, 1, 2].map((p) => log.writer.end(p))).toEqual([34, 33, 33])
      expect(log.reader.endOrdinal()).toBe(100)
      expect(append(1)).toBe(33)
      await log.writer.sync()
      await log.refresh()
      const record = await log.reader.last(1)
      expect([record?.position, record?.ordinal]).toEqual([33, 100])
    })

    test('release drops records from the head only, and only below what every partition has released', async () => {
      await appendMany(600)
      await log.writer.release(0, 200)
      await log.writer.release(1, 200)
      await log.refresh()
      expect(log.reader.first(2)).toBe(0)
      const before = log.writer.bytes()
      await log.writer.release(2, 150)
      await log.refresh()
      const first = log.reader.first(2)
      expect(first).toBeGreaterThan(50)
      expect(first).toBeLessThanOrEqual(150)
      expect(log.writer.bytes()).toBeLessThan(before)
      expect((await log.reader.read(2, first, ALL)).map((r) => r.position)).toEqual(
        Array.from({ length: 200 - first }, (_, i) => first + i),
      )
      expect((await log.reader.readAll(log.reader.firstOrdinal(), ALL)).length).toBe(600 - log.reader.firstOrdinal())
      await expect(log.reader.read(2, first - 1, ALL)).rejects.toMatchObject({ code: 'data_corrupt' })
      await expect(log.reader.readAll(log.reader.firstOrdinal() - 1, ALL)).rejects.toMatchObject({ code: 'data_corrupt' })
      log = await kind.reopen(log)
      await log.refresh()
      expect([log.reader.first(2), log.reader.end(2)]).toEqual([first, 200])
    })

    test('a failed sync is final', async () => {
      await appendMany(3)
      kind.failNextSync()
      append(0)
      const failing = log.writer.sync()
      await expect(failing).rejects.toMatchObject({ code: 'log_failed' })
      await expect(log.writer.sync()).rejects.toMatchObject({ code: 'log_failed' })
      await expect(log.writer.release(0, 1)).rejects.toMatchObject({ code: 'log_failed' })
      expect(() => log.writer.append(0, Buffer.alloc(1))).toThrow(expect.objectContaining({ code: 'log_failed' }))
      await log.refresh()
      expect([log.reader.end(0), log.writer.syncedOrdinal()]).toEqual([1, 3])
    })

    test('close makes durable what was appended', async () => {
      append(0)
      append(2)
      await log.writer.close()
      log = await kind.reopen(log)
      await log.refresh()
      expect(log.reader.endOrdinal()).toBe(2)
    })

    test('random runs with kills and releases equal a model', async () => {
      const seed = 20240531
      const random = seeded(seed)
      const model: string[] = []
      const ends = [0, 0, 0]
      for (let step = 0; step < 250; step++) {
        for (let i = random(12); i > 0; i--) {
          const p = random(PARTITIONS)
          model.push(`${model.length}=${p}:${ends[p]}`)
          ends[p] = append(p, random(200)) + 1
        }
        if (random(3) === 0) void log.writer.sync()
        if (random(3) > 0) continue
        await log.writer.sync()
        if (random(8) === 0) log = await kind.reopen(log)
        await log.refresh()
        if (random(4) === 0) {
          const p = random(PARTITIONS)
          await log.writer.release(p, random((ends[p] ?? 0) + 1))
          await log.refresh()
        }
        const from = log.reader.firstOrdinal() + random(log.reader.endOrdinal() - log.reader.firstOrdinal() + 1)
        const limits = { maxRecords: 1 + random(100), maxBytes: random(5000) }
        const read = places(await log.reader.readAll(from, limits))
        expect(read, `seed ${seed}, step ${step}`).toEqual(model.slice(from, from + read.length))
        expect(read.length > 0 || from === model.length).toBe(true)
        expect([0, 1, 2].map((p) => log.reader.end(p))).toEqual(ends)
      }
    })
  })
}
