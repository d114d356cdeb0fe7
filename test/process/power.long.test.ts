// Power loss again and again: `npm run test:power`, or TRIBUTARY_POWER_CUTS=500 npm run test:power.
import { expect, test } from 'vitest'
import { powerRounds } from './power-rounds.ts'

const cuts = Number(process.env.TRIBUTARY_POWER_CUTS ?? 60)
const seed = Number(process.env.TRIBUTARY_SEED ?? Math.floor(Math.random() * 1e6))

test('nothing acknowledged and nothing seen is lost with the power', async () => {
  const { faults, figures } = await powerRounds({ seed, cuts, people: 60, lifeMs: 1500, thinkMs: 10 })
  console.log(`seed ${seed}: ${JSON.stringify(figures)}`)
  expect(faults.slice(0, 50)).toEqual([])
  expect(figures.seenTransitions).toBeGreaterThan(10)
})

test('this test can fail: a disk that lies about its syncs is found out', async () => {
  const { faults } = await powerRounds({ seed, cuts: 4, people: 30, lifeMs: 1000, thinkMs: 20, isDiskLying: true })
  console.log(faults.slice(0, 8))
  expect(faults.length).toBeGreaterThan(0)
})
