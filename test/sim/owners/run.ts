// Runs one plan with several owners, and says what was broken. Owns nothing.
import { outcomeOf, type SharedOutcome } from '../outcome.ts'
import { drawOwnersPlan, type OwnersPlan } from './plan.ts'
import { OwnersWorld, type Seen } from './world.ts'

const OWNERS_ACTIONS = 30

export type OwnersOutcome = SharedOutcome<OwnersPlan, Seen>

export function runOwners(plan: OwnersPlan, keepsTrail = false): Promise<OwnersOutcome> {
  return outcomeOf(new OwnersWorld(plan, keepsTrail))
}

export function runOwnersSeed(seed: number, keepsTrail = false): Promise<OwnersOutcome> {
  return runOwners(drawOwnersPlan(seed, OWNERS_ACTIONS), keepsTrail)
}
