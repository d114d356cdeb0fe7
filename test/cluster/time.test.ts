// The wall clock in a cluster: what a process holds back in time holds back no event that comes from another one.
import { afterEach, expect, test } from 'vitest'
import { turns } from '../engine/disk.ts'
import { type Cluster, cluster, valueAt } from './world.ts'

let opened: Cluster | undefined

afterEach(async () => {
  await opened?.close()
  opened = undefined
})

test('an event from another process counts at once where something that is not finished holds time back', async () => {
  const world = await cluster({ processes: 2, limits: { clock: 'wall' } })
  opened = world
  const [a, b] = world.processes
  if (!a || !b) throw new Error('there are two')
  // Processes take turns: 0 and 2 are a's, 1 and 3 are b's.
  const [userId, anonymousId] = [valueAt(world, 'user_id', 0), valueAt(world, 'anonymous_id', 3)]
  await a.engine.putSegment('buyers', { where: { event: 'Order' } })
  await world.send(a, { type: 'identify', userId, anonymousId, messageId: 'known' })
  await a.engine.settle()
  a.losesEvents = true
  void world.send(a, { type: 'track', event: 'Visit', userId: valueAt(world, 'user_id', 2), messageId: 'lost' })
  const heldAt = world.clock.now()
  while (world.clock.now() < heldAt + 500) await turns(1)
  const { position } = await world.send(b, { type: 'track', event: 'Order', anonymousId, messageId: 'order' })
  const at = world.clock.now()
  const person = await b.engine.profile({ namespace: 'anonymous_id', value: anonymousId }, { minPosition: position })
  expect(person?.segments).toEqual(['buyers'])
  await a.engine.settle()
  const { items } = await a.engine.transitions({ limit: 10 })
  expect(items).toMatchObject([{ segment: 'buyers', transition: 'entered', cause: 'event', causeId: 'order', profile: person?.id }])
  expect(items[0]?.at).toBeGreaterThanOrEqual(heldAt + 500)
  expect(items[0]?.at).toBeLessThanOrEqual(at)
})
