// How long a kill -9 keeps the product from working: from the start of the new process until it commits again, until a new event has
// passed through (behind what was left over), and until all partitions run, with few and with many profiles.
//
//   node bench/restart.ts [--profiles 100000,1000000] [--segments 50] [--rate 5000] [--partitions 16] [--hosts 1] [--kills 3] [--json]
//
// Events come in until the kill, so there is a journal to replay and an events log to go on with. The page cache stays warm.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type History, makeHistory, profilesOf } from './history.ts'
import { onSchedule, wallMs } from './latency.ts'
import { type Figures, machine, printed, spreadOf } from './report.ts'
import { type ServerProcess, type ServerSetup, startServer } from './server.ts'
import { requestBytes, Wire } from './wire.ts'
import { eventLines } from './workload/events.ts'
import { messageOf, type WorkloadEvent } from './workload/map.ts'

export interface RestartOptions {
  readonly profiles: readonly number[]
  readonly segments: number
  readonly partitions: number
  readonly hosts: number
  /** Events per second until the kill. */
  readonly rate: number
  readonly loadSeconds: number
  readonly kills: number
}

interface Restarted {
  readonly listeningMs: number
  readonly firstCommitMs: number
  readonly newEventMs: number
  readonly runningMs: number
  /** All that was accepted before the kill is applied. */
  readonly caughtUpMs: number
}

const BATCH = 100
const CONNECTIONS = 8

export async function restart(o: RestartOptions, profiles: number): Promise<Figures> {
  const dir = mkdtempSync(join(tmpdir(), 'tributary-restart-'))
  const setup: ServerSetup = { dataDir: join(dir, 'data'), partitions: o.partitions, hosts: o.hosts }
  const events = Math.round(profiles * 1.1)
  const history: History = { ...o, events, users: profiles, seed: 1, endMs: Date.now(), cover: true }
  try {
    await makeHistory(setup, history)
    let server = await startServer(setup)
    const known = await profilesOf(server)
    const all: Restarted[] = []
    for (let kill = 0; kill < o.kills; kill++) {
      await loadUntilKilled(server, o, { users: profiles, seed: 2 + kill })
      const begun = wallMs()
      server = await startServer(setup)
      all.push(await watch(server, begun, kill))
    }
    await server.stop()
    const of = (key: keyof Restarted) => spreadOf(all.map((r) => Math.round(r[key])))
    return {
      name: 'restart',
      profiles: known,
      kills: o.kills,
      firstCommitMs: of('firstCommitMs'),
      newEventMs: of('newEventMs'),
      runningMs: of('runningMs'),
      listeningMs: of('listeningMs'),
      caughtUpMs: of('caughtUpMs'),
      segments: o.segments,
      load1: machine().load1,
    }
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

async function loadUntilKilled(server: ServerProcess, o: RestartOptions, { users, seed }: { users: number; seed: number }): Promise<void> {
  const requests = Math.ceil((o.rate * o.loadSeconds) / BATCH)
  const bodies: Buffer[] = []
  let batch: unknown[] = []
  for (const line of eventLines({ n: requests * BATCH, users, seed, endMs: Date.now(), spanMs: 60_000 })) {
    if (batch.push(messageOf(JSON.parse(line) as WorkloadEvent)) < BATCH) continue
    bodies.push(requestBytes('POST', '/v1/batch', JSON.stringify({ batch })))
    batch = []
  }
  const wire = new Wire(server.port, CONNECTIONS)
  let refused = 0
  await onSchedule(wallMs(), (BATCH / o.rate) * 1000, bodies.length, (k) => {
    wire.send(bodies[k] ?? Buffer.alloc(0), (status) => {
      if (status !== 200 && status !== 0) refused++
    })
  })
  await server.kill()
  wire.close()
  if (refused > 0) throw new Error(`${refused} requests were refused before the kill`)
}

async function watch(server: ServerProcess, begun: number, kill: number): Promise<Restarted> {
  const listeningMs = wallMs() - begun
  const running = async (): Promise<number> => {
    await server.ready()
    return wallMs() - begun
  }
  const committing = async (): Promise<number> => {
    while ((await server.figures())('tributary_commits_total') === 0) await new Promise((resolve) => setTimeout(resolve, 2))
    return wallMs() - begun
  }
  const passing = newEvent(server, kill).then(() => wallMs() - begun)
  const [firstCommitMs, newEventMs, runningMs] = await Promise.all([committing(), passing, running()])
  await server.settle()
  return { listeningMs, firstCommitMs, newEventMs, runningMs, caughtUpMs: wallMs() - begun }
}

/** A new event is applied: it can be read. */
async function newEvent(server: ServerProcess, kill: number): Promise<void> {
  const userId = `restarted-${kill}-${wallMs()}`
  const headers = { 'content-type': 'application/json' }
  const body = JSON.stringify({ userId, event: 'Signed In' })
  const reply = await fetch(`${server.url}/v1/track`, { method: 'POST', headers, body })
  const { position } = (await reply.json()) as { position: string }
  const profile = await fetch(`${server.url}/v1/profiles/user_id:${userId}`, { headers: { 'min-position': position } })
  if (!profile.ok) throw new Error(`the first event after the restart: ${profile.status} ${await profile.text()}`)
}

if (import.meta.main) {
  const { values: v } = parseArgs({
    options: {
      profiles: { type: 'string', default: '100000,1000000' },
      segments: { type: 'string', default: '50' },
      partitions: { type: 'string', default: '16' },
      hosts: { type: 'string', default: '1' },
      rate: { type: 'string', default: '5000' },
      seconds: { type: 'string', default: '4' },
      kills: { type: 'string', default: '3' },
      json: { type: 'boolean', default: false },
    },
  })
  const o: RestartOptions = {
    profiles: v.profiles.split(',').map(Number),
    segments: Number(v.segments),
    partitions: Number(v.partitions),
    hosts: Number(v.hosts),
    rate: Number(v.rate),
    loadSeconds: Number(v.seconds),
    kills: Number(v.kills),
  }
  for (const profiles of o.profiles) process.stdout.write(`${printed(await restart(o, profiles), v.json)}\n`)
}
