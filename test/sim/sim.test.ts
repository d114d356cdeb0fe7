// Simulated worlds: some fixed seeds, and one more each time; a seed replays exactly.
import { expect, test } from 'vitest'
import { freshSeed } from '../engine/runs.ts'
import { runDeploymentSeed, storyOfDeployment } from './deployment/run.ts'
import { runOwnersSeed } from './owners/run.ts'
import { drawPlan } from './plan.ts'
import { ACTIONS, type Outcome, runPlan, runSeed } from './run.ts'
import { storyOf } from './story.ts'

const FIXED = 40
const FRESH = 10
const OWNERS_FIXED = 5
const OWNERS_FRESH = 2
const DEPLOYMENTS_FIXED = 10
const DEPLOYMENTS_FRESH = 3

async function expectSound(seed: number): Promise<Outcome> {
  const outcome = await runSeed(seed)
  if (outcome.broken) throw new Error(`seed ${seed}\n${storyOf(await runPlan(outcome.plan, { keepsTrail: true }))}`)
  return outcome
}

test(`seeds 1 to ${FIXED} break no invariant`, async () => {
  for (let seed = 1; seed <= FIXED; seed++) await expectSound(seed)
})

const fresh = freshSeed()
test(`${FRESH} seeds from ${fresh} on break no invariant`, async () => {
  for (let seed = fresh; seed < fresh + FRESH; seed++) await expectSound(seed)
})

test('two runs of one seed take the same steps', async () => {
  for (const seed of [3, 23, 47]) {
    const [one, other] = [await runSeed(seed), await runSeed(seed)]
    expect(other.hash).toBe(one.hash)
    expect(other.steps).toBe(one.steps)
  }
})

test('a plan is plain data: written down and read back it takes the same steps', async () => {
  const plan = drawPlan(5, ACTIONS)
  const [one, other] = [await runPlan(plan), await runPlan(JSON.parse(JSON.stringify(plan)))]
  expect(other.hash).toBe(one.hash)
})

async function expectOwnersSound(seed: number): Promise<void> {
  const { broken, trail } = await runOwnersSeed(seed, true)
  if (broken)
    throw new Error(`seed ${seed} of several owners: invariant ${broken.invariant}: ${broken.what}\n${trail.slice(-40).join('\n')}`)
}

async function expectDeploymentSound(seed: number): Promise<void> {
  const outcome = await runDeploymentSeed(seed, true)
  const { broken } = outcome
  if (broken) throw new Error(`seed ${seed} of a deployment: invariant ${broken.invariant}: ${broken.what}\n${storyOfDeployment(outcome)}`)
}

test(`seeds 1 to ${OWNERS_FIXED} of several owners, and of deployments, break no invariant`, async () => {
  for (let seed = 1; seed <= OWNERS_FIXED; seed++) await expectOwnersSound(seed)
  for (let seed = 1; seed <= DEPLOYMENTS_FIXED; seed++) await expectDeploymentSound(seed)
})

test(`the like of seed ${fresh} and the next break no invariant`, async () => {
  for (let seed = fresh; seed < fresh + OWNERS_FRESH; seed++) await expectOwnersSound(seed)
  for (let seed = fresh; seed < fresh + DEPLOYMENTS_FRESH; seed++) await expectDeploymentSound(seed)
})

test('two runs of one seed of several owners, and of a deployment, take the same steps', async () => {
  for (const run of [runOwnersSeed, runDeploymentSeed]) {
    const [one, other] = [await run(7), await run(7)]
    expect(other.hash).toBe(one.hash)
    expect(other.steps).toBe(one.steps)
  }
})
