// One stretch of live load on a running server: events at a fixed rate and look-ups beside them, each from a process of its own,
// and what the server spent meanwhile.
import { closeSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { inProcess } from './children.ts'
import { named, wallMs } from './latency.ts'
import type { LookupResult, Lookups } from './lookup.ts'
import type { Load, LoadResult } from './open-loop.ts'
import { type Figures, machine, type Result, rounded } from './report.ts'
import type { ServerProcess, Usage } from './server.ts'
import { requestBytes } from './wire.ts'
import { DEFAULT_EVENTS, eventLines } from './workload/events.ts'
import { messageOf, type WorkloadEvent } from './workload/map.ts'

export interface LiveOptions {
  /** Events per second. */
  readonly rate: number
  readonly seconds: number
  /** Of these, the first that don't count. */
  readonly warmSeconds: number
  /** Events of a request. */
  readonly batch: number
  readonly users: number
  readonly seed: number
  readonly lookupsPerSecond: number
  readonly people: readonly string[]
  /** For the requests to be. */
  readonly scratch: string
}

export interface LiveRun {
  readonly load: LoadResult
  readonly whole: Result
  /** Of transitions and lookups. */
  readonly latencies: readonly Figures[]
  /** The instant at which the load began. */
  readonly startMs: number
}

const CONNECTIONS = 32
const LOOKUP_CONNECTIONS = 64
const LISTEN_MS = 1500
/** What making a request's events takes at worst, so that they can carry the instants at which they will be sent. */
const BUILD_US_PER_EVENT = 40
const START_IN_MS = 1500

/** The lines of a stretch: each event has the instant at which it will be sent, one in a hundred comes up to an hour late. */
export function liveLines(o: LiveOptions, startMs: number): Iterable<string> {
  const spanMs = o.seconds * 1000
  const n = o.rate * o.seconds
  return eventLines({ ...DEFAULT_EVENTS, n, users: o.users, seed: o.seed, spanMs, endMs: startMs + spanMs })
}

interface Requests {
  readonly file: string
  readonly lengths: number[]
  readonly tag: string
}

function writeRequests(o: LiveOptions, startMs: number): Requests {
  const path = join(o.scratch, `requests-${o.seed}`)
  const file = openSync(path, 'w')
  const lengths: number[] = []
  let batch: unknown[] = []
  let tag = ''
  const flush = (): void => {
    const request = requestBytes('POST', '/v1/batch', JSON.stringify({ batch }))
    lengths.push(request.length)
    writeSync(file, request)
    batch = []
  }
  for (const line of liveLines(o, startMs)) {
    const event = JSON.parse(line) as WorkloadEvent
    tag ||= event.messageId.slice(-12, -8)
    batch.push(messageOf(event))
    if (batch.length === o.batch) flush()
  }
  if (batch.length > 0) flush()
  closeSync(file)
  return { file: path, lengths, tag }
}

interface Moment {
  readonly ms: number
  readonly usage: Usage
  readonly threads: { readonly [name: string]: number }
  readonly figures: (name: string) => number
}

async function momentOf(server: ServerProcess): Promise<Moment> {
  const figures = await server.figures()
  return { ms: wallMs(), usage: server.usage(), threads: server.threads(), figures }
}

export async function live(server: ServerProcess, o: LiveOptions): Promise<LiveRun> {
  const startMs = Math.ceil(wallMs() + START_IN_MS + (o.rate * o.seconds * BUILD_US_PER_EVENT) / 1000)
  const { file, lengths, tag } = writeRequests(o, startMs)
  const everyMs = (o.batch / o.rate) * 1000
  const warmRequests = Math.ceil((o.warmSeconds * 1000) / everyMs)
  const load: Load = {
    port: server.port,
    file,
    lengths,
    startMs,
    everyMs,
    batch: o.batch,
    connections: CONNECTIONS,
    warmTicks: warmRequests,
    tag,
    listenMs: LISTEN_MS,
  }
  const loading = inProcess<Load, LoadResult>('open-loop.ts', load)
  const looking = o.lookupsPerSecond > 0 ? inProcess<Lookups, LookupResult>('lookup.ts', lookupsOf(server, o, startMs)) : undefined
  if (wallMs() > startMs - START_IN_MS / 2) throw new Error('the requests were not ready in time')
  await until(startMs + warmRequests * everyMs)
  const before = await momentOf(server)
  server.resetPeak()
  await until(startMs + lengths.length * everyMs)
  const after = await momentOf(server)
  const [loaded, lookups] = await Promise.all([loading, looking])
  rmSync(file)
  return {
    load: loaded,
    whole: whole(before, after, { o, load: loaded }),
    latencies: [latencies(loaded, o), ...(lookups ? [lookupResult(lookups, o)] : [])],
    startMs,
  }
}

function lookupsOf(server: ServerProcess, o: LiveOptions, startMs: number): Lookups {
  return {
    port: server.port,
    refs: o.people,
    startMs,
    everyMs: 1000 / o.lookupsPerSecond,
    count: o.lookupsPerSecond * o.seconds,
    warm: o.lookupsPerSecond * o.warmSeconds,
    connections: LOOKUP_CONNECTIONS,
    seed: o.seed,
  }
}

async function until(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, ms - wallMs())))
}

interface Told {
  readonly o: LiveOptions
  readonly load: LoadResult
}

function whole(before: Moment, after: Moment, { o, load }: Told): Result {
  const sent = Math.round(((after.ms - before.ms) / 1000) * o.rate)
  const events = after.figures('tributary_events_applied_total') - before.figures('tributary_events_applied_total')
  const per = (x: (m: Moment) => number, of = events) => rounded((x(after) - x(before)) / of)
  return {
    name: 'e2e',
    events,
    eventsPerSecond: Math.round((events / (after.ms - before.ms)) * 1000),
    cpuUsPerEvent: per((m) => m.usage.cpuUs),
    // Intake takes what is sent, whatever the engine has caught up with.
    mainThreadCpuUsPerEvent: per((m) => m.usage.mainCpuUs, sent),
    threadCpuUsPerEvent: perThread(before, after, events),
    generatorCpuUsPerEvent: rounded(load.cpuUs / ((load.requests - Math.ceil((o.warmSeconds * o.rate) / o.batch)) * o.batch)),
    rssMB: after.usage.rssMB,
    peakRssMB: after.usage.peakRssMB,
    diskBytesPerEvent: per((m) => m.usage.writtenBytes),
    journalBytesPerEvent: per((m) => m.figures('tributary_journal_bytes_total')),
    transitionsPerEvent: per((m) => m.figures('tributary_transitions_total')),
    rowsReadPerEvent: per((m) => m.figures('tributary_rows_read_total')),
    eventsPerCommit: rounded(events / Math.max(1, after.figures('tributary_commits_total') - before.figures('tributary_commits_total'))),
    sent,
    lagAtEnd: after.figures('tributary_lag_events'),
    profiles: after.figures('tributary_profiles'),
    rate: o.rate,
    refused: load.failed,
    load1: machine().load1,
  }
}

function perThread(before: Moment, after: Moment, events: number): { readonly [name: string]: number } {
  const shares: { [name: string]: number } = {}
  for (const [name, us] of Object.entries(after.threads)) {
    const share = rounded((us - (before.threads[name] ?? 0)) / events)
    if (share >= 0.1) shares[name] = share
  }
  return shares
}

function latencies(load: LoadResult, { rate }: LiveOptions): Figures {
  return {
    name: 'e2e latency',
    rate,
    ...named('transition', load.transitions),
    ...named('acknowledged', load.acknowledged),
    ...named('timer', load.timers),
    generatorBehindP99Ms: load.behind.p99,
  }
}

function lookupResult({ latency, found, missing, failed, cpuUs }: LookupResult, o: LiveOptions): Figures {
  return {
    name: 'e2e lookup',
    rate: o.lookupsPerSecond,
    ...named('lookup', latency),
    found,
    missing,
    failed,
    // What the server spends on look-ups is in `e2e`.
    clientCpuUsPerLookup: rounded(cpuUs / (found + missing + failed)),
  }
}
