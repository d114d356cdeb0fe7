// What intake costs: CPU microseconds per event, in batches of 100 messages of about 470 bytes.
//   mapping   in process: from the request's bytes to event records (parse, check, find identifiers, hash, write JSON)
//   http      the same behind the API on a real socket, the engine a stub; the client is a process of its own
// `node bench/intake.ts [requests] [--json]`
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { Agent, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { parseArgs } from 'node:util'
import { buildApi } from '../src/api/api.ts'
import { checkConfig } from '../src/config-load.ts'
import { Namespaces } from '../src/core/namespace.ts'
import type { Engine } from '../src/engine/engine.ts'
import { takeIn } from '../src/intake/intake.ts'
import { machine, printed, rounded } from './report.ts'

const BATCH = 100
const BODIES = 50
const CONNECTIONS = 4
const ACCEPTED_AT = Date.parse('2026-11-23T14:52:31.000Z')

const config = checkConfig({})
const namespaces = new Namespaces(config.identity)
const bodies = Array.from({ length: BODIES }, (_, round) => batchOf(round))

function batchOf(round: number): Buffer {
  const batch = Array.from({ length: BATCH }, (_, i) => ({
    type: 'track',
    event: 'Order Completed',
    messageId: `node-next-1795445550140-${round}-${i}-60ded116-09bc-4f5e`,
    userId: `user-${i * 7919}`,
    anonymousId: `0eb3c73c-4ec6-4561-b21e-58a6181c${i}`,
    timestamp: '2026-11-23T14:52:30.140Z',
    integrations: {},
    properties: { order_id: `o-${i}`, total: 99.99, currency: 'EUR', products: [{ product_id: 'p1', quantity: 2, price: 49.995 }] },
    context: { ip: '203.0.113.7', locale: 'de-AT', library: { name: '@segment/analytics-node', version: '3.1.0' } },
  }))
  return Buffer.from(JSON.stringify({ batch, sentAt: '2026-11-23T14:52:30.900Z', writeKey: 'WK' }))
}

function bodyAt(i: number): Buffer {
  return bodies[i % BODIES] as Buffer
}

async function cpuUsPer(events: number, run: () => Promise<void>): Promise<number> {
  const before = process.cpuUsage()
  await run()
  const used = process.cpuUsage(before)
  return (used.user + used.system) / events
}

/** CPU microseconds per event of mapping alone. */
export async function mappingCost(requests: number): Promise<number> {
  const context = { acceptedAt: ACCEPTED_AT, sourcePriority: 0, futureLimit: config.futureLimit, namespaces }
  const run = async (count: number) => {
    for (let i = 0; i < count; i++) {
      const { events } = await takeIn({ raw: bodyAt(i), encoding: undefined, dialect: 'segment', type: undefined }, context)
      if (events.length !== BATCH) throw new Error('a message was not taken')
    }
  }
  await run(Math.min(requests, 200))
  return cpuUsPer(requests * BATCH, () => run(requests))
}

/** CPU microseconds per event of the whole server process; the engine does nothing. */
export async function httpCost(requests: number): Promise<number> {
  let taken = 0
  const stub: Pick<Engine, 'acceptanceTime' | 'pressure' | 'ingest'> = {
    acceptanceTime: () => ACCEPTED_AT,
    pressure: () => undefined,
    ingest: async (events) => {
      taken += events.length
      return { position: '0.0' }
    },
  }
  const app = buildApi(stub as Engine, { config, namespaces })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const run = async (count: number) => {
    const client = fork(import.meta.filename, ['--client', String(port), String(count)])
    const [code] = await once(client, 'exit')
    if (code !== 0) throw new Error('the client failed')
  }
  await run(Math.min(requests, 300))
  taken = 0
  const cost = await cpuUsPer(requests * BATCH, () => run(requests))
  await app.close()
  if (taken !== requests * BATCH) throw new Error(`${taken} events taken instead of ${requests * BATCH}`)
  return cost
}

async function client(port: number, requests: number): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS })
  let next = 0
  const send = async () => {
    while (next < requests) {
      const call = request({
        port,
        host: '127.0.0.1',
        method: 'POST',
        path: '/v1/batch',
        agent,
        headers: { 'content-type': 'application/json' },
      })
      call.end(bodyAt(next++))
      const [reply] = await once(call, 'response')
      reply.resume()
      await once(reply, 'end')
      if (reply.statusCode !== 200) throw new Error(`status ${reply.statusCode}`)
    }
  }
  await Promise.all(Array.from({ length: CONNECTIONS }, send))
  agent.destroy()
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { json: { type: 'boolean', default: false } } })
  const requests = Number(positionals[0] ?? 2000)
  const say = (name: string, cpuUsPerEvent: number): void => {
    const figures = { name, events: requests * BATCH, cpuUsPerEvent: rounded(cpuUsPerEvent), load1: machine().load1 }
    process.stdout.write(`${printed(figures, values.json)}\n`)
  }
  say('intake mapping', await mappingCost(requests))
  say('intake http', await httpCost(requests))
}

if (import.meta.main) {
  const [flag, port, count] = process.argv.slice(2)
  if (flag === '--client') await client(Number(port), Number(count))
  else await main()
}
