// Runs one plan, and says what was broken. Owns nothing.
import { Coverage } from './coverage.ts'
import { finish } from './final.ts'
import type { Broken } from './model.ts'
import { brokenBy } from './outcome.ts'
import { drawPlan, PLAIN, type Plan } from './plan.ts'
import type { Shrinkable } from './shrink.ts'
import { World } from './world.ts'

/** Actions of a plan, unless somebody says otherwise. */
export const ACTIONS = 30

export interface Outcome {
  readonly plan: Plan
  readonly broken: Broken | undefined
  readonly steps: number
  /** Of all steps: equal runs have equal ones. */
  readonly hash: number
  readonly events: number
  readonly trail: readonly string[]
}

export async function runPlan(plan: Plan, options: { coverage?: Coverage; keepsTrail?: boolean } = {}): Promise<Outcome> {
  const world = new World(plan, { coverage: options.coverage ?? new Coverage(), keepsTrail: options.keepsTrail ?? false })
  const broken = await brokenBy(async () => {
    await world.run()
    await finish(world)
  })
  const { steps, hash, trail } = world.scheduler
  return { plan, broken, steps, hash, trail, events: world.model.accepted.size }
}

export function runSeed(seed: number, options: { coverage?: Coverage; keepsTrail?: boolean; actions?: number } = {}): Promise<Outcome> {
  return runPlan(drawPlan(seed, options.actions ?? ACTIONS), options)
}

export const shrinkable: Shrinkable<Plan> = {
  run: (plan) => runPlan(plan),
  plain: PLAIN,
  fewer: (layout, partitions) => ({ ...layout, partitions, hosts: Math.min(layout.hosts, partitions) }),
}
