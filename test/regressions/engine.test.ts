// Cases that once failed, as small as they could be made.
import { expect, test } from 'vitest'
import type { JsonObject } from '../../src/core/event.ts'
import { type Layout, restOf, type Step, WorldRun } from '../engine/world-run.ts'
import { type EventSketch, identifier } from '../oracle/events-arbitrary.ts'

const LAYOUT: Layout = {
  partitions: 1,
  hosts: 1,
  burst: 1,
  batchEvents: 1000,
  batchBytes: 4 << 20,
  sliceMs: 1e9,
  splitBytes: 4096,
  timerHorizonMs: 60_000,
  cacheBytes: 64 << 20,
  applyMs: 1000,
  applyBytes: 4 << 20,
  slow: false,
  guarded: false,
  seed: 1,
}

const NAMESPACE_OF: { readonly [letter: string]: string } = { u: 'user_id', e: 'email', a: 'anonymous_id' }

function event(id: number, values: readonly string[], offsetMs: number, properties: JsonObject = {}, traits?: JsonObject): Step {
  const identifiers = values.map((value) => identifier(NAMESPACE_OF[value[0] ?? ''] ?? 'other', value))
  const sketch: EventSketch = { name: 'A', offsetMs, properties, traits, contextTraits: undefined, identifiers, sourcePriority: 100, id }
  return { kind: 'event', event: sketch }
}

async function finish(run: WorldRun): Promise<void> {
  await run.flush()
  await restOf(run.engine, run.checkAll())
  await restOf(run.engine, run.engine.close())
  expect(run.engine.stopped).toEqual([])
}

test('a sum that has forgotten amounts above its ceiling meets a negative one that has waited for its instant', async () => {
  const run = await WorldRun.open(LAYOUT)
  const steps: Step[] = [
    { kind: 'put', id: 's0', where: { event: 'A', within: '10ms', sum: 'properties.x', eq: 1 } },
    event(0, ['a1'], 1, { x: 2 }),
    event(0, ['a3', 'u0'], 0),
    event(2, ['u0', 'a1'], 1, { x: 3 }),
    event(0, ['a3'], 1, { x: -1 }),
    { kind: 'wait', ms: 1 },
    { kind: 'boundary', offsetMs: 0 },
  ]
  for (const step of steps) await run.step(step)
  await finish(run)
})

test('an event of minus something, handed over with the root that it founded, meets such a sum', async () => {
  const run = await WorldRun.open({ ...LAYOUT, partitions: 16 })
  await run.step({ kind: 'put', id: 's0', where: { event: 'A', within: '100ms', sum: 'properties.x', eq: 1 } })
  for (let id = 0; id < 5; id++) await run.step(event(id, ['a1'], -id, { x: 3 }))
  await run.step(event(5, ['u0', 'a1'], 0))
  await run.step(event(6, ['e1', 'a1'], 0, { x: -14 }))
  await finish(run)
})

// Messages sent again after a restart met receivers that knew nothing of their marks, or were dropped without a confirmation.
test.each([
  { ...LAYOUT, partitions: 16, slow: true },
  { ...LAYOUT, partitions: 4, hosts: 2, slow: true, cacheBytes: 0, applyBytes: 1 },
])('killed in the middle of a merge ($partitions partitions, $hosts hosts)', async (layout) => {
  for (let turns = 0; turns < 40; turns += 2) {
    const run = await WorldRun.open({ ...layout, seed: turns })
    await run.step({ kind: 'put', id: 's0', where: { event: 'A', count: { gte: 2 } } })
    await run.step({ kind: 'put', id: 's1', where: { not: { trait: 'p', eq: 'b' } } })
    await run.step(event(1, ['a1'], 0, {}, { p: 'a' }))
    await run.step(event(2, ['e1', 'a2'], 0, {}, { p: 'b' }))
    await run.step(event(3, ['u1', 'e1', 'a1'], 0), turns)
    await run.step(event(4, ['u1', 'a3'], 0), turns + 3)
    await run.step({ kind: 'wait', ms: 1 }, turns)
    await finish(run)
  }
})
