// Looks for a planted bug, seed by seed. Owns nothing.

import { runDeploymentSeed } from '../deployment/run.ts'
import type { Broken } from '../model.ts'
import { runOwnersSeed } from '../owners/run.ts'
import { runSeed } from '../run.ts'
import { switches } from '../switches.ts'
import type { Planted } from './planted.ts'

export interface Catch {
  readonly seed: number
  readonly broken: Broken
  /** Seeds that were tried. */
  readonly tried: number
}

const RUN = { one: runSeed, owners: runOwnersSeed, deployment: runDeploymentSeed }

/** The first seed that finds the bug; undefined: none within its bound did. */
export async function hunt(bug: Planted): Promise<Catch | undefined> {
  const undo = bug.plant()
  switches.neverSpent = true
  try {
    for (let seed = 1; seed <= bug.seeds; seed++) {
      const { broken } = await RUN[bug.worlds ?? 'one'](seed)
      if (broken) return { seed, broken, tried: seed }
    }
    return undefined
  } finally {
    switches.neverSpent = false
    undo()
  }
}
