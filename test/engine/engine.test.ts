import { expect, test } from 'vitest'
import { Namespaces } from '../../src/core/namespace.ts'
import { DAY, HOUR, harness } from './harness.ts'

const T0 = Date.parse('2026-05-01T00:00:00.000Z')
const iso = (ms: number): string => new Date(ms).toISOString()

test('an event enters a segment and time takes the profile out, to the millisecond', async () => {
  const h = await harness()
  await h.engine.setClock(T0)
  await h.engine.putSegment('buyers', { where: { event: 'Order Completed', within: '7d' } })
  await h.send({ type: 'track', event: 'Order Completed', userId: 'u1', messageId: 'm1', timestamp: iso(T0 - HOUR) })
  await h.engine.settle()
  expect((await h.engine.profile({ namespace: 'user_id', value: 'u1' }))?.segments).toEqual(['buyers'])
  await h.engine.setClock(T0 - HOUR + 7 * DAY - 1)
  expect(await h.transitions()).toHaveLength(1)
  await h.engine.setClock(T0 - HOUR + 7 * DAY)
  const [entered, exited] = await h.transitions()
  expect(entered).toMatchObject({ segment: 'buyers', transition: 'entered', cause: 'event', causeId: 'm1', seq: 1, userId: 'u1', at: T0 })
  expect(exited).toMatchObject({ transition: 'exited', cause: 'timer', seq: 2, at: T0 - HOUR + 7 * DAY, profile: entered?.profile })
  expect((await h.engine.segment('buyers'))?.size).toBe(0)
  expect(h.stopped).toEqual([])
  await h.close()
})

test('a visitor who logs in keeps her public id; two people become one without counting twice', async () => {
  const h = await harness()
  await h.engine.setClock(T0)
  await h.engine.putSegment('twice', { where: { event: 'View', count: { gte: 2 } } })
  await h.send({ type: 'track', event: 'View', anonymousId: 'a1', messageId: 'm1', timestamp: iso(T0) })
  await h.engine.settle()
  const before = await h.engine.profile({ namespace: 'anonymous_id', value: 'a1' })
  await h.send({ type: 'track', event: 'View', userId: 'u1', anonymousId: 'a1', messageId: 'm2', timestamp: iso(T0) })
  await h.engine.settle()
  const after = await h.engine.profile({ namespace: 'user_id', value: 'u1' })
  expect(after?.id).toBe(before?.id)
  expect(after?.segments).toEqual(['twice'])
  expect(after?.identifiers).toHaveLength(2)
  await h.send({ type: 'track', event: 'View', anonymousId: 'a2', messageId: 'm3', timestamp: iso(T0) })
  await h.engine.settle()
  await h.send({ type: 'identify', userId: 'u1', anonymousId: 'a2', messageId: 'm4', timestamp: iso(T0) })
  await h.send({ type: 'identify', userId: 'u1', anonymousId: 'a2', messageId: 'm4', timestamp: iso(T0) })
  await h.engine.settle()
  const { items } = await h.engine.merges({ limit: 10 })
  expect(items).toHaveLength(1)
  expect((await h.engine.profileEvents({ namespace: 'anonymous_id', value: 'a2' }, { limit: 10 }))?.items).toHaveLength(4)
  expect((await h.engine.profile({ namespace: 'profile_id', value: items[0]?.absorbed ?? '' }))?.id).toBe(before?.id)
  expect(h.stopped).toEqual([])
  await h.close()
})

test('the exits of an absorbed profile tell the user that it was, whichever of the two goes on', async () => {
  const namespaces = new Namespaces({ namespaces: [{ name: 'email' }, { name: 'user_id' }, { name: 'anonymous_id' }] })
  const h = await harness({ namespaces })
  await h.engine.setClock(T0)
  await h.engine.putSegment('viewers', { where: { event: 'View' } })
  const view = (messageId: string, ids: object): object => ({ type: 'track', event: 'View', messageId, timestamp: iso(T0), ...ids })
  const mail = (email: string): object => ({ context: { traits: { email } } })
  // Founded by an address, a profile takes in one founded by a user id: first the younger, then the older of two.
  await h.send(view('m1', mail('a@x.org')), view('m2', { userId: 'u2' }))
  await h.engine.settle()
  await h.engine.setClock(T0 + HOUR)
  await h.send(view('m3', { userId: 'u1' }), view('m4', mail('b@x.org')))
  await h.engine.settle()
  await h.send(view('m5', { userId: 'u1', ...mail('a@x.org') }), view('m6', { userId: 'u2', ...mail('b@x.org') }))
  await h.engine.settle()
  const of = async (id: string): Promise<string> => (await h.transitions()).find((t) => t.causeId === id)?.profile ?? ''
  const exits = (await h.transitions()).filter((t) => t.transition === 'exited')
  expect(exits.map((t) => [t.profile, t.cause, t.userId]).sort()).toEqual(
    [
      [await of('m3'), 'merge', 'u1'],
      [await of('m4'), 'merge', undefined],
    ].sort(),
  )
  await h.close()
})
