// Definitions that come, change and go while events do; many more profiles than one batch fills.
import { expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import type { Where } from '../../src/operators/definition.ts'
import { below, pick, type Random, seeded } from '../identity/random.ts'
import { holds } from '../oracle/evaluate.ts'
import { crashed, testDisk, turns, within } from './disk.ts'
import { type Harness, type HarnessOptions, HOUR, harness } from './harness.ts'
import { freshSeed } from './runs.ts'
import { checkStream } from './stream-checks.ts'

const T0 = Date.parse('2026-05-01T00:00:00.000Z')
const USERS = 300

const WHERES: readonly Where[] = [
  { event: 'A' },
  { event: 'A', count: { gte: 2 } },
  { event: 'A', within: '5h', count: { gte: 1 } },
  { event: ['A', 'B'], sum: 'properties.x', gte: 5 },
  { not: { event: 'B' } },
  {
    any: [
      { trait: 'plan', eq: 'pro' },
      { event: 'B', first: { before: '3h' } },
    ],
  },
  { all: [] },
]

class Traffic {
  readonly random: Random
  readonly options: HarnessOptions
  h: Harness
  now = T0
  #events = 0
  readonly definitions = new Map<string, Where>()

  constructor(random: Random, options: HarnessOptions, h: Harness) {
    this.random = random
    this.options = options
    this.h = h
  }

  /** Some events of anybody, acknowledged. */
  async some(n: number, users = USERS): Promise<void> {
    const messages = Array.from({ length: n }, () => {
      const common = { userId: `u${below(this.random, users)}`, messageId: `m${this.#events++}` }
      const timestamp = new Date(this.now - below(this.random, 8) * HOUR).toISOString()
      if (this.random() < 0.2) return { ...common, type: 'identify', timestamp, traits: { plan: pick(this.random, ['pro', 'free']) } }
      return { ...common, type: 'track', event: pick(this.random, ['A', 'B']), timestamp, properties: { x: 1 + below(this.random, 3) } }
    })
    await within(this.h.send(...messages))
  }

  async change(): Promise<void> {
    const id = `s${below(this.random, 5)}`
    const isGoing = this.definitions.has(id) && this.random() < 0.3
    if (isGoing) {
      this.definitions.delete(id)
      await within(this.h.engine.deleteSegment(id))
    } else {
      const where = pick(this.random, WHERES)
      this.definitions.set(id, where)
      await within(this.h.engine.putSegment(id, { where }))
    }
  }

  async crash(): Promise<void> {
    const { disk, clock } = this.h
    expect(this.h.stopped).toEqual([])
    this.h.abandon()
    this.h = await within(harness({ ...this.options, disk: crashed(disk, this.random), clockMs: clock.now() }))
  }

  async check(): Promise<void> {
    const { engine } = this.h
    await within(this.h.filled())
    const members = checkStream(await this.h.transitions())
    const sizes = new Map<string, number>()
    for (let n = 0; n < USERS; n++) {
      const ref = { namespace: 'user_id', value: `u${n}` }
      const profile = await engine.profile(ref)
      if (!profile) continue
      const page = must(await engine.profileEvents(ref, { limit: 10_000 }), 'it was just seen')
      const events = page.items.map(({ event, timestamp, message }) => ({ name: event, at: Date.parse(timestamp), message }))
      const facts = { events, traits: new Map(Object.entries(profile.traits)) }
      const naive = [...this.definitions].filter(([, where]) => holds(where, facts, this.now)).map(([id]) => id)
      expect(profile.segments, `segments of u${n}`).toEqual(naive.sort())
      for (const id of naive) {
        sizes.set(id, (sizes.get(id) ?? 0) + 1)
        expect(members.get(id)?.has(profile.id), `u${n} has entered ${id}`).toBe(true)
      }
    }
    for (const [id, list] of members) expect(list.size, `members of ${id} in the stream`).toBe(sizes.get(id) ?? 0)
    for (const s of await engine.segments()) expect([s.id, s.status, s.progress, s.size]).toEqual([s.id, 'live', 1, sizes.get(s.id) ?? 0])
    for (const [id, where] of this.definitions) {
      expect((await engine.previewSegment(where)).size, `preview of ${id}`).toBe(sizes.get(id) ?? 0)
      expect((await membersOf(this.h, id)).length).toBe(sizes.get(id) ?? 0)
    }
  }
}

/** Page by page. */
async function membersOf(h: Harness, id: string): Promise<string[]> {
  const members: string[] = []
  for (let after: string | undefined; ; ) {
    const page = must(await h.engine.segmentMembers(id, { limit: 37, ...(after === undefined ? {} : { after }) }), `segment ${id}`)
    members.push(...page.items.map((m) => m.profile))
    after = page.next
    if (after === undefined) return members
  }
}

test.each([
  [1, 1, 20260504],
  [4, 2, 20260505],
  [16, 1, freshSeed()],
])('%i partitions, %i hosts, seed %i', async (partitions, hosts, seed) => {
  const random = seeded(seed)
  const limits = { batchEvents: 40, splitBytes: 60, cacheBytes: 60_000, applyMs: 5, applyBytes: 20_000, timelineEvents: 1e6 }
  const options: HarnessOptions = { partitions, hosts, limits }
  const traffic = new Traffic(random, options, await harness({ ...options, disk: testDisk(partitions, hosts, random) }))
  await traffic.h.engine.setClock(T0)
  await traffic.some(USERS * 2)
  for (let round = 0; round < 12; round++) {
    await traffic.change()
    await traffic.some(20)
    await turns(below(random, 6))
    if (round % 4 === 1) await traffic.crash()
    if (round % 4 === 3) {
      traffic.now += HOUR
      await within(traffic.h.engine.setClock(traffic.now))
    }
    if (round === 5) await traffic.check()
  }
  await traffic.check()
  expect(traffic.h.stopped).toEqual([])
  await traffic.h.close()
})

test('a fill tells how far it is, and a deleted segment is left once by everybody', async () => {
  const h = await harness({ partitions: 1, limits: { batchEvents: 10 } })
  const traffic = new Traffic(seeded(1), {}, h)
  await h.engine.setClock(T0)
  await traffic.some(900)
  await h.engine.settle()
  let view = await h.engine.putSegment('a', { where: { event: 'A' } })
  const seen = [view.progress]
  while (view.status === 'filling') {
    await turns(1)
    view = must(await h.engine.segment('a'), 'it was put')
    seen.push(view.progress)
  }
  expect(seen).toEqual([...seen].sort((a, b) => a - b))
  expect(
    seen.some((p) => p > 0 && p < 1),
    'there is a time in between',
  ).toBe(true)
  await h.engine.settle()
  const entered = await h.transitions()
  expect(entered.every((t) => t.cause === 'definition' && t.causeId === undefined && t.transition === 'entered')).toBe(true)
  expect(entered.length).toBe(view.size)
  await h.engine.deleteSegment('a')
  expect(await h.engine.segment('a')).toBeUndefined()
  for (let i = 0; i < 200 && (await h.transitions()).length < 2 * entered.length; i++) await turns(5)
  const left = (await h.transitions()).slice(entered.length)
  expect(left.map((t) => t.profile).sort()).toEqual(entered.map((t) => t.profile).sort())
  expect(left.every((t) => t.transition === 'exited' && t.cause === 'definition' && t.seq === 2)).toBe(true)
  await h.engine.putSegment('a', { where: { event: 'A' } })
  await h.filled()
  expect((await h.transitions()).slice(2 * entered.length).every((t) => t.seq === 3)).toBe(true)
  await h.close()
})

test('whoever was founded just before a definition is filled too, however slow the journal', async () => {
  const disk = testDisk(1, 1)
  const h = await harness({ partitions: 1, disk })
  await h.engine.setClock(T0)
  const traffic = new Traffic(seeded(2), {}, h)
  const [journal] = disk.faults.journals
  const held: (() => void)[] = []
  if (journal) journal.schedule = (complete) => void held.push(complete)
  const release = (): void => void held.shift()?.()
  await traffic.some(5, 1)
  await turns(10)
  // One commit is under way; this event and the definition come into the next one together.
  await h.send({ type: 'track', event: 'A', userId: 'late', messageId: 'late', timestamp: new Date(T0).toISOString() })
  const put = h.engine.putSegment('a', { where: { event: 'A' } })
  await turns(10)
  for (let i = 0; i < 20; i++) {
    release()
    await turns(10)
  }
  await within(put)
  if (journal) journal.schedule = undefined
  release()
  await within(h.filled())
  expect((await h.engine.profile({ namespace: 'user_id', value: 'late' }))?.segments).toEqual(['a'])
  await h.close()
})

test('the status tells of a deleted segment until its last member has left', async () => {
  const h = await harness({ partitions: 2 })
  await h.engine.setClock(T0)
  await h.engine.putSegment('everyone', { where: { all: [] } })
  const members = 1000
  await h.send(...Array.from({ length: members }, (_, i) => ({ type: 'identify', userId: `u${i}`, messageId: `m${i}` })))
  await h.engine.settle()
  expect((await h.engine.status()).deleting).toEqual([])
  const { version } = must(await h.engine.segment('everyone'), 'it was saved')
  await h.engine.deleteSegment('everyone')
  const seen: number[] = []
  for (;;) {
    const { deleting } = await within(h.engine.status())
    if (deleting.length === 0) break
    expect(deleting).toEqual([{ id: 'everyone', version: version + 1, progress: expect.any(Number) }])
    seen.push(must(deleting[0], 'there is one').progress)
    await turns(1)
  }
  expect(seen.length).toBeGreaterThan(2)
  expect(seen).toEqual(seen.toSorted((a, b) => a - b))
  await h.engine.settle()
  expect((await h.transitions()).filter((t) => t.transition === 'exited')).toHaveLength(members)
  // Saved again while members are leaving, it is filling, and no longer told as deleted.
  await h.engine.putSegment('everyone', { where: { all: [] } })
  await h.filled()
  await h.engine.deleteSegment('everyone')
  await h.engine.putSegment('everyone', { where: { all: [] } })
  expect((await h.engine.status()).deleting).toEqual([])
  await h.close()
})
