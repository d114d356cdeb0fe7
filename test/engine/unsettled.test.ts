// Many events at once, over several partitions: what comes out in between depends on the order of arrival, what holds in the end
// does not. TRIBUTARY_ORACLE_RUNS says how many floods, TRIBUTARY_ORACLE_SEED which.
import fc from 'fast-check'
import { describe, test } from 'vitest'
import { flood, wavesArbitrary } from './flood.ts'
import { layoutArbitrary } from './layout-arbitrary.ts'
import { freshSeed, oracleRuns } from './runs.ts'
import type { Layout } from './world-run.ts'

/** Every row is read back while commits are under way. */
const forgetful: fc.Arbitrary<Layout> = fc
  .tuple(layoutArbitrary, fc.integer({ min: 1, max: 4 }), fc.constantFrom(1, 2, 4))
  .map(([layout, batchEvents, partitions]) => ({ ...layout, batchEvents, partitions, hosts: 1, cacheBytes: 0, slow: true }))

describe.each([20260502, freshSeed()])('seed %i', (seed) => {
  test.each([
    ['any layout', wavesArbitrary(layoutArbitrary)],
    ['nothing kept in memory', wavesArbitrary(forgetful)],
  ])('%s', { timeout: 3_600_000 }, async (_, arbitrary) => {
    await fc.assert(
      fc.asyncProperty(arbitrary, ([layout, first, waves]) => flood(layout, first, waves)),
      { seed, numRuns: oracleRuns(15) },
    )
  })
})
