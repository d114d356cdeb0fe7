// What two real servers of one deployment put out: a stream that goes on at the other when its server is killed, the example consumer,
// the topic of profiles, and merges in Avro, each against what the API shows in the end. One server frames values as Avro does, the other
// as a registry wants it: readers here have the published schemas, or ask the registry, and know nothing else.
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import avro, { type Schema } from 'avsc'
import { afterEach, beforeEach, expect, inject, test } from 'vitest'
import type { Transition } from '../../src/core/transition.ts'
import type { MergeRecord, Page, ProfileView } from '../../src/engine/engine.ts'
import { KafkaTopic } from '../../src/log/kafka-topic.ts'
import type { TopicRecord } from '../../src/log/topic.ts'
import { RegistryStub } from '../engine/registry-stub.ts'
import { ServerProcess } from '../process/server.ts'
import { clock, until } from './world.ts'

const PARTITIONS = 4
const PEOPLE = 40
const prefix = `test-${randomUUID()}`
let root: string
let servers: ServerProcess[] = []
let registry: RegistryStub
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'outputs-served-'))
  registry = new RegistryStub()
})
afterEach(async () => {
  await Promise.all(servers.map((server) => server.end('SIGKILL')))
  servers = []
  registry.close()
  rmSync(root, { recursive: true, force: true })
})

function begin(name: string, registryUrl?: string): ServerProcess {
  const outputs = { profiles: 'avro', merges: 'avro', ...(registryUrl === undefined ? {} : { registry: { url: registryUrl } }) }
  const kafka = JSON.stringify({ brokers: [inject('kafka')], prefix, sessionTimeoutMs: 3000, outputs })
  return new ServerProcess(join(root, name), ['--partitions', String(PARTITIONS), '--kafka', kafka])
}

async function start(name: string, registryUrl?: string): Promise<ServerProcess> {
  const server = await begin(name, registryUrl).listening()
  servers.push(server)
  return server
}

/** Asks the servers in turn until one answers. */
async function ask<T>(path: string, init: { method?: string; body?: unknown } = {}): Promise<T> {
  const { method = 'GET', body } = init
  const content = body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
  for (let i = 0; ; i++) {
    const server = servers[i % servers.length]
    const reply =
      server && (await fetch(server.url + path, { method, ...content, signal: AbortSignal.timeout(8000) }).catch(() => undefined))
    if (reply?.ok) return (await reply.json()) as T
    if (reply && reply.status < 500 && reply.status !== 429) throw new Error(`${path}: ${reply.status} ${await reply.text()}`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

/** Follows the transitions at a server until it is gone. */
async function follow(server: ServerProcess, seen: { last: string; transitions: Transition[] }): Promise<void> {
  const reply = await fetch(`${server.url}/v1/transitions`, { headers: { accept: 'text/event-stream', 'last-event-id': seen.last } })
  const decoder = new TextDecoder()
  let text = ''
  for await (const chunk of reply.body ?? []) {
    text += decoder.decode(chunk as Uint8Array, { stream: true })
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const event = text.slice(0, end)
      text = text.slice(end + 2)
      seen.last = /^id: (.*)$/m.exec(event)?.[1] ?? seen.last
      const data = /^data: (.*)$/m.exec(event)?.[1]
      if (data !== undefined) seen.transitions.push(JSON.parse(data) as Transition)
    }
  }
}

async function recordsOf(kind: 'profiles' | 'merges'): Promise<TopicRecord[]> {
  const topic = new KafkaTopic({ settings: { brokers: [inject('kafka')], prefix }, clock, kind, partitions: PARTITIONS })
  const all: TopicRecord[] = []
  for (let partition = 0; partition < PARTITIONS; partition++) {
    for (let from = 0, isEnd = false; !isEnd; ) {
      const page = await topic.read(partition, from, 1 << 20)
      all.push(...page.records)
      ;({ next: from, isEnd } = page)
    }
  }
  await topic.close()
  return all
}

/** Visitors that buy, of whom some are found out to be people who are known already. */
async function live(from: number, to: number): Promise<void> {
  for (let n = from; n < to; n++) {
    const send = (body: object) => ask('/v1/batch', { method: 'POST', body: { batch: [body] } })
    await send({ type: 'track', event: 'Bought', userId: `u${n}`, messageId: `b${n}` })
    await send({ type: 'track', event: 'Bought', anonymousId: `a${n}`, messageId: `c${n}` })
    if (n % 4 === 0) await send({ type: 'identify', userId: `u${n}`, anonymousId: `a${n}`, traits: { n }, messageId: `i${n}` })
  }
}

const PUBLISHED = readFileSync(join(import.meta.dirname, '../../docs/avro/profile.avsc'), 'utf8')

/** As docs/kafka.md says it is to be read. */
function stateIn(value: Buffer): Omit<ProfileView, 'position'> {
  const [schema, from] = value[0] === 0 ? [registry.schemas[value.readUInt32BE(1) - 1], 5] : [PUBLISHED, 10]
  const row = avro.Type.forSchema(JSON.parse(schema ?? '') as Schema).fromBuffer(value.subarray(from)) as Record<string, never>
  const [createdAt, updatedAt] = [row.createdAt, row.updatedAt].map((ms) => new Date(ms ?? Number.NaN).toISOString()) as [string, string]
  const { id = '', identifiers = [], segments = [], traits = '', computedTraits = '' } = row
  return { id, identifiers, segments, traits: JSON.parse(traits), computedTraits: JSON.parse(computedTraits), createdAt, updatedAt }
}

async function expectProfilesShown(): Promise<void> {
  const records = await recordsOf('profiles')
  expect(new Set(records.flatMap(({ value }) => value?.[0] ?? []))).toEqual(new Set([0xc3, 0]))
  const left = new Map(records.map(({ key = '', value }) => [key, value && stateIn(value)]))
  const members = await ask<Page<{ profile: string }>>('/v1/segments/buyers/members?limit=1000')
  expect([...left].flatMap(([id, state]) => (state ? [id] : [])).sort()).toEqual(members.items.map((m) => m.profile).sort())
  for (const [id, state] of left) {
    if (!state) continue
    const { position: _, ...shown } = await ask<ProfileView>(`/v1/profiles/profile_id:${id}`)
    expect(state).toEqual(shown)
  }
  const merges = await ask<Page<MergeRecord>>('/v1/merges?limit=1000')
  expect([...left].flatMap(([id, state]) => (state ? [] : [id])).sort()).toEqual([...new Set(merges.items.map((m) => m.absorbed))].sort())
}

test('nothing of what is put out is missed when a server is killed, whoever reads it', { timeout: 180_000 }, async () => {
  const url = await registry.listen()
  const [one, other] = [await start('one'), await start('other', url)]
  expect(registry.asked).toEqual(['merges', 'profiles'].map((kind) => `POST /subjects/${prefix}.${kind}-value/versions`))
  await ask('/v1/segments/buyers', { method: 'PUT', body: { where: { event: 'Bought' } } })
  const seen = { last: '', transitions: [] as Transition[] }
  const following = follow(one, seen).catch(() => undefined)
  await until(() => seen.last !== '')
  await live(0, PEOPLE / 2)
  await until(() => seen.transitions.length > 10)
  servers = [other]
  await one.end('SIGKILL')
  await following
  const goingOn = follow(other, seen).catch(() => undefined)
  await live(PEOPLE / 2, PEOPLE)
  await ask('/v1/admin/settle', { method: 'POST', body: {} })
  const all = await ask<Page<Transition>>('/v1/transitions?limit=1000')
  const ids = [...new Set(all.items.map((t) => t.id))].sort()
  // Everybody enters once, and who was two people leaves once.
  expect(ids).toHaveLength(2 * PEOPLE + PEOPLE / 4)
  await until(() => new Set(seen.transitions.map((t) => t.id)).size === ids.length)
  expect([...new Set(seen.transitions.map((t) => t.id))].sort()).toEqual(ids)
  await expectProfilesShown()
  expect((await recordsOf('merges')).filter(({ value }) => value?.[0] !== 0xc3 && value?.[0] !== 0)).toEqual([])
  const state = join(root, 'counts.json')
  const script = join(import.meta.dirname, '../../examples/kafka-consumer/consume.ts')
  const args = [script, '--brokers', inject('kafka'), '--topic', `${prefix}.transitions`, '--state', state, '--until', String(ids.length)]
  await new Promise((resolve) => spawn(process.execPath, args, { stdio: 'ignore' }).on('exit', resolve))
  const { counts } = JSON.parse(readFileSync(state, 'utf8')) as { counts: Record<string, number> }
  expect(counts).toEqual({ buyers: 2 * PEOPLE - PEOPLE / 4 })
  await other.end('SIGTERM')
  servers = []
  await goingOn
})

test('a server whose registry has another schema of profiles does not start', async () => {
  registry.register(`${prefix}.profiles-value`, JSON.stringify({ type: 'record', name: 'Profile', fields: [{ name: 'id', type: 'long' }] }))
  const server = begin('third', await registry.listen())
  expect(await server.exited).toEqual({ code: 1, signal: null })
  expect(server.err).toMatch(/^registry_failed: .*profiles-value\/versions answers 409/)
})
