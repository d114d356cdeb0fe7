// The rehearsal of docs/kafka.md: every process of a deployment is killed at once and every local disk is lost. What Kafka has must
// be enough for everything that could be read before.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, inject, test } from 'vitest'
import { KafkaDeployment, saveSegment } from '../../bench/kafka-deployment.ts'
import type { ServerProcess } from '../../bench/server.ts'
import { DEFAULT_EVENTS, eventLines } from '../../bench/workload/events.ts'
import { definitionsOf, messageOf, type WorkloadEvent } from '../../bench/workload/map.ts'
import { segmentFile } from '../../bench/workload/segments.ts'

const EVENTS = 600
const USERS = 100
const SEGMENTS = 8
/** Of whom everything is read. */
const PEOPLE = 60
const BATCH = 100
const NAMES = ['first', 'second']

const dir = mkdtempSync(join(tmpdir(), 'tributary-disaster-'))
const deployment = new KafkaDeployment({
  brokers: inject('kafka'),
  prefix: `disaster-${process.pid}`,
  dir,
  partitions: 4,
  sessionMs: 6000,
  // Time stands still: two looks at one state are equal.
  more: ['--clock', 'manual'],
})
afterEach(async () => {
  await deployment.stop()
  rmSync(dir, { recursive: true, force: true })
})

const events = [...eventLines({ ...DEFAULT_EVENTS, n: EVENTS, users: USERS })].map((line) => JSON.parse(line) as WorkloadEvent)
const people = [...new Set(events.map((e) => (e.userId === undefined ? `anonymous_id:${e.anonymousId}` : `user_id:${e.userId}`)))].slice(
  0,
  PEOPLE,
)

async function send(server: ServerProcess, from: number, to: number): Promise<void> {
  for (let at = from; at < to; at += BATCH)
    await server.post('/v1/batch', { batch: events.slice(at, Math.min(at + BATCH, to)).map(messageOf) })
}

/** All that can be read of people and segments. */
async function everything(server: ServerProcess): Promise<unknown> {
  await server.settle()
  const profiles: unknown[] = []
  for (const person of people) {
    // How far its partition has read is no part of a profile.
    const { position, ...profile } = await server.get<{ position: string }>(`/v1/profiles/${person}`)
    expect(position).not.toBe('')
    const parts = ['memberships', 'audit', 'events'].map((part) => server.get(`/v1/profiles/${person}/${part}`))
    profiles.push([person, profile, ...(await Promise.all(parts))])
  }
  const segments = await server.get('/v1/segments')
  return { profiles, segments }
}

async function start(): Promise<void> {
  for (const name of NAMES) await (await deployment.begin({ name })).ready()
}

test('after the loss of all processes and all their disks, everything is read as before, and goes on', async () => {
  await start()
  const [first, second] = deployment.servers as [ServerProcess, ServerProcess]
  for (const { id, where } of definitionsOf(segmentFile({ n: SEGMENTS }))) await saveSegment(first, id, where)
  await first.post('/v1/admin/clock', { now: new Date(DEFAULT_EVENTS.endMs).toISOString() })
  await send(first, 0, EVENTS / 2)
  await send(second, EVENTS / 2, EVENTS)
  const before = await everything(second)

  await Promise.all(NAMES.map((name) => deployment.kill(name)))
  for (const name of NAMES) deployment.forget(name)
  await start()
  const [, survivor] = deployment.servers as [ServerProcess, ServerProcess]
  expect(await everything(survivor)).toEqual(before)

  // What was accepted before is known as a repeat, and what is new counts.
  await send(survivor, 0, BATCH)
  expect(await everything(survivor)).toEqual(before)
  await survivor.post('/v1/track', { userId: 'new', event: 'Order Completed' })
  await survivor.settle()
  expect(await survivor.get('/v1/profiles/user_id:new/events')).toMatchObject({ items: [{ event: 'Order Completed' }] })
}, 240_000)
