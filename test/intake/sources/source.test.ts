// The loop of a source, on a group and an engine in memory.
import { expect, test } from 'vitest'
import { TributaryError } from '../../../src/core/errors.ts'
import { originKey } from '../../../src/core/origin.ts'
import { decodeJson } from '../../../src/intake/sources/formats.ts'
import type { Place } from '../../../src/log/record-group.ts'
import { passUntil, seen, takeOptions, type World, world } from './world.ts'

const many = (from: number, count: number): object[] => Array.from({ length: count }, (_, i) => seen(from + i))
const committed = ({ topics }: World): number => topics.committed.get(0) ?? 0

test('records become events in order, and are done only once they are durable', async () => {
  const w = world()
  w.topics.append(0, ...many(0, 9000))
  let durable = true
  w.topics.onDone = (_, next) => {
    durable &&= w.engine.events.length === next
  }
  w.start()
  await passUntil(w, () => committed(w) === 9000)
  expect(durable).toBe(true)
  expect(w.engine.messages.map((m) => m.userId)).toEqual(many(0, 9000).map((m) => (m as { userId: string }).userId))
  // As few ingestions as chunks.
  expect(w.engine.calls).toEqual([4000, 4000, 1000])
  await w.source.close()
  expect(w.source.facts()).toMatchObject({ state: 'closed', records: 9000, events: 9000, rejected: 0, failures: 0 })
})

test('poison records become dead letters, and their neighbours events', async () => {
  const w = world()
  w.topics.append(0, seen(0), Buffer.from('{'), null, seen(3))
  w.start()
  await passUntil(w, () => committed(w) === 4)
  expect(w.engine.messages.map((m) => m.userId)).toEqual(['u0', 'u3'])
  expect(w.engine.rejected).toMatchObject([{ code: 'unreadable', message: { source: 'shop', topic: 'orders', partition: 0, offset: 1 } }])
  expect(w.source.facts()).toMatchObject({ state: 'running', records: 4, events: 2, rejected: 1, empty: 1 })
  await w.source.close()
})

test('while the engine takes nothing, nothing is read on, nothing is lost, and the group hears that the source is alive', async () => {
  const w = world()
  w.engine.isFull = true
  w.topics.append(0, ...many(0, 10))
  w.start()
  await passUntil(w, () => w.topics.beats > 5)
  expect(w.source.facts().state).toBe('waiting')
  expect(w.engine.calls).toEqual([])
  w.engine.isFull = false
  await passUntil(w, () => committed(w) === 10)
  expect(w.engine.events).toHaveLength(10)
  expect(w.source.facts().state).toBe('running')
  await w.source.close()
})

test('an ingestion that fails is repeated with growing pauses, shown, and done once', async () => {
  const w = world()
  const failure = new TributaryError('partition_stopped', 'partition 3 takes no events')
  w.engine.failures.push(failure, failure, failure)
  w.topics.append(0, ...many(0, 3))
  const begin = w.clock.monotonicMs()
  w.start()
  await passUntil(w, () => w.source.facts().state === 'retrying')
  expect(w.source.facts().lastError).toMatchObject({ code: 'partition_stopped', message: 'partition 3 takes no events' })
  expect(committed(w)).toBe(0)
  await passUntil(w, () => committed(w) === 3)
  // 250 + 500 + 1000
  expect(w.clock.monotonicMs() - begin).toBeGreaterThanOrEqual(1750)
  expect(w.engine.calls).toEqual([3])
  expect(w.source.facts()).toMatchObject({ state: 'running', failures: 3, records: 3 })
  await w.source.close()
})

test('a schema registry that does not answer holds the source up, and sets nothing aside', async () => {
  let refusals = 3
  const decode = async (value: Buffer) => {
    if (refusals-- > 0) throw new TributaryError('registry_failed', 'no answer')
    return decodeJson(value)
  }
  const w = world({ take: { ...takeOptions, decode } })
  w.topics.append(0, seen(0))
  w.start()
  await passUntil(w, () => committed(w) === 1)
  expect(w.engine.rejected).toEqual([])
  expect(w.source.facts()).toMatchObject({ failures: 3, events: 1, lastError: { code: 'registry_failed' } })
  await w.source.close()
})

test('a group that cannot be joined is opened again with growing pauses; one that is lost too', async () => {
  const w = world()
  const refusal = new TributaryError('kafka_unreachable', 'no broker')
  w.topics.refusals.push(refusal, refusal, refusal)
  w.topics.append(0, ...many(0, 2))
  w.start()
  await passUntil(w, () => committed(w) === 2)
  expect(w.topics.opened).toBe(4)
  expect(w.source.facts()).toMatchObject({ failures: 3, lastError: { code: 'kafka_unreachable' } })
  w.topics.append(0, seen(2))
  w.groups.at(-1)?.lose(new TributaryError('kafka_failed', 'gone'))
  await passUntil(w, () => committed(w) === 3)
  expect(w.topics.opened).toBe(5)
  expect(w.engine.events).toHaveLength(3)
  await w.source.close()
})

test('what was durable and not yet done comes again, and counts once', async () => {
  const w = world()
  w.topics.append(0, ...many(0, 5000))
  let isLost = false
  w.topics.onDone = (partition) => {
    if (isLost) return
    isLost = true
    // The group is lost before it has heard of the first chunk.
    w.topics.committed.set(partition, 0)
    w.groups[0]?.lose(new TributaryError('kafka_failed', 'gone'))
  }
  w.start()
  await passUntil(w, () => committed(w) === 5000)
  expect(w.topics.opened).toBe(2)
  expect(w.engine.calls).toEqual([4000, 4000, 1000])
  expect(w.engine.events).toHaveLength(5000)
  await w.source.close()
})

test('a source that closes while the engine is full ends at once and has done nothing more', async () => {
  const w = world()
  w.engine.isFull = true
  w.topics.append(0, ...many(0, 5))
  w.start()
  await passUntil(w, () => w.topics.beats > 1)
  await w.source.close()
  expect(committed(w)).toBe(0)
  expect(w.source.facts().state).toBe('closed')
})

test('it says how far behind it is, partition by partition', async () => {
  const w = world()
  w.engine.isFull = true
  w.topics.append(0, ...many(0, 5))
  w.topics.append(1, ...many(5, 2))
  w.start()
  await passUntil(w, () => w.source.facts().partitions.length === 2)
  expect(w.source.facts()).toMatchObject({
    lag: 7,
    partitions: [
      { topic: 'orders', partition: 0, next: 0, end: 5, lag: 5 },
      { topic: 'orders', partition: 1, next: 0, end: 2, lag: 2 },
    ],
  })
  w.engine.isFull = false
  await passUntil(w, () => w.source.facts().lag === 0)
  await w.source.close()
})

test('events go to the engine with their places, under the name of the source; where the cluster names no topic, without', async () => {
  const w = world()
  w.topics.origin = { topicId: 'id', leader: 3, from: 0 }
  w.topics.append(1, ...many(0, 3))
  w.start()
  await passUntil(w, () => w.topics.committed.get(1) === 3)
  const reading = { origin: originKey('shop', 'orders', 'id', 1), leader: 3, from: 0 }
  expect(w.engine.reads).toEqual([{ reading, places: [0, 1, 2].map((offset) => ({ offset, index: 0 })) }])
  await w.source.close()

  const old = world()
  old.topics.append(0, seen(0))
  old.start()
  await passUntil(old, () => committed(old) === 1)
  expect(old.engine.reads).toEqual([])
  await old.source.close()
})

test('an answer about partitions that comes after a newer one is not believed', async () => {
  const w = world()
  const answers: PromiseWithResolvers<Place[]>[] = []
  w.topics.append(0, seen(0))
  w.topics.places = () => {
    const answer = Promise.withResolvers<Place[]>()
    answers.push(answer)
    return answer.promise
  }
  w.start()
  await passUntil(w, () => answers.length === 1)
  // A change of the group.
  w.groups[0]?.rejoin()
  await passUntil(w, () => answers.length === 2)
  const place = (partition: number): Place => ({ topic: 'orders', partition, next: 1, end: 1 })
  answers[1]?.resolve([place(1)])
  await passUntil(w, () => w.source.facts().partitions.length > 0)
  answers[0]?.resolve([place(0), place(1)])
  await new Promise(setImmediate)
  expect(w.source.facts().partitions.map((p) => p.partition)).toEqual([1])
  await w.source.close()
})
