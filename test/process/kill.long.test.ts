// Many rounds of kill -9: `npm run test:kill`, or TRIBUTARY_KILL_ROUNDS=500 npm run test:kill.
import { expect, test } from 'vitest'
import { KILLS } from './faults.ts'
import { faultRounds } from './rounds.ts'

const rounds = Number(process.env.TRIBUTARY_KILL_ROUNDS ?? 50)
const seed = Number(process.env.TRIBUTARY_SEED ?? Math.floor(Math.random() * 1e6))

test.each(['manual', 'wall'] as const)('on the %s clock', async (clock) => {
  const say = (what: string): void => console.log(what)
  const faults = Array.from({ length: rounds }, (_, i) => KILLS[i % KILLS.length] ?? 'killed')
  const { faults: found, figures } = await faultRounds({ seed, faults, clock, people: 300, lifeMs: 1500, say })
  console.log(`seed ${seed}, ${clock} clock: ${JSON.stringify(figures)}`)
  expect(found.slice(0, 50)).toEqual([])
})
