// Runs one plan with several owners, and says what was broken. Owns nothing.
import type { Broken } from '../model.ts'
import { record } from '../tape.ts'
import { Failure } from '../world.ts'
import { drawOwnersPlan, type OwnersPlan } from './plan.ts'
import { OwnersWorld, type Seen } from './world.ts'

export const OWNERS_ACTIONS = 30

export interface OwnersOutcome {
  readonly plan: OwnersPlan
  readonly broken: Broken | undefined
  readonly steps: number
  readonly hash: number
  readonly events: number
  readonly transitions: number
  readonly seen: ReadonlyMap<Seen, number>
  readonly trail: readonly string[]
}

export async function runOwners(plan: OwnersPlan, keepsTrail = false): Promise<OwnersOutcome> {
  const world = new OwnersWorld(plan, keepsTrail)
  let broken: Broken | undefined
  try {
    await world.run()
  } catch (error) {
    if (error instanceof Failure) broken = error.broken
    // Whatever else is thrown is a failure too, of the world if not of the engine.
    else broken = { invariant: 14, what: String(error instanceof Error ? error.stack : error) }
  } finally {
    record(undefined)
  }
  const { steps, hash, trail } = world.scheduler
  const { accepted } = world.model
  return { plan, broken, steps, hash, trail, events: accepted.size, transitions: world.model.transitions().length, seen: world.seen }
}

export function runOwnersSeed(seed: number, keepsTrail = false): Promise<OwnersOutcome> {
  return runOwners(drawOwnersPlan(seed, OWNERS_ACTIONS), keepsTrail)
}
