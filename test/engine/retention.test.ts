// What is kept for how long: repeats are caught for the dedupe window, timelines are trimmed, memory stays within its budget.
import { describe, expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import { META_KEY, prefixRange, profileKeyOf } from '../../src/engine/keys.ts'
import { decodeBlock } from '../../src/engine/outbox.ts'
import { decodeProfileRow, Profile } from '../../src/engine/profile.ts'
import { MAX_ENTRIES } from '../../src/operators/operator.ts'
import { LIMITS, parseWhere } from '../../src/operators/parse.ts'
import { MemoryStore } from '../../src/state/memory-store.ts'
import { PendingRows } from '../../src/state/pending.ts'
import type { StoreRow } from '../../src/state/store.ts'
import { seeded } from '../identity/random.ts'
import { crashed, testDisk, turns, within } from './disk.ts'
import { DAY, type Harness, HOUR, harness } from './harness.ts'

const T0 = Date.parse('2026-05-01T00:00:00.000Z')
const iso = (ms: number): string => new Date(ms).toISOString()

const visit = (messageId: string, at: number, userId = 'u1'): object => ({
  type: 'track',
  event: 'Visit',
  userId,
  messageId,
  timestamp: iso(at),
})

async function messageIds(h: Harness, userId = 'u1'): Promise<string[]> {
  const page = must(await h.engine.profileEvents({ namespace: 'user_id', value: userId }, { limit: 10_000 }), 'the profile')
  return page.items.map((e) => e.messageId)
}

describe('the dedupe window', () => {
  const WINDOW = 3 * DAY

  test.each([0, 1, HOUR, WINDOW - 1, WINDOW])('catches a repeat after %i ms, wherever its generations turn', async (later) => {
    const h = await harness({ limits: { dedupeWindowMs: WINDOW } })
    for (const [i, offset] of [0, 1, DAY, 2 * DAY, WINDOW - 1].entries()) {
      const at = Math.floor(T0 / WINDOW) * WINDOW + 10 * WINDOW * i + offset
      await h.engine.setClock(at)
      await h.send(visit(`m${i}`, at))
      await h.engine.setClock(at + later)
      await h.send(visit(`m${i}`, at), visit(`m${i}`, at))
      await h.engine.settle()
      expect(await messageIds(h)).toHaveLength(i + 1)
    }
    await h.close()
  })

  test('and forgets it after two', async () => {
    const h = await harness({ limits: { dedupeWindowMs: WINDOW } })
    await h.engine.setClock(T0)
    await h.send(visit('m1', T0))
    await h.engine.setClock(T0 + 2 * WINDOW)
    await h.send(visit('m1', T0 + 2 * WINDOW))
    await h.engine.settle()
    expect(await messageIds(h)).toEqual(['m1', 'm1'])
    await h.close()
  })

  // Days from the first message on; the window changes after the first.
  test.each([
    ['shorter', WINDOW, DAY, { caught: [1, 2], forgotten: 4 }],
    ['longer', DAY, WINDOW, { caught: [1, 3], forgotten: 7 }],
  ])('goes on with a %s one', async (_, first, second, { caught, forgotten }) => {
    const disk = testDisk(4, 1)
    const h = await harness({ disk, limits: { dedupeWindowMs: first } })
    await h.engine.setClock(T0)
    await h.send(visit('m1', T0))
    await h.engine.settle()
    h.abandon()
    const next = await within(harness({ disk: crashed(disk, seeded(1)), limits: { dedupeWindowMs: second } }))
    for (const days of caught) {
      await next.engine.setClock(T0 + days * DAY)
      await next.send(visit('m1', T0))
    }
    await next.engine.settle()
    expect(await messageIds(next)).toEqual(['m1'])
    await next.engine.setClock(T0 + forgotten * DAY)
    await next.send(visit('m1', T0 + forgotten * DAY))
    await next.engine.settle()
    expect(await messageIds(next)).toEqual(['m1', 'm1'])
    await next.close()
  })

  test('across a crash in between', async () => {
    const disk = testDisk(4, 1)
    const limits = { dedupeWindowMs: WINDOW }
    const h = await harness({ disk, limits })
    await h.engine.setClock(T0)
    await h.send(visit('m1', T0))
    await h.engine.setClock(T0 + WINDOW - 1)
    h.abandon()
    const next = await within(harness({ disk: crashed(disk, seeded(1)), limits }))
    await next.send(visit('m1', T0))
    await next.engine.settle()
    expect(await messageIds(next)).toEqual(['m1'])
    await next.close()
  })

  test('its old rows go too where time turns for an input that wants more rows, and its batch is cut before it', async () => {
    const limits = { dedupeWindowMs: DAY, splitBytes: 0, cacheBytes: 0, applyMs: 0 }
    const h = await harness({ clock: 'wall', partitions: 1, limits })
    void h.engine.putSegment('browsers', { where: { event: 'Visit', within: '7d', distinct: 'properties.page', gte: 10 } })
    await h.run(200)
    await h.send(...Array.from({ length: 10 }, (_, page) => ({ ...visit(`m${page}`, h.clock.now()), properties: { page } })))
    await h.run(200)
    const cuts = async (): Promise<number> => Number(/^tributary_batches_cut_total\{[^}]*\} (\d+)/m.exec(await h.engine.metrics())?.[1])
    const before = await cuts()
    // In one leap: the timer is the first input of the later generation, and its accumulator is not in memory.
    h.clock.advance(7 * DAY)
    await h.run(200)
    expect((await h.transitions()).map((t) => t.transition)).toEqual(['entered', 'exited'])
    expect(await cuts()).toBe(before + 1)
    await h.close()
    expect(await storedRows(h, 'd')).toEqual([])
  })
})

/** Of a closed engine: the rows of a kind in all its stores. */
async function storedRows(h: Harness, kind: string): Promise<StoreRow[]> {
  const found: StoreRow[] = []
  for (const store of h.disk.stores) {
    const rows = await PendingRows.open(new MemoryStore(store.snapshot()), { applyMs: 1, applyBytes: 1e6, withMark: META_KEY })
    const scan = rows.scan(prefixRange(kind))
    found.push(...(await scan.next(10_000)))
    await scan.close()
  }
  return found
}

/** Holds for every visit; a condition with it shares nothing with one without. */
const ANY = { 'properties.none': { exists: false } }

describe('timelines', () => {
  test('are trimmed to their newest events; what was counted stays counted', async () => {
    const h = await harness({ limits: { timelineEvents: 20, batchEvents: 50, applyBytes: 10_000 } })
    await h.engine.setClock(T0)
    await h.engine.putSegment('regulars', { where: { event: 'Visit', count: { gte: 1000 } } })
    for (let i = 0; i < 1000; i += 100) {
      await h.send(...Array.from({ length: 100 }, (_, k) => visit(`m${i + k}`, T0 - HOUR + i + k)))
      await h.engine.settle()
      expect((await messageIds(h)).length).toBeLessThanOrEqual(20 + 256 + 50)
    }
    for (let i = 0; i < 100; i++) await turns(3)
    const kept = await messageIds(h)
    expect(kept.length).toBeGreaterThanOrEqual(20)
    expect(kept.length).toBeLessThanOrEqual(20 + 256)
    expect(kept).toEqual(Array.from({ length: kept.length }, (_, k) => `m${1000 - kept.length + k}`))
    expect((await h.engine.profile({ namespace: 'user_id', value: 'u1' }))?.segments).toEqual(['regulars'])
    // A definition that comes later knows what is kept, no more.
    await h.engine.putSegment('later', { where: { event: 'Visit', where: ANY, count: { gte: 1000 } } })
    await h.engine.putSegment('kept', { where: { event: 'Visit', where: ANY, count: { gte: kept.length } } })
    await h.filled()
    expect((await h.engine.profile({ namespace: 'user_id', value: 'u1' }))?.segments).toEqual(['kept', 'regulars'])
    expect(h.stopped).toEqual([])
    await h.close()
  })

  test('a late event that is older than all that is left may come and go; the count of rows stays right', async () => {
    const h = await harness({ limits: { timelineEvents: 10, batchEvents: 30 } })
    await h.engine.setClock(T0)
    for (let i = 0; i < 600; i += 20) {
      await h.send(...Array.from({ length: 20 }, (_, k) => visit(`m${i + k}`, k % 2 === 0 ? T0 - i - k : T0 - DAY - i - k)))
    }
    await h.engine.settle()
    for (let i = 0; i < 100; i++) await turns(3)
    const kept = await messageIds(h)
    expect(kept.length).toBeGreaterThanOrEqual(10)
    expect(kept.length).toBeLessThanOrEqual(10 + 256)
    await h.close()
  })

  /** Of a closed engine: the rows of all timelines, and what the profiles say that there are. */
  async function timelineRows(h: Harness): Promise<{ rows: number; counted: number }> {
    const profiles = (await storedRows(h, 'p')).map(([key, value]) => decodeProfileRow(profileKeyOf(key), value))
    const counted = profiles.reduce((sum, p) => sum + (p instanceof Profile ? p.timelineCount : 0), 0)
    return { rows: (await storedRows(h, 't')).length, counted }
  }

  test.each([1, 1000])('lose what is beyond the retention while events come in, %i in a batch', async (batchEvents) => {
    const h = await harness({ partitions: 1, limits: { timelineRetentionMs: 16 * DAY, batchEvents } })
    await h.engine.putSegment('ever', { where: { event: 'Visit', count: { gte: 50 } } })
    const DAYS = 50
    for (let day = 0; day < DAYS; day++) {
      const now = T0 + day * DAY
      await h.engine.setClock(now)
      await h.send(visit(`m${day}`, now), visit(`late ${day}`, now - 10 * DAY), visit(`other ${day}`, now, `v${day}`))
      await h.engine.settle()
      for (let i = 0; i < 10; i++) await turns(3)
      // So many as came within the retention, and at most a day's more.
      expect((await messageIds(h)).length).toBeLessThanOrEqual(17 + 7 + 2)
    }
    expect((await messageIds(h)).slice(0, 2).sort()).toEqual(['late 43', 'm33'])
    expect((await h.engine.profile({ namespace: 'user_id', value: 'u1' }))?.segments).toEqual(['ever'])
    await h.close()
    const { rows, counted } = await timelineRows(h)
    expect(counted).toBe(rows)
    // Whoever gets no events keeps theirs until something else touches them.
    expect(rows).toBe(17 + 7 + DAYS)
  })

  test('lose it to a fill, which looks no further back than the retention, wherever the trims stand', async () => {
    const h = await harness({ partitions: 1, limits: { timelineRetentionMs: 16 * DAY } })
    await h.engine.setClock(T0)
    await h.send(...Array.from({ length: 10 }, (_, k) => visit(`m${k}`, T0 - k * DAY)))
    await h.engine.setClock(T0 + 10 * DAY)
    expect(await messageIds(h)).toHaveLength(10)
    await h.engine.putSegment('seven', { where: { event: 'Visit', count: { gte: 7 } } })
    await h.engine.putSegment('eight', { where: { event: 'Visit', count: { gte: 8 } } })
    expect(await h.engine.previewSegment({ event: 'Visit', count: { gte: 7 } })).toMatchObject({ size: 1 })
    expect(await h.engine.previewSegment({ event: 'Visit', count: { gte: 8 } })).toMatchObject({ size: 0 })
    await h.filled()
    expect((await h.engine.profile({ namespace: 'user_id', value: 'u1' }))?.segments).toEqual(['seven'])
    for (let i = 0; i < 10; i++) await turns(3)
    expect(await messageIds(h)).toHaveLength(7)
    await h.close()
    expect(await timelineRows(h)).toEqual({ rows: 7, counted: 7 })
  })

  test('events older than the retention count, but are not kept', async () => {
    const h = await harness({ limits: { timelineRetentionMs: 10 * DAY } })
    await h.engine.setClock(T0)
    await h.engine.putSegment('ever', { where: { event: 'Visit' } })
    await h.send(visit('old', T0 - 11 * DAY), visit('new', T0 - 10 * DAY))
    await h.engine.settle()
    expect(await messageIds(h)).toEqual(['new'])
    await h.send(visit('oldest', T0 - 11 * DAY, 'u2'))
    await h.engine.settle()
    expect((await h.engine.profile({ namespace: 'user_id', value: 'u2' }))?.segments).toEqual(['ever'])
    expect(await messageIds(h, 'u2')).toEqual([])
    await h.close()
  })
})

describe('what a condition may notice is not lost silently', () => {
  const inexact = async (h: Harness): Promise<number> =>
    [...(await h.engine.metrics()).matchAll(/^tributary_conditions_inexact_total\{[^}]*\} (\d+)/gm)].reduce(
      (sum, [, n]) => sum + Number(n),
      0,
    )
  const SENT = 5000
  const sendAll = async (h: Harness): Promise<void> => {
    for (let i = 0; i < SENT; i += 1000) await h.send(...Array.from({ length: 1000 }, (_, k) => visit(`m${i + k}`, T0 - i - k)))
    await h.engine.settle()
  }

  test('the largest count within a window that may be asked for is exact', async () => {
    const h = await harness()
    await h.engine.setClock(T0)
    const most = { event: 'Visit', within: '1h', count: { gte: LIMITS.windowedCount } }
    await h.engine.putSegment('most', { where: parseWhere(most) })
    await h.engine.putSegment('no more', { where: parseWhere({ ...most, count: { lte: LIMITS.windowedCount } }) })
    await sendAll(h)
    expect(await inexact(h)).toBe(0)
    // The events are a millisecond apart: so many of them are left an hour after the one before.
    const last = T0 + HOUR - LIMITS.windowedCount
    await h.engine.setClock(last - 1)
    expect((await h.engine.profile({ namespace: 'user_id', value: 'u1' }))?.segments).toEqual(['most'])
    await h.engine.setClock(last)
    expect((await h.engine.profile({ namespace: 'user_id', value: 'u1' }))?.segments).toEqual(['most', 'no more'])
    await h.engine.setClock(last + 1)
    expect((await h.engine.profile({ namespace: 'user_id', value: 'u1' }))?.segments).toEqual(['no more'])
    await h.close()
  })

  test('an average over more entries than are kept, and a fill from a timeline that does not reach back, are counted', async () => {
    const h = await harness({ limits: { timelineRetentionMs: 10 * DAY } })
    await h.engine.setClock(T0)
    await h.engine.putSegment('average', { where: { event: 'Visit', within: '1d', avg: 'properties.n', gte: 3 } })
    await h.send({ ...visit('other', T0, 'u2'), properties: { n: 1 } })
    await h.engine.settle()
    expect(await inexact(h)).toBe(0)
    const page = (from: number): object[] =>
      Array.from({ length: 1000 }, (_, k) => ({ ...visit(`m${from + k}`, T0), properties: { n: 1 } }))
    for (let i = 0; i < SENT; i += 1000) await h.send(...page(i))
    await h.engine.settle()
    expect(await inexact(h)).toBe(SENT - MAX_ENTRIES)
    await h.send(visit('old', T0 - 11 * DAY, 'u2'))
    await h.engine.putSegment('within', { where: { event: 'Visit', where: ANY, within: '10d' } })
    await h.filled()
    expect(await inexact(h)).toBe(SENT - MAX_ENTRIES)
    await h.engine.putSegment('whenever', {
      where: { event: 'Visit', where: { 'properties.other': { exists: false } }, count: { gte: 2 } },
    })
    await h.filled()
    expect(await inexact(h)).toBe(SENT - MAX_ENTRIES + 1)
    await h.close()
  })
})

test('memory stays within its budget, and what was evicted is read back', async () => {
  const limits = { cacheBytes: 500_000, applyMs: 5, applyBytes: 50_000, batchEvents: 50 }
  const h = await harness({ partitions: 1, limits })
  await h.engine.setClock(T0)
  await h.engine.putSegment('twice', { where: { event: 'Visit', count: { gte: 2 } } })
  const users = Array.from({ length: 1000 }, (_, n) => `u${n}`)
  for (const round of [0, 1]) {
    for (let i = 0; i < users.length; i += 100) await h.send(...users.slice(i, i + 100).map((user) => visit(`${round} ${user}`, T0, user)))
  }
  await h.engine.settle()
  const cached = Number(/tributary_cache_bytes\{[^}]*\} (\d+)/.exec(await h.engine.metrics())?.[1])
  expect(cached).toBeGreaterThan(0)
  expect(cached).toBeLessThanOrEqual(limits.cacheBytes * 1.5)
  expect((await h.engine.segment('twice'))?.size).toBe(1000)
  for (const user of users.slice(0, 20)) expect(await messageIds(h, user)).toHaveLength(2)
  await h.close()
})

test('dead letters of intake have an origin of their own, which an opening marks: their ids go on when all of them have gone', async () => {
  const partitions = 2
  const disk = testDisk(partitions, 1)
  const first = await harness({ partitions, disk })
  const rejected = { code: 'unreadable', reason: 'no JSON', message: {} } as const
  await first.engine.ingest([], [rejected, rejected])
  first.abandon()
  const second = await within(harness({ partitions, disk: crashed(disk, seeded(1)) }))
  const { reader } = second.disk.streams.deadLetters
  await second.run(10)
  const mark = decodeBlock(must(await reader.last(partitions), 'the mark').payload)
  expect([mark.firstSeq, mark.count]).toEqual([3, 0])
  await second.engine.ingest([], [rejected])
  expect((await second.engine.deadLetters({ limit: 10 })).items.map(({ id }) => id)).toEqual(['2-1', '2-2', '2-3'])
  await second.close()
})
