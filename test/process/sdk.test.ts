// The real client library of Segment, as a server application uses it, against the real server behind a proxy that makes faults.
import { Analytics } from '@segment/analytics-node'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import type { ProfileView, TimelineEvent } from '../../src/engine/engine.ts'
import { call, listOf, settle } from './client.ts'
import { FAULTS, type Fault, startProxy } from './proxy.ts'
import { DataDirectory, type ServerProcess, startServer } from './server.ts'

/** In batches of four: one for every fault and some more. */
const MESSAGES = 36
const CLIENTS = 3

const directory = new DataDirectory()
let server: ServerProcess
beforeAll(async () => {
  server = await startServer(directory.path, ['--partitions', '4'])
})
afterAll(async () => {
  await server.end('SIGKILL')
  directory.remove()
})

/** Every request that is no repeat meets a fault; a 429 with Retry-After holds the whole client for a second, so it comes once. */
function faulty(nth: number): Fault {
  if (nth % 2 === 1) return 'none'
  const fault = FAULTS[(nth / 2) % FAULTS.length] ?? 'none'
  return fault === '429 with Retry-After' && nth / 2 >= FAULTS.length ? 'none' : fault
}

test('every message counts once, whatever happens to the requests', async () => {
  const proxy = await startProxy(server.url, faulty)
  // Most of the time goes by between a fault and the repeat: several clients share it.
  const settings = { writeKey: 'any', host: proxy.url, flushAt: 4, flushInterval: 50, maxRetries: 10, httpRequestTimeout: 60_000 }
  const clients = Array.from({ length: CLIENTS }, () => new Analytics(settings))
  const failed: unknown[] = []
  for (const client of clients) client.on('error', (error) => failed.push(error))
  const people = 5
  for (let i = 0; i < MESSAGES; i++) {
    const analytics = must(clients[i % CLIENTS], 'one of them')
    const userId = `sdk-${i % people}`
    const messageId = `sdk-message-${i}`
    const anonymousId = `sdk-device-${i % people}`
    if (i < people) analytics.identify({ userId, messageId, anonymousId, traits: { email: `${userId}@example.com`, n: i } })
    else if (i % 3 === 0) analytics.track({ anonymousId, messageId, event: 'Viewed', properties: { i } })
    else if (i % 3 === 1) analytics.track({ userId, messageId, event: 'Order Completed', properties: { total: i / 4 } })
    else analytics.page({ userId, messageId, name: 'Home' })
  }
  await Promise.all(clients.map((client) => client.closeAndFlush({ timeout: 200_000 })))
  await proxy.close()
  expect(failed).toEqual([])
  for (const fault of FAULTS) expect(proxy.done, fault).toContain(fault)
  await settle(server.url)
  const seen: string[] = []
  for (let p = 0; p < people; p++) {
    const path = `/v1/profiles/user_id:sdk-${p}`
    const profile = await call<ProfileView>(server.url, path)
    expect(profile.traits).toEqual({ email: `sdk-${p}@example.com`, n: p })
    expect(profile.identifiers.map((i) => i.namespace).sort()).toEqual(['anonymous_id', 'email', 'user_id'])
    for (const e of await listOf<TimelineEvent>(server.url, `${path}/events`, 7)) seen.push(e.messageId)
  }
  expect(seen.sort()).toEqual(Array.from({ length: MESSAGES }, (_, i) => `sdk-message-${i}`).sort())
})
