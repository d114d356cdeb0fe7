// Power loss, some times; power.long.test.ts does it many times.
import { expect, test } from 'vitest'
import { powerRounds } from './power-rounds.ts'

const seed = Number(process.env.TRIBUTARY_SEED ?? Math.floor(Math.random() * 1e6))

test('nothing acknowledged and nothing seen is lost with the power', async () => {
  const { faults, figures } = await powerRounds({ seed, cuts: 2, people: 12, lifeMs: 500, thinkMs: 50 })
  console.log(`seed ${seed}: ${JSON.stringify(figures)}`)
  expect(faults.slice(0, 20)).toEqual([])
  expect(figures.lostBytes).toBeGreaterThan(0)
  expect(figures.acknowledged).toBeGreaterThan(50)
  expect(figures.seenTransitions).toBeGreaterThan(10)
})
