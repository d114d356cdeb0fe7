// Events that reach their profile by way of another partition, under the wall clock: they count at once, where the partition of the
// profile stands back in time too, because nothing has happened in it; but not before what it has yet to work off.
import { expect, test } from 'vitest'
import { homeOf, identifierKey } from '../../src/core/identifier.ts'
import { Namespaces } from '../../src/core/namespace.ts'
import type { Transition } from '../../src/core/transition.ts'
import type { TaskLimits } from '../../src/engine/config.ts'
import { type Harness, HOUR, harness } from './harness.ts'

const namespaces = new Namespaces({})
const PARTITIONS = 4
const SEGMENTS = {
  buyers: { event: 'Order', within: '1h', count: { gte: 2 } },
  silent: { all: [{ event: 'Order' }, { event: 'Order', within: '1h', count: { eq: 0 } }] },
}

/** A value of the namespace whose home is this partition. */
function valueAt(namespace: string, partition: number): string {
  for (let n = 0; ; n++) {
    const key = identifierKey(namespaces.priorityOf(namespace), namespace, `x${n}`)
    if (homeOf(key, PARTITIONS) === partition) return `x${n}`
  }
}

const userId = valueAt('user_id', 0)
const anonymousId = valueAt('anonymous_id', 3)

/** A known person whose device's events come by way of partition 3. */
async function opened(hosts: number, limits: Partial<TaskLimits> = {}): Promise<Harness> {
  const h = await harness({ clock: 'wall', hosts, partitions: PARTITIONS, namespaces, limits })
  for (const [id, where] of Object.entries(SEGMENTS)) void h.engine.putSegment(id, { where })
  await h.run(200)
  await h.send({ type: 'identify', userId, anonymousId, messageId: 'known' })
  await h.run(400)
  return h
}

const shown = ({ segment, transition, cause, causeId, at }: Transition): object => ({ segment, transition, cause, causeId, at })

/** Runs until it is settled, and not a millisecond longer than that takes. */
async function settled(h: Harness): Promise<void> {
  let isSettled = false
  void h.engine.settle().then(() => {
    isSettled = true
  })
  while (!isSettled) await h.run(1)
}

test.each([1, 2])('such an event counts when it arrives, at the instant of its acceptance (%i hosts)', async (hosts) => {
  const h = await opened(hosts)
  const seen: object[] = []
  for (const [i, pauseMs] of [90_000, 30_000, 2 * HOUR, 1].entries()) {
    h.clock.advance(pauseMs)
    await h.run(20)
    const at = h.clock.now()
    await h.send({ type: 'track', event: 'Order', anonymousId, messageId: `order-${i}` })
    await settled(h)
    if (i === 1) seen.push({ segment: 'buyers', transition: 'entered', cause: 'event', causeId: 'order-1', at })
    if (i === 2) seen.push({ segment: 'silent', transition: 'exited', cause: 'event', causeId: 'order-2', at })
    if (i === 3) seen.push({ segment: 'buyers', transition: 'entered', cause: 'event', causeId: 'order-3', at })
    expect((await h.transitions()).filter(({ cause }) => cause !== 'timer').map(shown)).toEqual(seen)
  }
  // Time alone did the rest: out of one and into the other.
  expect((await h.transitions()).filter(({ cause }) => cause === 'timer').map(({ segment }) => segment)).toEqual(['buyers', 'silent'])
  expect(h.stopped).toEqual([])
  await h.engine.close()
})

test.each([1, 2])(
  'what a backlog holds counts first, whatever comes from a partition that is done with its own (%i hosts)',
  async (hosts) => {
    const h = await opened(hosts, { batchEvents: 1 })
    const begun = h.clock.now()
    await h.send({ type: 'track', event: 'Order', userId, messageId: 'order-0' })
    await settled(h)
    const MINUTE = HOUR / 60
    h.clock.advance(begun + 50 * MINUTE - h.clock.now())
    // Nothing is worked off from here on until all is there.
    const others = Array.from({ length: 50 }, (_, i) => ({ type: 'track', event: 'Visit', userId, messageId: `visit-${i}` }))
    void h.send(...others, { type: 'track', event: 'Order', userId, messageId: 'order-1' })
    h.clock.advance(40 * MINUTE)
    void h.send({ type: 'track', event: 'Order', anonymousId, messageId: 'order-2' })
    await h.run(1000)
    const seen = (await h.transitions()).map(({ segment, transition, at }) => [segment, transition, Math.round((at - begun) / MINUTE)])
    expect(seen).toEqual([
      ['buyers', 'entered', 50],
      ['buyers', 'exited', 60],
      ['buyers', 'entered', 90],
    ])
    await h.engine.close()
  },
)

test.each([1, 2])('two who become one in a partition where nothing has happened for long do so now (%i hosts)', async (hosts) => {
  const h = await opened(hosts)
  const email = valueAt('email', 1)
  await h.send({ type: 'identify', traits: { email }, messageId: 'other' })
  await h.send({ type: 'track', event: 'Order', anonymousId, messageId: 'order-0' })
  await h.send({ type: 'track', event: 'Order', anonymousId, messageId: 'order-1' })
  await h.run(100)
  h.clock.advance(2 * HOUR)
  await h.run(20)
  h.clock.advance(5 * HOUR)
  await h.run(20)
  const at = h.clock.now()
  // It is the address's partition that gets the message; both roots are elsewhere.
  await h.send({ type: 'identify', anonymousId, traits: { email }, messageId: 'both' })
  await settled(h)
  expect((await h.engine.merges({ limit: 10 })).items.map((m) => new Date(m.at).getTime())).toEqual([at])
  const audit = await h.engine.profileAudit({ namespace: 'user_id', value: userId }, { limit: 100 })
  const merged = audit?.items.filter((entry) => entry.messageId === 'both') ?? []
  expect(merged.map((entry) => [entry.action, new Date(entry.at).getTime()])).toEqual(merged.map(({ action }) => [action, at]))
  expect(merged.length).toBeGreaterThan(0)
  await h.engine.close()
})
