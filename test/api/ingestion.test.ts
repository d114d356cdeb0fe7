import { gzipSync } from 'node:zlib'
import type { InjectOptions } from 'fastify'
import { afterEach, describe, expect, test } from 'vitest'
import { TributaryError } from '../../src/core/errors.ts'
import { MAX_BODY_BYTES, OFF_THREAD_BYTES } from '../../src/intake/limits.ts'
import { basic, type Harness, harness } from './harness.ts'

let h: Harness
const start = (options: { [name: string]: unknown } = {}) => {
  h = harness(options)
  return h
}
afterEach(() => h.app.close())

const TRACK = { event: 'Seen', userId: 'u1', messageId: 'm1' }
const post = (url: string, payload: unknown, headers: InjectOptions['headers'] = {}) =>
  h.app.inject({
    method: 'POST',
    url,
    payload: Buffer.isBuffer(payload) || typeof payload === 'string' ? payload : JSON.stringify(payload),
    headers: headers ?? {},
  })

describe('routes', () => {
  test.each([
    ['track', 't', 'Seen'],
    ['identify', 'i', '$identify'],
    ['page', 'p', '$page'],
    ['screen', 's', '$screen'],
    ['group', 'g', '$group'],
    ['alias', 'a', '$alias'],
  ])('/v1/%s and /v1/%s', async (long, short, name) => {
    start()
    for (const url of [`/v1/${long}`, `/v1/${short}`, `/v1/${long}/`, `//v1/${short}//`]) {
      const reply = await post(url, { ...TRACK, messageId: url })
      expect(reply.statusCode).toBe(200)
      expect(reply.json()).toEqual({ success: true, position: `p${h.engine.events.length}` })
    }
    expect(h.engine.events.map((e) => e.name)).toEqual([name, name, name, name])
  })

  test.each(['/v1/batch', '/v1/import', '/v1/b', '/v1/batch/'])('%s', async (url) => {
    start()
    const reply = await post(url, {
      batch: [
        { type: 'track', ...TRACK },
        { type: 'page', userId: 'u2', messageId: 'm2' },
      ],
    })
    expect(reply.json()).toEqual({ success: true, position: 'p2' })
    expect(h.engine.events.map((e) => e.name)).toEqual(['Seen', '$page'])
  })

  test('an empty batch is fine', async () => {
    start()
    expect((await post('/v1/batch', { batch: [] })).json()).toEqual({ success: true, position: 'p0' })
  })

  test('bad members are named, the good ones taken', async () => {
    start()
    const reply = await post('/v1/batch', { batch: [{ type: 'track', ...TRACK }, { type: 'track', event: 'x' }, 'text'] })
    expect(reply.statusCode).toBe(200)
    expect(reply.json()).toEqual({
      success: true,
      position: 'p1',
      rejected: [
        { index: 1, code: 'no_identifier', message: expect.any(String) },
        { index: 2, code: 'invalid_message', message: expect.any(String) },
      ],
    })
    expect(h.engine.rejected.map((r) => [r.code, r.message])).toEqual([
      ['no_identifier', { type: 'track', event: 'x' }],
      ['invalid_message', 'text'],
    ])
  })

  test('a batch of bad members only is still read', async () => {
    start()
    const reply = await post('/v1/batch', { batch: [{}] })
    expect(reply.statusCode).toBe(200)
    expect(reply.json().rejected).toHaveLength(1)
  })

  test.each([
    [{ event: 'x' }, 400, 'no_identifier'],
    [{ userId: 'u1' }, 400, 'invalid_event_name'],
    [{ ...TRACK, timestamp: 'soon' }, 400, 'invalid_timestamp'],
    [{ ...TRACK, timestamp: '2099-01-01T00:00:00Z' }, 400, 'future_event'],
    [{ ...TRACK, properties: [] }, 400, 'invalid_message'],
    [{ ...TRACK, properties: { pad: 'x'.repeat(300_000) } }, 413, 'too_large'],
  ])('a bad single call %# answers its code and is dead-lettered', async (message, status, code) => {
    start()
    const reply = await post('/v1/track', message)
    expect(reply.statusCode).toBe(status)
    expect(reply.json()).toEqual({ code, message: expect.any(String), hint: expect.any(String) })
    expect(h.engine.rejected).toEqual([{ code, reason: expect.any(String), message: expect.anything() }])
    expect(h.engine.events).toEqual([])
  })

  test.each(['not json', '', '12', '{"batch":7}', gzipSync('{').subarray(0, 15)])(
    'an unreadable body %# answers 400 and is dead-lettered',
    async (payload) => {
      start()
      const reply = await post('/v1/batch', payload)
      expect(reply.statusCode).toBe(400)
      expect(reply.json().code).toBe('unreadable')
      expect(h.engine.rejected).toHaveLength(1)
    },
  )

  test('the engine is told the acceptance time', async () => {
    start()
    h.engine.nowMs = 1234
    await post('/v1/track', TRACK)
    expect(h.engine.events[0]).toMatchObject({ acceptedAt: 1234, at: 1234, sourcePriority: 100 })
  })
})

describe('content types and encodings are not trusted', () => {
  const text = JSON.stringify(TRACK)
  test.each([
    [text, { 'content-type': 'text/plain' }],
    [text, { 'content-type': 'application/x-www-form-urlencoded' }],
    [text, { 'content-type': 'application/xml; charset=latin1' }],
    [text, { 'content-type': 'nonsense' }],
    [text, { 'content-type': '' }],
    [text, { 'content-encoding': 'gzip' }],
    [`data=${encodeURIComponent(text)}`, { 'content-type': 'text/plain' }],
    [gzipSync(text), { 'content-encoding': 'gzip', 'content-type': 'application/json' }],
    [gzipSync(text), { 'content-type': 'text/plain' }],
    [gzipSync(text), {}],
  ])('%#', async (payload, headers) => {
    start()
    expect((await post('/v1/track', payload, headers)).statusCode).toBe(200)
    expect(h.engine.events).toHaveLength(1)
  })
})

describe('size', () => {
  test('bodies beyond 4 MiB answer 413, also after inflating', async () => {
    start()
    const large = `{"pad":"${'x'.repeat(MAX_BODY_BYTES)}"}`
    for (const payload of [large, gzipSync(large), gzipSync(Buffer.alloc(300_000_000, 32))]) {
      const reply = await post('/v1/batch', payload)
      expect(reply.statusCode).toBe(413)
      expect(reply.json()).toMatchObject({ code: 'too_large' })
    }
    expect(h.engine.events).toEqual([])
  })

  test('large bodies are read on another thread, to the same end', async () => {
    start()
    const batch = Array.from({ length: 2000 }, (_, i) => ({
      type: 'track',
      ...TRACK,
      messageId: `m${i}`,
      properties: { note: 'ü'.repeat(40), i },
    }))
    const payload = JSON.stringify({ batch: [...batch, { type: 'track' }], sentAt: '2026-11-23T15:00:00.000Z' })
    expect(payload.length).toBeGreaterThan(OFF_THREAD_BYTES)
    const reply = await post('/v1/batch', payload)
    expect(reply.json()).toMatchObject({ success: true, position: 'p2000', rejected: [{ index: 2000, code: 'invalid_event_name' }] })
    const large = h.engine.events.slice()
    h.engine.events.length = 0
    for (let i = 0; i < 2000; i += 500) await post('/v1/batch', { batch: batch.slice(i, i + 500), sentAt: '2026-11-23T15:00:00.000Z' })
    const plain = (events: typeof large) => events.map((e) => ({ ...e, body: e.body.toString() }))
    expect(plain(large)).toEqual(plain(h.engine.events))
    // It goes on after a body that it can't read.
    expect((await post('/v1/batch', `${'['.repeat(OFF_THREAD_BYTES + 1)}`)).json().code).toBe('unreadable')
    expect((await post('/v1/batch', payload)).statusCode).toBe(200)
  })
})

describe('later', () => {
  test.each(['back_pressure', 'disk_full'] as const)('%s answers 429 with Retry-After', async (code) => {
    start()
    h.engine.squeezed = { code, retryAfterSeconds: 2.2 }
    const reply = await post('/v1/track', TRACK, { origin: 'https://shop.example' })
    expect(reply.statusCode).toBe(429)
    expect(reply.headers['retry-after']).toBe('3')
    expect(reply.headers['access-control-allow-origin']).toBe('https://shop.example')
    expect(reply.json().code).toBe(code)
    expect(h.engine.events).toEqual([])
  })

  test('503 while shutting down; reads go on', async () => {
    start()
    await post('/v1/track', TRACK)
    h.stop.abort()
    const reply = await post('/v1/track', TRACK)
    expect(reply.statusCode).toBe(503)
    expect(reply.json().code).toBe('shutting_down')
    expect(reply.headers['retry-after']).toBeDefined()
    expect((await h.app.inject('/v1/profiles/user_id:u1')).statusCode).toBe(200)
    expect((await h.app.inject('/readyz')).statusCode).toBe(503)
    expect((await h.app.inject('/healthz')).statusCode).toBe(200)
  })

  test('what the engine refuses is answered with its code, what breaks with 500', async () => {
    start()
    h.engine.failure = new TributaryError('partition_stopped', 'Partition 3 has stopped.')
    expect((await post('/v1/track', TRACK)).statusCode).toBe(503)
    h.engine.failure = new Error('secret detail')
    const reply = await post('/v1/track', TRACK)
    expect(reply.statusCode).toBe(500)
    expect(reply.json().code).toBe('internal')
    expect(reply.body).not.toContain('secret detail')
  })
})

describe('keys', () => {
  const keys = [
    { name: 'web', role: 'write', key: 'WK', priority: 3 },
    { name: 'crm', role: 'write', key: 'CRM', priority: 9 },
    { name: 'look', role: 'read', key: 'RK' },
    { name: 'root', role: 'admin', key: 'AK' },
  ]

  test.each([
    ['Basic user name', { authorization: basic('WK') }],
    ['Basic with a password', { authorization: `Basic ${Buffer.from('WK:x').toString('base64')}` }],
    ['Bearer', { authorization: 'Bearer WK' }],
    ['lower case', { authorization: 'bearer WK' }],
    ['X-Write-Key', { 'x-write-key': 'WK' }],
  ])('%s', async (_, headers) => {
    start({ keys })
    expect((await post('/v1/track', TRACK, headers)).statusCode).toBe(200)
    expect(h.engine.events[0]?.sourcePriority).toBe(3)
  })

  test('writeKey in the body, single or batch', async () => {
    start({ keys })
    expect((await post('/v1/track', { ...TRACK, writeKey: 'CRM' })).statusCode).toBe(200)
    expect((await post('/v1/batch', { writeKey: 'CRM', batch: [{ type: 'track', ...TRACK, messageId: 'm2' }] })).statusCode).toBe(200)
    expect(h.engine.events.map((e) => e.sourcePriority)).toEqual([9, 9])
    expect(h.engine.events.some((e) => e.body.includes('CRM'))).toBe(false)
  })

  test.each([
    [{}, 401, 'unauthorized'],
    [{ authorization: basic('nope') }, 401, 'unauthorized'],
    [{ authorization: 'Basic !!!' }, 401, 'unauthorized'],
    [{ authorization: 'Digest WK' }, 401, 'unauthorized'],
    [{ authorization: basic('RK') }, 403, 'forbidden'],
  ])('%j is refused', async (headers, status, code) => {
    start({ keys })
    const reply = await post('/v1/track', TRACK, headers)
    expect(reply.statusCode).toBe(status)
    expect(reply.json().code).toBe(code)
    expect(h.engine.events).toEqual([])
  })

  test('an unreadable body without a key is refused, and leaves no trace', async () => {
    start({ keys })
    expect((await post('/v1/track', 'garbage')).statusCode).toBe(401)
    expect(h.engine.rejected).toEqual([])
    expect((await post('/v1/track', 'garbage', { authorization: basic('WK') })).statusCode).toBe(400)
    expect(h.engine.rejected).toHaveLength(1)
  })

  test('an open server takes any write key', async () => {
    start()
    for (const authorization of [basic('whatever'), 'Basic !!!', 'Digest x']) {
      expect((await post('/v1/track', TRACK, { authorization })).statusCode).toBe(200)
    }
  })
})

describe('browsers', () => {
  const origin = 'https://shop.example'

  test('a preflight needs no key', async () => {
    start({ keys: [{ name: 'web', role: 'write', key: 'WK' }] })
    for (const url of ['/v1/t', '/v1/batch/', '/v1/profiles/user_id:u1', '/anything']) {
      const reply = await h.app.inject({
        method: 'OPTIONS',
        url,
        headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization,x-other' },
      })
      expect(reply.statusCode).toBe(204)
      expect(reply.headers).toMatchObject({
        'access-control-allow-origin': origin,
        'access-control-allow-headers': 'authorization,x-other',
        'access-control-allow-methods': expect.stringContaining('POST'),
      })
    }
  })

  test('replies and errors can be seen by the page', async () => {
    start({ keys: [{ name: 'web', role: 'write', key: 'WK' }] })
    for (const headers of [{ origin, authorization: basic('WK') }, { origin }]) {
      const reply = await post('/v1/t', TRACK, headers)
      expect(reply.headers['access-control-allow-origin']).toBe(origin)
    }
  })

  test('clients get the settings that they ask for', async () => {
    start()
    expect((await post('/flags/?v=2', '{}')).json()).toMatchObject({ featureFlags: {} })
    expect((await h.app.inject('/sourceConfig/?writeKey=WK')).json()).toMatchObject({ source: { enabled: true, writeKey: 'WK' } })
    expect((await h.app.inject('/array/phc/config')).statusCode).toBe(200)
  })
})
