// Five rounds of kill -9 under load; kill.long.test.ts does many, on both clocks and with more people.
import { expect, test } from 'vitest'
import { KILLS } from './faults.ts'
import { faultRounds } from './rounds.ts'

const ROUNDS = 5
const seed = Number(process.env.TRIBUTARY_SEED ?? Math.floor(Math.random() * 1e6))

test('nothing acknowledged is lost and nothing counts twice', async () => {
  const faults = Array.from({ length: ROUNDS }, (_, i) => KILLS[i % KILLS.length] ?? 'killed')
  const { faults: found, figures } = await faultRounds({
    seed,
    faults,
    clock: 'manual',
    people: 25,
    lifeMs: 200,
    thinkMs: 100,
    say: () => {},
  })
  console.log(`seed ${seed}: ${JSON.stringify(figures)}`)
  expect(found.slice(0, 20)).toEqual([])
  expect(figures).toMatchObject({ faults: ROUNDS })
  expect(figures.acknowledged).toBeGreaterThan(100)
})
