// This engine and the Kafka Streams peer in turn, on the same events: preloaded events, until all are worked off.
//   npm run bench:side-by-side -- --peer DIR --peer-build DIR --peer-work DIR --bootstrap HOST:PORT [--broker-pid PID]
//       [--events 1000000] [--users 1000000] [--segments 50] [--runs 3] [--threads 2] [--ours COMMAND] [--json]
//
// The order changes from round to round, so that a machine that warms up or slows down favours nobody.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { machine, rounded, type Spread, spreadOf } from './report.ts'
import { generate } from './workload/generate.ts'

export interface Options {
  /** Folder of the peer's scripts. */
  readonly peer: string
  readonly peerBuild: string
  readonly peerWork: string
  readonly bootstrap: string
  readonly brokerPid: string | undefined
  readonly events: number
  readonly users: number
  readonly segments: number
  readonly runs: number
  readonly threads: number
  /** The command that runs ours; --json, --n, --users and --segments are added. It makes its events itself: the same, as they come from one seed. */
  readonly ours: string
  readonly json: boolean
}

/** One run of one system, in the same terms for both. */
export interface Run {
  readonly eventsPerSecond: number
  /** Of the process that does the work. */
  readonly cpuUsPerEvent: number
  /** With that of the broker, which the peer can't do without. */
  readonly allCpuUsPerEvent: number
  readonly rssMB: number
}

export const METRICS = ['eventsPerSecond', 'cpuUsPerEvent', 'allCpuUsPerEvent', 'rssMB'] as const
type Metric = (typeof METRICS)[number]

/** The last line of JSON that a command printed for a run. */
function lastJson(output: string, isRun: (row: Record<string, unknown>) => boolean): Record<string, unknown> {
  const rows = output
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  const row = rows.findLast(isRun)
  if (row === undefined) throw new Error(`no result in: ${output.slice(0, 500)}`)
  return row
}

function figure(row: Record<string, unknown>, name: string): number {
  const value = row[name]
  if (typeof value !== 'number' || !Number.isFinite(value)) throw new Error(`no number ${name} in ${JSON.stringify(row)}`)
  return value
}

export function ourRun(output: string): Run {
  const row = lastJson(output, (r) => 'cpuUsPerEvent' in r)
  const cpuUsPerEvent = figure(row, 'cpuUsPerEvent')
  return { eventsPerSecond: figure(row, 'eventsPerSecond'), cpuUsPerEvent, allCpuUsPerEvent: cpuUsPerEvent, rssMB: figure(row, 'rssMB') }
}

export function peerRun(output: string): Run {
  const row = lastJson(output, (r) => r.kind === 'preload')
  const app = figure(row, 'appCpuUs')
  const broker = 'brokerCpuUs' in row ? figure(row, 'brokerCpuUs') : 0
  return { eventsPerSecond: figure(row, 'perSec'), cpuUsPerEvent: app, allCpuUsPerEvent: app + broker, rssMB: figure(row, 'appRssMb') }
}

export interface Row {
  readonly metric: Metric
  readonly ours: Spread
  readonly peer: Spread
  /** Ours by the peer's, round by round. */
  readonly ratio: Spread
}

export function compareRuns(ours: readonly Run[], peer: readonly Run[]): Row[] {
  return METRICS.map((metric) => ({
    metric,
    ours: spreadOf(ours.map((r) => r[metric])),
    peer: spreadOf(peer.map((r) => r[metric])),
    ratio: spreadOf(ours.map((r, i) => r[metric] / (peer[i]?.[metric] ?? Number.NaN))),
  }))
}

export function table(rows: readonly Row[]): string {
  const shown = ({ median, min, max }: Spread) => `${rounded(median)} (${rounded(min)}-${rounded(max)})`
  const lines = rows.map((r) => `| ${r.metric} | ${shown(r.ours)} | ${shown(r.peer)} | ${shown(r.ratio)} |`)
  return ['| median (min-max) | ours | peer | ours / peer |', '| --- | --- | --- | --- |', ...lines].join('\n')
}

interface Files {
  readonly events: string
  readonly segments: string
  readonly topic: string
}

function writeFiles(o: Options): Files {
  mkdirSync(o.peerWork, { recursive: true })
  const topic = `side-${o.events}-${o.users}`
  const files = { events: join(o.peerWork, `${topic}.ndjson`), segments: join(o.peerWork, `segments-${o.segments}.json`), topic }
  if (!existsSync(files.events)) generate(['events', '--n', String(o.events), '--users', String(o.users), '--out', files.events])
  generate(['segments', '--n', String(o.segments), '--out', files.segments])
  return files
}

function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): string {
  return execFileSync(command, args, { encoding: 'utf8', env, stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 64 << 20 })
}

function runOurs(o: Options): Run {
  const [command = '', ...args] = o.ours.split(' ')
  const sizes = ['--n', String(o.events), '--users', String(o.users), '--segments', String(o.segments)]
  return ourRun(run(command, [...args, '--json', ...sizes]))
}

function runPeer(o: Options, files: Files): Run {
  const broker = o.brokerPid === undefined ? {} : { BROKER_PID: o.brokerPid }
  const env = { ...process.env, PEER_BUILD: o.peerBuild, PEER_WORK: o.peerWork, BOOTSTRAP: o.bootstrap, ...broker }
  const settings = [`file=${files.events}`, `topic=${files.topic}`, `segments=${files.segments}`, `threads=${o.threads}`, 'runs=1']
  return peerRun(run(process.execPath, [join(o.peer, 'bench.mjs'), 'preload', ...settings], env))
}

/** Runs both; `say` hears of each run as it ends. */
export function sideBySide(o: Options, say: (line: string) => void): Row[] {
  const files = writeFiles(o)
  const ours: Run[] = []
  const peer: Run[] = []
  for (let round = 0; round < o.runs; round++) {
    const turns = [
      { name: 'ours', take: () => ours.push(runOurs(o)), of: ours },
      { name: 'peer', take: () => peer.push(runPeer(o, files)), of: peer },
    ]
    for (const { name, take, of } of round % 2 === 0 ? turns : turns.reverse()) {
      take()
      say(JSON.stringify({ round, system: name, ...of.at(-1), load1: machine().load1 }))
    }
  }
  return compareRuns(ours, peer)
}

export function readOptions(args: string[]): Options {
  const text = { type: 'string' } as const
  const { values } = parseArgs({
    args,
    options: {
      ...{ peer: text, 'peer-build': text, 'peer-work': text, bootstrap: text, 'broker-pid': text, ours: text, json: { type: 'boolean' } },
      ...{ events: text, users: text, segments: text, runs: text, threads: text },
    },
  })
  const given = (name: 'peer' | 'peer-build' | 'peer-work' | 'bootstrap'): string => {
    const value = values[name]
    if (value === undefined) throw new Error(`--${name} is missing; the beginning of bench/side-by-side.ts shows how to call it`)
    return value
  }
  const number = (name: 'events' | 'users' | 'segments' | 'runs' | 'threads', otherwise: number): number => {
    const value = Number(values[name] ?? otherwise)
    if (!Number.isSafeInteger(value) || value < 1) throw new Error(`--${name} takes a whole number above 0, not ${values[name]}`)
    return value
  }
  return {
    peer: given('peer'),
    peerBuild: given('peer-build'),
    peerWork: given('peer-work'),
    bootstrap: given('bootstrap'),
    brokerPid: values['broker-pid'],
    events: number('events', 1_000_000),
    users: number('users', 1_000_000),
    segments: number('segments', 50),
    runs: number('runs', 3),
    threads: number('threads', 2),
    ours: values.ours ?? 'npm run --silent bench:engine --',
    json: values.json === true,
  }
}

if (import.meta.main) {
  const options = readOptions(process.argv.slice(2))
  const rows = sideBySide(options, (line) => console.error(line))
  const { events, users, segments, runs, threads } = options
  const about = { events, users, segments, runs, threads, ...machine() }
  console.log(options.json ? JSON.stringify({ ...about, rows }) : `${JSON.stringify(about)}\n\n${table(rows)}`)
}
