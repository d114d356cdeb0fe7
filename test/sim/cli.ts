// npm run sim -- --seeds N --seed S --steps K
import { parseArgs } from 'node:util'
import { Coverage } from './coverage.ts'
import { ACTIONS, runPlan, runSeed } from './run.ts'
import { shrink } from './shrink.ts'
import { storyOf } from './story.ts'

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    seed: { type: 'string', default: '1' },
    steps: { type: 'string' },
    shrink: { type: 'boolean' },
  },
})
const first = Number(values.seed)
const actions = Number(values.steps ?? ACTIONS)
const coverage = new Coverage()
const began = performance.now()
let [steps, events, failures] = [0, 0, 0]
for (let seed = first; seed < first + Number(values.seeds); seed++) {
  const outcome = await runSeed(seed, { coverage, actions })
  steps += outcome.steps
  events += outcome.events
  if (!outcome.broken) continue
  failures++
  console.log(`seed ${seed}: invariant ${outcome.broken.invariant}: ${outcome.broken.what.slice(0, 1500)}`)
  if (values.shrink) {
    const { plan } = await shrink(outcome.plan, outcome.broken)
    console.log(storyOf(await runPlan(plan, { keepsTrail: true })))
    console.log(JSON.stringify(plan))
  }
  if (failures > 20) break
}
const s = (performance.now() - began) / 1000
console.log(coverage.rows.map(([name, n]) => `${String(n).padStart(9)}  ${name}`).join('\n'))
console.log(`${values.seeds} seeds in ${s.toFixed(1)} s: ${steps} steps, ${events} events; ${failures} failures`)
