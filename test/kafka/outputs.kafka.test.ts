// The outputs on a real broker, as users find them, and the example consumer on top: killed, started again, and fed repeats.
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, inject, test } from 'vitest'
import { type FetchedRecord, KafkaLink } from '../../src/log/kafka-client.ts'
import { KafkaOutputs, OUTPUT_KINDS, type OutputEntry, type OutputKind } from '../../src/log/kafka-outputs.ts'
import { partitionOfKey } from '../../src/log/kafka-partitioner.ts'
import type { KafkaSettings } from '../../src/log/kafka-settings.ts'
import { topicName } from '../../src/log/kafka-topics.ts'
import { clock, freshSettings, madeTopics, until } from './world.ts'

const PARTITIONS = 4
let settings: KafkaSettings
let outputs: KafkaOutputs
let link: KafkaLink

beforeEach(async () => {
  settings = freshSettings()
  await madeTopics(settings, OUTPUT_KINDS, PARTITIONS)
  outputs = await KafkaOutputs.open({ settings, clock })
  link = await KafkaLink.open(settings, { name: 'test', clock })
})
afterEach(async () => {
  await outputs.close()
  await link.close()
})

/** Everything in a topic, by partition, as any client sees it. */
async function recordsOf(kind: OutputKind): Promise<(readonly FetchedRecord[])[]> {
  const topic = topicName(settings, kind)
  await link.know(topic)
  const all = Array.from({ length: PARTITIONS }, (_, p) => p)
  const wants = all.map((partition) => ({ partition, offset: 0, maxBytes: 1 << 20 }))
  for (;;) {
    try {
      const [[leader = ''] = []] = link.leaders(topic, all)
      const found = await link.fetch(leader, topic, wants, { waitMs: 0, maxBytes: 1 << 22 })
      return all.map((p) => found.find((f) => f.partition === p)?.records ?? [])
    } catch (error) {
      // A topic that was just made may not have its leaders yet; a link leaves trying again to its user.
      if (!(await link.heal(error))) throw error
    }
  }
}

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))
const transition = (origin: number, seq: number): OutputEntry => {
  const profile = `p${(seq * 7) % 11}`
  const value = {
    id: `${origin}-${seq}`,
    segment: seq % 2 === 0 ? 'vips' : 'lapsing',
    profile,
    transition: seq % 5 === 0 ? 'exited' : 'entered',
    seq,
  }
  return { key: profile, origin, seq, value: json(value) }
}
const stretch = (origin: number, from: number, to: number): OutputEntry[] =>
  Array.from({ length: to - from + 1 }, (_, i) => transition(origin, from + i))

test('an entry is one record, where the key belongs, with its id, seq and origin in the headers, in order', async () => {
  await Promise.all([outputs.write('transitions', stretch(0, 1, 60)), outputs.write('transitions', stretch(3, 1, 40))])
  const found = await recordsOf('transitions')
  expect(found.flat()).toHaveLength(100)
  for (const [p, records] of found.entries()) {
    const seqs = new Map<string, number>()
    for (const { key, value, headers } of records) {
      const entry = JSON.parse(String(value)) as { id: string; profile: string; seq: number }
      expect([String(key), partitionOfKey(entry.profile, PARTITIONS)]).toEqual([entry.profile, p])
      expect([String(headers.id), Number(String(headers.seq)), `${headers.origin}-${headers.seq}`]).toEqual([entry.id, entry.seq, entry.id])
      expect(entry.seq).toBeGreaterThan(seqs.get(String(headers.origin)) ?? 0)
      seqs.set(String(headers.origin), entry.seq)
    }
  }
})

test('a profile that is gone has no value, a dead letter no key, and each topic gets its own', async () => {
  await outputs.write('profiles', [
    { key: 'p1', origin: 0, seq: 1, value: json({ id: 'p1' }) },
    { key: 'p1', origin: 0, seq: 2, value: null },
  ])
  await outputs.write('merges', [{ key: 'p1', origin: 0, seq: 1, value: json({ survivor: 'p1', absorbed: 'p2' }) }])
  await outputs.write('dead-letters', [{ key: undefined, origin: 4, seq: 9, value: json({ code: 'unreadable' }) }])
  const profiles = (await recordsOf('profiles')).flat()
  expect(profiles.map((r) => [String(r.key), r.value === null ? null : String(r.value)])).toEqual([
    ['p1', '{"id":"p1"}'],
    ['p1', null],
  ])
  expect((await recordsOf('merges')).flat().map((r) => [String(r.key), String(r.headers.id)])).toEqual([['p1', '0-1']])
  expect((await recordsOf('dead-letters')).flat().map((r) => [r.key, String(r.headers.id)])).toEqual([[null, '4-9']])
})

test('the example consumer counts each transition once through repeats and kills', { timeout: 60_000 }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'consumer-'))
  const state = join(directory, 'counts.json')
  const counts = (): Record<string, number> | undefined => {
    try {
      return (JSON.parse(readFileSync(state, 'utf8')) as { counts: Record<string, number> }).counts
    } catch {
      return undefined
    }
  }
  const expected = (to: number): Record<string, number> => {
    const sums: Record<string, number> = {}
    for (const { value } of [...stretch(0, 1, to), ...stretch(1, 1, to)]) {
      const { segment, transition: what } = JSON.parse(String(value)) as { segment: string; transition: string }
      sums[segment] = (sums[segment] ?? 0) + (what === 'entered' ? 1 : -1)
    }
    return sums
  }
  const agrees = (to: number): boolean => {
    const found = counts()
    return found !== undefined && Object.entries(expected(to)).every(([segment, n]) => found[segment] === n)
  }
  const script = join(import.meta.dirname, '../../examples/kafka-consumer/consume.ts')
  const args = [script, '--brokers', inject('kafka'), '--topic', topicName(settings, 'transitions'), '--state', state]
  const run = () => spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] })
  let consumer = run()
  try {
    await outputs.write('transitions', [...stretch(0, 1, 50), ...stretch(1, 1, 50)])
    await until(() => agrees(50))
    consumer.kill('SIGKILL')
    // What a relay does after a crash: it says again what was not confirmed, and goes on.
    await outputs.write('transitions', [...stretch(0, 31, 50), ...stretch(1, 1, 50), ...stretch(0, 51, 80), ...stretch(1, 51, 80)])
    consumer = run()
    await until(() => agrees(80))
    await outputs.write('transitions', [...stretch(0, 1, 90), ...stretch(1, 79, 90)])
    await until(() => agrees(90))
  } finally {
    consumer.kill('SIGKILL')
    rmSync(directory, { recursive: true })
  }
})

test('the example of a journey sets each step off once for each entry, through repeats, kills and a receiver that fails', {
  timeout: 90_000,
}, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'journey-'))
  const keys: string[] = []
  let refusals = 3
  const receiver = createServer((request, reply) => {
    request.resume()
    if (refusals-- > 0) reply.writeHead(503).end()
    else {
      keys.push(String(request.headers['idempotency-key']))
      reply.writeHead(204).end()
    }
  })
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`
  const script = join(import.meta.dirname, '../../examples/kafka-consumer/journey.ts')
  const topic = topicName(settings, 'transitions')
  const state = join(directory, 'journey.json')
  const args = [script, '--brokers', inject('kafka'), '--topic', topic, '--state', state, '--segment', 'vips', '--url', url]
  const run = () => spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] })
  const wanted = (to: number) => [...stretch(0, 1, to), ...stretch(1, 1, to)].filter((e) => e.seq % 2 === 0 && e.seq % 5 !== 0)
  const steps = (): number => {
    try {
      return (JSON.parse(readFileSync(state, 'utf8')) as { steps: number }).steps
    } catch {
      return 0
    }
  }
  let consumer = run()
  try {
    await outputs.write('transitions', [...stretch(0, 1, 50), ...stretch(1, 1, 50)])
    await until(() => steps() === wanted(50).length)
    consumer.kill('SIGKILL')
    await outputs.write('transitions', [...stretch(0, 31, 50), ...stretch(1, 1, 50), ...stretch(0, 51, 80), ...stretch(1, 51, 80)])
    consumer = run()
    await until(() => steps() === wanted(80).length)
    // Killed at rest, no call came twice.
    expect([...keys].sort()).toEqual(
      wanted(80)
        .map((e) => `${e.origin}-${e.seq}`)
        .sort(),
    )
  } finally {
    consumer.kill('SIGKILL')
    receiver.close()
    rmSync(directory, { recursive: true })
  }
})
