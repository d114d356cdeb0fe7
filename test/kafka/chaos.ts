// Long runs of a deployment that is not left in peace: `npm run test:chaos -- --minutes 20 --seed 7`. Each run prints its script as it
// goes, then figures, then every law that is broken. Exits with 1 if any is, with 130 when interrupted; leaves nothing behind.
import { parseArgs } from 'node:util'
import { runChaos } from './chaos-run.ts'
import { drawScript } from './chaos-script.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    /** Roughly: a round is reckoned at twelve seconds. */
    minutes: { type: 'string', default: '5' },
    people: { type: 'string', default: '20000' },
    'per-second': { type: 'string', default: '150' },
    partitions: { type: 'string', default: '16' },
    clock: { type: 'string', default: 'manual' },
    profiles: { type: 'boolean', default: false },
    'delete-every-ms': { type: 'string', default: '20000' },
  },
})
const ROUND_S = 12
const seed = Number(values.seed ?? Math.floor(Math.random() * 1e6))
const clock = values.clock === 'wall' ? 'wall' : 'manual'
const begun = performance.now()
const say = (what: string): void => console.log(`${((performance.now() - begun) / 1000).toFixed(1)} s  ${what}`)

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)
  process.once(signal, () => process.exit(code))

say(`seed ${seed}, ${clock} clock, ${values.people} people`)
const { broken, figures } = await runChaos({
  seed,
  clock,
  script: drawScript(seed, Math.max(1, Math.round((Number(values.minutes) * 60) / ROUND_S))),
  people: Number(values.people),
  perSecond: Number(values['per-second']),
  partitions: Number(values.partitions),
  tellsProfiles: values.profiles,
  deleteEveryMs: Number(values['delete-every-ms']),
  say,
})
say(JSON.stringify(figures))
for (const line of broken) say(`BROKEN: ${line}`)
say(broken.length === 0 ? 'no law is broken' : `${broken.length} lines of broken laws; seed ${seed}`)
process.exitCode = broken.length === 0 ? 0 : 1
