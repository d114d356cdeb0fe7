// What is told of a journal that is being read before its partition runs.
import { expect, test } from 'vitest'
import { VirtualClock } from '../../src/core/clock.ts'
import { renderMetrics } from '../../src/engine/metrics.ts'
import { type Restore, Restores, tellWhile } from '../../src/engine/restoring.ts'
import { ClaimedReader, encodeClaim, encodeParts, type SharedLog } from '../../src/log/claimed.ts'
import { MemoryStore } from '../../src/state/memory-store.ts'
import { testDisk, turns } from './disk.ts'
import { DAY, harness } from './harness.ts'

const MB = 1_000_000

class Bench {
  readonly clock = new VirtualClock()
  readonly lines: string[] = []
  readonly told: Restore[] = []
  readonly restores = new Restores((line) => this.lines.push(line))
  progress = { read: 0, total: 1000, bytes: 0 }

  async during(opening: Promise<unknown>): Promise<unknown> {
    const tell = (restore: Restore): void => {
      this.told.push(restore)
      this.restores.take(restore)
    }
    return tellWhile(opening, { partition: 3, progress: () => this.progress }, { clock: this.clock, tell })
  }

  async pass(seconds: number, read: number): Promise<void> {
    for (let s = 0; s < seconds; s++) {
      this.progress = { ...this.progress, read: this.progress.read + read, bytes: this.progress.bytes + read * 10_000 }
      this.clock.advance(1000)
      await turns(1)
    }
  }
}

const metricsOf = async (restores: readonly Restore[]): Promise<string[]> => {
  const text = await renderMetrics([], { lag: () => 0, segmentId: () => '', restores })
  return text.split('\n').filter((line) => line.startsWith('tributary_restore'))
}

test('a long one is told now and then, with what is left, and its end', async () => {
  const bench = new Bench()
  const opening = Promise.withResolvers<string>()
  const done = bench.during(opening.promise)
  await bench.pass(12, 50)
  expect(bench.lines).toEqual([
    'partition 3: 250 of 1000 records of its journal are read, 2.5 MB, 50 a second, about 15 s to go',
    'partition 3: 500 of 1000 records of its journal are read, 5.0 MB, 50 a second, about 10 s to go',
  ])
  expect(await metricsOf(bench.restores.underWay)).toEqual([
    'tributary_restore_records{partition="3"} 600',
    'tributary_restore_records_all{partition="3"} 1000',
    `tributary_restore_bytes{partition="3"} ${6 * MB}`,
    'tributary_restore_rest_seconds{partition="3"} 8',
  ])
  await bench.pass(1, 400)
  opening.resolve('open')
  expect(await done).toBe('open')
  expect(bench.lines.at(-1)).toBe('partition 3: 1000 records of its journal were read, 10.0 MB, in 13 s')
  expect(bench.restores.underWay).toEqual([])
  expect(await metricsOf(bench.restores.underWay)).toEqual([])
  await bench.pass(10, 0)
  expect(bench.told.at(-1)?.isDone).toBe(true)
})

test('a short one is not worth a word, one that fails ends as well', async () => {
  const bench = new Bench()
  await bench.during(Promise.resolve())
  expect(bench.told).toEqual([])
  const opening = Promise.withResolvers<string>()
  const failing = bench.during(opening.promise)
  await bench.pass(2, 0)
  expect(bench.restores.underWay).toMatchObject([{ partition: 3, read: 0 }])
  expect((await metricsOf(bench.restores.underWay)).filter((line) => line.includes('rest_seconds'))).toEqual([])
  opening.reject(new Error('no'))
  await expect(failing).rejects.toThrow('no')
  expect(bench.restores.underWay).toEqual([])
  expect(bench.lines).toEqual([])
})

test('a reader counts what it has read, and what there is', async () => {
  const records = [encodeClaim({ previous: 0, owner: 'a' }), ...encodeParts(Buffer.alloc(600_000), { claim: 1, n: 0 })]
  const log: SharedLog = {
    first: async () => 0,
    append: async () => undefined,
    read: async (from) => ({ records: records.slice(from, from + 2).map((payload, i) => ({ position: from + i, payload })), end: 4 }),
    close: async () => undefined,
  }
  const options = { log, clock: new VirtualClock(), retryMs: 1, troubled: () => {}, isStopped: () => false }
  const reader = new ClaimedReader(options, 0, undefined)
  const bytesOf = (count: number): number => records.slice(0, count).reduce((sum, record) => sum + record.length, 0)
  await reader.next(0)
  expect(reader.progress).toEqual({ read: 2, total: 4, bytes: bytesOf(2) })
  await reader.next(0)
  expect(reader.progress).toEqual({ read: 4, total: 4, bytes: bytesOf(4) })
})

test('the rows that a journal gave back are counted', async () => {
  const people = 50
  const disk = testDisk(1, 1)
  const rows = async (h: { engine: { metrics(): Promise<string> } }): Promise<number> =>
    Number(/^tributary_restored_rows_total\{[^}]*\} (\d+)$/m.exec(await h.engine.metrics())?.[1])
  const first = await harness({ partitions: 1, disk })
  await first.engine.setClock(DAY)
  await first.send(...Array.from({ length: people }, (_, i) => ({ type: 'identify', messageId: `m${i}`, userId: `u${i}` })))
  await first.engine.settle()
  expect(await rows(first)).toBe(0)
  first.abandon()
  // Of each at least the identifier, the profile and the message's id.
  const second = await harness({ partitions: 1, disk: { ...disk, stores: [new MemoryStore()] } })
  expect(await rows(second)).toBeGreaterThanOrEqual(3 * people)
  await second.close()
})
