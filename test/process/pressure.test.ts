// When there is no room: 429 with Retry-After, before anything is taken; and what else keeps a server from starting.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { TimelineEvent } from '../../src/engine/engine.ts'
import { call, listOf, settle } from './client.ts'
import { DataDirectory, pause, ServerProcess, startServer } from './server.ts'

/** Of forty requests at a time, at most. */
const CROWDS = 20

let directory: DataDirectory
let started: ServerProcess[]
beforeEach(() => {
  directory = new DataDirectory()
  started = []
})
afterEach(async () => {
  for (const server of started) await server.end('SIGKILL')
  directory.remove()
})

async function up(...flags: string[]): Promise<ServerProcess> {
  const server = await startServer(directory.path, ['--partitions', '2', ...flags])
  started.push(server)
  return server
}

const post = (url: string, batch: object[]): Promise<Response> =>
  fetch(`${url}/v1/batch`, { method: 'POST', body: JSON.stringify({ batch }) })

describe('429', () => {
  test('when the disk is nearly full; reading goes on', async () => {
    const { url } = await up('--min-free-bytes', '1000TB')
    const reply = await post(url, [{ type: 'track', event: 'E', userId: 'u', messageId: 'm' }])
    expect([reply.status, reply.headers.get('retry-after')]).toEqual([429, '30'])
    expect(await reply.json()).toMatchObject({ code: 'disk_full' })
    expect((await fetch(`${url}/v1/profiles/user_id:u`)).status).toBe(404)
    expect((await fetch(`${url}/v1/segments`)).status).toBe(200)
  })

  test('when the engine is behind; what is sent again counts once', async () => {
    const { url } = await up('--max-lag-events', '50')
    const batches: { messageId: string }[][] = []
    const next = (): object[] => {
      const b = batches.length
      const batch = Array.from({ length: 100 }, (_, i) => ({ type: 'track', event: 'E', userId: `u${i % 7}`, messageId: `m${b}-${i}` }))
      batches.push(batch)
      return batch
    }
    let refused = 0
    const deliver = async (batch: object[]): Promise<void> => {
      for (;;) {
        const reply = await post(url, batch)
        await reply.arrayBuffer()
        if (reply.status === 200) return
        expect([reply.status, reply.headers.get('retry-after')]).toEqual([429, '1'])
        refused++
        await pause(50)
      }
    }
    // Whether the engine is behind is a matter of luck: one crowd after the other, until it was.
    for (let crowd = 0; refused === 0 && crowd < CROWDS; crowd++) await Promise.all(Array.from({ length: 40 }, () => deliver(next())))
    expect(refused).toBeGreaterThan(0)
    await settle(url)
    const seen: string[] = []
    for (let u = 0; u < 7; u++)
      seen.push(...(await listOf<TimelineEvent>(url, `/v1/profiles/user_id:u${u}/events`)).map((e) => e.messageId))
    expect(seen.sort()).toEqual(
      batches
        .flat()
        .map((m) => m.messageId)
        .sort(),
    )
  })
})

describe('start', () => {
  test('other namespaces than those of the data are refused', async () => {
    await (await up()).end('SIGTERM')
    const config = join(directory.path, '../other.yaml')
    writeFileSync(config, 'identity:\n  namespaces:\n    - name: account\n    - name: user_id\n')
    const other = new ServerProcess(directory.path, ['--partitions', '2', '--config', config])
    expect(await other.exited).toEqual({ code: 1, signal: null })
    expect(other.err).toMatch(/^fingerprint_mismatch: .*namespaces/)
    expect(other.err).toContain('What to do next:')
  })

  test('with keys it listens beyond loopback, and takes nobody without one', async () => {
    const config = join(directory.path, '../keys.yaml')
    writeFileSync(config, 'keys:\n  - { name: site, role: write, key: w-secret }\n  - { name: desk, role: read, key: r-secret }\n')
    const { url, err } = await up('--config', config, '--host', '0.0.0.0')
    expect(err).not.toContain('secret')
    const here = url.replace('0.0.0.0', '127.0.0.1')
    const track = (key?: string): Promise<Response> =>
      fetch(`${here}/v1/track`, {
        method: 'POST',
        body: '{"userId":"u","event":"E"}',
        ...(key === undefined ? {} : { headers: { authorization: `Basic ${Buffer.from(`${key}:`).toString('base64')}` } }),
      })
    expect((await track()).status).toBe(401)
    expect((await track('wrong')).status).toBe(401)
    expect((await track('r-secret')).status).toBe(403)
    expect((await track('w-secret')).status).toBe(200)
    expect((await fetch(`${here}/v1/profiles/user_id:u`)).status).toBe(401)
    const desk = { authorization: 'Bearer r-secret' }
    expect((await fetch(`${here}/v1/profiles/user_id:u`, { headers: { ...desk } })).status).not.toBe(401)
    expect((await fetch(`${here}/v1/admin/settle`, { method: 'POST', headers: desk })).status).toBe(403)
  })

  test('a directory that a killed server has left is taken over; one in use is not', async () => {
    const first = await up()
    const twin = new ServerProcess(directory.path, ['--partitions', '2'])
    expect(await twin.exited).toEqual({ code: 1, signal: null })
    expect(twin.err).toMatch(new RegExp(`^data_locked: .* pid ${first.pid}\\b`))
    await first.end('SIGKILL')
    const next = await up()
    expect(await call(next.url, '/readyz')).toBeTruthy()
  })
})
