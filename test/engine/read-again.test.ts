// Records of a source that come again when nobody remembers their message ids any more.
import { expect, test } from 'vitest'
import { originKey, type Read } from '../../src/core/origin.ts'
import { seeded } from '../identity/random.ts'
import { crashed, type TestDisk, testDisk } from './disk.ts'
import { DAY, type Harness, harness } from './harness.ts'

const T0 = Date.parse('2026-05-01T00:00:00.000Z')
const LATER = T0 + 30 * DAY
const USERS = 20
const ORIGIN = originKey('shop', 'orders', 'id', 0)

const orders = Array.from({ length: 2 * USERS }, (_, n) => ({
  ...{ type: 'track', event: 'Order', userId: `u${n % USERS}`, messageId: `m${n}`, timestamp: new Date(T0).toISOString() },
}))

/** As a reader that begins at the record `from` brings them. */
const bring = (h: Harness, from: number, through: number, origin = ORIGIN): Promise<unknown> => {
  const messages = orders.slice(from, through)
  const read: Read = { reading: { origin, leader: 1, from }, places: messages.map((_, i) => ({ offset: from + i, index: 0 })) }
  return h.engine.ingest(h.map(messages), [], read)
}

const sizeOf = async (h: Harness, id: string): Promise<number | undefined> => (await h.engine.segment(id))?.size

async function opened(disk: TestDisk, partitions = 4): Promise<Harness> {
  const h = await harness({ disk, partitions })
  if (!(await h.engine.segment('once'))) {
    await h.engine.setClock(T0)
    for (const [id, count] of [
      ['once', 1],
      ['twice', 2],
      ['thrice', 3],
    ] as const)
      await h.engine.putSegment(id, { where: { event: 'Order', count: { gte: count } } })
  }
  return h
}

test('what a source has brought counts once, however much later it comes again, through a crash too', async () => {
  const disk = testDisk(4, 1)
  const first = await opened(disk)
  await bring(first, 0, USERS + 10)
  await first.engine.settle()
  await first.engine.setClock(LATER)
  first.abandon()

  const h = await opened(crashed(disk, seeded(1)))
  // The positions of its group are lost: all comes again, and then what is new.
  await bring(h, 0, 2 * USERS)
  await h.engine.settle()
  expect([await sizeOf(h, 'once'), await sizeOf(h, 'twice'), await sizeOf(h, 'thrice')]).toEqual([USERS, USERS, 0])
  const { partitions } = await h.engine.status()
  expect(partitions.every((p) => p.lag === 0)).toBe(true)
  // Under another name it is another source: whoever wants them to count again can have it.
  await bring(h, 0, USERS, originKey('shop-again', 'orders', 'id', 0))
  await h.engine.setClock(LATER + 10 * DAY)
  await bring(h, USERS, 2 * USERS, originKey('shop-again', 'orders', 'id', 0))
  await h.engine.settle()
  expect(await sizeOf(h, 'thrice')).toBe(USERS)
  expect(h.stopped).toEqual([])
  await h.close()
})

test('messages over HTTP with the same ids count again once their ids are forgotten, as they always did', async () => {
  const h = await opened(testDisk(4, 1))
  await h.engine.ingest(h.map(orders.slice(0, USERS)), [])
  await h.engine.setClock(LATER)
  await h.engine.ingest(h.map(orders.slice(0, USERS)), [])
  await h.engine.settle()
  expect([await sizeOf(h, 'once'), await sizeOf(h, 'twice')]).toEqual([USERS, USERS])
  await h.close()
})

test('a message that can never be counted is set aside, and those behind it of its origin are taken', async () => {
  const h = await opened(testDisk(1, 1), 1)
  const [good, poison] = [h.map(orders.slice(0, 2)), h.map(orders.slice(2, 3))]
  const broken = poison.map((event) => ({ ...event, body: Buffer.from('no JSON'), hasTraits: true }))
  const events = [...good.slice(0, 1), ...broken, ...good.slice(1)]
  const read: Read = {
    reading: { origin: ORIGIN, leader: 1, from: 0 },
    places: events.map((_, offset) => ({ offset, index: 0 })),
  }
  await h.engine.ingest(events, [], read)
  await h.engine.settle()
  await h.engine.setClock(LATER)
  await h.engine.ingest(events, [], read)
  await h.engine.settle()
  expect([await sizeOf(h, 'once'), await sizeOf(h, 'twice')]).toEqual([2, 0])
  const letters = (await h.engine.deadLetters({ limit: 10 })).items
  expect(letters.map((l) => l.code)).toEqual(['execution_failed'])
  await h.close()
})
