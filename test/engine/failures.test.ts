// What fails is set aside alone, stops its partition, or stops the process: three outcomes, each no larger than it must be.
import { afterEach, describe, expect, test } from 'vitest'
import { InvariantError } from '../../src/core/assert.ts'
import type { TributaryError } from '../../src/core/errors.ts'
import { homeOf, identifierKey } from '../../src/core/identifier.ts'
import { sum } from '../../src/operators/sum.ts'
import { seeded } from '../identity/random.ts'
import { crashed, testDisk, turns, within } from './disk.ts'
import { type Harness, HOUR, harness } from './harness.ts'

const T0 = Date.parse('2026-05-01T00:00:00.000Z')
const POISON = 666
const add = sum.add

afterEach(() => {
  sum.add = add
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
  await h.engine.setClock(T0)
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

  test('when it fails at its future instant, the profile is told of and the others go on', async () => {
    const h = await shop()
    await h.send(order('u1', 'late', POISON, HOUR), order('u2', 'm2', 10, HOUR))
    await h.engine.settle()
    const { id } = (await h.engine.profile({ namespace: 'user_id', value: 'u1' })) ?? { id: '' }
    poison(() => new TypeError('no such luck'))
    await h.engine.setClock(T0 + HOUR)
    const letters = (await h.engine.deadLetters({ limit: 10 })).items
    expect(letters).toMatchObject([
      { code: 'execution_failed', reason: 'timer of a profile: TypeError: no such luck', message: { profile: id } },
    ])
    expect((await h.transitions()).map((t) => `${t.segment} ${t.userId}`).sort()).toEqual(['buyers u2', 'spenders u2'])
    expect(h.stopped).toEqual([])
    sum.add = add
    await h.send(order('u1', 'm3', 1))
    await h.engine.settle()
    expect((await h.engine.profile({ namespace: 'user_id', value: 'u1' }))?.segments).toEqual(['buyers', 'spenders'])
    await h.close()
  })
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
