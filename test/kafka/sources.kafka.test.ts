// Sources on a real broker: groups, positions, compression, members that come and go.
import { randomUUID } from 'node:crypto'
import kafkajs from 'kafkajs'
import { afterEach, beforeEach, expect, inject, test } from 'vitest'
import { MemoryEngine } from '../intake/sources/world.ts'
import { message, messages, type Reading, reading, type UserTopic, userTopic } from './source-world.ts'
import { freshSettings, until } from './world.ts'

const PARTITIONS = 4
let topic: UserTopic
let group: string
let open: Reading[]

beforeEach(async () => {
  topic = await userTopic(PARTITIONS)
  group = `test-${randomUUID()}`
  open = []
})
afterEach(async () => {
  await Promise.all(open.map((r) => r.source.close()))
  await topic.close()
})

function read(options: Parameters<typeof reading>[2] = {}): Reading {
  const made = reading(topic, group, options)
  open.push(made)
  return made
}

const wanted = (count: number): string[] => Array.from({ length: count }, (_, n) => `m${n}`).sort()

test('every record becomes an event, in order within its partition, and its position is told once it is durable', {
  timeout: 60_000,
}, async () => {
  for (let p = 0; p < PARTITIONS; p++) await topic.append(p, messages(1000 * p, 1000))
  const { source, engine, ids } = read()
  await until(() => engine.events.length === 4000)
  for (let p = 0; p < PARTITIONS; p++) {
    const own = ids().filter((id) => Math.floor(Number(id.slice(1)) / 1000) === p)
    expect(own).toEqual(Array.from({ length: 1000 }, (_, i) => `m${1000 * p + i}`))
  }
  await until(() => source.facts().partitions.every((p) => p.next === 1000 && p.end === 1000) && source.facts().partitions.length === 4)
  expect(source.facts()).toMatchObject({ state: 'running', lag: 0, records: 4000 })
  await source.close()
  expect([...(await topic.committed(group)).values()]).toEqual([1000, 1000, 1000, 1000])
  // The next member has nothing to do but what is new.
  await topic.append(2, [message(9999)])
  const second = read()
  await until(() => second.engine.events.length > 0)
  expect(second.ids()).toEqual(['m9999'])
})

test('poison records, tombstones and packed batches are in nobody’s way', { timeout: 60_000 }, async () => {
  await topic.append(0, [message(0), { value: 'no json' }, { key: 'gone', value: null }, { value: '' }], kafkajs.CompressionTypes.GZIP)
  await topic.append(0, [message(1)])
  const { source, engine, ids } = read()
  await until(() => source.facts().records === 5)
  expect(ids()).toEqual(['m0', 'm1'])
  expect(engine.rejected).toMatchObject([
    { code: 'unreadable', message: { source: 'shop', topic: topic.topic, partition: 0, offset: 1, text: 'no json' } },
    { code: 'unreadable', message: { offset: 3, bytes: 0 } },
  ])
  expect(source.facts()).toMatchObject({ events: 2, rejected: 2, empty: 1 })
})

test.each(['snappy', 'lz4', 'zstd', 'gzip'])('what a broker has packed by %s is read', { timeout: 60_000 }, async (compression) => {
  const packed = await userTopic(1, freshSettings(), compression)
  await packed.append(0, messages(0, 1000))
  const made = reading(packed, group)
  open.push(made)
  await until(() => made.engine.events.length === 1000)
  expect(made.ids()).toEqual(Array.from({ length: 1000 }, (_, n) => `m${n}`))
  await packed.close()
})

test('latest begins at the end once, and passes over nothing after that', { timeout: 60_000 }, async () => {
  await topic.append(0, messages(0, 10))
  const first = read({ from: 'latest' })
  await until(() => first.source.facts().state === 'running')
  await topic.append(0, [message(10)])
  await until(() => first.engine.events.length > 0)
  expect(first.ids()).toEqual(['m10'])
  await first.source.close()
  // In between come records, and a partition with records.
  await topic.append(1, [message(11)])
  await topic.more(PARTITIONS + 1)
  await until(() =>
    topic.append(PARTITIONS, [message(12)]).then(
      () => true,
      () => false,
    ),
  )
  const second = read({ from: 'latest' })
  await until(() => second.engine.events.length === 2)
  expect(second.ids().sort()).toEqual(['m11', 'm12'])
})

test('what is deleted before it was read is passed over, and reading goes on with what is left', { timeout: 60_000 }, async () => {
  await topic.append(0, messages(0, 10))
  const first = read({ from: 'latest' })
  await until(() => first.source.facts().state === 'running')
  await topic.append(0, messages(10, 1))
  await until(() => first.engine.events.length === 1)
  await first.source.close()
  await topic.append(0, messages(11, 9))
  await topic.deleteBefore(0, 15)
  const second = read({ from: 'latest' })
  await until(() => second.engine.events.length >= 5)
  expect(second.ids()).toEqual(['m15', 'm16', 'm17', 'm18', 'm19'])
})

test('members share the partitions, and what one has taken and not told comes once more at most, as the same message', {
  timeout: 90_000,
}, async () => {
  const engine = new MemoryEngine()
  for (let p = 0; p < PARTITIONS; p++) await topic.append(p, messages(500 * p, 500))
  const first = read({ engine })
  await until(() => engine.events.length === 2000)
  const second = read({ engine })
  let sent = 2000
  await until(async () => {
    await topic.append(sent % PARTITIONS, [message(sent++)])
    return first.source.facts().partitions.length === 2 && second.source.facts().partitions.length === 2
  })
  await until(() => engine.events.length === sent)
  // The first one leaves while more come.
  for (let i = 0; i < 100; i++) await topic.append(sent % PARTITIONS, [message(sent++)])
  await first.source.close()
  for (let i = 0; i < 100; i++) await topic.append(sent % PARTITIONS, [message(sent++)])
  await until(() => engine.events.length === sent)
  expect(engine.events.map((e) => e.messageId).sort()).toEqual(wanted(sent))
})

test('an engine that is full holds the source up for longer than a session, and the group does not take it for dead', {
  timeout: 60_000,
}, async () => {
  const engine = new MemoryEngine()
  engine.isFull = true
  await topic.append(0, messages(0, 700))
  const { source, said } = read({ engine })
  await until(() => source.facts().state === 'waiting')
  await new Promise((resolve) => setTimeout(resolve, 8000))
  expect(engine.calls).toEqual([])
  expect(source.facts()).toMatchObject({ state: 'waiting', failures: 0 })
  engine.isFull = false
  await until(() => engine.events.length === 700)
  expect(engine.calls).toEqual([700])
  expect(said.filter((s) => s.startsWith('the source tries again'))).toEqual([])
})

test('a source that is closed while it connects, joins or reads leaves no member behind', { timeout: 60_000 }, async () => {
  await topic.append(0, messages(0, 100))
  // The first to join makes the group, which takes a while.
  const first = read()
  await until(() => first.engine.events.length === 100)
  await first.source.close()
  for (const afterMs of [0, 10, 30, 60, 100, 200, 400]) {
    const { source } = read()
    await new Promise((resolve) => setTimeout(resolve, afterMs))
    await source.close()
    expect(await topic.members(group)).toBe(0)
  }
})

test('a topic that is not there, and a broker that is not there, are waited for and shown', { timeout: 60_000 }, async () => {
  const missing = { topic: `missing-${randomUUID()}` }
  const there = reading(missing, group)
  open.push(there)
  await until(() => there.source.facts().lastError !== undefined)
  expect(there.source.facts()).toMatchObject({ state: expect.stringMatching('retrying|connecting'), lastError: { code: 'kafka_topic' } })
  const nobody = reading(topic, group, { settings: { brokers: ['127.0.0.1:1'], prefix: 'test' } })
  open.push(nobody)
  await until(() => nobody.source.facts().lastError !== undefined)
  expect(nobody.source.facts().lastError).toMatchObject({ code: 'kafka_unreachable' })
})

test('a login that is refused, and an account without rights, are shown for what they are; the right one reads', {
  timeout: 60_000,
}, async () => {
  const guarded = inject('guarded')
  const login = (account: typeof guarded.admin) => ({
    ...freshSettings(guarded.sasl),
    sasl: { mechanism: 'plain' as const, ...account },
  })
  const own = await userTopic(1, login(guarded.admin))
  await own.append(0, [message(0)])
  const as = (account: typeof guarded.admin): Reading => {
    const made = reading(own, group, { settings: login(account) })
    open.push(made)
    return made
  }
  const wrong = as({ ...guarded.admin, password: 'wrong' })
  const nobody = as(guarded.nobody)
  await until(() => [wrong, nobody].every((r) => r.source.facts().failures > 1))
  expect(wrong.source.facts().lastError?.code).toBe('kafka_login')
  expect(nobody.source.facts().lastError?.code).toBe('kafka_forbidden')
  const right = as(guarded.admin)
  await until(() => right.engine.events.length === 1)
  await own.close()
})
