// Everybody leaves at once: a window that ends at one instant for all profiles. How fast the exits come out, and what look-ups wait
// for meanwhile.
//
//   node bench/exits.ts [--profiles 1000000] [--partitions 16] [--hosts 1] [--lookups 500] [--head-start SECONDS] [--profile DIR] [--json]
//
// The events lie in the log beforehand and must be worked off before the instant: --head-start is the time allowed for that.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { SegmentDefinition } from '../src/operators/definition.ts'
import { inProcess } from './children.ts'
import { type History, makeHistory } from './history.ts'
import { named, wallMs } from './latency.ts'
import type { LookupResult, Lookups } from './lookup.ts'
import { listen } from './open-loop.ts'
import { type Figures, machine, printed, rounded } from './report.ts'
import { type ServerProcess, type ServerSetup, startServer } from './server.ts'

export interface ExitsOptions {
  readonly profiles: number
  readonly partitions: number
  readonly hosts: number
  readonly lookupsPerSecond: number
  readonly headStartSeconds: number
  readonly profileDir?: string
}

const HOUR_MS = 3_600_000
const PEOPLE = 20_000
const LOOKUP_CONNECTIONS = 64
const QUIET_MS = 2000
const TIMER = Buffer.from('"cause":"timer"')

const SEGMENT: SegmentDefinition = { id: 'recent', where: { event: 'Signed In', within: '1h', count: { gte: 1 } } }

function* lines(profiles: number, atMs: number): Generator<string, void, undefined> {
  const timestamp = new Date(atMs).toISOString()
  for (let i = 0; i < profiles; i++) {
    yield `{"messageId":"exit-${i}","type":"track","event":"Signed In","userId":"u${i}","timestamp":"${timestamp}","properties":{}}`
  }
}

export async function exits(o: ExitsOptions): Promise<Figures> {
  const dir = mkdtempSync(join(tmpdir(), 'tributary-exits-'))
  const setup: ServerSetup = { dataDir: join(dir, 'data'), partitions: o.partitions, hosts: o.hosts, profileDir: o.profileDir }
  const dueMs = Date.now() + o.headStartSeconds * 1000
  const history: History = { ...o, events: o.profiles, users: o.profiles, segments: 1, seed: 1, endMs: dueMs - HOUR_MS, cover: false }
  try {
    await makeHistory(setup, history, { lines: lines(o.profiles, dueMs - HOUR_MS), definitions: [SEGMENT] })
    const server = await startServer(setup)
    try {
      const members = (await server.get<{ size: number }>('/v1/segments/recent')).size
      if (wallMs() > dueMs) throw new Error(`the history took longer than ${o.headStartSeconds} s: set --head-start`)
      if (members !== o.profiles) throw new Error(`${members} members instead of ${o.profiles}`)
      return await watch(server, o, dueMs)
    } finally {
      await server.stop()
    }
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

async function watch(server: ServerProcess, o: ExitsOptions, dueMs: number): Promise<Figures> {
  const counter = new ExitCounter()
  const stopListening = await listen(server.port, (chunk) => counter.take(chunk))
  const step = Math.max(1, o.profiles / PEOPLE)
  const refs = Array.from({ length: Math.min(PEOPLE, o.profiles) }, (_, i) => `user_id:u${Math.floor(i * step)}`)
  // Look-ups go on for as long as the aim gives the exits, twice over.
  const seconds = Math.max(2, Math.ceil(o.profiles / 50_000))
  const count = o.lookupsPerSecond * seconds
  const everyMs = 1000 / o.lookupsPerSecond
  const lookups: Lookups = { port: server.port, refs, startMs: dueMs, everyMs, count, warm: 0, connections: LOOKUP_CONNECTIONS, seed: 3 }
  const looking = inProcess<Lookups, LookupResult>('lookup.ts', lookups)
  await until(dueMs - 20)
  const before = server.usage()
  server.resetPeak()
  await counter.quiet(dueMs)
  const after = server.usage()
  const { latency } = await looking
  stopListening()
  const { size } = await server.get<{ size: number }>('/v1/segments/recent')
  return {
    name: 'exits',
    exits: counter.seen,
    exitsPerSecond: Math.round((counter.seen / (counter.lastMs - dueMs)) * 1000),
    firstAfterMs: rounded(counter.firstMs - dueMs),
    lastAfterMs: rounded(counter.lastMs - dueMs),
    cpuUsPerExit: rounded((after.cpuUs - before.cpuUs) / counter.seen),
    mainThreadCpuUsPerExit: rounded((after.mainCpuUs - before.mainCpuUs) / counter.seen),
    left: size,
    peakRssMB: after.peakRssMB,
    ...named('lookup', latency),
    lookupsPerSecond: o.lookupsPerSecond,
    load1: machine().load1,
  }
}

/** Counts the exits of a stream as cheaply as can be. */
class ExitCounter {
  #rest: Buffer = Buffer.alloc(0)
  seen = 0
  firstMs = 0
  lastMs = 0

  take(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    let from = 0
    for (;;) {
      const at = bytes.indexOf(TIMER, from)
      if (at < 0) break
      from = at + TIMER.length
      this.seen++
    }
    this.#rest = bytes.subarray(Math.max(from, bytes.length - TIMER.length + 1))
    if (from === 0) return
    this.lastMs = wallMs()
    this.firstMs ||= this.lastMs
  }

  /** Nothing has come for a while. */
  async quiet(dueMs: number): Promise<void> {
    do await until(Math.max(dueMs, this.lastMs, wallMs() - QUIET_MS + 50) + QUIET_MS)
    while (wallMs() < Math.max(dueMs, this.lastMs) + QUIET_MS)
  }
}

async function until(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, ms - wallMs())))
}

if (import.meta.main) {
  const { values: v } = parseArgs({
    options: {
      profiles: { type: 'string', default: '1000000' },
      partitions: { type: 'string', default: '16' },
      hosts: { type: 'string', default: '1' },
      lookups: { type: 'string', default: '500' },
      'head-start': { type: 'string' },
      profile: { type: 'string' },
      json: { type: 'boolean', default: false },
    },
  })
  const profiles = Number(v.profiles)
  const o: ExitsOptions = {
    profiles,
    partitions: Number(v.partitions),
    hosts: Number(v.hosts),
    lookupsPerSecond: Number(v.lookups),
    headStartSeconds: Number(v['head-start'] ?? 30 + profiles / 8000),
    ...(v.profile === undefined ? {} : { profileDir: v.profile }),
  }
  process.stdout.write(`${printed(await exits(o), v.json)}\n`)
}
