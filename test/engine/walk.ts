// Random walks of an engine and its oracle, for fast-check.
import fc from 'fast-check'
import { expect } from 'vitest'
import type { Where } from '../../src/operators/definition.ts'
import { conditionArbitrary, whereArbitrary } from '../oracle/definitions-arbitrary.ts'
import { type EventSketch, eventArbitrary, WINDOWS_MS } from '../oracle/events-arbitrary.ts'
import { layoutArbitrary } from './layout-arbitrary.ts'
import { narrowEvent, narrowWhere } from './narrow-arbitrary.ts'
import { type Crash, type Layout, restOf, type Step, WorldRun } from './world-run.ts'

const ids = fc.constantFrom('s0', 's1', 's2', 's3')
const waits = fc.oneof(
  fc.constantFrom(...WINDOWS_MS),
  fc.constantFrom(...WINDOWS_MS).map((ms) => ms - 1),
  fc.constantFrom(...WINDOWS_MS).map((ms) => ms + 1),
  fc.integer({ min: 0, max: 150 }),
)

function stepArbitrary(event: fc.Arbitrary<EventSketch>, where: fc.Arbitrary<Where>): fc.Arbitrary<Step> {
  return fc.oneof(
    { weight: 14, arbitrary: event.map((one) => ({ kind: 'event', event: one }) as const) },
    { weight: 2, arbitrary: waits.map((ms) => ({ kind: 'wait', ms }) as const) },
    { weight: 3, arbitrary: fc.constantFrom(-1, 0, 1).map((offsetMs) => ({ kind: 'boundary', offsetMs }) as const) },
    {
      weight: 2,
      arbitrary: fc.record({ kind: fc.constant('put' as const), id: ids, where: fc.option(where, { nil: undefined, freq: 4 }) }),
    },
  )
}

const crashArbitrary: fc.Arbitrary<Crash> = fc.oneof(
  { weight: 12, arbitrary: fc.constant(undefined) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 30 }) },
)

export async function play(layout: Layout, first: readonly Where[], steps: readonly (readonly [Step, Crash])[]): Promise<void> {
  const run = await WorldRun.open(layout)
  for (const [i, where] of first.entries()) await run.step({ kind: 'put', id: `s${i}`, where })
  for (const [i, [step, crash]] of steps.entries()) {
    await run.step(step, crash)
    if (i % 10 === 9) {
      await run.flush()
      await restOf(run.engine, run.checkAll())
    }
  }
  await run.flush()
  await restOf(run.engine, run.checkAll())
  await restOf(run.engine, run.engine.close())
  expect(run.engine.stopped).toEqual([])
}

type Walk = readonly [layout: Layout, first: readonly Where[], steps: readonly (readonly [Step, Crash])[]]

function walkArbitrary(
  event: fc.Arbitrary<EventSketch>,
  where: fc.Arbitrary<Where>,
  steps: { min: number; max: number },
): fc.Arbitrary<Walk> {
  return fc.tuple(
    layoutArbitrary,
    fc.array(where, { minLength: 1, maxLength: 4, size: 'max' }),
    fc.array(fc.tuple(stepArbitrary(event, where), crashArbitrary), { minLength: steps.min, maxLength: steps.max, size: 'max' }),
  )
}

/** The whole operator set and all shapes of values. */
export const wideWalk = walkArbitrary(eventArbitrary(), fc.oneof(conditionArbitrary as fc.Arbitrary<Where>, whereArbitrary), {
  min: 1,
  max: 40,
})
/** Nearly every event matters to nearly every condition. */
export const narrowWalk = walkArbitrary(narrowEvent, narrowWhere, { min: 5, max: 50 })
