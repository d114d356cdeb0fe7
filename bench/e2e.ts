// The whole product on one machine: events over HTTP at a fixed rate, transitions over server-sent events, look-ups beside them.
//
//   node bench/e2e.ts [--history 300000] [--users 300000] [--segments 50] [--rate 16000] [--seconds 60] [--warm 20]
//     [--lookups 2000] [--partitions 16] [--hosts 1] [--check] [--bisect LOW:HIGH] [--profile DIR] [--json]
//
// The server is a process of its own with a history that ends now. Load is open-loop (open-loop.ts), look-ups too (lookup.ts).
// --check compares the final memberships with a naive recomputation from everything that was sent. --bisect looks for the highest rate at
// which 99 % of transitions arrive within 50 ms; each probe is a run of --seconds on the same server.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { engineOptions } from '../src/cli/server.ts'
import { checkConfig } from '../src/config-load.ts'
import { Namespaces } from '../src/core/namespace.ts'
import { openDirectory } from '../src/engine/open.ts'
import { memberships } from './engine.ts'
import { type History, historyOptions, knownPeople, makeHistory } from './history.ts'
import { type LiveOptions, type LiveRun, live, liveLines } from './live.ts'
import { type Figures, machine, printed, type Result } from './report.ts'
import { type ServerProcess, type ServerSetup, startServer } from './server.ts'
import { type Comparison, compare, expectedMemberships } from './workload/check.ts'
import { eventLines } from './workload/events.ts'
import { hashTies } from './workload/records.ts'
import { segmentFile } from './workload/segments.ts'

export interface E2eOptions {
  readonly history: number
  readonly users: number
  readonly segments: number
  readonly partitions: number
  readonly hosts: number
  readonly rate: number
  readonly seconds: number
  readonly warmSeconds: number
  readonly lookupsPerSecond: number
  readonly check: boolean
  readonly bisect?: { readonly low: number; readonly high: number; readonly probes: number }
  readonly profileDir?: string
}

const BATCH = 100
const PEOPLE = 50_000
const PROBES = 6
const SUSTAINED_P99_MS = 50

interface Listener {
  /** How it goes. */
  say(line: string): unknown
  /** A result, as soon as it is there. */
  tell(figures: Figures): unknown
}

export interface E2eOutcome {
  readonly results: readonly Figures[]
  readonly comparison?: Comparison
}

export async function e2e(o: E2eOptions, { say, tell }: Listener): Promise<E2eOutcome> {
  const dir = mkdtempSync(join(tmpdir(), 'tributary-e2e-'))
  const setup: ServerSetup = { dataDir: join(dir, 'data'), partitions: o.partitions, hosts: o.hosts, profileDir: o.profileDir }
  const history: History = { ...o, events: o.history, seed: 1, endMs: Date.now(), cover: false }
  try {
    await makeHistory(setup, history)
    say(`history of ${o.history.toLocaleString('en')} events is in place`)
    const people = o.lookupsPerSecond > 0 ? knownPeople(history, PEOPLE) : []
    const server = await startServer(setup)
    const loads: (LiveOptions & { startMs: number })[] = []
    const run = async (rate: number): Promise<LiveRun> => {
      const options = { ...o, rate, batch: BATCH, seed: 2 + loads.length, people, scratch: dir }
      const done = await live(server, options)
      loads.push({ ...options, startMs: done.startMs })
      return done
    }
    const results = o.bisect ? [await bisect(server, run, { ...o.bisect, say })] : figuresOf(await run(o.rate))
    for (const figures of results) tell(figures)
    await server.settle()
    await server.stop()
    if (!o.check) return { results }
    return { results, comparison: await checked({ setup, o, history, loads }) }
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

const figuresOf = ({ whole, latencies }: LiveRun): Figures[] => [whole, ...latencies]

interface Bisection {
  readonly low: number
  readonly high: number
  readonly probes: number
  say(line: string): void
}

/** The highest rate sustained, to a 64th of the range. */
async function bisect(
  server: ServerProcess,
  run: (rate: number) => Promise<LiveRun>,
  { low, high, probes, say }: Bisection,
): Promise<Result> {
  let [sustained, tooMuch] = [0, high]
  let best: LiveRun | undefined
  for (let probe = 0, rate = low; probe < probes; probe++) {
    const done = await run(rate)
    await server.settle()
    const { p99 } = done.load.transitions
    const holds = done.load.failed === 0 && p99 <= SUSTAINED_P99_MS
    say(`${rate.toLocaleString('en')}/s: p99 ${p99} ms, ${done.load.failed} refused: ${holds ? 'sustained' : 'too much'}`)
    if (holds) [sustained, best] = [rate, done]
    else tooMuch = rate
    rate = Math.round(((holds ? sustained : Math.min(low, tooMuch / 2)) + tooMuch) / 2 / BATCH) * BATCH
  }
  const at = best?.whole
  return {
    name: 'e2e sustained',
    events: at?.events ?? 0,
    eventsPerSecond: sustained,
    cpuUsPerEvent: at?.cpuUsPerEvent ?? 0,
    rssMB: at?.rssMB ?? 0,
    p99Ms: best?.load.transitions.p99 ?? 0,
    notSustained: tooMuch,
    load1: machine().load1,
  }
}

interface Sent {
  readonly setup: ServerSetup
  readonly o: E2eOptions
  readonly history: History
  readonly loads: readonly (LiveOptions & { startMs: number })[]
}

/** Opens what the server left with the clock standing still, and compares. */
async function checked({ setup, o, history, loads }: Sent): Promise<Comparison> {
  const atMs = Date.now()
  const file = segmentFile({ n: o.segments })
  const config = checkConfig({ dataDir: setup.dataDir, partitions: o.partitions, hosts: o.hosts })
  const failed = (error: Error): void => {
    throw error
  }
  const engine = await openDirectory({
    ...engineOptions(config, new Namespaces(config.identity)),
    alarm: (message) => process.stderr.write(`${message}\n`),
    stopped: (partition, reason) => failed(new Error(`partition ${partition} stopped: ${reason}`)),
    fatal: failed,
    clockStandsAt: atMs,
  })
  try {
    await engine.settle()
    await flipsFired(engine)
    const got = await memberships(
      engine,
      file.segments.map((s) => s.id),
    )
    return compare(expectedMemberships(everything(history, loads), file, { atMs, sums: 'exact', tieOf: hashTies() }), got)
  } finally {
    await engine.close()
  }
}

const LOOK_EVERY_MS = 250
const QUIET_LOOKS = 5

/** Flips that are due at the instant have been fired: nothing has moved for a while. */
async function flipsFired(engine: Awaited<ReturnType<typeof openDirectory>>): Promise<void> {
  for (let quiet = 0, before = ''; quiet < QUIET_LOOKS; ) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS))
    const transitions = (await engine.metrics()).match(/^tributary_transitions_total.*$/gm)?.join() ?? ''
    quiet = transitions === before ? quiet + 1 : 0
    before = transitions
  }
}

function* everything(history: History, loads: Sent['loads']): Generator<string, void, undefined> {
  yield* eventLines(historyOptions(history))
  for (const load of loads) yield* liveLines(load, load.startMs)
}

function readOptions(argv: string[]): E2eOptions & { json: boolean } {
  const number = (x: string) => ({ type: 'string', default: x }) as const
  const { values: v } = parseArgs({
    args: argv,
    options: {
      history: number('300000'),
      users: number('300000'),
      segments: number('50'),
      partitions: number('16'),
      hosts: number('1'),
      rate: number('16000'),
      seconds: number('60'),
      warm: number('20'),
      lookups: number('2000'),
      check: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      bisect: { type: 'string' },
      profile: { type: 'string' },
    },
  })
  const range = v.bisect?.split(':').map(Number)
  return {
    history: Number(v.history),
    users: Number(v.users),
    segments: Number(v.segments),
    partitions: Number(v.partitions),
    hosts: Number(v.hosts),
    rate: Number(v.rate),
    seconds: Number(v.seconds),
    warmSeconds: Number(v.warm),
    lookupsPerSecond: Number(v.lookups),
    check: v.check,
    json: v.json,
    ...(range ? { bisect: { low: range[0] ?? 0, high: range[1] ?? 0, probes: PROBES } } : {}),
    ...(v.profile === undefined ? {} : { profileDir: v.profile }),
  }
}

if (import.meta.main) {
  const { json, ...o } = readOptions(process.argv.slice(2))
  const { comparison } = await e2e(o, {
    say: (line) => process.stderr.write(`${line}\n`),
    tell: (figures) => process.stdout.write(`${printed(figures, json)}\n`),
  })
  if (comparison) process.stderr.write(`check: ${JSON.stringify(comparison)}\n`)
  if (comparison?.ok === false) process.exitCode = 1
}
