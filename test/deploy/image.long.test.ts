// The steps of the Dockerfile in a directory instead of an image: what it copies, the packages that it fetches, the command that it
// runs, by the user that it names where this process may choose one. The system around them is this machine's.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, cpSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import { imageEnvironment, instructionsOf, ROOT, textOf } from './files.ts'

const instructions = instructionsOf(textOf('Dockerfile'))
const last = (name: string): string =>
  must(
    instructions.findLast((i) => i.name === name),
    `there is a ${name}`,
  ).rest
const scratch = mkdtempSync(join(tmpdir(), 'tributary-image-'))
/** In place of the image's folder of the program, and of the volume. */
const folder = join(scratch, 'program')
const volume = join(scratch, 'volume')
const here = (text: string): string => text.replaceAll('/opt/tributary', folder)
const [uid, gid] = last('USER').split(':').map(Number) as [number, number]
/** A port at which nothing listens. */
const NOBODY = '1'
const asUser = process.getuid?.() === 0 ? { uid, gid } : {}

beforeAll(() => {
  mkdirSync(folder)
  mkdirSync(volume)
  chmodSync(scratch, 0o755)
  if ('uid' in asUser) chownSync(volume, uid, gid)
  for (const { name, rest } of instructions) {
    if (name === 'COPY' && !rest.startsWith('--from')) {
      for (const source of rest.split(' ').slice(0, -1)) cpSync(join(ROOT, source), join(folder, source), { recursive: true })
    }
  }
  const fetching = must(
    instructions.find((i) => i.name === 'RUN'),
    'packages are fetched',
  )
  execFileSync('sh', ['-c', fetching.rest], { cwd: folder, stdio: 'ignore' })
}, 600_000)
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

function start(env: { [name: string]: string }): ChildProcess {
  const [command = '', ...args] = [...(JSON.parse(last('ENTRYPOINT')) as string[]), ...(JSON.parse(last('CMD')) as string[])].map(here)
  const set = { ...imageEnvironment(), TRIBUTARY_DATA_DIR: volume, ...env }
  return spawn(command, args, { cwd: '/', env: set, ...asUser, stdio: ['ignore', 'pipe', 'pipe'] })
}

test('packages of development are left out, and so are binaries for other systems', () => {
  for (const name of ['vitest', 'typescript']) expect(existsSync(join(folder, 'node_modules', name))).toBe(false)
  for (const name of ['darwin-arm64', 'win32-x64'])
    expect(existsSync(join(folder, 'node_modules/rocksdb-native/prebuilds', name))).toBe(false)
})

test('the server does not start without keys', async () => {
  const child = start({})
  const told: string[] = []
  child.stderr?.on('data', (chunk) => told.push(String(chunk)))
  expect(await once(child, 'exit')).toEqual([1, null])
  expect(told.join('')).toContain('open_beyond_loopback')
})

test('the server takes events as that user, says that it is healthy, and ends in good order on SIGTERM', async () => {
  const child = start({ TRIBUTARY_PORT: '0', TRIBUTARY_KEYS: '[{name: a, role: admin, key: secret}]' })
  const exited = once(child, 'exit')
  try {
    const [told] = (await once(createInterface({ input: must(child.stdout ?? undefined, 'it is a pipe') }), 'line')) as [string]
    const port = must(/:(\d+)$/.exec(told)?.[1], 'it says where it listens')
    const authorization = `Basic ${Buffer.from('secret:').toString('base64')}`
    const body = JSON.stringify({ userId: 'ada', event: 'Signed In' })
    const reply = await fetch(`http://127.0.0.1:${port}/v1/track`, { method: 'POST', headers: { authorization }, body })
    expect(reply.status).toBe(200)
    const [health = '', ...rest] = JSON.parse(last('HEALTHCHECK').replace(/^.* CMD /, '')) as string[]
    const asked = (at: string) => once(spawn(here(health), rest, { env: { TRIBUTARY_PORT: at }, stdio: 'ignore' }), 'exit')
    expect(await asked(port)).toEqual([0, null])
    expect(await asked(NOBODY)).toEqual([1, null])
  } finally {
    child.kill('SIGTERM')
  }
  expect(await exited).toEqual([0, null])
  expect(existsSync(join(volume, 'events'))).toBe(true)
})
