// Runs one plan of several processes on topics, and says what was broken. Owns nothing.
import { REWRITE_LIMITS } from '../../../src/engine/rewrite.ts'
import { outcomeOf, type SharedOutcome } from '../outcome.ts'
import type { Shrinkable } from '../shrink.ts'
import { type DeploymentPlan, drawDeploymentPlan, PLAIN } from './plan.ts'
import type { Seen } from './witness.ts'
import { DeploymentWorld } from './world.ts'

const DEPLOYMENT_ACTIONS = 40
const STEPS_TOLD = 40
/** Of rewriting: what makes rounds short where there are few rows. */
const FAST = { leastBytes: 4096, pageRows: 4 }

export type DeploymentOutcome = SharedOutcome<DeploymentPlan, Seen>

export async function runDeployment(plan: DeploymentPlan, keepsTrail = false): Promise<DeploymentOutcome> {
  const usual = { ...REWRITE_LIMITS }
  if (plan.layout.rewritesFast) Object.assign(REWRITE_LIMITS, FAST)
  try {
    return await outcomeOf(new DeploymentWorld(plan, keepsTrail))
  } finally {
    Object.assign(REWRITE_LIMITS, usual)
  }
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
