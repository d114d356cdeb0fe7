// The log on Kafka beyond what every log does: many appenders, reads that wait, limits, a claimed journal on it.
import { randomBytes } from 'node:crypto'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ClaimedLog } from '../../src/log/claimed-log.ts'
import { KafkaLog } from '../../src/log/kafka-log.ts'
import type { KafkaCursor } from '../../src/log/kafka-reader.ts'
import { ALL } from '../log/partition-conformance.ts'
import { clock, freshSettings, madeTopics, openedLog, until } from './world.ts'

const PARTITIONS = 4
const settings = freshSettings()
let log: KafkaLog

const opened = (): Promise<KafkaLog> => KafkaLog.open({ settings, clock, kind: 'events', partitions: PARTITIONS })
const text = (records: readonly { payload: Buffer }[]): string => records.map((r) => String(r.payload)).join(' ')
const waiting = (waitMs: number) => ({ ...ALL, waitMs })

beforeEach(async () => {
  await madeTopics(settings, ['events'], PARTITIONS)
  log = await opened()
})
afterEach(() => log.close())

/** Where a partition ends now. */
const endOf = async (partition: number): Promise<number> => (await log.ends())[partition] ?? 0

test('appends of many callers to many partitions resolve to where the records are, in order', async () => {
  const other = await opened()
  const starts = await log.ends()
  const offsets = await Promise.all(
    Array.from({ length: 400 }, (_, i) => (i % 3 === 0 ? other : log).append(i % PARTITIONS, Buffer.from(`record ${i}`))),
  )
  const own = (i: number): string => `record ${i}`
  for (const [i, offset] of offsets.entries())
    expect(text(await log.read(i % PARTITIONS, offset, { maxRecords: 1, maxBytes: 1 }))).toBe(own(i))
  const mine = [...offsets.entries()].filter(([i]) => i % 3 !== 0 && i % PARTITIONS === 1).map(([, offset]) => offset)
  expect(mine).toEqual(mine.toSorted((a, b) => a - b))
  expect((await log.ends()).map((end, p) => end - (starts[p] ?? 0))).toEqual([100, 100, 100, 100])
  await other.close()
})

test('a read that waits is answered by what is appended meanwhile, and its end tells whether that is all', async () => {
  const cursor = log.cursor(0)
  let at = await endOf(0)
  const idle = await cursor.read(at, waiting(300))
  expect(idle).toMatchObject({ records: [], end: at })
  for (const word of ['one', 'two', 'three']) {
    const reading = cursor.read(at, waiting(20_000))
    await log.append(0, Buffer.from(word))
    const page = await reading
    expect(text(page.records)).toBe(word)
    at++
  }
  // The last page may have been asked for before the record was there: reading on finds the end.
  expect(await cursor.read(at, waiting(300))).toMatchObject({ records: [], end: at })
})

test('under load a reader that asks again at once is told the end, with the record or by the next answer', async () => {
  const cursor = log.cursor(1)
  let at = await endOf(1)
  let caughtUp = 0
  for (let i = 0; i < 50; i++) {
    const reading = cursor.read(at, waiting(20_000))
    await log.append(1, Buffer.from(`n${i}`))
    const { records, end } = await reading
    expect(text(records)).toBe(`n${i}`)
    at++
    if (at === end) caughtUp++
    // The answer may have been on its way when the end was asked for: how often is a matter of luck.
    else expect(await cursor.read(at, waiting(300))).toMatchObject({ records: [], end: at })
  }
  expect(caughtUp).toBeGreaterThan(0)
})

test('a reader that waits doesn’t hold up one that reads history, nor do two on one partition disturb each other', async () => {
  const start = await endOf(2)
  for (let i = 0; i < 20; i++) await log.append(2, Buffer.from(`${i}`))
  const order: string[] = []
  const [live, late, history] = [log.cursor(2), log.cursor(2), log.cursor(2)]
  const reads = [live, late].map(async (cursor, i) => {
    await cursor.read(start + 20, waiting(20_000))
    order.push(`live ${i}`)
  })
  await readAll(history, start, start + 20)
  order.push('history')
  await log.append(2, Buffer.from('news'))
  await Promise.all(reads)
  expect(order[0]).toBe('history')
  expect(order.toSorted()).toEqual(['history', 'live 0', 'live 1'])
})

/** Reads up to `end` in pages of three, each record once. */
async function readAll(cursor: KafkaCursor, from: number, end: number): Promise<void> {
  for (let at = from; at < end; ) {
    const { records } = await cursor.read(at, { maxRecords: 3, maxBytes: 1e9, waitMs: 0 })
    expect(records.map((r) => r.position)).toEqual(records.map((_, i) => at + i))
    expect(records.length).toBeGreaterThan(0)
    at += records.length
  }
}

test('a position that is no longer kept is refused, one beyond the end is told by the end', async () => {
  const start = await endOf(3)
  for (let i = 0; i < 10; i++) await log.append(3, Buffer.from(`${i}`))
  await log.release(3, start + 5)
  expect((await log.firsts())[3]).toBe(start + 5)
  const shared = log.shared(3)
  expect(await shared.first()).toBe(start + 5)
  await expect(shared.read(start + 4, waiting(0))).rejects.toMatchObject({ code: 'data_corrupt' })
  expect(text((await shared.read(start + 5, waiting(0))).records)).toBe('5 6 7 8 9')
  expect(await shared.read(start + 99, waiting(500))).toMatchObject({ records: [], end: start + 10 })
  await shared.close()
  await expect(shared.read(start + 5, waiting(0))).rejects.toMatchObject({ code: 'shutting_down' })
})

test('a record that Kafka would not take is refused by itself', async () => {
  const others = ['before', 'after'].map((word) => log.append(0, Buffer.from(word)))
  await expect(log.append(0, randomBytes(1_500_000))).rejects.toMatchObject({ code: 'too_large' })
  const [before, after] = await Promise.all(others)
  expect(after).toBe((before ?? 0) + 1)
})

test('large records of many partitions go out in requests of bounded size', async () => {
  const payloads = Array.from({ length: 40 }, () => randomBytes(245_000))
  const offsets = await Promise.all(payloads.map((payload, i) => log.append(i % PARTITIONS, payload)))
  for (const [i, payload] of payloads.entries()) {
    const [record] = await log.read(i % PARTITIONS, offsets[i] ?? 0, { maxRecords: 1, maxBytes: 1 })
    expect(record?.payload.equals(payload)).toBe(true)
  }
})

test('events carry the instant at which the brokers appended them', async () => {
  const before = Date.now()
  const offset = await log.append(0, Buffer.from('stamped'))
  const [record] = await log.read(0, offset, ALL)
  expect(record?.stamp).toBeGreaterThanOrEqual(before)
  expect(record?.stamp).toBeLessThanOrEqual(Date.now())
})

test('a claimed journal works on it: the next owner reads every commit and fences the one before', async () => {
  const from = { from: 0, base: { claim: 0, n: 0 } }
  const partition = 1
  const journal = await openedLog({ settings, kind: 'journal', partitions: PARTITIONS })
  const lost: Error[] = []
  const first = new ClaimedLog({ log: journal.shared(partition), owner: 'first', clock })
  await first.open({ ...from, visit: () => undefined, lost: (error) => void lost.push(error) })
  const payloads = Array.from({ length: 12 }, (_, i) => randomBytes(i % 4 === 3 ? 600_000 : 500))
  for (const payload of payloads) await first.commit(payload)
  const seen: boolean[] = []
  const second = new ClaimedLog({ log: journal.shared(partition), owner: 'second', clock })
  await second.open({ ...from, visit: (n, payload) => void seen.push(payloads[n - 1]?.equals(payload) === true), lost: () => undefined })
  expect(seen).toEqual(payloads.map(() => true))
  await until(() => lost.length > 0)
  expect(lost).toMatchObject([{ code: 'fenced' }])
  await expect(first.commit(Buffer.from('stale'))).rejects.toMatchObject({ code: 'fenced' })
  await second.commit(Buffer.from('goes on'))
  await Promise.all([first.close(), second.close()])
  await journal.close()
})

test('a log that is closed under a read that waits leaves no connection behind', async () => {
  const sockets = (): number => process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length
  await log.append(0, Buffer.from('warm'))
  const before = sockets()
  const another = await openedLog({ settings, kind: 'events', partitions: PARTITIONS })
  const ends = await log.ends()
  const ask = (i: number) => another.cursor(i % PARTITIONS).read(ends[i % PARTITIONS] ?? 0, waiting(20_000))
  // All at once on connections that are not open yet.
  const settled = Promise.allSettled(Array.from({ length: 16 }, (_, i) => ask(i)))
  // Two turns of the live poll: by then all of them wait.
  await new Promise((resolve) => setTimeout(resolve, 600))
  expect(sockets()).toBeGreaterThan(before)
  await another.close()
  for (const read of await settled) expect(read).toMatchObject({ status: 'rejected', reason: { code: 'shutting_down' } })
  await until(() => sockets() <= before)
})
