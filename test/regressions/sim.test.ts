// Plans of the simulator that once failed, made small; each tells why it did. Whoever changes how often the engine waits moves their
// schedules too, so each is tried under several seeds of the scheduler.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Plan } from '../sim/plan.ts'
import { runPlan } from '../sim/run.ts'
import { storyOf } from '../sim/story.ts'

const DIR = join(import.meta.dirname, 'sim')
const SEEDS = 10

interface Case {
  readonly why: string
  readonly plan: Plan
}

test.each(readdirSync(DIR))('%s', async (file) => {
  const { why, plan } = JSON.parse(readFileSync(join(DIR, file), 'utf8')) as Case
  expect(why).not.toBe('')
  for (let i = 0; i < SEEDS; i++) {
    const outcome = await runPlan({ ...plan, seed: plan.seed + i }, { keepsTrail: true })
    if (outcome.broken) throw new Error(`${why}\n${storyOf(outcome)}`)
  }
})
