// npm run sim -- --seeds N --seed S --steps K [--shrink]     so many seeds from S on, with K actions each
// npm run sim -- --owners --seeds N --seed S [--shrink]               the same of worlds with several processes
// npm run sim -- --planted                                   every planted bug, each within its number of seeds
import { parseArgs } from 'node:util'
import { Coverage } from './coverage.ts'
import type { DeploymentPlan } from './deployment/plan.ts'
import { type DeploymentOutcome, runDeployment, runDeploymentSeed, shrinkableDeployment, storyOfDeployment } from './deployment/run.ts'
import { SEEN as SEEN_IN_DEPLOYMENTS } from './deployment/witness.ts'
import type { Broken } from './model.ts'
import { type OwnersOutcome, runOwnersSeed } from './owners/run.ts'
import { SEEN } from './owners/world.ts'
import { PLANTED } from './planted/all.ts'
import { hunt } from './planted/hunt.ts'
import { ACTIONS, runPlan, runSeed, shrinkable } from './run.ts'
import { shrink } from './shrink.ts'
import { storyOf } from './story.ts'

const USAGE = 'usage: npm run sim -- [--seeds N] [--seed S] [--steps K] [--owners] [--shrink], or --planted'

/** More failures than this are the same one. */
const FAILURES_TOLD = 20
const SAY_EVERY = 1000

interface Flags {
  readonly first: number
  readonly seeds: number
  readonly actions: number
  readonly isShrinking: boolean
}

async function runSeeds({ first, seeds, actions, isShrinking }: Flags): Promise<number> {
  const coverage = new Coverage()
  const began = performance.now()
  let [steps, events, failures, done] = [0, 0, 0, 0]
  const seconds = (): number => (performance.now() - began) / 1000
  for (let seed = first; seed < first + seeds && failures < FAILURES_TOLD; seed++) {
    const outcome = await runSeed(seed, { coverage, actions })
    steps += outcome.steps
    events += outcome.events
    if (++done % SAY_EVERY === 0) console.log(`${done} seeds after ${seconds().toFixed(0)} s`)
    if (!outcome.broken) continue
    failures++
    tell(seed, outcome.broken)
    if (!isShrinking) continue
    const { plan } = await shrink(outcome.plan, outcome.broken, shrinkable)
    console.log(`${storyOf(await runPlan(plan, { keepsTrail: true }))}\n${JSON.stringify(plan)}`)
  }
  console.log(coverage.rows.map(([name, hits]) => `${String(hits).padStart(9)}  ${name}`).join('\n'))
  const rate = (n: number): string => `${n} (${Math.round(n / seconds())} a second)`
  console.log(`each fault hit at least ${coverage.least} times`)
  console.log(`${done} seeds in ${seconds().toFixed(0)} s, ${rate(steps)} steps, ${rate(events)} events counted: ${failures} failures`)
  return failures
}

function tell(seed: number, { invariant, what }: Broken): void {
  console.log(`seed ${seed}: invariant ${invariant}: ${what.slice(0, 1500)}`)
}

/** Every so many seeds, a world in which processes take whole sets of partitions over too. */
const OWNERS_EVERY = 4

async function runOwnersSeeds({ first, seeds, isShrinking }: Flags): Promise<number> {
  const seen = new Map<string, number>([...SEEN_IN_DEPLOYMENTS, ...SEEN].map((name) => [name, 0]))
  const began = performance.now()
  let [steps, events, transitions, failures, done] = [0, 0, 0, 0, 0]
  const count = (outcome: OwnersOutcome | DeploymentOutcome): void => {
    steps += outcome.steps
    events += outcome.events
    transitions += outcome.transitions
    for (const [name, hits] of outcome.seen) seen.set(name, (seen.get(name) ?? 0) + hits)
    if (!outcome.broken) return
    failures++
    tell(first + done, outcome.broken)
  }
  for (; done < seeds && failures < FAILURES_TOLD; done++) {
    const outcome = await runDeploymentSeed(first + done)
    count(outcome)
    if (outcome.broken && isShrinking) await tellShrunk(outcome.plan, outcome.broken)
    if ((first + done) % OWNERS_EVERY === 0) count(await runOwnersSeed(first + done))
  }
  console.log([...seen].map(([name, hits]) => `${String(hits).padStart(9)}  ${name}`).join('\n'))
  const seconds = ((performance.now() - began) / 1000).toFixed(0)
  console.log(`${done} seeds in ${seconds} s, ${steps} steps, ${events} events, ${transitions} transitions: ${failures} failures`)
  return failures
}

async function tellShrunk(failing: DeploymentPlan, broken: Broken): Promise<void> {
  const { plan } = await shrink(failing, broken, shrinkableDeployment)
  console.log(`${storyOfDeployment(await runDeployment(plan, true))}\n${JSON.stringify(plan)}`)
}

async function runPlanted(): Promise<number> {
  let caught = 0
  for (const bug of PLANTED) {
    const found = await hunt(bug)
    if (found) caught++
    const how = found
      ? `seed ${found.seed}: invariant ${found.broken.invariant}: ${found.broken.what.split('\n').slice(0, 2).join(' ').slice(0, 120)}`
      : `NOT CAUGHT within ${bug.seeds} seeds`
    console.log(`${bug.name}\n    ${how}`)
  }
  console.log(`${caught} of ${PLANTED.length} caught`)
  return PLANTED.length - caught
}

/** Undefined where they are none. */
function readFlags(): (Flags & { readonly owners: boolean; readonly planted: boolean }) | undefined {
  const options = {
    seeds: { type: 'string', default: '1000' },
    seed: { type: 'string', default: '1' },
    steps: { type: 'string', default: String(ACTIONS) },
    shrink: { type: 'boolean', default: false },
    planted: { type: 'boolean', default: false },
    owners: { type: 'boolean', default: false },
  } as const
  try {
    const { seeds, seed, steps, shrink: isShrinking, ...kind } = parseArgs({ options }).values
    const [first, count, actions] = [Number(seed), Number(seeds), Number(steps)]
    return [first, count, actions].every(Number.isSafeInteger) ? { ...kind, first, seeds: count, actions, isShrinking } : undefined
  } catch {
    return undefined
  }
}

const flags = readFlags()
if (flags) {
  const failures = flags.planted ? await runPlanted() : await (flags.owners ? runOwnersSeeds(flags) : runSeeds(flags))
  process.exitCode = failures > 0 ? 1 : 0
} else {
  console.error(USAGE)
  process.exitCode = 2
}
