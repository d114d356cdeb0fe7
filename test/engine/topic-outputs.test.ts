// Output streams as topics, in memory: what lies in them, pages and followers by vectors of offsets, and the places of ids.
import { setImmediate } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import { VirtualClock } from '../../src/core/clock.ts'
import type { Transition } from '../../src/core/transition.ts'
import { Outputs } from '../../src/engine/outputs.ts'
import { JSON_CODEC } from '../../src/engine/outputs-codec.ts'
import { TopicOutputs } from '../../src/engine/outputs-kafka.ts'
import { parseVector, vectorText } from '../../src/engine/outputs-vector.ts'
import { MemoryLog } from '../../src/log/memory-log.ts'
import { below, pick, seeded } from '../identity/random.ts'
import { MemoryTopics } from './memory-topics.ts'
import { jsonBlock, type MadeBlock, NAMES, SEGMENTS, transitionsBlock } from './topic-blocks.ts'

const PARTITIONS = 4
const ORIGIN = 123_456_789_012_345

class Cluster {
  readonly clock = new VirtualClock(1_000_000)
  readonly memory = new MemoryTopics(PARTITIONS)
  readonly alarms: string[] = []
  readonly outputs = this.process()
  readonly #blocks: MadeBlock[][] = [[], [], []]

  process(origin = ORIGIN): TopicOutputs {
    const { memory, clock } = this
    const { topics, writer } = memory
    const alarm = (text: string): void => void this.alarms.push(text)
    const outputs = new TopicOutputs({ topics, writer, clock, codec: JSON_CODEC, origin, freshMs: 1000, alarm })
    void outputs.open(NAMES, async () => undefined)
    return outputs
  }

  get topic() {
    return this.memory.topics.transitions
  }

  /** Blocks of any of three partitions, a second apart. */
  async fill(blocks: number, seed = 1): Promise<void> {
    const random = seeded(seed)
    for (let i = 0; i < blocks; i++) {
      const partition = below(random, this.#blocks.length)
      const blocks = must(this.#blocks[partition], 'index in range')
      const block = transitionsBlock(partition, (blocks.at(-1)?.lastSeq ?? 0) + 1, 1 + below(random, 4), this.clock.now())
      blocks.push(block)
      await this.write('transitions', partition, block.payload)
      this.#pass(1000)
    }
  }

  #pass(ms: number): void {
    this.clock.advance(ms)
    for (const topic of Object.values(this.memory.topics)) topic.stampMs = this.clock.now()
  }

  async write(stream: 'transitions' | 'merges' | 'deadLetters', partition: number, payload: Buffer): Promise<void> {
    const taken = this.outputs.take(stream, partition, payload)
    await setImmediate()
    for (const topic of Object.values(this.memory.topics)) topic.flush()
    await taken
  }

  /** A process says again what it has said of a partition, from the block with a seq on. */
  async again(partition: number, fromSeq: number): Promise<void> {
    for (const block of this.#blocks[partition] ?? [])
      if (block.lastSeq >= fromSeq) await this.write('transitions', partition, block.payload)
    this.#pass(1000)
  }

  ids(): string[] {
    return this.topic.records.flat().map((r) => `${r.origin}-${r.seq}`)
  }

  async rest(after: string | undefined, limit = 7, segment?: string): Promise<Transition[]> {
    const all: Transition[] = []
    for (let cursor = after; ; ) {
      const query = { limit, ...(cursor === undefined ? {} : { after: cursor }), ...(segment === undefined ? {} : { segment }) }
      const page = await this.outputs.transitionsPage(query)
      all.push(...page.items)
      if (page.next === undefined) return all
      expect(page.items.length).toBe(limit)
      cursor = page.next
    }
  }
}

function counts(ids: readonly string[]): Map<string, number> {
  const map = new Map<string, number>()
  for (const id of ids) map.set(id, (map.get(id) ?? 0) + 1)
  return map
}

test('a topic holds what a stream of files shows of the same blocks', async () => {
  const cluster = new Cluster()
  const log = () => new MemoryLog({ partitions: 4 })
  const files = new Outputs({ transitions: log(), merges: log(), deadLetters: log() })
  await files.open(NAMES)
  const merges = jsonBlock(1, [
    { survivor: 'p1', absorbed: 'p2', at: 5 },
    { survivor: 'p1', absorbed: 'p3', at: 6, messageId: 'm' },
  ])
  const letters = jsonBlock(1, [{ code: 'execution_failed', reason: 'x', at: 7, message: { a: [1, 'ü'] } }])
  for (const [stream, block] of [
    ['transitions', transitionsBlock(2, 1, 20)],
    ['merges', merges],
    ['deadLetters', letters],
  ] as const) {
    await cluster.write(stream, 2, block.payload)
    await files.take(stream, 2, block.payload, block.lastSeq)
  }
  const byId = (a: { id: string }, b: { id: string }) => Number(a.id.slice(2)) - Number(b.id.slice(2))
  const page = { limit: 100 }
  const shown = (await cluster.outputs.transitionsPage(page)).items
  expect(shown.sort(byId)).toEqual((await files.transitionsPage(page)).items)
  expect((await cluster.outputs.mergesPage(page)).items).toEqual((await files.mergesPage(page)).items)
  expect((await cluster.outputs.deadLettersPage(page)).items).toEqual((await files.deadLettersPage(page)).items)
  expect(cluster.topic.records.flat().every((r) => r.key === (JSON.parse(String(r.value)) as { profile: string }).profile)).toBe(true)
})

describe('pages', () => {
  test('give every entry once, each profile in order, older before newer', async () => {
    const cluster = new Cluster()
    await cluster.fill(200)
    const all = await cluster.rest(undefined)
    expect(all.map((t) => t.id).sort()).toEqual(cluster.ids().sort())
    expect(all.map((t) => t.decidedAt)).toEqual(all.map((t) => t.decidedAt).sort((a, b) => a - b))
    for (const [, own] of Map.groupBy(all, (t) => t.profile))
      expect(own.map((t) => t.seq)).toEqual(own.map((t) => t.seq).sort((a, b) => a - b))
  })

  test('of a segment give its entries alone', async () => {
    const cluster = new Cluster()
    await cluster.fill(60)
    const all = await cluster.rest(undefined)
    for (const segment of SEGMENTS)
      expect((await cluster.rest(undefined, 3, segment)).map((t) => t.id)).toEqual(
        all.filter((t) => t.segment === segment).map((t) => t.id),
      )
    expect(await cluster.rest(undefined, 3, 'never known')).toEqual([])
  })

  test('begin where entries are still kept, and pass over what is no entry', async () => {
    const cluster = new Cluster()
    await cluster.fill(50)
    const cursor = vectorText(new Array(PARTITIONS).fill(1))
    const { topic } = cluster
    for (let p = 0; p < PARTITIONS; p++) topic.drop(p, 5)
    topic.records[0]?.push({
      partition: 0,
      offset: topic.records[0].length,
      stamp: 0,
      key: 'x',
      value: Buffer.from('{'),
      origin: 1,
      seq: 1,
    })
    topic.records[1]?.push({ partition: 1, offset: topic.records[1].length, stamp: 0, key: 'x', value: null, origin: 1, seq: 1 })
    topic.records[2]?.push({
      partition: 2,
      offset: topic.records[2].length,
      stamp: 0,
      key: 'x',
      value: Buffer.from('7'),
      origin: Number.NaN,
      seq: 1,
    })
    const kept = topic.records.flatMap((list) => list.slice(5)).filter((r) => r.value && r.stamp > 0)
    expect((await cluster.rest(cursor)).map((t) => t.id).sort()).toEqual(kept.map((r) => `${r.origin}-${r.seq}`).sort())
  })

  test('after an id give all that came later, also where it was said again', async () => {
    const cluster = new Cluster()
    await cluster.fill(150)
    await cluster.again(0, 12)
    await cluster.fill(10, 2)
    await cluster.again(2, 5)
    await cluster.fill(100, 3)
    const inOrder = (await cluster.rest(undefined)).map((t) => t.id)
    const firstAt = new Map<string, number>()
    inOrder.forEach((id, i) => void (firstAt.has(id) || firstAt.set(id, i)))
    let repeated = 0
    const looked = [...firstAt].filter((_, i) => i % 5 === 0)
    for (const [id, at] of looked) {
      const found = (await cluster.rest(id, 50)).map((t) => t.id)
      const later = inOrder.slice(at + 1)
      const surplus = counts(found)
      for (const [other, n] of counts(later)) surplus.set(other, (surplus.get(other) ?? 0) - n)
      expect([...surplus].filter(([, left]) => left < 0)).toEqual([])
      // Where it lies itself, exactly what is behind it.
      expect(surplus.get(id) ?? 0).toBe(0)
      repeated += found.length - later.length
    }
    // Of what was written in the half minute before, 2.5 a second.
    expect(repeated / looked.length).toBeGreaterThan(1)
    expect(repeated / looked.length).toBeLessThan(75)
  })

  test('that can hold nothing but what came shortly before an id lead on by their cursor; who goes on by ids is told so', async () => {
    const cluster = new Cluster()
    await cluster.fill(100)
    const page = (after: string) => cluster.outputs.transitionsPage({ after, limit: 7 })
    const all = (await cluster.rest(undefined)).map((t) => t.id)
    const id = must(all[150], 'there are more')
    const first = await page(id)
    expect(first.items.every((t) => all.indexOf(t.id) < 150)).toBe(true)
    let asked = 0
    const byIds = async (): Promise<void> => {
      for (let after = id; asked < 1000; asked++) after = must((await page(after)).items.at(-1), 'there is always something').id
    }
    await expect(byIds()).rejects.toMatchObject({ code: 'invalid_request', message: expect.stringContaining('next') })
    expect(asked).toBeLessThan(100)
    // By its cursor all is had that came later, and larger pages go on by ids as well.
    const later = new Set((await cluster.rest(must(first.next, 'there is more'))).map((t) => t.id))
    expect(all.slice(151).filter((other) => !later.has(other))).toEqual([])
    for (let after = id, pages = 0; ; pages++) {
      const { items, next } = await cluster.outputs.transitionsPage({ after, limit: 200 })
      if (next === undefined) break
      expect(pages).toBeLessThan(5)
      after = must(items.at(-1), 'a full page').id
    }
  })

  test('an old id is found with few reads', async () => {
    const cluster = new Cluster()
    await cluster.fill(2000)
    const ids = cluster.ids()
    const random = seeded(5)
    const before = cluster.topic.reads
    const LOOKS = 50
    for (let i = 0; i < LOOKS; i++) await cluster.outputs.transitionsPage({ after: pick(random, ids), limit: 1 })
    // Some five thousand entries in four partitions, 64 kB at a time: halving takes four reads each, and the page some more.
    expect((cluster.topic.reads - before) / LOOKS).toBeLessThan(4 * 8)
  })

  test('an id that is nowhere, and a text that is none, are refused', async () => {
    const cluster = new Cluster()
    await cluster.fill(20)
    const pageAfter = (text: string) => cluster.outputs.transitionsPage({ after: text, limit: 1 })
    await expect(pageAfter('0-999')).rejects.toMatchObject({ code: 'not_found' })
    await expect(pageAfter('7-1')).rejects.toMatchObject({ code: 'not_found' })
    for (const text of ['', 'c1.2', 'k', 'k!', '0-', vectorText(new Array(PARTITIONS + 1).fill(0)), `k${'_'.repeat(40)}`])
      await expect(pageAfter(text)).rejects.toMatchObject({ code: 'invalid_request' })
  })
})

test('a cursor is its vector, and partitions that a topic was given since begin at 0', () => {
  const vector = [0, 1, 127, 128, 2 ** 40]
  expect(parseVector(vectorText(vector), 5)).toEqual(vector)
  expect(parseVector(vectorText(vector), 7)).toEqual([...vector, 0, 0])
  expect(parseVector(vectorText(vector), 4)).toBeUndefined()
})

describe('a follower', () => {
  interface Seen {
    readonly ids: string[]
    readonly behind: string[]
    stop(): void
  }

  async function followed(cluster: Cluster, query: { after?: string; segment?: string } = {}, slow = false): Promise<Seen> {
    const [ids, behind]: [string[], string[]] = [[], []]
    const stop = await cluster.outputs.followTransitions({
      ...query,
      failed: (error) => expect.fail(String(error)),
      deliver: async (list, places = []) => {
        if (slow) await setImmediate()
        ids.push(...list.map((t) => t.id))
        behind.push(...places)
      },
    })
    return { ids, behind, stop }
  }

  async function polled(cluster: Cluster, turns = 20): Promise<void> {
    cluster.topic.poll()
    for (let i = 0; i < turns; i++) await setImmediate()
  }

  test('gets what comes from now on, without a read, and goes on from any place behind an entry', async () => {
    const cluster = new Cluster()
    await cluster.fill(30)
    const before = cluster.ids()
    const first = await followed(cluster)
    await polled(cluster)
    const { reads } = cluster.topic
    await cluster.fill(60, 2)
    await polled(cluster)
    expect(cluster.topic.reads).toBe(reads)
    const fresh = cluster.ids().filter((id) => !before.includes(id))
    expect([...first.ids].sort()).toEqual(fresh.sort())
    for (const at of [0, 10, first.ids.length - 1]) {
      const next = await followed(cluster, { after: first.behind[at] ?? '' })
      await polled(cluster)
      // What it has had is never told again, and the rest is told.
      expect([...next.ids].sort()).toEqual(first.ids.slice(at + 1).sort())
      next.stop()
    }
    first.stop()
  })

  test('that begins far behind, or is slow, misses nothing where files and memory meet', async () => {
    const cluster = new Cluster()
    await cluster.fill(500)
    const all = await followed(cluster, { after: vectorText(new Array(PARTITIONS).fill(0)) }, true)
    const vips = await followed(cluster, { after: vectorText(new Array(PARTITIONS).fill(0)), segment: 'vips' })
    for (let i = 0; i < 10; i++) {
      await cluster.fill(40, i)
      await polled(cluster, 3)
    }
    await polled(cluster, 200)
    expect([...all.ids].sort()).toEqual(cluster.ids().sort())
    const ofVips = (await cluster.rest(undefined)).filter((t) => t.segment === 'vips').map((t) => t.id)
    expect([...vips.ids].sort()).toEqual(ofVips.sort())
    all.stop()
    vips.stop()
  })

  test('is given nothing while nothing is heard of some partition, and all once it is', async () => {
    const cluster = new Cluster()
    const seen = await followed(cluster)
    cluster.topic.silent.add(1)
    for (let i = 0; i < 30; i++) {
      await cluster.fill(1, i)
      await polled(cluster, 3)
    }
    const held = seen.ids.length
    // After ten seconds of silence no more was given.
    expect(held).toBeGreaterThan(0)
    expect(held).toBeLessThan(cluster.topic.records.flat().filter((r) => r.partition !== 1).length)
    cluster.topic.silent.clear()
    await polled(cluster)
    expect([...seen.ids].sort()).toEqual(cluster.ids().sort())
    seen.stop()
  })

  test('goes on once a topic that could not be read can be', async () => {
    const cluster = new Cluster()
    await cluster.fill(20)
    const { TributaryError } = await import('../../src/core/errors.ts')
    const seen = await followed(cluster, { after: vectorText(new Array(PARTITIONS).fill(0)) })
    cluster.topic.failure = new TributaryError('kafka_unreachable', 'gone')
    await polled(cluster)
    cluster.topic.failure = undefined
    cluster.clock.advance(1000)
    await polled(cluster, 60)
    expect([...seen.ids].sort()).toEqual(cluster.ids().sort())
    seen.stop()
  })

  test('leaves nothing behind: the topic is followed while somebody listens', async () => {
    const cluster = new Cluster()
    const [a, b] = [await followed(cluster), await followed(cluster)]
    a.stop()
    expect(cluster.topic.followed).toBe(true)
    b.stop()
    await setImmediate()
    expect(cluster.topic.followed).toBe(false)
    const c = await followed(cluster)
    await cluster.fill(5)
    await polled(cluster)
    expect([...c.ids].sort()).toEqual(cluster.ids().sort())
    c.stop()
  })
})

describe('dead letters', () => {
  test('of intake come from an origin of their process, and can be had by cursor', async () => {
    const cluster = new Cluster()
    const [one, other] = [cluster.outputs, cluster.process(ORIGIN + 1)]
    const letter = (n: number) => ({ code: 'unreadable', reason: `${n}`, at: n })
    for (const outputs of [one, other, one]) {
      const rejecting = outputs.reject([letter(1), letter(2)])
      await setImmediate()
      cluster.memory.topics.deadLetters.flush()
      await rejecting
    }
    const { items } = await one.deadLettersPage({ limit: 10 })
    expect(items.map((l) => l.id).sort()).toEqual([1, 2, 3, 4].map((n) => `${ORIGIN}-${n}`).concat([1, 2].map((n) => `${ORIGIN + 1}-${n}`)))
    const { next } = await one.deadLettersPage({ limit: 4 })
    expect((await one.deadLettersPage({ limit: 10, after: next ?? '' })).items.map((l) => l.id)).toEqual(items.slice(4).map((l) => l.id))
  })

  test('that take more than a record may go without their message', async () => {
    const cluster = new Cluster()
    const huge = { code: 'too_large', reason: 'r', at: 1, message: '\u0001'.repeat(300_000) }
    await cluster.write('deadLetters', 0, jsonBlock(1, [huge, { ...huge, message: 'm' }]).payload)
    const { items } = await cluster.outputs.deadLettersPage({ limit: 10 })
    const messages = new Map(items.map((l) => [l.id, l.message]))
    expect([messages.size, messages.get('0-1'), messages.get('0-2')]).toEqual([2, undefined, 'm'])
    expect(items.find((l) => l.message === undefined)?.reason).toContain('left out')
  })
})

test('a write in doubt is said again with the same ids, and somebody is told, now and then', async () => {
  const cluster = new Cluster()
  const taken = cluster.outputs.take('transitions', 0, transitionsBlock(0, 1, 30).payload)
  await setImmediate()
  for (let p = 0; p < PARTITIONS; p++) cluster.topic.step(p, 'in doubt')
  for (let i = 0; i < 20; i++) {
    await setImmediate()
    cluster.clock.advance(100)
    cluster.topic.flush()
  }
  await taken
  expect(cluster.topic.records.flat()).toHaveLength(60)
  expect(new Set(cluster.ids()).size).toBe(30)
  expect(cluster.alarms).toHaveLength(1)
})
