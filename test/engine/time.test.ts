// Time under the wall clock: it moves people without any traffic, and never past an event that was accepted earlier.
import { describe, expect, test } from 'vitest'
import { sleep, systemClock } from '../../src/core/clock.ts'
import { homeOf, identifierKey } from '../../src/core/identifier.ts'
import { Namespaces } from '../../src/core/namespace.ts'
import type { Transition } from '../../src/core/transition.ts'
import { seeded } from '../identity/random.ts'
import { identifier, recordOf } from '../oracle/events-arbitrary.ts'
import { Lateness } from '../process/lateness.ts'
import { crashed, type TestDisk, testDisk } from './disk.ts'
import { DAY, type Harness, HOUR, harness } from './harness.ts'

const iso = (ms: number): string => new Date(ms).toISOString()
const namespaces = new Namespaces({})

/** A value of the namespace whose home is this partition. */
function valueAt(namespace: string, partition: number, partitions: number): string {
  for (let n = 0; ; n++) {
    if (homeOf(identifierKey(namespaces.priorityOf(namespace), namespace, `x${n}`), partitions) === partition) return `x${n}`
  }
}

/** Lets the clock run in leaps, for tests that cross days. */
async function leap(h: Harness, toMs: number): Promise<void> {
  h.clock.advance(Math.max(0, toMs - h.clock.now()))
  await h.run(50)
}

const visited = (userId: string, messageId: string, at: number): object => ({
  type: 'track',
  event: 'Visit',
  userId,
  messageId,
  timestamp: iso(at),
})

describe('no traffic', () => {
  test.each([1, 2])('exits and entries due by time come within a second, at their own instants (%i hosts)', async (hosts) => {
    const h = await harness({ clock: 'wall', hosts, partitions: 4 })
    void h.engine.putSegment('active', { where: { event: 'Visit', within: '7d' } })
    void h.engine.putSegment('lapsed', { where: { all: [{ event: 'Visit' }, { event: 'Visit', within: '7d', count: { eq: 0 } }] } })
    await h.run(200)
    const t0 = h.clock.now()
    const instants: number[] = []
    for (let i = 0; i < 30; i++) {
      await h.send(visited(`u${i}`, `m${i}`, t0 - i * HOUR))
      instants.push(t0 - i * HOUR + 7 * DAY)
    }
    await h.run(200)
    expect(await h.transitions()).toHaveLength(30)
    for (const [i, instant] of instants.reverse().entries()) {
      h.clock.advance(instant - 1 - h.clock.now())
      expect((await h.transitions()).length).toBeLessThanOrEqual(30 + 2 * i)
      await h.run(1000)
      const seen = (await h.transitions()).slice(30)
      expect(seen).toHaveLength(2 * (i + 1))
      for (const t of seen.slice(-2))
        expect(t).toMatchObject({ at: instant, cause: 'timer', transition: t.segment === 'active' ? 'exited' : 'entered' })
      expect(Math.max(...seen.map((t) => t.decidedAt - t.at))).toBeLessThan(1000)
    }
    expect(h.stopped).toEqual([])
    await h.close()
  })

  test('on the real clock', async () => {
    const h = await harness({ clock: 'wall', machine: systemClock, hosts: 2, partitions: 4 })
    await h.engine.putSegment('active', { where: { event: 'Visit', within: '400ms' } })
    const seen: { transition: Transition; seenAt: number }[] = []
    await h.engine.followTransitions({}, (list) => seen.push(...list.map((transition) => ({ transition, seenAt: Date.now() }))))
    // They come dated ahead, so that they enter by time, too. A busy machine may need longer until all is taken in.
    for (const leadMs of [300, 5000, 60_000]) {
      const at = Date.now()
      await h.send(...Array.from({ length: 50 }, (_, i) => visited(`${leadMs} u${i}`, `${leadMs} m${i}`, at + leadMs)))
      await h.engine.settle()
      if (Date.now() >= at + leadMs) continue
      const lateness = new Lateness()
      const theirs = (which: string) => seen.filter(({ transition: t }) => t.transition === which && t.userId?.startsWith(`${leadMs} `))
      while (theirs('exited').length < 50) await sleep(systemClock, 20)
      await lateness.end()
      for (const [which, instant] of [['entered', at + leadMs] as const, ['exited', at + leadMs + 400] as const]) {
        expect(theirs(which)).toHaveLength(50)
        for (const { transition, seenAt } of theirs(which)) {
          expect(transition).toMatchObject({ at: instant, cause: 'timer' })
          expect(seenAt - instant).toBeLessThan(1000 + lateness.allowanceMs)
        }
      }
      break
    }
    expect(seen.filter(({ transition }) => transition.cause === 'timer').length).toBeGreaterThanOrEqual(100)
    expect(h.stopped).toEqual([])
    await h.close()
  })

  test('an event is accepted when it is appended, however long its body took to read', async () => {
    const h = await harness({ clock: 'wall' })
    const identifiers = [identifier('user_id', 'u1')]
    const nothing = { properties: {}, traits: undefined, contextTraits: undefined }
    const sketch = { id: 1, name: 'Visit', identifiers, offsetMs: 0, sourcePriority: 0, ...nothing }
    const record = recordOf(sketch, h.engine.acceptanceTime())
    h.clock.advance(5000)
    await h.run(200)
    const before = h.engine.acceptanceTime()
    await h.engine.ingest([record], [])
    await h.run(200)
    const { items = [] } = (await h.engine.profileEvents({ namespace: 'user_id', value: 'u1' }, { limit: 10 })) ?? {}
    expect(items.map(({ acceptedAt }) => Date.parse(acceptedAt) >= before)).toEqual([true])
    await h.close()
  })

  test('an event dated in the future counts from its instant', async () => {
    const h = await harness({ clock: 'wall' })
    void h.engine.putSegment('active', { where: { event: 'Visit', within: '1h' } })
    void h.engine.putSegment('silent', { where: { not: { event: 'Visit' } } })
    await h.run(200)
    const t0 = h.clock.now()
    await h.send(visited('u1', 'm1', t0 + HOUR))
    await h.run(100)
    expect((await h.transitions()).map((t) => `${t.transition} ${t.segment} ${t.at - t0}`)).toEqual(['entered silent 0'])
    await leap(h, t0 + 3 * HOUR)
    expect(
      (await h.transitions())
        .slice(1)
        .map((t) => `${t.transition} ${t.segment} ${t.at - t0} ${t.causeId}`)
        .sort(),
    ).toEqual([`entered active ${HOUR} m1`, `exited active ${2 * HOUR} undefined`, `exited silent ${HOUR} m1`])
    await h.close()
  })
})

describe('a backlog is worked off in its own time', () => {
  const partitions = 4

  /** A visitor in one partition who logs in as a user of another; then a visit is accepted and nothing is executed any more. */
  async function withBacklog(hosts: number, from: number, to: number): Promise<{ h: Harness; disk: TestDisk; t0: number; userId: string }> {
    const disk = testDisk(partitions, hosts)
    const h = await harness({ clock: 'wall', hosts, partitions, disk })
    void h.engine.putSegment('active', { where: { event: 'Visit', within: '7d' } })
    await h.run(200)
    const userId = valueAt('user_id', to, partitions)
    const anonymousId = valueAt('anonymous_id', from, partitions)
    const t0 = h.clock.now()
    await h.send({ type: 'track', event: 'Visit', userId, anonymousId, messageId: 'm1', timestamp: iso(t0) })
    await h.run(200)
    h.clock.advance(6 * DAY)
    await h.run(100)
    for (const faults of disk.faults.journals) faults.schedule = () => {}
    await h.send({ type: 'track', event: 'Visit', anonymousId, messageId: 'm2', timestamp: iso(h.clock.now()) })
    await h.run(50)
    h.clock.advance(2 * DAY)
    return { h, disk, t0, userId }
  }

  test.each([
    [1, 2, 2],
    [1, 0, 3],
    [2, 0, 3],
    [2, 3, 0],
  ])('after a restart (%i hosts, from partition %i to %i): no exit that an accepted event prevents', async (hosts, from, to) => {
    const { h: dying, disk, t0, userId } = await withBacklog(hosts, from, to)
    dying.abandon()
    const after = crashed(disk, seeded(hosts))
    for (const faults of after.faults.journals) faults.schedule = undefined
    const opening = harness({ clock: 'wall', hosts, partitions, disk: after, clockMs: dying.clock.now() })
    const h = await opening
    await h.run(500)
    expect((await h.transitions()).map((t) => t.transition)).toEqual(['entered'])
    const second = t0 + 6 * DAY + 300
    await leap(h, second + 7 * DAY + 1000)
    const [, exited, ...rest] = await h.transitions()
    expect(exited).toMatchObject({ transition: 'exited', cause: 'timer', userId })
    expect(exited?.at).toBeGreaterThanOrEqual(t0 + 13 * DAY)
    expect(rest).toEqual([])
    await h.close()
  })

  test.each([
    [1, 0, 3],
    [2, 0, 3],
    [2, 3, 0],
  ])('while one partition lags (%i hosts, from partition %i to %i)', async (hosts, from, to) => {
    const held: (() => void)[] = []
    const disk = testDisk(partitions, hosts)
    const h = await harness({ clock: 'wall', hosts, partitions, disk })
    void h.engine.putSegment('active', { where: { event: 'Visit', within: '7d' } })
    await h.run(200)
    const userId = valueAt('user_id', to, partitions)
    const anonymousId = valueAt('anonymous_id', from, partitions)
    const t0 = h.clock.now()
    await h.send({ type: 'track', event: 'Visit', userId, anonymousId, messageId: 'm1', timestamp: iso(t0) })
    await h.run(200)
    h.clock.advance(6 * DAY)
    await h.run(100)
    // The journal of the visitor's partition stands still; with one host that is everybody's.
    const lagging = disk.faults.journals[hosts === 1 ? 0 : Math.floor((from * hosts) / partitions)]
    if (lagging) lagging.schedule = (complete) => void held.push(complete)
    await h.send({ type: 'track', event: 'Visit', anonymousId, messageId: 'm2', timestamp: iso(h.clock.now()) })
    await h.run(50)
    h.clock.advance(2 * DAY)
    await h.run(200)
    expect((await h.transitions()).map((t) => t.transition)).toEqual(['entered'])
    if (lagging) lagging.schedule = undefined
    for (const complete of held) complete()
    await h.run(200)
    expect((await h.transitions()).map((t) => t.transition)).toEqual(['entered'])
    await leap(h, t0 + 13 * DAY + HOUR)
    expect((await h.transitions()).map((t) => t.transition)).toEqual(['entered', 'exited'])
    expect(h.stopped).toEqual([])
    await h.close()
  })
})
