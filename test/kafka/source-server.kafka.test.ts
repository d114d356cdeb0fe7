// Real servers that read a topic: killed with -9 while they read, again and again, and what they have counted in the end. With files, and on Kafka.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, inject, test } from 'vitest'
import type { SourceFacts } from '../../src/intake/sources/source.ts'
import { call, listOf, settle } from '../process/client.ts'
import { DataDirectory, pause, ServerProcess } from '../process/server.ts'
import { type UserTopic, userTopic } from './source-world.ts'
import { until } from './world.ts'

const PARTITIONS = 4
/** Appended to each partition at once, again and again for as long as servers are killed. */
const AT_ONCE = 10
const EVERY_MS = 50
const USERS = 40
const POISON_EVERY = 100
/** The server is killed when it has taken so many records since it was started. */
const KILLS = [1, 500, 1500]

let topic: UserTopic
let data: DataDirectory[]
let files: string
let running: Set<ServerProcess>

beforeEach(async () => {
  topic = await userTopic(PARTITIONS)
  data = [new DataDirectory(), new DataDirectory()]
  files = mkdtempSync(join(tmpdir(), 'tributary-source-'))
  running = new Set()
})
afterEach(async () => {
  for (const server of running) await server.end('SIGKILL')
  await topic.close()
  for (const d of data) d.remove()
  rmSync(files, { recursive: true })
})

async function started(place: 0 | 1 = 0): Promise<ServerProcess> {
  const server = new ServerProcess(data[place]?.path ?? '', ['--config', join(files, 'tributary.yaml')])
  running.add(server)
  return server.listening()
}

async function killed(server: ServerProcess): Promise<void> {
  await server.end('SIGKILL')
  running.delete(server)
}

function configure(more: object): void {
  const mapping = {
    type: 'track',
    event: 'Bought',
    userId: '$.customer.id',
    timestamp: '$.placed',
    properties: { total: '$.total', by: '$key' },
  }
  const shop = { name: 'shop', topics: [topic.topic], brokers: [inject('kafka')], group: topic.topic, timestampUnit: 's', mapping }
  writeFileSync(join(files, 'tributary.yaml'), JSON.stringify({ sources: [shop], ...more }))
}

async function facts(server: ServerProcess): Promise<SourceFacts> {
  const status = await call<{ sources: SourceFacts[] }>(server.url, '/v1/status')
  const [source] = status.sources
  if (!source) throw new Error('the status shows no source')
  return source
}

/** All series of a metric together. */
async function metric(server: ServerProcess, name: string): Promise<number> {
  const text = await (await fetch(`${server.url}/metrics`)).text()
  const lines = text.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
}

const poisonous = (perPartition: number): number =>
  PARTITIONS * Array.from({ length: perPartition }, (_, offset) => offset).filter((offset) => offset % POISON_EVERY === 7).length

const numberOf = (partition: number, offset: number): number => offset * PARTITIONS + partition

const record = (partition: number, offset: number): { key: string; value: string } => {
  const n = numberOf(partition, offset)
  const order = { customer: { id: `u${n % USERS}` }, total: n, placed: 1_790_000_000 + n }
  return { key: `k${n}`, value: offset % POISON_EVERY === 7 ? `poison ${n}` : JSON.stringify(order) }
}

test('a server that is killed again and again while it reads counts each record once', { timeout: 180_000 }, async () => {
  // Nobody knows the ids any more of what comes again after a restart.
  configure({ dedupeWindow: '1s' })
  const appending = appendUntilStopped()
  for (const kill of KILLS) {
    const server = await started()
    await whenTaken(server, kill)
    await killed(server)
  }
  const perPartition = await appending.stop()
  const server = await started()
  await until(async () => {
    const { state, partitions } = await facts(server)
    return state === 'running' && partitions.length === PARTITIONS && partitions.every((p) => p.next === perPartition)
  })
  await settle(server.url)
  await expectEachOnce(server, perPartition)
  expect(await metric(server, 'tributary_events_applied_total')).toBe(PARTITIONS * perPartition - poisonous(perPartition))
  // Else no kill has hit anything.
  const repeats = await metric(server, 'tributary_events_repeated_total')
  console.log(`${PARTITIONS * perPartition} records for ${KILLS.length + 1} servers, and ${repeats} times one came again`)
  expect(repeats).toBeGreaterThan(0)
  expect(await server.end('SIGTERM')).toEqual({ code: 0, signal: null })
})

test('where one of two processes on Kafka is killed again and again, each record counts once', { timeout: 240_000 }, async () => {
  configure({ dedupeWindow: '1s', partitions: 4, kafka: { brokers: [inject('kafka')], prefix: `${topic.topic}-cdp` } })
  const appending = appendUntilStopped()
  const stays = await started(0)
  for (const kill of KILLS.slice(0, 2)) {
    const server = await started(1)
    await whenTaken(server, kill)
    await killed(server)
  }
  const perPartition = await appending.stop()
  await until(async () => {
    const { partitions } = await facts(stays)
    return partitions.length === PARTITIONS && partitions.every((p) => p.next === perPartition)
  })
  await settle(stays.url)
  await expectEachOnce(stays, perPartition)
  expect(await metric(stays, 'tributary_events_applied_total')).toBe(PARTITIONS * perPartition - poisonous(perPartition))
})

/** Waits until the server has taken so many records. */
async function whenTaken(server: ServerProcess, least: number): Promise<void> {
  await until(async () => (await facts(server)).records >= least)
}

/** `stop` tells how many records each partition holds. */
function appendUntilStopped(): { stop(): Promise<number> } {
  let isWanted = true
  let perPartition = 0
  const run = async (): Promise<void> => {
    for (; isWanted; perPartition += AT_ONCE) {
      const offsets = Array.from({ length: AT_ONCE }, (_, i) => perPartition + i)
      for (let p = 0; p < PARTITIONS; p++)
        await topic.append(
          p,
          offsets.map((offset) => record(p, offset)),
        )
      await pause(EVERY_MS)
    }
  }
  const done = run()
  return {
    stop: async () => {
      isWanted = false
      await done
      return perPartition
    },
  }
}

async function expectEachOnce(server: ServerProcess, perPartition: number): Promise<void> {
  const places: string[] = []
  for (let user = 0; user < USERS; user++) {
    const events = await listOf<{ messageId: string; event: string; timestamp: string; message: { properties: { total: number } } }>(
      server.url,
      `/v1/profiles/user_id:u${user}/events`,
    )
    for (const { messageId, event, timestamp, message } of events) {
      const [source, of, partition, offset] = messageId.split('/')
      const n = numberOf(Number(partition), Number(offset))
      expect([source, of, event, message.properties.total]).toEqual(['shop', topic.topic, 'Bought', n])
      expect(Date.parse(timestamp)).toBe((1_790_000_000 + n) * 1000)
      places.push(`${partition}/${offset}`)
    }
  }
  const all = Array.from({ length: PARTITIONS * perPartition }, (_, n) => [n % PARTITIONS, Math.floor(n / PARTITIONS)] as const)
  const isPoison = ([, offset]: readonly [number, number]): boolean => offset % POISON_EVERY === 7
  const name = ([p, o]: readonly [number, number]): string => `${p}/${o}`
  expect(places.sort()).toEqual(
    all
      .filter((x) => !isPoison(x))
      .map(name)
      .sort(),
  )
  // Dead letters may come again, but none is missing.
  const letters = await listOf<{ code: string; message: { partition: number; offset: number; topic: string } }>(
    server.url,
    '/v1/dead-letters',
  )
  expect(letters.every((l) => l.code === 'unreadable' && l.message.topic === topic.topic)).toBe(true)
  const dead = new Set(letters.map((l) => name([l.message.partition, l.message.offset])))
  expect([...dead].sort()).toEqual(all.filter(isPoison).map(name).sort())
}
