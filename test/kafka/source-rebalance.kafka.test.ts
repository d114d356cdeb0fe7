// What a source says of itself while members of its group come and go: how far it is, and where poison lies.
import { randomUUID } from 'node:crypto'
import type { Message } from 'kafkajs'
import { expect, test } from 'vitest'
import { MemoryEngine } from '../intake/sources/world.ts'
import { message, type Reading, reading, userTopic } from './source-world.ts'
import { until } from './world.ts'

const PARTITIONS = 4
const POISON_EVERY = 10
const ROUNDS = 4

test('lag and positions are true at each moment, and each poison record is told of where it lies', { timeout: 120_000 }, async () => {
  const topic = await userTopic(PARTITIONS)
  const group = `test-${randomUUID()}`
  const engine = new MemoryEngine()
  const produced = new Array<number>(PARTITIONS).fill(0)
  const record = (partition: number, offset: number): Message =>
    offset % POISON_EVERY === 3 ? { value: `poison ${partition}/${offset}` } : message(PARTITIONS * offset + partition)
  const append = async (partition: number, count: number): Promise<void> => {
    const first = produced[partition] ?? 0
    // Counted before it is acknowledged: it may be read before that.
    produced[partition] = first + count
    await topic.append(
      partition,
      Array.from({ length: count }, (_, i) => record(partition, first + i)),
    )
  }
  /** What the engine has, events and dead letters, by partition. */
  const taken = (): Set<number>[] => {
    const offsets = Array.from({ length: PARTITIONS }, () => new Set<number>())
    for (const { messageId } of engine.events) {
      const n = Number(messageId.slice(1))
      offsets[n % PARTITIONS]?.add(Math.floor(n / PARTITIONS))
    }
    for (const { message: m } of engine.rejected as { message: { partition: number; offset: number } }[])
      offsets[m.partition]?.add(m.offset)
    return offsets
  }
  let samples = 0
  const check = ({ source }: Reading): void => {
    const { partitions, lag } = source.facts()
    const has = taken()
    for (const p of partitions) {
      samples++
      expect(p.lag).toBe(p.end - p.next)
      expect(p.end).toBeLessThanOrEqual(produced[p.partition] ?? 0)
      // Nothing before the next one is missing.
      for (let offset = 0; offset < p.next; offset++) expect(has[p.partition]?.has(offset)).toBe(true)
    }
    expect(lag).toBe(partitions.reduce((sum, p) => sum + p.lag, 0))
  }

  const members = new Set<Reading>([reading(topic, group, { engine })])
  const work = async (): Promise<void> => {
    for (let p = 0; p < PARTITIONS; p++) await append(p, 5)
    for (const member of members) check(member)
  }
  const shared = (): boolean => {
    const all = [...members].flatMap((m) => m.source.facts().partitions.map((p) => p.partition))
    return (
      all.length === PARTITIONS && new Set(all).size === PARTITIONS && [...members].every((m) => m.source.facts().partitions.length > 0)
    )
  }
  for (let round = 0; round < ROUNDS; round++) {
    members.add(reading(topic, group, { engine }))
    await until(async () => {
      await work()
      return shared()
    })
    const [oldest] = members
    if (!oldest) throw new Error('there are two')
    members.delete(oldest)
    await Promise.all([oldest.source.close(), work()])
    await until(async () => {
      await work()
      return shared()
    })
  }
  await until(() => [...members].every((m) => m.source.facts().lag === 0) && taken().every((has, p) => has.size === produced[p]))
  expect(samples).toBeGreaterThan(50)
  const letters = engine.rejected as { code: string; message: { topic: string; partition: number; offset: number; text: string } }[]
  for (const { code, message: m } of letters)
    expect([code, m.topic, m.text]).toEqual(['unreadable', topic.topic, `poison ${m.partition}/${m.offset}`])
  const places = new Set(letters.map(({ message: m }) => `${m.partition}/${m.offset}`))
  const poison = produced.flatMap((count, p) =>
    Array.from({ length: count }, (_, offset) => `${p}/${offset}`).filter((place) => Number(place.split('/')[1]) % POISON_EVERY === 3),
  )
  expect([...places].sort()).toEqual(poison.sort())
  for (const { source } of members) await source.close()
  await topic.close()
})
