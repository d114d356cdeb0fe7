// Nothing grows for ever: what nobody needs of the engine's topics is deleted while events come again and again, and after the loss of
// all processes and disks what is left has everything.
import { afterEach, beforeEach, expect, inject, test } from 'vitest'
import type { Transition } from '../../src/core/transition.ts'
import { countedCommit } from '../../src/engine/journal-claimed.ts'
import { REWRITE_LIMITS } from '../../src/engine/rewrite.ts'
import { ClaimedReader, type SharedRecord } from '../../src/log/claimed.ts'
import { withAdmin } from '../../src/log/kafka-client.ts'
import { KafkaLog } from '../../src/log/kafka-log.ts'
import { topicName } from '../../src/log/kafka-topics.ts'
import { pause } from '../process/server.ts'
import { Deployment } from './deployment.ts'
import { clock, freshSettings } from './world.ts'

const PARTITIONS = 2
const PEOPLE = 200
const T0 = Date.parse('2026-05-01T00:00:00.000Z')
const HOUR_MS = 3_600_000
const DELETE_EVERY_MS = 300
const TOPICS = ['journal', 'events', 'exchange'] as const
/** Each time, what is deleted of the journal goes up: so often at least. */
const CUTS = 3
/** What comes between the end of a round and its deletion, and what of a round is not rows: a share of what is live. */
const SLACK = 0.5

const settings = freshSettings(inject('kafka'))
let deployment: Deployment
beforeEach(() => {
  const kafka = { brokers: inject('kafka'), prefix: settings.prefix, deleteEveryMs: DELETE_EVERY_MS }
  const flags = ['--clock', 'manual', '--timeline-events', '4', '--dedupe-window', '6h', '--apply-ms', '200']
  deployment = new Deployment({ kafka, partitions: PARTITIONS, flags })
})
afterEach(() => deployment.close())

/** The records of a journal that are left, from where it begins. */
async function kept(log: KafkaLog, partition: number): Promise<SharedRecord[]> {
  const shared = log.shared(partition)
  const records: SharedRecord[] = []
  for (let at = await shared.first(); ; ) {
    const page = await shared.read(at, { maxRecords: 1000, maxBytes: 8 << 20, waitMs: 0 })
    records.push(...page.records)
    at = (page.records.at(-1)?.position ?? at - 1) + 1
    if (at >= page.end) return records
  }
}

/** Bytes of all rows, as somebody finds them who knows nothing. */
async function liveBytes(log: KafkaLog, partition: number): Promise<number> {
  const shared = log.shared(partition)
  const reader = new ClaimedReader({ log: shared, clock, retryMs: 10, troubled: () => {}, isStopped: () => false }, 0, undefined)
  const rows = new Map<string, number>()
  while (!reader.isCaughtUp) {
    for (const counted of await reader.next(0)) {
      if (counted.t !== 'commit') continue
      const commit = countedCommit(counted.n, counted.payload)
      for (const [from, to] of commit.deletedRanges) for (const key of rows.keys()) if (key >= from && key < to) rows.delete(key)
      for (const [key, value] of commit.rows) {
        if (value) rows.set(key, key.length + value.length)
        else rows.delete(key)
      }
    }
  }
  return [...rows.values()].reduce((sum, bytes) => sum + bytes, 0)
}

/** Each process runs a partition: else nothing goes by way of the exchange. */
async function shared(): Promise<void> {
  for (let owners = new Set<unknown>(); owners.size < 2; ) {
    await pause(100)
    const { partitions } = await deployment.ask<{ partitions: { state: string; owner?: string }[] }>('/v1/status')
    owners = new Set(partitions.flatMap(({ state, owner }) => (state === 'running' && owner !== undefined ? [owner] : [])))
  }
}

class Visitors {
  #sent = 0
  #now = T0

  async begin(): Promise<void> {
    const wheres = { buyers: { event: 'Order', count: { gte: 2 } }, idle: { not: { event: 'Order', within: '2h' } } }
    for (const [id, where] of Object.entries(wheres)) await deployment.ask(`/v1/segments/${id}`, { method: 'PUT', body: { where } })
    await this.pass(0)
  }

  async pass(ms: number): Promise<void> {
    this.#now += ms
    await deployment.ask('/v1/admin/clock', { method: 'POST', body: { now: this.#now } })
  }

  /** Everybody does something once more; by two names each, so that partitions have to speak. */
  async again(): Promise<void> {
    const batch = Array.from({ length: PEOPLE }, (_, person) => ({
      type: 'track',
      event: (this.#sent + person) % 3 === 0 ? 'Look' : 'Order',
      anonymousId: `a${person}`,
      ...(person % 2 === 0 ? { userId: `u${person}` } : {}),
      messageId: `m${this.#sent} ${person}`,
      timestamp: new Date(this.#now).toISOString(),
    }))
    this.#sent++
    await deployment.ask('/v1/batch', { method: 'POST', body: { batch } })
  }
}

async function everything(): Promise<unknown> {
  await deployment.ask('/v1/admin/settle', { method: 'POST' })
  const people = await Promise.all(
    Array.from({ length: PEOPLE }, async (_, person) => {
      const path = `/v1/profiles/anonymous_id:a${person}`
      const { position: _position, ...profile } = await deployment.ask<{ position: string }>(path)
      return [profile, await deployment.ask(`${path}/memberships`), await deployment.ask(`${path}/events`)]
    }),
  )
  return { people, segments: await deployment.ask('/v1/segments'), transitions: distinct(await deployment.transitions()) }
}

const distinct = (transitions: readonly Transition[]): Transition[] =>
  [...new Map(transitions.map((t) => [t.id, t])).values()].sort((a, b) => (a.id < b.id ? -1 : 1))

/** By topic and partition: the first offset kept. */
const firsts = (): Promise<number[][]> =>
  withAdmin(settings, clock, (admin) =>
    Promise.all(
      TOPICS.map(async (kind) => {
        const offsets = await admin.fetchTopicOffsets(topicName(settings, kind))
        return offsets.sort((a, b) => a.partition - b.partition).map(({ low }) => Number(low))
      }),
    ),
  )

test('topics keep what is needed, and that is enough', async () => {
  await deployment.start('first')
  await deployment.start('second')
  await shared()
  const visitors = new Visitors()
  await visitors.begin()
  const cuts = new Set<number>()
  let most: number[][] = []
  while (cuts.size < CUTS || most.flat().some((first) => first === 0)) {
    await visitors.again()
    await visitors.pass(HOUR_MS)
    await pause(DELETE_EVERY_MS)
    most = await firsts()
    const [journal = []] = most
    if (Math.min(...journal) > 0) cuts.add(Math.min(...journal))
  }
  const before = await everything()

  const ratio = 1 + 1 / REWRITE_LIMITS.ratio
  const log = await KafkaLog.open({ settings, clock, kind: 'journal', partitions: PARTITIONS })
  for (let p = 0; p < PARTITIONS; p++) {
    const bytes = (await kept(log, p)).reduce((sum, { payload }) => sum + payload.length, 0)
    const live = await liveBytes(log, p)
    console.info(`partition ${p}: ${bytes} bytes of journal for ${live} live, from ${most.map((list) => list[p]).join(', ')} on`)
    expect(bytes).toBeLessThan((2 * ratio + SLACK) * live)
  }
  await log.close()

  for (const name of ['first', 'second']) await deployment.end(name, 'SIGKILL')
  for (const name of ['first', 'second']) deployment.loseDisk(name)
  await deployment.start('third')
  expect(await everything()).toEqual(before)
  await visitors.again()
  await visitors.pass(HOUR_MS)
  await deployment.ask('/v1/admin/settle', { method: 'POST' })
  expect(deployment.said().join('')).not.toContain('data_corrupt')
}, 240_000)
