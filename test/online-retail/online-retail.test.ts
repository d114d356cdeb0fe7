// Seven months of a real shop through HTTP: profiles, orders and net revenue per customer equal a plain recomputation from the file,
// also when every message is sent twice, shuffled, in batches of any size.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import type { ShownTransition } from '../../src/cli/follow.ts'
import type { EngineStatus, SegmentView, TimelineEvent } from '../../src/engine/engine.ts'
import { below, seeded, shuffled } from '../identity/random.ts'
import { call, listOf, setClock, settle } from '../process/client.ts'
import { DataDirectory, startServer } from '../process/server.ts'

const ROOT = join(import.meta.dirname, '../..')
/** The orders with their products, where they are; the repository itself has them without. */
const FILES = [
  join(ROOT, '../shared/data/online-retail/orders-2010-12-to-2011-06.ndjson.gz'),
  join(ROOT, 'examples/online-retail/orders.ndjson.gz'),
]
const file = FILES.find((path) => existsSync(path))
const NOW = Date.parse('2011-07-01T00:00:00Z')
const DAY_MS = 86_400_000
/** All orders of these are looked at one by one; of everybody else, their places in the segments. */
const LOOKED_AT = 120
/** So many orders are sent twice; TRIBUTARY_ORDERS_TWICE=100000 for all. */
const TWICE = Number(process.env.TRIBUTARY_ORDERS_TWICE ?? 6000)
const MAX_BATCH = 500
const PARALLEL = 6

interface Order {
  readonly event: string
  readonly messageId: string
  readonly timestamp: string
  readonly userId?: string
  readonly anonymousId?: string
  readonly properties: { readonly total: number; readonly country: string }
}

const customerOf = (o: Order): string => (o.userId === undefined ? `anonymous_id:${o.anonymousId}` : `user_id:${o.userId}`)
/** In pence: sums of them are exact. */
const pence = (total: number): number => Math.round(total * 100)
const revenueOf = (orders: readonly Order[]): number => orders.reduce((sum, o) => sum + pence(o.properties.total), 0)
const completed = (orders: readonly Order[]): Order[] => orders.filter((o) => o.event === 'Order Completed')

type Holds = (orders: readonly Order[]) => boolean
/** Definitions, and what they say in plain words. */
const SEGMENTS: { readonly [id: string]: readonly [where: object, holds: Holds] } = {
  everyone: [{ all: [] }, () => true],
  ordered: [{ event: 'Order Completed', count: { gte: 3 } }, (own) => completed(own).length >= 3],
  refunded: [{ event: 'Order Refunded' }, (own) => own.some((o) => o.event === 'Order Refunded')],
  ...Object.fromEntries(
    [-100, 0, 250.5, 1000, 5000, 20_000].map((least) => [
      `net-${least}`,
      [
        { event: ['Order Completed', 'Order Refunded', 'Balance Adjusted'], sum: 'properties.total', gte: least },
        (own: readonly Order[]) => revenueOf(own) >= pence(least),
      ] as const,
    ]),
  ),
  lately: [
    { event: 'Order Completed', within: '30d', count: { gte: 2 } },
    (own) => completed(own).filter((o) => Date.parse(o.timestamp) > NOW - 30 * DAY_MS).length >= 2,
  ],
  lost: [
    { event: 'Order Completed', last: { before: '90d' } },
    (own) => completed(own).length > 0 && completed(own).every((o) => Date.parse(o.timestamp) <= NOW - 90 * DAY_MS),
  ],
  abroad: [
    { event: 'Order Completed', where: { 'properties.country': { neq: 'United Kingdom' } } },
    (own) => completed(own).some((o) => o.properties.country !== 'United Kingdom'),
  ],
}

function readOrders(path: string): Order[] {
  const lines = gunzipSync(readFileSync(path)).toString().trim().split('\n')
  return lines.map((line) => JSON.parse(line) as Order)
}

async function send(url: string, batches: readonly (readonly Order[])[]): Promise<void> {
  const queue = [...batches]
  const sender = async (): Promise<void> => {
    for (let batch = queue.shift(); batch; batch = queue.shift()) {
      const reply = await call<object>(url, '/v1/batch', { method: 'POST', body: { batch } })
      expect(reply).not.toHaveProperty('rejected')
    }
  }
  await Promise.all(Array.from({ length: PARALLEL }, sender))
  await settle(url)
}

/** Batches of 1 to `MAX_BATCH`. */
function batchesOf(orders: readonly Order[], random: () => number): Order[][] {
  const batches: Order[][] = []
  for (let at = 0; at < orders.length; ) {
    const size = 1 + below(random, MAX_BATCH)
    batches.push(orders.slice(at, at + size))
    at += size
  }
  return batches
}

async function verify(url: string, orders: readonly Order[]): Promise<void> {
  const customers = Map.groupBy(orders, customerOf)
  expect((await call<EngineStatus>(url, '/v1/status')).profiles).toBe(customers.size)
  const transitions = await listOf<ShownTransition>(url, '/v1/transitions')
  for (const [id, [, holds]] of Object.entries(SEGMENTS)) {
    const expected = [...customers].filter(([, own]) => holds(own)).map(([customer]) => customer)
    const members = await listOf<{ profile: string; userId?: string }>(url, `/v1/segments/${id}/members`)
    const known = members.flatMap((m) => (m.userId === undefined ? [] : [`user_id:${m.userId}`])).sort()
    expect(known, id).toEqual(expected.filter((c) => c.startsWith('user_id:')).sort())
    expect(members.length, id).toBe(expected.length)
    expect((await call<SegmentView>(url, `/v1/segments/${id}`)).size, id).toBe(expected.length)
    const balance = transitions.filter((t) => t.segment === id).reduce((n, t) => n + (t.transition === 'entered' ? 1 : -1), 0)
    expect(balance, id).toBe(expected.length)
  }
  // The busiest, and some of all the others.
  const byOrders = [...customers].sort(([, a], [, b]) => b.length - a.length)
  const step = Math.ceil(byOrders.length / LOOKED_AT)
  const looked = byOrders.filter((_, i) => i < 20 || i % step === 0)
  const look = async (): Promise<void> => {
    for (let next = looked.pop(); next; next = looked.pop()) {
      const [customer, own] = next
      const events = await listOf<TimelineEvent>(url, `/v1/profiles/${customer}/events`)
      expect(events.map((e) => e.messageId).sort(), customer).toEqual(own.map((o) => o.messageId).sort())
      expect(revenueOf(events.map((e) => e.message as unknown as Order)), customer).toBe(revenueOf(own))
    }
  }
  await Promise.all(Array.from({ length: PARALLEL }, look))
}

async function onServer(run: (url: string) => Promise<void>): Promise<void> {
  const directory = new DataDirectory()
  const server = await startServer(directory.path, ['--partitions', '4', '--clock', 'manual'])
  try {
    for (const [id, [where]] of Object.entries(SEGMENTS)) await call(server.url, `/v1/segments/${id}`, { method: 'PUT', body: { where } })
    await setClock(server.url, NOW)
    await run(server.url)
  } finally {
    await server.end('SIGKILL')
    directory.remove()
  }
}

if (file === undefined) console.warn(`skipped: neither ${FILES.join(' nor ')} is there`)

describe.skipIf(file === undefined)('Online Retail', () => {
  const orders = file === undefined ? [] : readOrders(file)

  test('as it is', async () => {
    console.log(`${orders.length} messages of ${file}`)
    expect(orders.length).toBeGreaterThan(10_000)
    await onServer(async (url) => {
      await send(
        url,
        batchesOf(orders, () => 0.9),
      )
      await verify(url, orders)
    })
  })

  test('thousands of messages twice, shuffled, in batches of 1 to 500', async () => {
    const seed = Number(process.env.TRIBUTARY_SEED ?? Math.floor(Math.random() * 1e6))
    console.log(`seed ${seed}`)
    const random = seeded(seed)
    await onServer(async (url) => {
      const some = shuffled(random, orders).slice(0, TWICE)
      await send(url, batchesOf(shuffled(random, [...some, ...some]), random))
      await verify(url, some)
    })
  })
})
