// What a source says of records on a real broker, so that homes know them again: through lost positions, members that come and go, and a
// topic that is made anew.
import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import type { Read } from '../../src/core/origin.ts'
import { Origins } from '../../src/engine/origins.ts'
import { KafkaLink } from '../../src/log/kafka-client.ts'
import { messages, type Reading, reading, type UserTopic, userTopic } from './source-world.ts'
import { clock, freshSettings, until } from './world.ts'

const PARTITIONS = 2
let topic: UserTopic
let group: string
let home: Origins
let open: Reading[]

beforeEach(async () => {
  topic = await userTopic(PARTITIONS)
  group = `test-${randomUUID()}`
  home = new Origins()
  open = []
})
afterEach(async () => {
  await Promise.all(open.map((r) => r.source.close()))
  await topic.close()
})

function read(): Reading {
  const made = reading(topic, group)
  open.push(made)
  return made
}

const brought = ({ engine }: Reading): number => engine.reads.reduce((n, { places }) => n + places.length, 0)

/** How many of these messages the home counts. */
const counted = (reads: readonly Read[]): number =>
  reads.reduce((n, { reading: r, places }) => n + places.filter((place) => home.take(r, place)).length, 0)

/** Reads so many messages to the end, and leaves. */
async function readAll(count: number): Promise<readonly Read[]> {
  const one = read()
  await until(() => brought(one) >= count)
  await one.source.close()
  expect(brought(one)).toBe(count)
  return one.engine.reads
}

test('where the positions of a group are lost, all comes again and is known again; what is new counts', { timeout: 60_000 }, async () => {
  for (let p = 0; p < PARTITIONS; p++) await topic.append(p, messages(100 * p, 50))
  expect(counted(await readAll(100))).toBe(100)
  await topic.append(0, messages(50, 10))
  await topic.forget(group)
  expect(counted(await readAll(110))).toBe(10)
})

test('a topic that is made anew is another one: none of its records is taken for an old one', { timeout: 60_000 }, async () => {
  const link = await KafkaLink.open(freshSettings(), { name: 'test', clock })
  const idNow = async (): Promise<string> => must((await link.topicIds([topic.topic]))?.get(topic.topic), 'brokers of today have ids')
  const before = await idNow()
  await topic.append(0, messages(0, 50))
  expect(counted(await readAll(50))).toBe(50)
  await topic.forget(group)
  await topic.remake()
  await until(async () => (await idNow().catch(() => before)) !== before)
  await topic.append(0, messages(0, 20))
  expect(counted(await readAll(20))).toBe(20)
  await topic.forget(group)
  expect(counted(await readAll(20))).toBe(0)
  await link.close()
})

test('a member says since when it has read on; one that comes back goes on where it may, and where others have read it begins anew', {
  timeout: 90_000,
}, async () => {
  const first = read()
  await until(() => first.source.facts().state === 'running')
  const fromsOf = ({ engine }: Reading): Set<number> => new Set(engine.reads.map((r) => r.reading.from))
  for (let n = 0; n < 5; n++) {
    await topic.append(0, messages(10 * n, 10))
    await until(() => brought(first) === 10 * (n + 1))
  }
  expect([...fromsOf(first)]).toEqual([0])
  // Another one comes and takes a partition over, or leaves again without having read any.
  const second = read()
  let sent = 50
  await until(async () => {
    await topic.append(0, messages(sent, 1))
    await topic.append(1, messages(10_000 + sent, 1))
    sent++
    return first.source.facts().partitions.length === 1 && second.source.facts().partitions.length === 1
  })
  await until(() => brought(first) + brought(second) >= 2 * sent - 50)
  await second.source.close()
  for (let p = 0; p < PARTITIONS; p++) await topic.append(p, messages(20_000 + 1000 * p, 5))
  await until(async () => {
    const told = await topic.committed(group)
    return told.get(0) === sent + 5 && told.get(1) === sent - 50 + 5
  })
  // What each has brought holds whatever the other did: of each partition the home counts every record once.
  expect(counted([...second.engine.reads, ...first.engine.reads])).toBe(2 * sent - 50 + 10)
})
