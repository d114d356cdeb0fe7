// What fails is set aside alone, stops its partition, or stops the process: three outcomes, each no larger than it must be.
import { afterEach, describe, expect, test, vi } from 'vitest'
import { InvariantError } from '../../src/core/assert.ts'
import type { TributaryError } from '../../src/core/errors.ts'
import { homeOf, identifierKey } from '../../src/core/identifier.ts'
import { Affected } from '../../src/engine/membership.ts'
import { recency } from '../../src/operators/recency.ts'
import { sum } from '../../src/operators/sum.ts'
import { seeded } from '../identity/random.ts'
import { crashed, testDisk, turns, within } from './disk.ts'
import { type Harness, HOUR, harness } from './harness.ts'

const T0 = Date.parse('2026-05-01T00:00:00.000Z')
const POISON = 666
const add = sum.add

afterEach(() => {
  sum.add = add
  vi.restoreAllMocks()
})

/** From now on, a sum that is given the poisonous amount throws. */
function poison(error: () => Error): void {
  sum.add = (state, at, value, keep) => {
    if (value === POISON) throw error()
    add(state, at, value, keep)
  }
}

const order = (userId: string, messageId: string, total: number, offsetMs = 0): object => ({
  type: 'track',
  event: 'Order',
  userId,
  messageId,
  properties: { total },
  timestamp: new Date(T0 + offsetMs).toISOString(),
})

async function shop(options: Parameters<typeof harness>[0] = {}): Promise<Harness> {
  const h = await harness(options)
  if (options?.clock !== 'wall') await h.engine.setClock(T0)
  await h.engine.putSegment('spenders', { where: { event: 'Order', sum: 'properties.total', gte: 10 } })
  await h.engine.putSegment('buyers', { where: { event: 'Order' } })
  return h
}

const messageIds = async (h: Harness, userId: string): Promise<string[]> => {
  const page = await h.engine.profileEvents({ namespace: 'user_id', value: userId }, { limit: 100 })
  return page?.items.map((e) => e.messageId).sort() ?? []
}

describe('an event whose application throws', () => {
  test.each([1, 4])('is dead-lettered alone, the rest of its batch counts (%i partitions)', async (partitions) => {
    const h = await shop({ partitions })
    poison(() => new TypeError('no such luck'))
    const bad = order('u1', 'bad', POISON)
    await h.send(
      order('u1', 'm1', 3),
      order('u2', 'm2', 10),
      bad,
      order('u1', 'm3', 7),
      order('u3', 'm4', 1),
      order('u4', 'only bad', POISON),
    )
    await h.engine.settle()
    const letters = (await h.engine.deadLetters({ limit: 10 })).items
    expect(letters.map((l) => [l.code, l.reason, l.message]).sort()).toEqual([
      ['execution_failed', 'TypeError: no such luck', { messageId: 'bad', event: 'Order' }],
      ['execution_failed', 'TypeError: no such luck', { messageId: 'only bad', event: 'Order' }],
    ])
    expect(await messageIds(h, 'u1')).toEqual(['m1', 'm3'])
    expect((await h.engine.profile({ namespace: 'user_id', value: 'u1' }))?.segments).toEqual(['buyers', 'spenders'])
    expect(await h.engine.profile({ namespace: 'user_id', value: 'u4' })).toBeUndefined()
    expect((await h.transitions()).map((t) => `${t.segment} ${t.userId} ${t.seq} ${t.causeId}`).sort()).toEqual([
      'buyers u1 1 m1',
      'buyers u2 1 m2',
      'buyers u3 1 m4',
      'spenders u1 1 m3',
      'spenders u2 1 m2',
    ])
    expect((await h.engine.segment('buyers'))?.size).toBe(3)
    sum.add = add
    await h.send(bad, order('u4', 'm5', 20))
    await h.engine.settle()
    expect(await messageIds(h, 'u1')).toEqual(['bad', 'm1', 'm3'])
    expect((await h.engine.profile({ namespace: 'user_id', value: 'u4' }))?.segments).toEqual(['buyers', 'spenders'])
    expect(h.stopped).toEqual([])
    await h.close()
  })

  test('at its future instant is dead-lettered and removed, and its profile goes on', async () => {
    const h = await shop()
    await h.send(order('u1', 'waits', POISON, HOUR), order('u1', 'waits too', 4, HOUR), order('u2', 'm2', 10, HOUR))
    await h.engine.settle()
    const { id } = (await h.engine.profile({ namespace: 'user_id', value: 'u1' })) ?? { id: '' }
    poison(() => new TypeError('no such luck'))
    await h.engine.setClock(T0 + HOUR)
    const letters = (await h.engine.deadLetters({ limit: 10 })).items
    expect(letters.map((l) => [l.code, l.reason, l.message])).toEqual([
      ['execution_failed', 'TypeError: no such luck', { profile: id, messageId: 'waits', event: 'Order' }],
    ])
    expect(await messageIds(h, 'u1')).toEqual(['waits too'])
    await h.send(order('u1', 'm3', 6, HOUR))
    // A fill meets it no more than an event does.
    await h.engine.putSegment('rich', {
      where: { event: 'Order', where: { 'properties.none': { exists: false } }, sum: 'properties.total', gte: 1 },
    })
    await h.filled()
    expect((await h.transitions()).map((t) => `${t.segment} ${t.userId} ${t.cause} ${t.causeId ?? ''}`).sort()).toEqual([
      'buyers u1 timer waits too',
      'buyers u2 timer m2',
      'rich u1 definition ',
      'rich u2 definition ',
      'spenders u1 event m3',
      'spenders u2 timer m2',
    ])
    expect((await h.engine.deadLetters({ limit: 10 })).items).toHaveLength(1)
    expect(h.stopped).toEqual([])
    await h.close()
  })

  test('at its future instant is found by an event before its timer fires, and the event counts', async () => {
    const h = await shop({ clock: 'wall', clockMs: T0 })
    await h.send(order('u1', 'waits', POISON, HOUR))
    await h.run(20)
    poison(() => new TypeError('no such luck'))
    h.clock.advance(2 * HOUR)
    await h.send(order('u1', 'm1', 3))
    await h.run(100)
    expect((await h.engine.deadLetters({ limit: 10 })).items.map((l) => l.message)).toMatchObject([{ messageId: 'waits' }])
    expect(await messageIds(h, 'u1')).toEqual(['m1'])
    await h.close()
  })

  test.each([1, 4])('at its future instant, after a merge has brought it in, likewise (%i partitions)', async (partitions) => {
    const h = await shop({ partitions })
    const anonymous = { ...order('', 'waits', POISON, HOUR), userId: undefined, anonymousId: 'a1' }
    await h.send(anonymous, order('u1', 'm1', 3))
    await h.engine.settle()
    poison(() => new TypeError('no such luck'))
    await h.engine.setClock(T0 + HOUR - 1)
    await h.send({ ...order('u1', 'm2', 3), anonymousId: 'a1' })
    await h.engine.setClock(T0 + HOUR)
    expect((await h.engine.deadLetters({ limit: 10 })).items.map((l) => l.message)).toMatchObject([{ messageId: 'waits' }])
    expect(await messageIds(h, 'u1')).toEqual(['m1', 'm2'])
    expect(h.stopped).toEqual([])
    await h.close()
  })
})

test('what a merge hands over counts once where the batches around it fail', async () => {
  const h = await shop({ partitions: 4, limits: { batchEvents: 8 } })
  await h.engine.putSegment('over', { where: { event: 'Order', sum: 'properties.total', gte: 34 } })
  await h.engine.putSegment('exact', { where: { event: 'Order', sum: 'properties.total', gte: 33 } })
  poison(() => new TypeError('no such luck'))
  for (let n = 0; n < 8; n++) {
    const [known, visitor] = [`k${n}`, `a${n}`]
    await h.send(
      { ...order('', `${n} first`, 3), userId: undefined, anonymousId: visitor },
      { type: 'identify', userId: known, messageId: `${n} known` },
    )
    await h.engine.settle()
    const link = { type: 'identify', userId: known, anonymousId: visitor, messageId: `${n} link` }
    const orders = Array.from({ length: 30 }, (_, i) => [
      order(known, `${n} ${i}`, 1),
      ...(i % 2 === 0 ? [] : [order(known, `${n} ${i} bad`, POISON)]),
    ])
    await h.send(link, ...orders.flat())
    await h.engine.settle()
    expect((await h.engine.profile({ namespace: 'user_id', value: known }))?.segments).toEqual(['buyers', 'exact', 'spenders'])
  }
  await h.close()
})

describe('a flip that throws', () => {
  /** Readings of how long ago the last order was, which throw while `isSpoilt` says so. */
  function spoilReadings(isSpoilt: () => boolean): void {
    const reading = recency.reading
    vi.spyOn(recency, 'reading').mockImplementation((condition) => {
      const real = reading(condition)
      if (condition.event !== 'Order') return real
      return {
        need: real.need,
        whenEmpty: real.whenEmpty,
        value: (state, now) => real.value(state, now),
        exact: (state, now) => real.exact(state, now),
        read(state, now, out) {
          if (isSpoilt()) throw new TypeError('no such luck')
          real.read(state, now, out)
        },
      }
    })
  }

  test.each(['an event', 'its timer'])(
    'is dead-lettered with its segments where %s finds it due, and events of its profile count',
    async (by) => {
      let isSpoilt = false
      spoilReadings(() => isSpoilt)
      const h = await shop({ clock: 'wall', clockMs: T0 })
      await h.engine.putSegment('lapsed', { where: { event: 'Order', last: { before: '2h' } } })
      await h.engine.putSegment('gone', { where: { event: 'Visit', last: { before: '2h' } } })
      await h.send(order('u1', 'm1', 1), { ...order('u1', 'v1', 1), event: 'Visit' })
      await h.run(50)
      isSpoilt = true
      h.clock.advance(2 * HOUR)
      if (by === 'its timer') await h.run(100)
      await h.send({ ...order('u1', 'other', 1, 2 * HOUR), event: 'Other' })
      await h.run(100)
      const { id, segments } = (await h.engine.profile({ namespace: 'user_id', value: 'u1' })) ?? { id: '' }
      expect(segments).toEqual(['buyers', 'gone'])
      expect(await messageIds(h, 'u1')).toEqual(['m1', 'other', 'v1'])
      expect((await h.engine.deadLetters({ limit: 10 })).items).toMatchObject([
        { code: 'execution_failed', reason: 'flip of a profile: TypeError: no such luck', message: { profile: id, segments: ['lapsed'] } },
      ])
      isSpoilt = false
      // What touches it next arms it again.
      await h.send(order('u1', 'm2', 1, 2 * HOUR))
      await h.run(100)
      h.clock.advance(2 * HOUR)
      await h.run(100)
      expect((await h.engine.profile({ namespace: 'user_id', value: 'u1' }))?.segments).toEqual(['buyers', 'gone', 'lapsed'])
      expect((await h.engine.deadLetters({ limit: 10 })).items).toHaveLength(1)
      expect(h.stopped).toEqual([])
      await h.close()
    },
  )

  test('is dead-lettered with its profile, which is armed again by whatever touches it next', async () => {
    const h = await shop()
    await h.engine.putSegment('lapsed', { where: { event: 'Order', last: { before: '2h' } } })
    await h.send(order('u1', 'm1', 1))
    await h.engine.settle()
    const { id } = (await h.engine.profile({ namespace: 'user_id', value: 'u1' })) ?? { id: '' }
    const spoilt = vi.spyOn(Affected.prototype, 'settle').mockImplementation(() => {
      throw new TypeError('no such luck')
    })
    await h.engine.setClock(T0 + 2 * HOUR)
    spoilt.mockRestore()
    expect((await h.engine.deadLetters({ limit: 10 })).items).toMatchObject([
      { code: 'execution_failed', reason: 'timer of a profile: TypeError: no such luck', message: { profile: id } },
    ])
    await h.send(order('u1', 'm2', 1, 2 * HOUR))
    await h.engine.setClock(T0 + 4 * HOUR)
    expect((await h.transitions()).filter((t) => t.segment === 'lapsed').map((t) => `${t.transition} ${t.at} ${t.cause}`)).toEqual([
      `entered ${T0 + 2 * HOUR} timer`,
      `exited ${T0 + 2 * HOUR} event`,
      `entered ${T0 + 4 * HOUR} timer`,
    ])
    expect(h.stopped).toEqual([])
    await h.close()
  })
})

test('a fill that throws is dead-lettered with its segments; they count what comes from then on, and are called inexact', async () => {
  const h = await shop()
  await h.send(order('u1', 'bad', POISON), order('u2', 'm1', 20))
  await h.engine.settle()
  poison(() => new TypeError('no such luck'))
  await h.engine.putSegment('rich', {
    where: { event: 'Order', where: { 'properties.none': { exists: false } }, sum: 'properties.total', gte: 5 },
  })
  await h.filled()
  const { id } = (await h.engine.profile({ namespace: 'user_id', value: 'u1' })) ?? { id: '' }
  expect((await h.engine.deadLetters({ limit: 10 })).items).toMatchObject([
    { code: 'execution_failed', reason: 'fill of a profile: TypeError: no such luck', message: { profile: id, segments: ['rich'] } },
  ])
  expect((await h.engine.segment('rich'))?.size).toBe(1)
  expect(await h.engine.metrics()).toMatch(/^tributary_conditions_inexact_total\S* 1$/m)
  await h.send(order('u1', 'm2', 6))
  await h.engine.settle()
  expect((await h.engine.profile({ namespace: 'user_id', value: 'u1' }))?.segments).toEqual(['buyers', 'rich', 'spenders'])
  expect(await messageIds(h, 'u1')).toEqual(['bad', 'm2'])
  expect((await h.engine.deadLetters({ limit: 10 })).items).toHaveLength(1)
  expect(h.stopped).toEqual([])
  await h.close()
})

/** A user whose home is this partition. */
function userAt(partition: number, partitions: number): string {
  for (let n = 0; ; n++) if (homeOf(identifierKey(0, 'user_id', `u${n}`), partitions) === partition) return `u${n}`
}

describe('a broken invariant', () => {
  test('stops its partition and no other, and the status says so', async () => {
    const partitions = 4
    const [mine, other] = [userAt(2, partitions), userAt(0, partitions)]
    const disk = testDisk(partitions, 1)
    const h = await shop({ partitions, disk })
    await h.send(order(mine, 'm1', 1))
    await h.engine.settle()
    poison(() => new InvariantError('water runs downhill'))
    await h.send(order(mine, 'm2', POISON), order(other, 'm3', 10))
    for (let i = 0; i < 100 && h.stopped.length === 0; i++) await within(h.engine.status())
    expect(h.stopped).toEqual(['2: InvariantError: water runs downhill'])
    const status = await h.engine.status()
    expect(status.ready).toBe(false)
    expect(status.partitions.map((p) => p.state)).toEqual(['running', 'running', 'stopped', 'running'])
    expect(status.partitions[2]).toMatchObject({ reason: 'water runs downhill', lag: 1 })
    await expect(h.engine.profile({ namespace: 'user_id', value: mine })).rejects.toMatchObject({
      code: 'partition_stopped',
    } satisfies Partial<TributaryError>)
    await expect(within(h.engine.settle())).rejects.toMatchObject({ code: 'partition_stopped' })
    expect((await h.engine.profile({ namespace: 'user_id', value: other }))?.segments).toEqual(['buyers', 'spenders'])
    // Repaired and started anew, it goes on where it stood: nothing was lost, nothing counts twice.
    h.abandon()
    sum.add = add
    const repaired = await shop({ partitions, disk: crashed(disk, seeded(1)) })
    await within(repaired.engine.settle())
    expect(await messageIds(repaired, mine)).toEqual(['m1', 'm2'])
    expect((await repaired.engine.profile({ namespace: 'user_id', value: mine }))?.segments).toEqual(['buyers', 'spenders'])
    expect((await repaired.transitions()).filter((t) => t.userId === mine).map((t) => `${t.segment} ${t.causeId}`)).toEqual([
      'buyers m1',
      'spenders m2',
    ])
    expect(repaired.stopped).toEqual([])
    await repaired.close()
  })
})

test('whoever waits for something to be finished is told when a partition stops elsewhere', async () => {
  const disk = testDisk(4, 2)
  const h = await shop({ partitions: 4, hosts: 2, disk })
  const [waiting, other] = [userAt(0, 4), userAt(2, 4)]
  const [journal] = disk.faults.journals
  if (journal) journal.schedule = () => {}
  const { position } = await h.send(order(waiting, 'm1', 1))
  const settled = within(h.engine.settle())
  const read = within(h.engine.profile({ namespace: 'user_id', value: waiting }, { minPosition: position }))
  // By now the other host has said that it has nothing to do.
  await turns(30)
  poison(() => new InvariantError('water runs downhill'))
  await h.send(order(other, 'm2', POISON))
  const told = { code: 'partition_stopped', message: expect.stringMatching(/^partition 2 has stopped: InvariantError: water/) }
  await expect(settled).rejects.toMatchObject(told)
  await expect(read).rejects.toMatchObject(told)
  await expect(h.engine.settle()).rejects.toMatchObject(told)
  h.abandon()
})

describe('a log that fails', () => {
  test.each(['write', 'sync'] as const)('the journal, on %s: the process must stop; nothing acknowledged is lost', async (fault) => {
    const disk = testDisk(4, 2)
    const h = await shop({ hosts: 2, disk })
    const user = userAt(0, 4)
    const [journal] = disk.faults.journals
    if (journal) journal.failNext = fault
    await h.send(order(user, 'm1', 10))
    for (let i = 0; i < 100 && !h.stopped.some((s) => s.startsWith('TributaryError')); i++) await within(h.engine.status())
    expect(h.stopped).toContainEqual(expect.stringMatching(/^TributaryError: the log in memory failed/))
    expect(await h.transitions()).toEqual([])
    h.abandon()
    const next = await shop({ hosts: 2, disk: crashed(disk, seeded(2)) })
    await within(next.engine.settle())
    expect(await messageIds(next, user)).toEqual(['m1'])
    expect((await next.transitions()).map((t) => `${t.segment} ${t.seq}`).sort()).toEqual(['buyers 1', 'spenders 1'])
    await next.close()
  })

  test('the events log: the event is not acknowledged, and the process must stop', async () => {
    const disk = testDisk(4, 1)
    const h = await shop({ disk })
    disk.faults.events.failNext = 'sync'
    await expect(h.send(order('u1', 'm1', 10))).rejects.toMatchObject({ code: 'log_failed' })
    expect(h.stopped).toEqual([expect.stringMatching(/^TributaryError: the log in memory failed/)])
    await expect(h.send(order('u1', 'm2', 10))).rejects.toMatchObject({ code: 'log_failed' })
    h.abandon()
    const next = await shop({ disk: crashed(disk, seeded(3)) })
    await next.send(order('u1', 'm1', 10))
    await next.engine.settle()
    expect(await messageIds(next, 'u1')).toEqual(['m1'])
    await next.close()
  })

  test('the outputs: nothing is taken for relayed, and it comes out once the process is back', async () => {
    const disk = testDisk(4, 1)
    const h = await shop({ disk })
    disk.faults.outputs.failNext = 'sync'
    await h.send(order('u1', 'm1', 10))
    for (let i = 0; i < 100 && h.stopped.length === 0; i++) await within(h.engine.status())
    expect(h.stopped).toEqual([expect.stringMatching(/^TributaryError: the log in memory failed/)])
    h.abandon()
    const next = await shop({ disk: crashed(disk, seeded(4)) })
    await within(next.engine.settle())
    expect((await next.transitions()).map((t) => `${t.segment} ${t.seq}`)).toEqual(['spenders 1', 'buyers 1'])
    await next.close()
  })
})

test('a move of the manual clock that was durable and not yet executed holds after a crash', async () => {
  const disk = testDisk(4, 2)
  const h = await shop({ hosts: 2, disk })
  for (const journal of disk.faults.journals) journal.schedule = () => {}
  h.engine.setClock(T0 + 2 * HOUR).catch(() => undefined)
  await turns(30)
  h.abandon()
  const after = crashed(disk, () => 0)
  for (const journal of after.faults.journals) journal.schedule = undefined
  const next = await within(harness({ hosts: 2, disk: after }))
  expect(next.engine.acceptanceTime()).toBe(T0 + 2 * HOUR)
  await expect(next.engine.setClock(T0 + HOUR)).rejects.toMatchObject({ code: 'clock_backwards' })
  await next.close()
})
