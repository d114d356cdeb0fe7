// Damaged files: a torn tail is cut off and nothing is lost; anything else is said clearly, with a code, or the partition that
// misses something stands still and says why. Never a crash without words, never a wrong answer.
import { appendFileSync, cpSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import type { EngineStatus, TimelineEvent } from '../../src/engine/engine.ts'
import { call, listOf, settle } from './client.ts'
import { DataDirectory, pause, ServerProcess, startServer } from './server.ts'

const FLAGS = ['--partitions', '2', '--hosts', '1', '--clock', 'manual']
const LOGS = ['events', 'journal/0', 'transitions', 'merges', 'dead-letters', 'definitions']
const MESSAGES = 120
const PEOPLE = 6
const original = new DataDirectory()
const places: DataDirectory[] = []

beforeAll(async () => {
  const { url, end } = await started(original.path)
  await call(url, '/v1/segments/seen', { method: 'PUT', body: { where: { event: 'E' } } })
  for (let i = 0; i < MESSAGES; i += 10) {
    const batch = Array.from({ length: 10 }, (_, j) => message(i + j))
    await call(url, '/v1/batch', { method: 'POST', body: { batch: [...batch, { type: 'track', event: 'nobody' }] } })
  }
  await settle(url)
  // Until the stores have it all, too.
  while (/^tributary_pending_bytes\{[^}]*\} [1-9]/m.test(await (await fetch(`${url}/metrics`)).text())) await pause(20)
  await end()
})
afterAll(() => {
  for (const place of [original, ...places]) place.remove()
})

/** Every seventh links a device that was seen alone before, so that there are merges. */
function message(i: number): object {
  const person = i % PEOPLE
  const device = { anonymousId: `d${person}` }
  return {
    type: 'track',
    event: 'E',
    messageId: `m${i}`,
    ...(i < PEOPLE ? device : i % 7 === 0 ? { userId: `u${person}`, ...device } : { userId: `u${person}` }),
  }
}

async function started(dataDir: string): Promise<{ url: string; end: () => Promise<unknown> }> {
  const server = await startServer(dataDir, FLAGS)
  return { url: server.url, end: () => server.end('SIGKILL') }
}

function copy(): string {
  const place = new DataDirectory()
  places.push(place)
  cpSync(original.path, place.path, { recursive: true })
  return place.path
}

/** The newest file of a log. */
function lastFile(dataDir: string, log: string): string {
  const dir = join(dataDir, log)
  return join(
    dir,
    must(
      readdirSync(dir)
        .filter((name) => name.endsWith('.log'))
        .sort()
        .at(-1),
      'a log has a file',
    ),
  )
}

async function timelines(url: string): Promise<string[]> {
  const ids: string[] = []
  for (let p = 0; p < PEOPLE; p++)
    ids.push(...(await listOf<TimelineEvent>(url, `/v1/profiles/user_id:u${p}/events`)).map((e) => e.messageId))
  return ids.sort()
}

const EXPECTED = Array.from({ length: MESSAGES }, (_, i) => `m${i}`).sort()

/** What a server says to a directory: that it can't start, that partitions stand still, or nothing, and then all must be there. */
async function verdict(dataDir: string): Promise<string> {
  const server = new ServerProcess(dataDir, FLAGS)
  try {
    const up = await Promise.race([server.exited, server.listening().catch(() => undefined)])
    if (!(up instanceof ServerProcess)) {
      expect(await server.exited).toEqual({ code: 1, signal: null })
      expect(server.err).toMatch(/^[a-z_]+: .+\n(.*\n)* {2}What to do next: .+\n$/)
      return `refuses: ${server.err.split('\n', 1)[0]}`
    }
    const status = await call<EngineStatus>(server.url, '/v1/status')
    const stopped = status.partitions.filter((p) => p.state === 'stopped')
    if (stopped.length > 0) {
      for (const { reason } of stopped) expect(reason).toMatch(/\w/)
      expect((await fetch(`${server.url}/readyz`)).status).toBe(503)
      return `stands still: ${stopped[0]?.reason}`
    }
    await settle(server.url)
    const size = (await call<{ items: { size: number }[] }>(server.url, '/v1/segments')).items[0]?.size
    const transitions = await listOf<{ id: string }>(server.url, '/v1/transitions')
    const whole =
      (await timelines(server.url)).join() === EXPECTED.join() && size === PEOPLE && new Set(transitions.map((t) => t.id)).size >= PEOPLE
    // What comes now is read, too.
    const body = { type: 'track', event: 'E', userId: 'later', messageId: 'later' }
    await call(server.url, '/v1/track', { method: 'POST', body })
    await settle(server.url)
    const later = await listOf<TimelineEvent>(server.url, '/v1/profiles/user_id:later/events').catch(() => [])
    if (later.length !== 1) return 'a new message is lost'
    return whole ? 'whole' : `${size} members, ${transitions.length} transitions, ${(await timelines(server.url)).length} messages`
  } finally {
    await server.end('SIGKILL')
  }
}

test('what a power cut leaves behind the last record is cut off; nothing is lost', async () => {
  const dataDir = copy()
  for (const log of LOGS) appendFileSync(lastFile(dataDir, log), Buffer.from(`half a record ${'\0'.repeat(100)}`))
  expect(await verdict(dataDir)).toBe('whole')
})

test('a log that has lost its end is told, or makes no difference', async () => {
  const verdicts: { [log: string]: string } = {}
  const one = async (log: string): Promise<void> => {
    const dataDir = copy()
    const file = lastFile(dataDir, log)
    truncateSync(file, statSync(file).size - 5)
    verdicts[log] = await verdict(dataDir)
  }
  for (let i = 0; i < LOGS.length; i += 2) await Promise.all(LOGS.slice(i, i + 2).map(one))
  console.log(verdicts)
  for (const [log, what] of Object.entries(verdicts)) expect(what, log).toMatch(/^(whole$|refuses|stands still)/)
})

test('a byte that has changed in the middle is corruption, and a start refuses', async () => {
  for (const log of ['events', 'journal/0', 'transitions']) {
    const dataDir = copy()
    const file = lastFile(dataDir, log)
    const bytes = readFileSync(file)
    const at = Math.floor(bytes.length / 3)
    bytes[at] = must(bytes[at], 'a byte of the file') ^ 0x40
    writeFileSync(file, bytes)
    expect(await verdict(dataDir), log).toMatch(/^refuses: data_corrupt: the record with ordinal \d+ is damaged/)
  }
})

test('a directory without its stores or its journal is not taken for a new one', async () => {
  for (const part of ['journal', 'events']) {
    const dataDir = copy()
    rmSync(join(dataDir, part), { recursive: true })
    const what = await verdict(dataDir)
    console.log(part, what)
    expect(what, part).toMatch(/^(whole$|refuses|stands still)/)
  }
})
