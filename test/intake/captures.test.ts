// Every recorded request of every client is taken in, and every message in it counts once.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { type EventRecord, messageOf } from '../../src/core/event.ts'
import { harness } from '../api/harness.ts'

interface Recorded {
  readonly method: 'GET' | 'POST' | 'OPTIONS'
  readonly url: string
  readonly headers: { readonly [name: string]: string }
  readonly gzipped: boolean
  readonly body: unknown
}

const FOLDER = join(import.meta.dirname, '../fixtures/sdk-captures')
const CAPTURES = readdirSync(FOLDER).map((name) => ({
  name,
  ...(JSON.parse(readFileSync(join(FOLDER, name), 'utf8')) as { captured: string; requests: Recorded[] }),
}))

/** Ids of the messages in a recorded body, found without our own mapping. */
function idsIn({ url, body }: Recorded): string[] {
  if (typeof body !== 'object' || body === null || url.startsWith('/flags')) return []
  const { batch, data } = body as { batch?: unknown[]; data?: unknown[] }
  return (batch ?? data ?? [body]).map((m) => {
    const { messageId, uuid, eid } = m as { [field: string]: string }
    return messageId ?? uuid ?? eid ?? 'without id'
  })
}

async function replay(requests: readonly Recorded[], captured: string) {
  const { app, engine } = harness()
  engine.nowMs = Date.parse(captured)
  const replies = []
  for (const { method, url, headers, gzipped, body } of requests) {
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    const payload = gzipped ? gzipSync(text) : Buffer.from(text)
    replies.push(await app.inject({ method, url, headers: { ...headers, host: 'localhost' }, ...(method === 'POST' ? { payload } : {}) }))
  }
  await app.close()
  return { replies, engine }
}

test('there is something to replay', () => {
  expect(CAPTURES.length).toBe(43)
})

describe.each(CAPTURES)('$name', ({ requests, captured }) => {
  test('is taken in, each message once', async () => {
    const { replies, engine } = await replay(requests, captured)
    for (const reply of replies) expect([200, 204]).toContain(reply.statusCode)
    for (const reply of replies) expect(reply.body).not.toContain('"rejected"')
    const sent = new Set(requests.flatMap(idsIn))
    expect(engine.events.map((e) => e.messageId).sort()).toEqual([...sent].sort())
    expect(engine.rejected).toEqual([])
  })
})

function eventsOf(name: string): Promise<EventRecord[]> {
  const capture = CAPTURES.find((c) => c.name === name)
  if (!capture) throw new Error(`no capture ${name}`)
  return replay(capture.requests, capture.captured).then(({ engine }) => engine.events)
}

function identifiersOf(e: EventRecord | undefined): string[] {
  return e?.identifiers.map((i) => `${i.namespace}:${i.value}`) ?? []
}

describe('what they mean', () => {
  test('segment: the node client', async () => {
    const events = await eventsOf('segment-node-basic.json')
    const identify = events.find((e) => e.type === 'identify')
    expect(identifiersOf(identify)).toEqual(['user_id:u1', 'email:jane@example.com', 'anonymous_id:anon-1'])
    expect(identify?.hasTraits).toBe(true)
    const group = events.find((e) => e.type === 'group')
    expect(identifiersOf(group)).toEqual(['user_id:u1'])
    expect(group?.hasTraits).toBe(false)
    const alias = events.find((e) => e.type === 'alias')
    expect(identifiersOf(alias)).toEqual(['user_id:u2', 'anonymous_id:u1'])
  })

  test('segment: an alias to oneself links nothing', async () => {
    const alias = (await eventsOf('segment-browser-standard.json')).find((e) => e.type === 'alias')
    expect(identifiersOf(alias)).toEqual(['user_id:u1'])
  })

  test('posthog: identified, anonymous, aliased, grouped', async () => {
    const browser = await eventsOf('posthog-browser.json')
    const identify = browser.find((e) => e.name === '$identify')
    expect(identifiersOf(identify)).toEqual(['user_id:u1', 'email:jane@example.com', 'anonymous_id:01a208ed-ba42-7090-9531-b6b16082230a'])
    expect(identifiersOf(browser.find((e) => e.name === 'Product Viewed'))).toEqual(['anonymous_id:01a208ed-ba42-7090-9531-b6b16082230a'])
    expect(identifiersOf(browser.find((e) => e.name === '$page'))).toEqual(['anonymous_id:01a208ed-ba42-7090-9531-b6b16082230a'])
    const node = await eventsOf('posthog-node-ok.json')
    expect(identifiersOf(node.find((e) => e.type === 'alias'))).toEqual(['user_id:u1', 'anonymous_id:anon-1'])
    expect(identifiersOf(node.find((e) => e.type === 'group'))).toEqual(['posthog_group:$company_g1'])
    expect(node.find((e) => e.name === 'Order Completed')?.hasTraits).toBe(true)
  })

  test('snowplow: names, ids and times', async () => {
    const events = await eventsOf('snowplow_node-tracker-ok.json')
    expect(events.map((e) => e.name)).toEqual(['$page', 'checkout'])
    expect(identifiersOf(events[1])).toEqual(['user_id:u1', 'anonymous_id:duid-1', 'snowplow_network_id:nuid-1'])
    expect(messageOf(events[1] as EventRecord).properties).toEqual({ total: 99.99 })
  })

  test('jitsu: a page keeps its own properties', async () => {
    const page = (await eventsOf('jitsu_js-ok.json')).find((e) => e.type === 'page')
    expect(messageOf(page as EventRecord).properties).toEqual({ name: 'Pricing' })
  })
})
