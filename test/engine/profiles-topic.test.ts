// The topic of profiles behind a whole engine: what is left of it, key by key, is what the API shows; whoever is gone is gone from it.
import { describe, expect, test } from 'vitest'
import type { ProfileView } from '../../src/engine/engine.ts'
import { AvroCodec } from '../../src/engine/outputs-avro.ts'
import { JSON_CODEC, type OutputCodec } from '../../src/engine/outputs-codec.ts'
import { TopicOutputs } from '../../src/engine/outputs-kafka.ts'
import { parseWhere } from '../../src/operators/parse.ts'
import { below, type Random, seeded, seedsOf } from '../identity/random.ts'
import { crashed, type TestDisk, testDisk } from './disk.ts'
import { type Harness, harness } from './harness.ts'
import { MemoryTopics } from './memory-topics.ts'

const PARTITIONS = 4
const HOSTS = 2

const AVRO_CODEC = new AvroCodec({ transitions: 'json', merges: 'json', deadLetters: 'json', profiles: 'avro' })

interface Options {
  readonly disk?: TestDisk
  readonly tellsProfiles?: boolean
  readonly codec?: OutputCodec
}

async function opened(topics: MemoryTopics, options: Options = {}): Promise<Harness> {
  const { tellsProfiles = true, codec = JSON_CODEC, ...rest } = options
  let clock: Harness['clock'] | undefined
  const lateClock = {
    now: () => clock?.now() ?? 0,
    monotonicMs: () => clock?.monotonicMs() ?? 0,
    after: (ms: number, run: () => void) => clock?.after(ms, run) ?? (() => undefined),
  }
  const outputs = new TopicOutputs({
    ...{ topics: topics.topics, writer: topics.writer, codec, clock: lateClock, origin: 99, freshMs: 1000 },
    alarm: (text) => expect.fail(text),
  })
  const h = await harness({ partitions: PARTITIONS, hosts: HOSTS, limits: { tellsProfiles }, outputs, ...rest })
  clock = h.clock
  return h
}

/** The newest record of each key. */
function compacted(topics: MemoryTopics): Map<string, ProfileView | null> {
  const left = new Map<string, ProfileView | null>()
  for (const { key, value } of topics.topics.profiles.records.flat())
    left.set(key ?? '', value === null ? null : (AVRO_CODEC.decode('profiles', value) as ProfileView))
  return left
}

/** Without what goes on by itself. */
const essence = ({ position: _, ...rest }: ProfileView): object => rest

async function agrees(h: Harness, topics: MemoryTopics): Promise<{ live: number; gone: number }> {
  const left = compacted(topics)
  const live = [...left].filter(([, value]) => value !== null)
  for (const [id, value] of live) {
    const shown = await h.engine.profile({ namespace: 'profile_id', value: id })
    expect(value && essence(value)).toEqual(shown && essence(shown))
  }
  const members = await h.engine.segmentMembers('everyone', { limit: 1000 })
  expect(live.map(([id]) => id).sort()).toEqual(members?.items.map((m) => m.profile).sort())
  const { items } = await h.engine.merges({ limit: 1000 })
  const gone = [...left].filter(([, value]) => value === null).map(([id]) => id)
  expect(gone.sort()).toEqual(items.map((m) => m.absorbed).sort())
  return { live: live.length, gone: gone.length }
}

let count = 0
function message(random: Random): object {
  const who: Record<string, string>[] = [
    { userId: `u${below(random, 12)}` },
    { anonymousId: `a${below(random, 12)}` },
    { userId: `u${below(random, 12)}`, anonymousId: `a${below(random, 12)}` },
  ]
  const common = { ...who[below(random, who.length)], messageId: `m${count++}` }
  if (below(random, 3) === 0)
    return { ...common, type: 'identify', traits: { city: `c${below(random, 5)}`, email: `e${below(random, 9)}@x.org` } }
  return { ...common, type: 'track', event: below(random, 2) === 0 ? 'Bought' : 'Seen', properties: {} }
}

const segments = async (h: Harness): Promise<void> => {
  const put = (id: string, where: unknown) => h.engine.putSegment(id, { where: parseWhere(where) })
  await put('everyone', { not: { event: 'Never' } })
  await put('buyers', { event: 'Bought' })
}

describe('the topic of profiles', () => {
  test.each([
    ['JSON', JSON_CODEC, 0x7b],
    ['Avro', AVRO_CODEC, 0xc3],
  ] as const)('has, of each key, what the API shows, in %s, and nothing of who was merged away', async (_, codec, first) => {
    let [live, gone] = [0, 0]
    for (let seed = 0; seed < seedsOf(4); seed++) {
      const random = seeded(seed)
      const topics = new MemoryTopics(3)
      topics.isPrompt = true
      const h = await opened(topics, { codec })
      await segments(h)
      for (let round = 0; round < 8; round++) {
        await h.send(...Array.from({ length: 1 + below(random, 30) }, () => message(random)))
        if (below(random, 2) === 0) continue
        await h.engine.settle()
        const found = await agrees(h, topics)
        live += found.live
        gone += found.gone
      }
      await h.engine.settle()
      await agrees(h, topics)
      const values = topics.topics.profiles.records.flat().flatMap(({ value }) => value ?? [])
      expect(new Set(values.map((value) => value[0]))).toEqual(new Set([first]))
      expect(h.stopped).toEqual([])
      await h.close()
    }
    expect(live).toBeGreaterThan(20)
    expect(gone).toBeGreaterThan(5)
  })

  test('gets after a crash what it had not confirmed', async () => {
    const random = seeded(11)
    const topics = new MemoryTopics(3)
    topics.isPrompt = true
    const disk = testDisk(PARTITIONS, HOSTS)
    const first = await opened(topics, { disk })
    await segments(first)
    await first.send(...Array.from({ length: 30 }, () => message(random)))
    await first.engine.settle()
    // From here on nothing arrives.
    topics.isPrompt = false
    const { position } = await first.send({ type: 'track', event: 'Bought', userId: 'late', messageId: 'late' })
    await first.engine.profile({ namespace: 'user_id', value: 'late' }, { minPosition: position })
    expect([...compacted(topics).values()].some((p) => p?.identifiers.some((i) => i.value === 'late'))).toBe(false)
    first.abandon()
    topics.isPrompt = true
    const second = await opened(topics, { disk: crashed(disk, random) })
    await second.engine.settle()
    await agrees(second, topics)
    expect([...compacted(topics).values()].some((p) => p?.identifiers.some((i) => i.value === 'late'))).toBe(true)
    await second.close()
  })

  test('stays empty where nobody wants it', async () => {
    const topics = new MemoryTopics(3)
    topics.isPrompt = true
    const h = await opened(topics, { tellsProfiles: false })
    await h.send(...Array.from({ length: 30 }, () => message(seeded(1))))
    await h.engine.settle()
    expect(topics.topics.profiles.records.flat()).toEqual([])
    await h.close()
  })
})
