// Several processes over the same logs: each gives the same answers, and they are those of one process alone.
import { afterEach, describe, expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import type { Transition } from '../../src/core/transition.ts'
import type { EmbeddedEngine } from '../../src/engine/embedded.ts'
import type { ProfileRef } from '../../src/engine/engine.ts'
import type { Where } from '../../src/operators/definition.ts'
import { turns } from '../engine/disk.ts'
import { HOUR, harness } from '../engine/harness.ts'
import { below, pick, type Random, seeded, seedsOf } from '../identity/random.ts'
import { type Cluster, type ClusterOptions, type ClusterProcess, cluster } from './world.ts'

const SEGMENTS: { readonly [id: string]: Where } = {
  buyers: { event: 'Order' },
  often: { event: 'Order', count: { gte: 2 }, within: '1h' },
  idle: { not: { event: 'Order', within: '1h' } },
}
const PEOPLE = 12
let opened: Cluster | undefined

afterEach(async () => {
  await opened?.close()
  opened = undefined
})

async function open(options: ClusterOptions): Promise<Cluster> {
  opened = await cluster(options)
  return opened
}

function message(random: Random, k: number): object {
  const person = below(random, PEOPLE)
  return {
    type: 'track',
    event: random() < 0.7 ? 'Order' : 'Look',
    anonymousId: `a${person}`,
    // Some turn out to be one, across partitions.
    ...(random() < 0.3 ? { userId: `u${person >> 1}` } : {}),
    messageId: `m${k}`,
    timestamp: new Date(k * 60_000).toISOString(),
  }
}

const refs: ProfileRef[] = [
  ...Array.from({ length: PEOPLE }, (_, i) => ({ namespace: 'anonymous_id', value: `a${i}` })),
  ...Array.from({ length: PEOPLE / 2 }, (_, i) => ({ namespace: 'user_id', value: `u${i}` })),
]

async function transitionsOf(engine: EmbeddedEngine): Promise<Transition[]> {
  const all: Transition[] = []
  for (let after: string | undefined; ; ) {
    const page = await engine.transitions({ limit: 1000, ...(after === undefined ? {} : { after }) })
    all.push(...page.items)
    if (page.next === undefined) return all
    after = page.next
  }
}

/** Everything that an engine says, in an order that doesn't depend on partitions. */
async function told(engine: EmbeddedEngine): Promise<object> {
  const page = { limit: 1000 }
  const profiles = []
  for (const ref of refs) {
    const { position: _, ...view } = (await engine.profile(ref)) ?? { position: '' }
    const [events, memberships, audit] = [
      await engine.profileEvents(ref, page),
      await engine.profileMemberships(ref, page),
      await engine.profileAudit(ref, page),
    ]
    profiles.push({ ...view, events: events?.items.length, memberships: memberships?.items, audit: audit?.items.length })
  }
  const members = []
  for (const id of Object.keys(SEGMENTS)) members.push((await engine.segmentMembers(id, page))?.items.map((m) => m.profile).sort())
  const transitions = (await transitionsOf(engine)).map(({ id: _, ...t }) => t)
  const byProfile = Object.groupBy(transitions, (t) => `${t.profile} ${t.segment}`)
  const segments = (await engine.segments()).map(({ id, version, size, status }) => ({ id, version, size, status }))
  return { profiles, members, byProfile, segments, preview: await engine.previewSegment({ event: 'Look' }) }
}

async function filled(engine: EmbeddedEngine): Promise<void> {
  while ((await engine.segments()).some(({ status }) => status !== 'live')) await turns(1)
  await engine.settle()
}

/** The same input in one process: each message is worked off before the next, as merges keep the id of whoever was first. */
async function alone(messages: readonly object[], clockMs: number): Promise<object> {
  const h = await harness({ partitions: 4 })
  for (const [id, where] of Object.entries(SEGMENTS)) await h.engine.putSegment(id, { where })
  for (const one of messages) {
    await h.send(one)
    await h.engine.settle()
  }
  await h.engine.setClock(clockMs)
  await h.filled()
  const all = await told(h.engine)
  await h.close()
  return all
}

describe('answers', () => {
  test.each([
    ['in memory', false, 60, 1],
    ['over HTTP', true, 15, 2],
  ])('each process gives the same ones, which are those of one process alone, asked %s', async (_, overHttp, length, hosts) => {
    const random = seeded(1)
    const world = await open({ processes: 3, overHttp, hosts })
    const [a, b, c] = world.processes as [ClusterProcess, ClusterProcess, ClusterProcess]
    await b.engine.putSegment('buyers', { where: must(SEGMENTS.buyers, 'it is one') })
    await c.engine.putSegment('often', { where: must(SEGMENTS.often, 'it is one') })
    await a.engine.putSegment('idle', { where: must(SEGMENTS.idle, 'it is one') })
    const messages = Array.from({ length }, (_, k) => message(random, k))
    for (const one of messages) {
      await world.send(pick(random, world.processes), one)
      await pick(random, world.processes).engine.settle()
    }
    await c.engine.setClock(5 * HOUR)
    for (const { engine } of world.processes) await filled(engine)
    const expected = await alone(messages, 5 * HOUR)
    for (const { engine, stopped } of world.processes) {
      expect(await told(engine)).toEqual(expected)
      expect(stopped).toEqual([])
    }
  })

  test('a write through one process is seen by a read with its position through another', async () => {
    const world = await open({ processes: 3 })
    const random = seeded(2)
    for (let k = 0; k < 40; k++) {
      const user = `user ${k}`
      const { position } = await world.send(pick(random, world.processes), {
        type: 'identify',
        userId: user,
        anonymousId: `a${k % 7}`,
        traits: { k },
      })
      const view = await pick(random, world.processes).engine.profile({ namespace: 'user_id', value: user }, { minPosition: position })
      expect(view?.traits).toEqual({ k })
    }
  })
})

describe('moves', () => {
  test.each(Array.from({ length: seedsOf(4) }, (_, seed) => seed))(
    'nothing is lost or told twice while partitions move and messages between them get lost, seed %i',
    async (seed) => {
      const random = seeded(seed)
      const fate = () => ({ arrivals: pick(random, [0, 1, 1, 1, 2]), isAnswered: random() < 0.8 })
      const hosts = 1 + (seed % 2)
      const world = await open({ processes: 3, hosts, exchangeFate: fate, limits: { batchEvents: 4, applyMs: 20 } })
      const any = (): ClusterProcess => pick(random, world.living)
      for (const [id, where] of Object.entries(SEGMENTS)) await any().engine.putSegment(id, { where })
      const messages = Array.from({ length: 80 }, (_, k) => message(random, k))
      for (const one of messages) {
        const sent = world.send(any(), one)
        if (random() < 0.3) world.move(below(random, 4), any())
        const { position } = await sent
        const { anonymousId: value } = one as { anonymousId: string }
        if (random() < 0.5)
          expect(await any().engine.profile({ namespace: 'anonymous_id', value }, { minPosition: position })).toBeDefined()
        await any().engine.settle()
      }
      await any().engine.setClock(5 * HOUR)
      await filled(any().engine)
      const expected = await alone(messages, 5 * HOUR)
      for (const { engine, stopped } of world.processes) {
        expect(await told(engine)).toEqual(expected)
        expect(stopped).toEqual([])
      }
    },
  )
})
