// The same messages, under a clock that is moved by hand, give the same profiles and the same transitions of each, whether one process
// works on files or one, two, three processes share the partitions over Kafka.
import { randomUUID } from 'node:crypto'
import { expect, inject, test } from 'vitest'
import { below, pick, type Random, seeded, shuffled } from '../identity/random.ts'
import { Deployment } from './deployment.ts'

const PARTITIONS = 8
const USERS = 25
const STEPS = 5
const STEP_MS = 3_600_000
const BEGINS = Date.parse('2026-03-01T00:00:00Z')

const SEGMENTS: Readonly<Record<string, unknown>> = {
  recent: { event: 'Bought', within: '2h' },
  often: { event: 'Bought', count: { gte: 3 }, within: '3h' },
  quiet: { all: [{ event: 'Seen' }, { not: { event: 'Bought', within: '1h' } }] },
  pro: { trait: 'plan', eq: 'pro' },
}

/** The messages of one step, in the order in which they are sent. */
function step(random: Random, index: number): object[] {
  const from = BEGINS + index * STEP_MS
  const messages = Array.from({ length: 50 }, (_, i) => {
    const user = below(random, USERS)
    const names = pick(random, [{ userId: `u${user}` }, { anonymousId: `a${user}` }, { userId: `u${user}`, anonymousId: `a${user}` }])
    const common = { messageId: `${index}-${i}`, timestamp: new Date(from + below(random, STEP_MS)).toISOString(), ...names }
    if (below(random, 5) === 0) return { type: 'identify', traits: { plan: pick(random, ['pro', 'free']) }, ...common }
    return { type: 'track', event: pick(random, ['Bought', 'Seen']), ...common }
  })
  return shuffled(random, messages)
}

interface Result {
  readonly profiles: readonly unknown[]
  readonly transitions: readonly (readonly [profile: string, list: readonly string[]])[]
}

async function resultOf(deployment: Deployment, processes: number): Promise<Result> {
  for (let i = 0; i < processes; i++) await deployment.start(`p${i}`)
  const clockTo = (now: number): Promise<unknown> =>
    deployment.ask('/v1/admin/clock', { method: 'POST', body: { now: new Date(now).toISOString() } })
  await clockTo(BEGINS)
  for (const [id, where] of Object.entries(SEGMENTS)) await deployment.ask(`/v1/segments/${id}`, { method: 'PUT', body: { where } })
  const random = seeded(7)
  for (let i = 0; i < STEPS; i++) {
    // One after the other, each settled: else the order in which partitions hear of one another decides who is born when.
    for (const message of step(random, i)) {
      await deployment.ask('/v1/batch', { method: 'POST', body: { batch: [message] } })
      await deployment.ask('/v1/admin/settle', { method: 'POST' })
    }
    await clockTo(BEGINS + (i + 1) * STEP_MS)
  }
  await clockTo(BEGINS + (STEPS + 4) * STEP_MS)
  const profiles: unknown[] = []
  for (let user = 0; user < USERS; user++) {
    const { position: _, ...profile } = await deployment.ask<Record<string, unknown>>(`/v1/profiles/user_id:u${user}`)
    profiles.push(profile)
  }
  const told = Map.groupBy(await deployment.transitions(), (t) => t.profile)
  const transitions = [...told].map(([profile, list]) => {
    // Ids number a partition's transitions, which those of different profiles may share in another order; repeats have equal ids.
    const distinct = [...new Map(list.map((t) => [t.id, t])).values()]
    return [profile, distinct.map(({ id: _, ...t }) => JSON.stringify(t)).sort()] as const
  })
  return { profiles, transitions: transitions.sort(([a], [b]) => (a < b ? -1 : 1)) }
}

async function run(processes: number, prefix?: string): Promise<Result> {
  const deployment = new Deployment({
    partitions: PARTITIONS,
    flags: ['--clock', 'manual', '--hosts', '1'],
    ...(prefix === undefined ? {} : { kafka: { brokers: inject('kafka'), prefix } }),
  })
  try {
    return await resultOf(deployment, processes)
  } finally {
    await deployment.close()
  }
}

test('the result is the same on files and on one, two or three processes', { timeout: 400_000 }, async () => {
  const embedded = await run(1)
  expect(embedded.transitions.length).toBeGreaterThan(USERS / 2)
  for (const processes of [1, 2, 3]) expect(await run(processes, `test-${randomUUID()}`)).toEqual(embedded)
})
