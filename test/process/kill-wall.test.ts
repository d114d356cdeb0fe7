// kill -9 on the wall clock: windows of seconds, so that time moves people between, during and after the kills; every transition is
// recomputed from the instants at which events were applied.
import { expect, test } from 'vitest'
import { killRounds } from './rounds.ts'

const seed = Number(process.env.TRIBUTARY_SEED ?? Math.floor(Math.random() * 1e6))

test('every transition is where the events and the clock put it', { timeout: 120_000 }, async () => {
  const { faults, figures } = await killRounds({ seed, rounds: 2, clock: 'wall', people: 60, lifeMs: 500 })
  console.log(`seed ${seed}: ${JSON.stringify(figures)}`)
  expect(faults.slice(0, 20)).toEqual([])
  expect(figures.checkedOneByOne).toBeGreaterThan(50)
})
