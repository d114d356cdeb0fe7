// Faults on the wall clock: time goes on while a server is dead or stands still.
import { expect, test } from 'vitest'
import { faultRounds } from './rounds.ts'

const seed = Number(process.env.TRIBUTARY_SEED ?? Math.floor(Math.random() * 1e6))

test('every transition is where the events and the clock put it', async () => {
  const { faults, figures } = await faultRounds({
    seed,
    faults: ['stood still', 'killed'],
    clock: 'wall',
    people: 25,
    lifeMs: 400,
    thinkMs: 100,
  })
  console.log(`seed ${seed}: ${JSON.stringify(figures)}`)
  expect(faults.slice(0, 20)).toEqual([])
  expect(figures.checkedOneByOne).toBeGreaterThan(50)
})
