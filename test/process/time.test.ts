// Time alone: with no traffic at all, exits and entries are on the stream within a second of their instants.
import { expect, test } from 'vitest'
import { call, Follower, settle } from './client.ts'
import { DataDirectory, pause, startServer } from './server.ts'

const PEOPLE = 24
const WINDOW_MS = 3000
const LIMIT_MS = 1000

test('an exit that is due is on the stream within a second', async () => {
  const directory = new DataDirectory()
  const server = await startServer(directory.path, ['--partitions', '8'])
  const follower = new Follower(() => server.url)
  try {
    const viewed = { event: 'View', within: `${WINDOW_MS}ms` }
    await call(server.url, '/v1/segments/active', { method: 'PUT', body: { where: viewed } })
    await call(server.url, '/v1/segments/gone', { method: 'PUT', body: { where: { all: [{ event: 'View' }, { not: viewed }] } } })
    await follower.start()
    // Instants spread over two seconds, so that the flips are too.
    const start = Date.now()
    const batch = Array.from({ length: PEOPLE }, (_, i) => ({
      type: 'track',
      event: 'View',
      userId: `u${i}`,
      timestamp: new Date(start - Math.floor((i * 2000) / PEOPLE)).toISOString(),
    }))
    await call(server.url, '/v1/batch', { method: 'POST', body: { batch } })
    await settle(server.url)
    while (follower.received.length < 3 * PEOPLE && Date.now() < start + 3 * WINDOW_MS) await pause(20)
    const timed = follower.received.filter(({ transition }) => transition.cause === 'timer')
    expect(timed).toHaveLength(2 * PEOPLE)
    const due = new Set(batch.map((m) => Date.parse(m.timestamp) + WINDOW_MS))
    const delays = timed.map(({ transition, at }) => {
      expect(due).toContain(Date.parse(transition.at))
      return at - Date.parse(transition.at)
    })
    console.log(`delays: ${Math.min(...delays)} to ${Math.max(...delays)} ms`)
    expect(Math.min(...delays)).toBeGreaterThanOrEqual(0)
    expect(Math.max(...delays)).toBeLessThan(LIMIT_MS)
  } finally {
    await follower.stop()
    await server.end('SIGKILL')
    directory.remove()
  }
})

test('what fell due while the server was down comes at the next start, at its own instant', async () => {
  const directory = new DataDirectory()
  let server = await startServer(directory.path, ['--partitions', '2'])
  const follower = new Follower(() => server.url)
  try {
    await call(server.url, '/v1/segments/active', { method: 'PUT', body: { where: { event: 'View', within: '1s' } } })
    await follower.start()
    const at = Date.now()
    await call(server.url, '/v1/track', { method: 'POST', body: { event: 'View', userId: 'u', timestamp: new Date(at).toISOString() } })
    while (follower.received.length === 0) await pause(5)
    await server.end('SIGKILL')
    await pause(Math.max(0, at + 1100 - Date.now()))
    server = await startServer(directory.path, ['--partitions', '2'])
    const up = Date.now()
    while (follower.received.length < 2 && Date.now() < up + 5000) await pause(5)
    const [, exited] = follower.received
    expect(exited?.transition).toMatchObject({ transition: 'exited', cause: 'timer', seq: 2, at: new Date(at + 1000).toISOString() })
    expect((exited?.at ?? Number.POSITIVE_INFINITY) - up).toBeLessThan(LIMIT_MS)
  } finally {
    await follower.stop()
    await server.end('SIGKILL')
    directory.remove()
  }
})
