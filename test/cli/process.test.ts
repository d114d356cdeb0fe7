// The program as a process: what it prints, how it stops, what it says when it can't start.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { engineOptions } from '../../src/cli/server.ts'
import { checkConfig } from '../../src/config-load.ts'
import { Namespaces } from '../../src/core/namespace.ts'
import { folder, until } from './harness.ts'

const MAIN = join(import.meta.dirname, '../../src/main.ts')

interface Run {
  readonly child: ChildProcess
  readonly exited: Promise<[code: number | null, signal: string | null]>
  out: string
  err: string
}

let files: ReturnType<typeof folder>
let running: Run[] = []
beforeEach(() => {
  files = folder({})
})
afterEach(async () => {
  for (const { child, exited } of running) {
    child.kill('SIGKILL')
    await exited
  }
  running = []
  files.remove()
})

function program(...argv: string[]): Run {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('TRIBUTARY_')))
  const child = spawn(process.execPath, [MAIN, ...argv], { cwd: files.dir, env, stdio: ['ignore', 'pipe', 'pipe'] })
  const started: Run = { child, exited: once(child, 'exit') as Run['exited'], out: '', err: '' }
  child.stdout?.on('data', (chunk) => {
    started.out += chunk
  })
  child.stderr?.on('data', (chunk) => {
    started.err += chunk
  })
  running.push(started)
  return started
}

const start = (...argv: string[]) =>
  program(
    'start',
    '--port',
    '0',
    '--data-dir',
    files.path('data'),
    '--partitions',
    '2',
    ...(argv.includes('--hosts') ? [] : ['--hosts', '1']),
    ...argv,
  )

async function urlOf(server: Run): Promise<string> {
  await until(() => server.out.includes('\n') || server.child.exitCode !== null, 'a line on stdout')
  return /http:\S+/.exec(server.out)?.[0] ?? expect.fail(`no URL: ${server.out}${server.err}`)
}

describe('start', () => {
  test('prints one line with its URL, serves, stops on SIGTERM, finds everything again, and refuses what would harm it', async () => {
    const first = start()
    const url = await urlOf(first)
    expect((await fetch(`${url}/readyz`)).status).toBe(200)
    const sent = await fetch(`${url}/v1/track`, { method: 'POST', body: '{"userId":"u1","event":"E"}' })
    expect(sent.status).toBe(200)
    first.child.kill('SIGTERM')
    expect(await first.exited).toEqual([0, null])
    expect(first.out).toBe(`tributary is listening on ${url}\n`)
    const logged = first.err.trim().split('\n')
    for (const line of logged) expect(JSON.parse(line)).toMatchObject({ level: expect.any(Number) })
    expect(first.err).toContain('"stopped"')

    const second = start()
    const again = await urlOf(second)
    const profile = await fetch(`${again}/v1/profiles/user_id:u1`)
    expect(await profile.json()).toMatchObject({ identifiers: [{ namespace: 'user_id', value: 'u1' }] })
    const twin = start()
    expect(await twin.exited).toEqual([1, null])
    expect(twin.err).toMatch(/^data_locked: .*\n(?:.*\n)? {2}What to do next: /)
    expect(twin.out).toBe('')
    second.child.kill('SIGINT')
    expect(await second.exited).toEqual([0, null])

    const other = start('--partitions', '8')
    expect(await other.exited).toEqual([1, null])
    expect(other.err).toMatch(/^fingerprint_mismatch: .*partitions: was \d+, is 8/)
  })

  test('a port in use is told, and the data is closed again', async () => {
    const holder = createServer()
    await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve))
    const address = holder.address()
    const port = typeof address === 'object' && address ? address.port : 0
    const refused = program('start', '--port', String(port), '--data-dir', files.path('data'), '--partitions', '2')
    expect(await refused.exited).toEqual([1, null])
    expect(refused.err).toContain(`cannot_listen: Port ${port} of 127.0.0.1 is in use.`)
    holder.close()
    expect(readdirSync(files.path('data')).filter((name) => name.startsWith('LOCK'))).toEqual([])
  })

  test('without keys it does not listen beyond loopback, and touches no data', async () => {
    const refused = start('--host', '0.0.0.0')
    expect(await refused.exited).toEqual([1, null])
    expect(refused.err).toMatch(/^open_beyond_loopback: .*\n {2}What to do next: Configure keys, or listen on 127\.0\.0\.1\.\n$/)
    expect(readdirSync(files.dir)).toEqual([])
  })

  test('a data directory that cannot be made is told as such', async () => {
    const refused = program('start', '--port', '0', '--data-dir', '/dev/null/data')
    expect(await refused.exited).toEqual([1, null])
    expect(refused.err).toContain('ENOTDIR: This is no directory: /dev/null/data')
  })
})

test('output that nobody reads any more ends the program quietly', async () => {
  const help = program('help')
  help.child.stdout?.destroy()
  expect((await help.exited)[0]).toBe(0)
  expect(help.err).toBe('')
})

test('every limit of the engine comes from its option', () => {
  const config = checkConfig({
    partitions: 4,
    hosts: 2,
    cacheBytes: '100MB',
    dedupeWindow: '2d',
    retention: { events: '1h', outputs: '2h' },
    identity: { namespaces: [{ name: 'account' }, { name: 'user_id', unique: true }] },
  })
  const namespaces = new Namespaces(config.identity)
  const options = engineOptions(config, namespaces)
  expect(options).toMatchObject({ eventsRetainMs: 3_600_000, outputsRetainMs: 7_200_000, readTimeoutMs: config.positionWaitMs, hosts: 2 })
  expect(options.fixed).toEqual({ partitions: 4, namespaces: 'account user_id', keyEncoding: 1 })
  // Two hosts' budgets over four partitions.
  expect(options.limits).toMatchObject({ cacheBytes: 50_000_000, dedupeWindowMs: 172_800_000, identity: namespaces.limits })
  for (const value of Object.values(options.limits)) expect(value).toBeDefined()
})
