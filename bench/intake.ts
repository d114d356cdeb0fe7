// What intake costs a message: inflating excepted, everything from the request's bytes to event records, in batches of 100.
// In-process, one thread. Prints CPU microseconds per event; `node bench/intake.ts [rounds]`.
import { identifierKey } from '../src/core/identifier.ts'
import type { IdentifierSource } from '../src/intake/identifiers.ts'
import { takeIn } from '../src/intake/intake.ts'

const PRIORITIES: { readonly [namespace: string]: number } = { user_id: 0, email: 1, phone: 2, anonymous_id: 3 }
const namespaces: IdentifierSource = {
  identifierOf(namespace, raw) {
    const value = raw.trim().normalize('NFC')
    return { key: identifierKey(PRIORITIES[namespace] ?? 255, namespace, value), namespace, value }
  },
}

function batchOf(size: number, round: number): Buffer {
  const batch = Array.from({ length: size }, (_, i) => ({
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

export async function intakeCost(rounds: number, size = 100): Promise<{ cpuUsPerEvent: number; bytesPerEvent: number }> {
  const bodies = Array.from({ length: 50 }, (_, round) => batchOf(size, round))
  const context = { acceptedAt: Date.parse('2026-11-23T14:52:31.000Z'), sourcePriority: 0, futureLimit: 86_400_000, namespaces }
  let events = 0
  let bytes = 0
  const before = process.cpuUsage()
  for (let i = 0; i < rounds; i++) {
    const raw = bodies[i % bodies.length] as Buffer
    const mapped = await takeIn({ raw, encoding: undefined, dialect: 'segment', type: undefined }, context)
    events += mapped.events.length
    bytes += raw.length
  }
  const used = process.cpuUsage(before)
  return { cpuUsPerEvent: (used.user + used.system) / events, bytesPerEvent: bytes / events }
}

if (import.meta.main) {
  await intakeCost(200)
  console.log(await intakeCost(Number(process.argv[2] ?? 2000)))
}
