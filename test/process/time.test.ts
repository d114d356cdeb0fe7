// Time alone: with no traffic at all, exits and entries are on the stream within a second of their instants.
import { afterEach, beforeEach, expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import { call, Follower, type Received, settle } from './client.ts'
import { Lateness } from './lateness.ts'
import { DataDirectory, pause, type ServerProcess, startServer } from './server.ts'

const PEOPLE = 24
const SPREAD_MS = 2000
const LIMIT_MS = 1000
/** The first is enough where the machine has nothing else to do; where it has, time may have run out before all is taken in. */
const WINDOWS_MS = [3000, 12_000, 60_000]

let directory: DataDirectory
let server: ServerProcess
let follower: Follower
let lateness: Lateness | undefined
beforeEach(() => {
  directory = new DataDirectory()
  follower = new Follower(() => server.url)
})
afterEach(async () => {
  await follower.stop()
  await lateness?.end()
  lateness = undefined
  await server.end('SIGKILL')
  directory.remove()
})

const define = (id: string, where: object): Promise<unknown> => call(server.url, `/v1/segments/${id}`, { method: 'PUT', body: { where } })
const receivedOf = (user: string): Received[] => follower.received.filter((r) => r.transition.userId === user)

/** People who have viewed something, their instants spread over two seconds so that the flips are too; undefined if some are over. */
async function viewed(windowMs: number): Promise<ReadonlySet<number> | undefined> {
  const within = { event: 'View', within: `${windowMs}ms` }
  await define(`active-${windowMs}`, within)
  await define(`gone-${windowMs}`, { all: [{ event: 'View' }, { not: within }] })
  const start = Date.now()
  const instants = Array.from({ length: PEOPLE }, (_, i) => start - Math.floor((i * SPREAD_MS) / PEOPLE))
  const batch = instants.map((at, i) => ({ type: 'track', event: 'View', userId: `u${i}`, timestamp: new Date(at).toISOString() }))
  await call(server.url, '/v1/batch', { method: 'POST', body: { batch } })
  await settle(server.url)
  if (Date.now() >= start + windowMs - SPREAD_MS) return undefined
  return new Set(instants.map((at) => at + windowMs))
}

test('an exit that is due is on the stream within a second', async () => {
  server = await startServer(directory.path, ['--partitions', '8'])
  await follower.start()
  for (const windowMs of WINDOWS_MS) {
    const due = await viewed(windowMs)
    if (!due) continue
    lateness = new Lateness()
    const all = (): Received[] => follower.received.filter((r) => r.transition.segment.endsWith(`-${windowMs}`))
    while (all().length < 3 * PEOPLE) await pause(20)
    const timed = all().filter(({ transition }) => transition.cause === 'timer')
    expect(timed).toHaveLength(2 * PEOPLE)
    for (const { transition } of timed) expect(due).toContain(Date.parse(transition.at))
    const delays = timed.map(({ transition, at }) => at - Date.parse(transition.at))
    const said = `${Math.min(...delays)} to ${Math.max(...delays)} ms`
    console.log(`delays: ${said}, of which ${Math.round(lateness.allowanceMs)} ms may be the machine's`)
    expect(Math.min(...delays)).toBeGreaterThanOrEqual(0)
    expect(Math.max(...delays)).toBeLessThan(LIMIT_MS + lateness.allowanceMs)
    return
  }
  throw new Error('the machine is too busy for any of the windows')
})

test('what fell due while the server was down comes at the next start, at its own instant', async () => {
  const windowMs = 1000
  server = await startServer(directory.path, ['--partitions', '2'])
  await define('active', { event: 'View', within: `${windowMs}ms` })
  await follower.start()
  const { userId, dueAt } = await killedInTime(windowMs)
  await pause(Math.max(0, dueAt + 100 - Date.now()))
  server = await startServer(directory.path, ['--partitions', '2'])
  const up = Date.now()
  lateness = new Lateness()
  while (receivedOf(userId).length < 2) await pause(5)
  const exited = must(receivedOf(userId)[1], 'it was received')
  expect(exited.transition).toMatchObject({ transition: 'exited', cause: 'timer', seq: 2, at: new Date(dueAt).toISOString() })
  expect(exited.at - up).toBeLessThan(LIMIT_MS + lateness.allowanceMs)
})

/** Somebody enters, and the server is killed before she leaves; on a busy machine it takes more than one. Says when she is due to leave. */
async function killedInTime(windowMs: number): Promise<{ userId: string; dueAt: number }> {
  for (let n = 0; ; n++) {
    const userId = `u${n}`
    const at = Date.now()
    await call(server.url, '/v1/track', { method: 'POST', body: { event: 'View', userId, timestamp: new Date(at).toISOString() } })
    const dueAt = at + windowMs
    while (receivedOf(userId).length === 0 && Date.now() < dueAt) await pause(5)
    await server.end('SIGKILL')
    if (receivedOf(userId).length === 1 && Date.now() < dueAt) return { userId, dueAt }
    server = await startServer(directory.path, ['--partitions', '2'])
  }
}
