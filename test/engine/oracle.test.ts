// The engine against the naive oracle: random definitions and feeds, however the engine is cut up and whenever it is killed; every
// transition, membership, trait, timeline and merge. TRIBUTARY_ORACLE_RUNS says how many worlds, TRIBUTARY_ORACLE_SEED which.
import fc from 'fast-check'
import { describe, test } from 'vitest'
import { freshSeed, oracleRuns } from './runs.ts'
import { narrowWalk, play, wideWalk } from './walk.ts'

describe.each([20260501, freshSeed()])('seed %i', (seed) => {
  test.each([
    ['the whole operator set', wideWalk],
    ['where nearly every event matters', narrowWalk],
  ])('%s', { timeout: 3_600_000 }, async (_, walk) => {
    await fc.assert(
      fc.asyncProperty(walk, ([layout, first, steps]) => play(layout, first, steps)),
      { seed, numRuns: oracleRuns(12) },
    )
  })
})
