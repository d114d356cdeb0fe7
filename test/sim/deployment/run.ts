// Runs one plan of several processes on topics, and says what was broken. Owns nothing.
import { REWRITE_LIMITS } from '../../../src/engine/rewrite.ts'
import type { Broken } from '../model.ts'
import type { Shrinkable } from '../shrink.ts'
import { record } from '../tape.ts'
import { Failure } from '../world.ts'
import { type DeploymentPlan, drawDeploymentPlan, PLAIN } from './plan.ts'
import type { Seen } from './witness.ts'
import { DeploymentWorld } from './world.ts'

const DEPLOYMENT_ACTIONS = 40
const STEPS_TOLD = 40
/** Of rewriting: what makes rounds short where there are few rows. */
const FAST = { leastBytes: 4096, pageRows: 4 }

export interface DeploymentOutcome {
  readonly plan: DeploymentPlan
  readonly broken: Broken | undefined
  readonly steps: number
  readonly hash: number
  readonly events: number
  readonly transitions: number
  readonly seen: ReadonlyMap<Seen, number>
  readonly trail: readonly string[]
}

export async function runDeployment(plan: DeploymentPlan, keepsTrail = false): Promise<DeploymentOutcome> {
  const usual = { ...REWRITE_LIMITS }
  if (plan.layout.rewritesFast) Object.assign(REWRITE_LIMITS, FAST)
  const world = new DeploymentWorld(plan, keepsTrail)
  let broken: Broken | undefined
  try {
    await world.run()
  } catch (error) {
    if (error instanceof Failure) broken = error.broken
    // Whatever else is thrown is a failure too, of the world if not of the engine.
    else broken = { invariant: 14, what: String(error instanceof Error ? error.stack : error) }
  } finally {
    record(undefined)
    Object.assign(REWRITE_LIMITS, usual)
  }
  const { steps, hash, trail } = world.scheduler
  const { accepted } = world.model
  return { plan, broken, steps, hash, trail, events: accepted.size, transitions: world.model.transitions().length, seen: world.seen }
}

export function runDeploymentSeed(seed: number, keepsTrail = false): Promise<DeploymentOutcome> {
  return runDeployment(drawDeploymentPlan(seed, DEPLOYMENT_ACTIONS), keepsTrail)
}

export const shrinkableDeployment: Shrinkable<DeploymentPlan> = {
  run: (plan) => runDeployment(plan),
  plain: PLAIN,
  fewer: (layout, partitions) => ({ ...layout, partitions, hosts: Math.min(layout.hosts, partitions) }),
}

/** The plan, and the last steps before its end. */
export function storyOfDeployment({ plan, trail }: DeploymentOutcome): string {
  const actions = plan.actions.map((action, i) => `${String(i + 1).padStart(3)}. ${JSON.stringify(action)}`)
  return [`seed ${plan.seed}; ${JSON.stringify(plan.layout)}`, ...actions, ...trail.slice(-STEPS_TOLD)].join('\n')
}
