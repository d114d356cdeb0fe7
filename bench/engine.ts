// The engine alone: events log in, transitions log out, no HTTP. The events log is filled beforehand in a process of its own;
// measured is a fresh process that opens the data directory and works the log off, everything included.
//
//   node bench/engine.ts [--n 1000000] [--users 1000000] [--segments 50] [--cover] [--hosts 1] [--store rocksdb] [--runs 1] [--check] [--transitions] [--json]
//
// An event's acceptance stamp is its event time; the clock stands still at the workload's end, so the final memberships are a
// function of the files and `--check` can compare them with a naive recomputation. `--transitions` does so with every transition.
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Writer } from '../src/core/bytes.ts'
import { systemClock } from '../src/core/clock.ts'
import { encodeEvent } from '../src/core/event.ts'
import { homeOf } from '../src/core/identifier.ts'
import { Namespaces } from '../src/core/namespace.ts'
import type { TaskLimits } from '../src/engine/config.ts'
import type { EmbeddedEngine } from '../src/engine/embedded.ts'
import { encodeDefinitions, Pack } from '../src/engine/inputs.ts'
import { eventsDir } from '../src/engine/layout.ts'
import { openDirectory } from '../src/engine/open.ts'
import { openFileLog } from '../src/log/file-log.ts'
import type { SegmentDefinition } from '../src/operators/definition.ts'
import type { StoreKind } from '../src/state/open-store.ts'
import { measure, printed } from './report.ts'
import { compare, expectedMemberships, type Memberships, profileName } from './workload/check.ts'
import { DEFAULT_EVENTS, eventLines } from './workload/events.ts'
import { definitionsOf } from './workload/map.ts'
import { hashTies, recordsOf } from './workload/records.ts'
import { segmentFile } from './workload/segments.ts'
import { compareTransitions, expectedTransitions, SegmentIndex, type Told } from './workload/transitions.ts'

export interface EngineBench {
  readonly n: number
  readonly users: number
  readonly segments: number
  readonly cover: boolean
  readonly hosts: number
  readonly partitions: number
  readonly store: StoreKind
  readonly durability: 'fsync' | 'none'
}

const MB = 1 << 20
/** Events of one intake call. */
const BATCH = 100
const TRANSITIONS_PER_PAGE = 10_000

export function limitsFor(b: Pick<EngineBench, 'partitions' | 'hosts'>): TaskLimits {
  const day = 86_400_000
  return {
    partitions: b.partitions,
    clock: 'wall',
    identity: new Namespaces().limits,
    dedupeWindowMs: 3 * day,
    timelineRetentionMs: 400 * day,
    timelineEvents: 10_000,
    batchEvents: 500,
    batchBytes: 4 * MB,
    sliceMs: 2,
    skewLimitMs: 2000,
    splitBytes: 4096,
    timerHorizonMs: 60_000,
    cacheBytes: Math.floor((256 * MB * b.hosts) / b.partitions),
    applyMs: 1000,
    applyBytes: 4 * MB,
  }
}

export interface Prepared {
  /** In place of the workload's own. */
  readonly lines?: Iterable<string>
  readonly definitions?: readonly SegmentDefinition[]
}

/** Fills a data directory: the definitions, active from the start, and the events as intake appends them. */
export async function prepare(dir: string, b: EngineBench, given: Prepared = {}): Promise<void> {
  const common = { durability: 'none' as const, clock: systemClock }
  const definitions = await openFileLog(join(dir, 'definitions'), { ...common, partitions: 1 })
  const changes = given.definitions ?? definitionsOf(segmentFile({ n: b.segments }))
  for (const put of changes) definitions.append(0, Buffer.from(JSON.stringify({ put })))
  await definitions.sync()
  await definitions.close()
  const events = await openFileLog(eventsDir(dir), { ...common, partitions: b.partitions })
  for (let p = 0; p < b.partitions; p++) events.append(p, encodeDefinitions(changes.length))
  const packs = Array.from({ length: b.partitions }, () => new Pack())
  const w = new Writer()
  let waiting = 0
  const flush = async (): Promise<void> => {
    for (const [p, pack] of packs.entries()) if (pack.count > 0) events.append(p, pack.take())
    waiting = 0
    await events.sync()
  }
  for (const record of recordsOf(given.lines ?? eventLines(workloadOf(b)))) {
    encodeEvent(record, w.reset())
    packs[homeOf(record.identifiers[0]?.key ?? '', b.partitions)]?.add(w.view())
    if (++waiting === BATCH) await flush()
  }
  await flush()
  await events.close()
}

const workloadOf = (b: EngineBench): Partial<typeof DEFAULT_EVENTS> => ({ n: b.n, users: b.users, cover: b.cover })

export async function openBench(dir: string, b: EngineBench, clockStandsAt?: number): Promise<EmbeddedEngine> {
  return openDirectory({
    dataDir: dir,
    limits: limitsFor(b),
    namespaces: new Namespaces(),
    hosts: b.hosts,
    store: b.store,
    durability: b.durability,
    journalBytes: 64 * MB,
    eventsRetainMs: 86_400_000,
    outputsRetainMs: 86_400_000,
    clockStepLimitMs: 3_600_000,
    alarm: (message) => process.stderr.write(`${message}\n`),
    minFreeBytes: 0,
    maxLagEvents: Number.POSITIVE_INFINITY,
    readTimeoutMs: 60_000,
    fixed: { partitions: b.partitions },
    stopped: (partition, reason) => fail(`partition ${partition} stopped: ${reason}`),
    fatal: (error) => fail(error.stack ?? error.message),
    ...(clockStandsAt === undefined ? {} : { clockStandsAt }),
  })
}

function fail(reason: string): never {
  process.stderr.write(`${reason}\n`)
  process.exit(1)
}

const STEADY_FROM = 0.2

/** Works a prepared directory off, in this process. */
async function run(dir: string, b: EngineBench, options: { check: boolean; transitions: boolean; json: boolean }): Promise<void> {
  const whole = measure('engine')
  const engine = await openBench(dir, b, DEFAULT_EVENTS.endMs)
  let steady: { end: ReturnType<typeof measure>; events: number } | undefined
  let settled = false
  const done = engine.settle().then(() => {
    settled = true
  })
  while (!settled) {
    await new Promise((resolve) => setTimeout(resolve, 50))
    if (steady) continue
    const applied = appliedOf(await engine.metrics())
    if (applied >= b.n * STEADY_FROM) steady = { end: measure('engine steady'), events: applied }
  }
  await done
  const text = await engine.metrics()
  const more = { segments: b.segments, users: b.users, hosts: b.hosts, store: b.store, ...workOf(text, b.n) }
  process.stdout.write(`${printed(whole(b.n, { ...more, peakRssMB: peakRssMB() }), options.json)}\n`)
  if (steady) process.stdout.write(`${printed(steady.end(b.n - steady.events, { segments: b.segments }), options.json)}\n`)
  // Flips due at the instant where the clock stands may still be under way.
  if (options.check || options.transitions) await new Promise((resolve) => setTimeout(resolve, 2000))
  if (options.check) await checkMemberships(engine, b)
  if (options.transitions) await checkTransitions(engine, b)
  await engine.close()
}

const total = (text: string, name: string): number => {
  let sum = 0
  for (const m of text.matchAll(new RegExp(`^${name}\\{[^}]*\\} (\\S+)$`, 'gm'))) sum += Number(m[1])
  return sum
}

const appliedOf = (text: string): number => total(text, 'tributary_events_applied_total')

function workOf(text: string, n: number): { [name: string]: number } {
  return {
    transitionsPerEvent: Math.round((total(text, 'tributary_transitions_total') / n) * 1000) / 1000,
    journalBytesPerEvent: Math.round(total(text, 'tributary_journal_bytes_total') / n),
    rowsReadPerEvent: Math.round((total(text, 'tributary_rows_read_total') / n) * 100) / 100,
    commits: total(text, 'tributary_commits_total'),
    cuts: total(text, 'tributary_batches_cut_total'),
    profiles: total(text, 'tributary_profiles'),
  }
}

function peakRssMB(): number {
  return Math.round(Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? 0) / 1024)
}

/** Compares the final memberships with a naive recomputation from the same lines. */
export async function checkMemberships(engine: EmbeddedEngine, b: EngineBench): Promise<void> {
  const file = segmentFile({ n: b.segments })
  const expected = expectedMemberships(eventLines(workloadOf(b)), file, { atMs: DEFAULT_EVENTS.endMs, sums: 'exact', tieOf: hashTies() })
  const comparison = compare(
    expected,
    await memberships(
      engine,
      file.segments.map((s) => s.id),
    ),
  )
  process.stderr.write(`check: ${JSON.stringify(comparison)}\n`)
  if (!comparison.ok) process.exitCode = 1
}

/** Compares every transition with a naive recomputation from the same lines. */
async function checkTransitions(engine: EmbeddedEngine, b: EngineBench): Promise<void> {
  const index = new SegmentIndex(segmentFile({ n: b.segments }), { sums: 'exact', tieOf: hashTies() })
  const expected = expectedTransitions(eventLines(workloadOf(b)), index, DEFAULT_EVENTS.endMs)
  const comparison = compareTransitions(expected, await transitionsOf(engine, index))
  process.stderr.write(`transitions: ${JSON.stringify(comparison)}\n`)
  if (!comparison.ok) process.exitCode = 1
}

/** What the engine has said, named as the checker names people and segments. */
async function transitionsOf(engine: EmbeddedEngine, index: SegmentIndex): Promise<Told[]> {
  const places = new Map(index.segments.map(({ id }, place) => [id, place]))
  const names = new Map<string, string>()
  const told: Told[] = []
  for (let after: string | undefined; ; ) {
    const page = await engine.transitions({ limit: TRANSITIONS_PER_PAGE, ...(after === undefined ? {} : { after }) })
    for (const { profile, segment, transition, at, cause } of page.items) {
      const name = names.get(profile) ?? (await nameOf(engine, profile))
      names.set(profile, name)
      const by = cause === 'timer' ? 'time' : cause === 'merge' ? 'merge' : 'event'
      told.push({ profile: name, flip: { segment: places.get(segment) ?? -1, entered: transition === 'entered', at, by } })
    }
    if (page.items.length === 0 || page.next === undefined) return told
    after = page.next
  }
}

async function nameOf(engine: EmbeddedEngine, id: string): Promise<string> {
  const view = await engine.profile({ namespace: 'profile_id', value: id })
  return view === undefined ? id : profileName(view.identifiers)
}

/** Members of every segment, named as the checker names people. */
export async function memberships(engine: EmbeddedEngine, segments: readonly string[]): Promise<Memberships> {
  const all = new Map<string, Set<string>>()
  const names = new Map<string, string>()
  for (const id of segments) {
    for (let after: string | undefined; ; ) {
      const page = await engine.segmentMembers(id, { limit: 1000, ...(after === undefined ? {} : { after }) })
      for (const { profile, userId } of page?.items ?? []) {
        const name = userId ?? names.get(profile) ?? (await anonymousName(engine, profile))
        names.set(profile, name)
        const set = all.get(name) ?? new Set()
        all.set(name, set.add(id))
      }
      if (page?.next === undefined) break
      after = page.next
    }
  }
  return all
}

async function anonymousName(engine: EmbeddedEngine, id: string): Promise<string> {
  const view = await engine.profile({ namespace: 'profile_id', value: id })
  return view?.identifiers[0]?.value ?? id
}

async function main(argv: string[]): Promise<void> {
  const { values } = parseArgs({
    args: argv,
    options: {
      n: { type: 'string', default: '1000000' },
      users: { type: 'string', default: '1000000' },
      segments: { type: 'string', default: '50' },
      partitions: { type: 'string', default: '16' },
      hosts: { type: 'string', default: '1' },
      store: { type: 'string', default: 'rocksdb' },
      durability: { type: 'string', default: 'fsync' },
      runs: { type: 'string', default: '1' },
      cover: { type: 'boolean', default: false },
      check: { type: 'boolean', default: false },
      transitions: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      keep: { type: 'string' },
      run: { type: 'string' },
    },
  })
  const b: EngineBench = {
    n: Number(values.n),
    users: Number(values.users),
    segments: Number(values.segments),
    partitions: Number(values.partitions),
    hosts: Number(values.hosts),
    cover: values.cover,
    store: values.store as StoreKind,
    durability: values.durability as 'fsync' | 'none',
  }
  if (values.run !== undefined) return run(values.run, b, values)
  for (let i = 0; i < Number(values.runs); i++) {
    const dir = values.keep ?? mkdtempSync(join(tmpdir(), 'tributary-bench-'))
    mkdirSync(dir, { recursive: true })
    await prepare(dir, b)
    const child = spawnSync(process.execPath, [...process.execArgv, import.meta.filename, ...argv, '--run', dir], { stdio: 'inherit' })
    if (values.keep === undefined) rmSync(dir, { recursive: true, force: true })
    if (child.status !== 0) process.exitCode = 1
  }
}

if (import.meta.main) await main(process.argv.slice(2))
