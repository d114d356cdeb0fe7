// Many events at once, over several partitions: what comes out in between depends on the order of arrival, what holds in the end
// does not. TRIBUTARY_ORACLE_RUNS says how many floods, TRIBUTARY_ORACLE_SEED which.
import fc from 'fast-check'
import { test } from 'vitest'
import { flood, wavesArbitrary } from './flood.ts'
import { freshSeed, oracleRuns } from './runs.ts'

test.each([20260502, freshSeed()])('seed %i', { timeout: 3_600_000 }, async (seed) => {
  await fc.assert(
    fc.asyncProperty(wavesArbitrary, ([layout, first, waves]) => flood(layout, first, waves)),
    { seed, numRuns: oracleRuns(40) },
  )
})
