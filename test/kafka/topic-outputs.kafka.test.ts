// Output streams on a real broker, as the engine writes and reads them.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Distinct } from '../../examples/kafka-consumer/distinct.ts'
import { KAFKA_CACHE, startBroker, stopBroker } from '../../scripts/kafka-broker.ts'
import type { Transition } from '../../src/core/transition.ts'
import { openTopicOutputs, type TopicOutputs } from '../../src/engine/outputs-kafka.ts'
import { withAdmin } from '../../src/log/kafka-client.ts'
import { OUTPUT_KINDS } from '../../src/log/kafka-outputs.ts'
import type { KafkaSettings } from '../../src/log/kafka-settings.ts'
import { KafkaTopic } from '../../src/log/kafka-topic.ts'
import { topicName } from '../../src/log/kafka-topics.ts'
import type { TopicRecord } from '../../src/log/topic.ts'
import { jsonBlock, NAMES, SEGMENTS, transitionsBlock } from '../engine/topic-blocks.ts'
import { clock, freshSettings, madeTopics, until } from './world.ts'

const PARTITIONS = 4
let settings: KafkaSettings
const opened: TopicOutputs[] = []
const alarms: string[] = []

async function open(of = settings): Promise<TopicOutputs> {
  const outputs = await openTopicOutputs({ settings: of, clock, alarm: (text) => alarms.push(text) })
  await outputs.open(NAMES, async () => undefined)
  opened.push(outputs)
  return outputs
}

beforeEach(async () => {
  settings = freshSettings()
  await madeTopics(settings, OUTPUT_KINDS, PARTITIONS)
})
afterEach(async () => {
  await Promise.all(opened.splice(0).map((outputs) => outputs.close()))
  alarms.length = 0
})

async function take(outputs: TopicOutputs, partition: number, firstSeq: number, count: number): Promise<void> {
  await outputs.take('transitions', partition, transitionsBlock(partition, firstSeq, count, Date.now()).payload)
}

async function rest(outputs: TopicOutputs, query: { after?: string; limit: number; segment?: string }): Promise<Transition[]> {
  const all: Transition[] = []
  for (let cursor = query.after; ; ) {
    const page = await outputs.transitionsPage({ ...query, ...(cursor === undefined ? {} : { after: cursor }) })
    all.push(...page.items)
    if (page.next === undefined) return all
    cursor = page.next
  }
}

const idsOf = (origins: number, to: number): string[] =>
  Array.from({ length: origins }, (_, o) => Array.from({ length: to }, (_, i) => `${o}-${i + 1}`)).flat()
const sorted = (list: readonly string[]): string[] => [...list].sort()

test('what one process writes every process reads, in pages, by segment, and after an id', async () => {
  const [one, other] = [await open(), await open()]
  await Promise.all([0, 1, 2].map((p) => take(one, p, 1, 200)))
  const all = await rest(other, { limit: 37 })
  expect(sorted(all.map((t) => t.id))).toEqual(sorted(idsOf(3, 200)))
  for (const segment of SEGMENTS)
    expect((await rest(one, { limit: 50, segment })).map((t) => t.id)).toEqual(all.filter((t) => t.segment === segment).map((t) => t.id))
  const at = Math.floor(all.length / 2)
  const later = new Set((await rest(other, { limit: 100, after: all[at]?.id ?? '' })).map((t) => t.id))
  expect(all.slice(at + 1).filter((t) => !later.has(t.id))).toEqual([])
  await expect(other.transitionsPage({ limit: 1, after: '2-201' })).rejects.toMatchObject({ code: 'not_found' })
  await one.take('merges', 0, jsonBlock(1, [{ survivor: 'p1', absorbed: 'p2', at: 5 }]).payload)
  expect((await other.mergesPage({ limit: 5 })).items).toEqual([
    { id: '0-1', survivor: 'p1', absorbed: 'p2', at: '1970-01-01T00:00:00.005Z' },
  ])
  const letter = { code: 'unreadable', reason: 'r', at: 1 }
  await Promise.all([one.reject([letter, letter]), other.reject([letter])])
  expect(new Set((await other.deadLettersPage({ limit: 9 })).items.map((l) => l.id)).size).toBe(3)
})

test('a follower gets what any process writes, goes on at another one, and misses nothing on the way', async () => {
  const [one, other] = [await open(), await open()]
  await take(one, 0, 1, 20)
  const seen: { id: string; behind: string }[] = []
  const follow = (outputs: TopicOutputs, after?: string): Promise<() => void> =>
    outputs.followTransitions({
      ...(after === undefined ? {} : { after }),
      failed: (error) => expect.fail(String(error)),
      deliver: (list, behind = []) => void seen.push(...list.map((t, i) => ({ id: t.id, behind: behind[i] ?? '' }))),
    })
  const stop = await follow(one, await one.transitionsEnd())
  await Promise.all([take(one, 0, 21, 40), take(other, 1, 1, 60)])
  await until(() => seen.length === 100)
  stop()
  const cut = seen.splice(50).length
  expect(cut).toBe(50)
  await take(other, 2, 1, 30)
  const stopOther = await follow(other, seen.at(-1)?.behind ?? '')
  await take(one, 1, 61, 10)
  const wanted = sorted([
    ...idsOf(1, 60).slice(20),
    ...idsOf(3, 70).filter((id) => id.startsWith('1-')),
    ...idsOf(3, 30).filter((id) => id.startsWith('2-')),
  ])
  await until(() => seen.length >= wanted.length)
  expect(sorted(seen.map((s) => s.id))).toEqual(wanted)
  stopOther()
})

test('a topic tells offsets by time, passes over what is no longer kept, and follows what comes', async () => {
  const outputs = await open()
  await take(outputs, 0, 1, 100)
  const topic = new KafkaTopic({ settings, clock, kind: 'transitions', partitions: PARTITIONS })
  const ends = await topic.ends()
  expect(ends.reduce((n, end) => n + end, 0)).toBe(100)
  const [busiest = 0] = [...ends.keys()].sort((a, b) => (ends[b] ?? 0) - (ends[a] ?? 0))
  const { records, next, isEnd } = await topic.read(busiest, 0, 1 << 20)
  expect([records.length, next, isEnd]).toEqual([ends[busiest], ends[busiest], true])
  expect((await topic.since(0)).map((offset, p) => (ends[p] === 0 ? 0 : offset))).toEqual(ends.map(() => 0))
  expect(await topic.since(Date.now() + 60_000)).toEqual(ends)
  await withAdmin(settings, clock, async (admin) => {
    const name = topicName(settings, 'transitions')
    await admin.fetchTopicOffsets(name)
    await admin.deleteTopicRecords({ topic: name, partitions: [{ partition: busiest, offset: '5' }] })
  })
  expect((await topic.firsts())[busiest]).toBe(5)
  expect(await topic.read(busiest, 2, 1 << 20)).toEqual({ records: [], next: 5, isEnd: false })
  expect(await topic.read(busiest, 10_000, 1 << 20)).toEqual({ records: [], next: 10_000, isEnd: true })
  const seen: TopicRecord[] = []
  const polled = new Set<number>()
  const follower = {
    take: (list: readonly TopicRecord[]) => void seen.push(...list),
    polled: (list: readonly number[]) => void list.map((p) => polled.add(p)),
  }
  const stop = await topic.follow(new Array(PARTITIONS).fill(0), follower)
  await take(outputs, 0, 101, 20)
  await until(() => seen.length === 115 && polled.size === PARTITIONS)
  stop()
  await topic.close()
})

test('a broker that is killed, and one that stands still, lose nothing: all comes again with equal ids, in order', {
  timeout: 120_000,
}, async () => {
  const directory = await mkdtemp(join(tmpdir(), 'kafka-'))
  const start = () => startBroker({ directory, jars: join(KAFKA_CACHE, 'libs'), port: 0, say: () => undefined })
  let broker = await start()
  try {
    const own = freshSettings(broker.brokers)
    await madeTopics(own, OUTPUT_KINDS, PARTITIONS)
    const outputs = await openTopicOutputs({ settings: own, clock, giveUpMs: 1000, requestMs: 1500, alarm: (text) => alarms.push(text) })
    await outputs.open(NAMES, async () => undefined)
    const seqs = [0, 0, 0]
    const confirmed = [0, 0, 0]
    let isWanted = true
    const writing = seqs.map(async (_, p) => {
      while (isWanted) {
        const lastSeq = (seqs[p] ?? 0) + 5
        seqs[p] = lastSeq
        const taken = take(outputs, p, lastSeq - 4, 5).then(() => {
          expect(lastSeq).toBe((confirmed[p] ?? 0) + 5)
          confirmed[p] = lastSeq
        })
        // Some blocks are under way at the same time.
        if (lastSeq % 20 === 0) await taken
      }
    })
    const goesOn = async (): Promise<void> => {
      const before = [...confirmed]
      await until(() => confirmed.every((n, p) => n > (before[p] ?? 0) + 100))
    }
    await goesOn()
    process.kill(broker.pid, 'SIGSTOP')
    await until(() => alarms.length > 0)
    process.kill(broker.pid, 'SIGCONT')
    await goesOn()
    await stopBroker(directory, 'SIGKILL')
    broker = await start()
    await goesOn()
    isWanted = false
    await Promise.all(writing)
    await until(() => confirmed.every((n, p) => n === seqs[p]))
    const topic = new KafkaTopic({ settings: own, clock, kind: 'transitions', partitions: PARTITIONS })
    const distinct = new Distinct()
    const ids = new Map<string, string>()
    let records = 0
    for (let partition = 0; partition < PARTITIONS; partition++) {
      for (let from = 0, isEnd = false; !isEnd; ) {
        const page = await topic.read(partition, from, 1 << 20)
        for (const { origin, seq, value } of page.records) {
          records++
          const id = `${origin}-${seq}`
          // A repeat is equal to the byte.
          expect(ids.get(id) ?? String(value)).toBe(String(value))
          if (distinct.take({ partition, origin, seq })) ids.set(id, String(value))
        }
        ;({ next: from, isEnd } = page)
      }
    }
    // By the rule of the highest seq every entry is seen.
    expect(ids.size).toBe(seqs.reduce((n, seq) => n + seq, 0))
    console.info(`${ids.size} entries, ${records - ids.size} repeats`)
    await topic.close()
    await outputs.close()
  } finally {
    await stopBroker(directory, 'SIGKILL')
    await rm(directory, { recursive: true })
  }
})
