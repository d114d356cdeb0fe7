// Any process of a deployment answers for all partitions: what one has accepted, each other one shows at once when it is asked with the
// position, also while a process is killed and its partitions go to the others.
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, inject, test } from 'vitest'
import type { EngineStatus } from '../../src/engine/engine.ts'
import { pause, ServerProcess } from '../process/server.ts'

const PARTITIONS = 8
const SECRET = 'open sesame'
const SESSION_MS = 3000
const RETRY_MS = 100
const root = mkdtempSync(join(tmpdir(), 'tributary-reads-'))
const running = new Set<ServerProcess>()

afterEach(async () => {
  for (const server of running) await server.end('SIGKILL')
  running.clear()
  rmSync(root, { recursive: true, force: true })
})

async function start(name: string, prefix: string, secret = SECRET): Promise<ServerProcess> {
  const kafka = JSON.stringify({ brokers: [inject('kafka')], prefix, sessionTimeoutMs: SESSION_MS, secret })
  const server = await new ServerProcess(join(root, name), ['--partitions', String(PARTITIONS), '--kafka', kafka]).listening()
  running.add(server)
  return server
}

interface Call {
  readonly method?: string
  readonly body?: unknown
  readonly position?: string
}

function call({ url }: ServerProcess, path: string, { method = 'GET', body, position }: Call = {}): Promise<Response> {
  const headers: Record<string, string> = position === undefined ? {} : { 'min-position': position }
  if (body === undefined) return fetch(url + path, { method, headers })
  return fetch(url + path, { method, headers: { ...headers, 'content-type': 'application/json' }, body: JSON.stringify(body) })
}

/** What it answers once it can. Until then it says 503 and when to come back, and nothing else. */
async function answered<T>(server: ServerProcess, path: string, options?: Call): Promise<T> {
  for (;;) {
    const reply = await call(server, path, options)
    if (reply.ok) return (await reply.json()) as T
    expect({ path, status: reply.status, retry: reply.headers.get('retry-after') }).toEqual({ path, status: 503, retry: '1' })
    await pause(RETRY_MS)
  }
}

async function whole(servers: readonly ServerProcess[]): Promise<EngineStatus> {
  for (;;) {
    const told = await Promise.all(servers.map((server) => answered<EngineStatus>(server, '/v1/status')))
    const isWhole = told.every(
      ({ processes, partitions }) => processes?.length === servers.length && partitions.every(({ state }) => state === 'running'),
    )
    const [first] = told
    if (isWhole && first) return first
    await pause(RETRY_MS)
  }
}

async function writesAreRead(servers: readonly ServerProcess[], count: number, name: string): Promise<void> {
  for (let k = 0; k < count; k++) {
    const [writer, reader] = [servers[k % servers.length], servers[(k + 1) % servers.length]] as [ServerProcess, ServerProcess]
    const body = { userId: `${name}${k}`, anonymousId: `anonymous ${name}${k % 5}`, traits: { k } }
    const { position } = await answered<{ position: string }>(writer, '/v1/identify', { method: 'POST', body })
    const { traits } = await answered<{ traits: object }>(reader, `/v1/profiles/user_id:${name}${k}`, { position })
    expect(traits).toEqual({ k })
  }
}

test('any process answers, whoever owns what is asked for', { timeout: 180_000 }, async () => {
  const prefix = `reads-${randomUUID()}`
  const [a, b, c] = [await start('a', prefix), await start('b', prefix), await start('c', prefix)]
  const { processes = [], partitions } = await whole([a, b, c])
  expect(processes.flatMap((process) => process.partitions).sort((x, y) => x - y)).toEqual([...partitions.keys()])
  expect(processes.every((process) => process.partitions.length > 0)).toBe(true)

  await answered(a, '/v1/segments/buyers', { method: 'PUT', body: { where: { event: 'Order' } } })
  expect(await answered(b, '/v1/segments/buyers')).toMatchObject({ id: 'buyers', version: 1 })
  await writesAreRead([a, b, c], 30, 'u')
  const batch = Array.from({ length: 20 }, (_, k) => ({ type: 'track', event: 'Order', userId: `u${k}` }))
  await answered(b, '/v1/batch', { method: 'POST', body: { batch } })
  await answered(c, '/v1/admin/settle', { method: 'POST' })
  for (const server of [a, b, c]) {
    expect(await answered(server, '/v1/segments/buyers')).toMatchObject({ size: 20 })
    expect((await answered<{ items: unknown[] }>(server, '/v1/segments/buyers/members')).items.length).toBe(20)
  }

  running.delete(c)
  await c.end('SIGKILL')
  await writesAreRead([a, b], 20, 'v')
  await whole([a, b])
  expect(await answered(a, '/v1/segments/buyers')).toMatchObject({ size: 20 })
  expect((await call(a, '/internal/questions', { method: 'POST', body: {} })).status).toBe(401)
})
