import { afterEach, describe, expect, test } from 'vitest'
import { basic, type Harness, harness } from './harness.ts'

let h: Harness
const start = (options: { [name: string]: unknown } = {}) => {
  h = harness(options)
  return h
}
afterEach(() => h.app.close())

const get = (url: string, headers: { [name: string]: string } = {}) => h.app.inject({ url, headers })
const track = (message: object) =>
  h.app.inject({ method: 'POST', url: '/v1/track', payload: JSON.stringify({ event: 'Seen', ...message }) })

describe('profiles', () => {
  test('by an identifier', async () => {
    start()
    await track({ userId: 'u1', anonymousId: 'a1' })
    const reply = await get('/v1/profiles/user_id:u1')
    expect(reply.statusCode).toBe(200)
    expect(reply.json()).toMatchObject({ id: 'prf_1', traits: {}, computedTraits: {}, segments: [], position: 'p1' })
    expect(reply.headers['content-type']).toContain('application/json')
  })

  test.each(['a:b:c', 'a/b', 'a%b', 'a%2Fb', 'ü ?#&+', '100%25', '..', ':'])('value %j, URL-encoded', async (value) => {
    start()
    await track({ userId: value })
    expect((await get(`/v1/profiles/user_id:${encodeURIComponent(value)}`)).statusCode).toBe(200)
    expect((await get(`/v1/profiles/${encodeURIComponent(`user_id:${value}`)}/events`)).statusCode).toBe(200)
  })

  test('the value is normalised as at intake', async () => {
    start()
    await track({ userId: 'u1', context: { traits: { email: 'Jane@Example.com' } } })
    expect((await get('/v1/profiles/email:JANE@example.com')).statusCode).toBe(200)
  })

  test('long values fit', async () => {
    start()
    const value = 'x'.repeat(500)
    await track({ userId: value })
    expect((await get(`/v1/profiles/user_id:${value}`)).statusCode).toBe(200)
  })

  test.each(['user_id:nobody', 'profile_id:nobody', 'user_id:null'])('404 for %s', async (ref) => {
    start()
    for (const sub of ['', '/events', '/memberships', '/audit']) {
      const reply = await get(`/v1/profiles/${ref}${sub}`)
      expect(reply.statusCode).toBe(404)
      expect(reply.json()).toEqual({ code: 'not_found', message: expect.any(String), hint: expect.any(String) })
    }
  })

  test.each(['/v1/profiles/u1', '/v1/profiles/:u1', '/v1/profiles/user_id:', '/v1/profiles/%ff:u'])('400 for %s', async (url) => {
    start()
    const reply = await get(url)
    expect(reply.statusCode).toBe(400)
    expect(reply.json().code).toBe('invalid_request')
  })

  test('events, memberships and audit are paged', async () => {
    start()
    for (const messageId of ['1', '2', '3']) await track({ userId: 'u1', messageId })
    const first = (await get('/v1/profiles/user_id:u1/events?limit=2')).json()
    expect(first.items.map((e: { messageId: string }) => e.messageId)).toEqual(['1', '2'])
    const second = (await get(`/v1/profiles/user_id:u1/events?limit=2&after=${first.next}`)).json()
    expect(second.items).toHaveLength(1)
    expect(second).not.toHaveProperty('next')
    expect((await get('/v1/profiles/user_id:u1/memberships')).json()).toEqual({ items: [{ segment: 'vip', member: true, seq: 1 }] })
    expect((await get('/v1/profiles/user_id:u1/audit')).json().items).toMatchObject([{ seq: 1, action: 'created' }])
  })

  test('min-position is passed on, and its time limit answers 503', async () => {
    start()
    await track({ userId: 'u1' })
    await get('/v1/profiles/user_id:u1', { 'min-position': 'p1' })
    expect(h.engine.lastRead).toEqual({ minPosition: 'p1' })
    const late = await get('/v1/profiles/user_id:u1', { 'min-position': 'never' })
    expect(late.statusCode).toBe(503)
    expect(late.json().code).toBe('position_timeout')
  })
})

describe('pages', () => {
  test.each(['0', '1001', '-1', 'x', '1.5'])('limit %s is refused', async (limit) => {
    start()
    for (const url of ['/v1/transitions', '/v1/merges', '/v1/dead-letters']) {
      const reply = await get(`${url}?limit=${limit}`)
      expect(reply.statusCode).toBe(400)
      expect(reply.json().code).toBe('invalid_request')
    }
  })

  test('merges and dead letters', async () => {
    start()
    await track({})
    await track({})
    h.engine.mergeLog.push({ id: 'x', survivor: 'prf_1', absorbed: 'prf_2', at: '2026-01-01T00:00:00.000Z' })
    expect((await get('/v1/merges')).json()).toEqual({
      items: [{ id: 'x', survivor: 'prf_1', absorbed: 'prf_2', at: '2026-01-01T00:00:00.000Z' }],
    })
    const page = (await get('/v1/dead-letters?limit=1')).json()
    expect(page).toMatchObject({ items: [{ id: '0', code: 'no_identifier' }], next: '1' })
    expect((await get('/v1/dead-letters?limit=1&after=1')).json().items).toMatchObject([{ id: '1' }])
  })

  test('transitions: instants as texts, by segment, after an id', async () => {
    start()
    h.engine.emit(3)
    h.engine.emit(1, 'other')
    const page = (await get('/v1/transitions?limit=2')).json()
    expect(page.items[0]).toEqual({
      id: '0-0',
      segment: 'vip',
      version: 1,
      profile: 'prf_1',
      transition: 'entered',
      cause: 'event',
      seq: 1,
      at: '2026-11-23T15:00:00.000Z',
      decidedAt: '2026-11-23T15:00:00.000Z',
    })
    const ids = async (query: string) => (await get(`/v1/transitions?${query}`)).json().items.map((t: { id: string }) => t.id)
    expect(await ids(`after=${page.next}`)).toEqual(['0-2', '0-3'])
    expect(await ids('segment=other')).toEqual(['0-3'])
    expect((await get('/v1/transitions?after=nonsense')).statusCode).toBe(400)
  })
})

describe('segments', () => {
  const put = (id: string, body: unknown, headers = {}) =>
    h.app.inject({ method: 'PUT', url: `/v1/segments/${id}`, payload: typeof body === 'string' ? body : JSON.stringify(body), headers })
  const where = { all: [] }

  test('save, read, list, delete', async () => {
    start()
    const saved = await put('vip', { name: 'VIP', where })
    expect(saved.statusCode).toBe(200)
    expect(saved.json()).toEqual({ id: 'vip', name: 'VIP', where, version: 1, status: 'live', progress: 1, size: 0 })
    expect((await put('vip', { where }, { 'content-type': 'text/plain' })).json()).toMatchObject({ version: 2 })
    expect((await get('/v1/segments/vip')).json()).toMatchObject({ id: 'vip', version: 2 })
    expect((await get('/v1/segments')).json().items).toHaveLength(1)
    expect(
      (await h.app.inject({ method: 'DELETE', url: '/v1/segments/vip', headers: { 'content-type': 'application/json' } })).statusCode,
    ).toBe(200)
    expect((await h.app.inject({ method: 'DELETE', url: '/v1/segments/vip' })).statusCode).toBe(404)
    expect((await get('/v1/segments/vip')).json().code).toBe('not_found')
  })

  test.each([
    ['vip', { where: { nonsense: 1 } }, 'invalid_definition'],
    ['vip', {}, 'invalid_definition'],
    ['vip', '', 'invalid_definition'],
    ['vip', '[]', 'invalid_definition'],
    ['x'.repeat(200), { where }, 'invalid_definition'],
    ['vip', { where, wher: 1 }, 'invalid_definition'],
    ['vip', '{', 'unreadable'],
    ['preview', { where }, 'invalid_definition'],
    ['a%20b', { where }, 'invalid_definition'],
  ])('PUT %s %j is refused', async (id, body, code) => {
    start()
    const reply = await put(id, body)
    expect(reply.statusCode).toBe(400)
    expect(reply.json().code).toBe(code)
  })

  test('preview and members', async () => {
    start()
    const preview = await h.app.inject({ method: 'POST', url: '/v1/segments/preview', payload: JSON.stringify({ where }) })
    expect(preview.json()).toEqual({ size: 1, total: 2 })
    for (const payload of ['', '{}', '7', '{"where":{"nonsense":1}}']) {
      expect((await h.app.inject({ method: 'POST', url: '/v1/segments/preview', payload })).statusCode).toBe(400)
    }
    await put('vip', { where })
    const page = (await get('/v1/segments/vip/members?limit=2')).json()
    expect(page).toEqual({ items: [{ profile: 'prf_1', userId: 'u1' }, { profile: 'prf_2' }], next: '2' })
    expect((await get('/v1/segments/none/members')).statusCode).toBe(404)
  })
})

describe('operation', () => {
  test('status, health, readiness', async () => {
    start()
    expect((await get('/v1/status')).json()).toMatchObject({ ready: true, partitions: [] })
    expect((await get('/healthz')).json()).toEqual({ ok: true })
    expect((await get('/readyz')).json()).toEqual({ ready: true })
    h.engine.ready = false
    const reply = await get('/readyz')
    expect(reply.statusCode).toBe(503)
    expect(reply.json().code).toBe('not_ready')
  })

  test("metrics hold the engine's and the API's own", async () => {
    start()
    await track({ userId: 'u1' })
    await track({})
    const reply = await get('/metrics')
    expect(reply.headers['content-type']).toContain('text/plain')
    expect(reply.body).toContain('tributary_fake 1\n')
    expect(reply.body).toContain('tributary_intake_events_total 1\n')
    expect(reply.body).toContain('tributary_intake_rejected_total{code="no_identifier"} 1\n')
    expect(reply.body).toMatch(/tributary_http_requests_total\{method="POST",route="\/v1\/track",status="200"\} 1/)
    for (const line of reply.body.trim().split('\n').filter(Boolean)) expect(line).toMatch(/^(# (HELP|TYPE) \S+ .+|[a-z_:]+(\{.*\})? \S+)$/)
  })

  test.each([
    ['2026-12-01T00:00:00Z', Date.UTC(2026, 11, 1)],
    [Date.UTC(2026, 11, 2), Date.UTC(2026, 11, 2)],
  ])('the manual clock takes %j', async (now, ms) => {
    start()
    const reply = await h.app.inject({ method: 'POST', url: '/v1/admin/clock', payload: JSON.stringify({ now }) })
    expect(reply.json()).toEqual({ now: new Date(ms).toISOString() })
    expect(h.engine.nowMs).toBe(ms)
  })

  test('the manual clock takes small numbers and refuses to go back', async () => {
    start()
    const move = (now: unknown) => h.app.inject({ method: 'POST', url: '/v1/admin/clock', payload: JSON.stringify({ now }) })
    h.engine.nowMs = 0
    expect((await move(0)).statusCode).toBe(200)
    expect((await move(1000)).statusCode).toBe(200)
    const back = await move(999)
    expect(back.statusCode).toBe(409)
    expect(back.json().code).toBe('clock_backwards')
    for (const now of ['later', -1, 1.5, null, {}, '1000']) expect((await move(now)).statusCode).toBe(400)
    h.engine.clock = 'wall'
    expect((await move(2000)).json().code).toBe('clock_not_manual')
  })

  test('settle, with or without a body', async () => {
    start()
    expect((await h.app.inject({ method: 'POST', url: '/v1/admin/settle' })).json()).toEqual({ success: true })
    expect((await h.app.inject({ method: 'POST', url: '/v1/admin/settle', payload: '{}' })).statusCode).toBe(200)
    expect(h.engine.settled).toBe(2)
    expect((await h.app.inject({ method: 'POST', url: '/v1/admin/clock/confirm' })).json()).toEqual({ success: true })
    expect(h.engine.confirmed).toBe(1)
  })

  test('openapi.json describes every route of its own', async () => {
    start()
    const { paths, openapi } = (await get('/openapi.json')).json()
    expect(openapi).toMatch(/^3\./)
    expect(Object.keys(paths)).toEqual(
      expect.arrayContaining([
        '/v1/batch',
        '/v1/t',
        '/v1/profiles/{ref}',
        '/v1/segments/{id}/members',
        '/v1/transitions',
        '/v1/admin/clock',
        '/v1/status',
        '/metrics',
      ]),
    )
    expect(paths['/v1/segments/{id}'].put.requestBody).toBeDefined()
  })

  test('unknown paths are 404 in the one shape, never a redirect; HEAD works', async () => {
    start()
    const reply = await get('/v1/nothing')
    expect(reply.statusCode).toBe(404)
    expect(reply.json()).toMatchObject({ code: 'not_found', hint: expect.any(String) })
    expect((await h.app.inject({ method: 'HEAD', url: '/v1/status' })).statusCode).toBe(200)
    expect((await h.app.inject({ method: 'HEAD', url: '/v1/transitions', headers: { accept: 'text/event-stream' } })).statusCode).toBe(200)
    expect((await get('/v1/status/')).statusCode).toBe(200)
    expect((await get('/v1/%zz')).json().code).toBe('invalid_request')
  })
})

describe('keys', () => {
  const keys = [
    { name: 'web', role: 'write', key: 'WK' },
    { name: 'look', role: 'read', key: 'RK' },
    { name: 'root', role: 'admin', key: 'AK' },
  ]
  const READS = ['/v1/profiles/user_id:u1', '/v1/segments', '/v1/transitions', '/v1/merges', '/v1/dead-letters', '/v1/status', '/metrics']

  test('reading takes a read or admin key', async () => {
    start({ keys })
    for (const url of READS) {
      expect((await get(url)).statusCode).toBe(401)
      expect((await get(url, { authorization: basic('WK') })).statusCode).toBe(403)
      expect([200, 404]).toContain((await get(url, { authorization: basic('RK') })).statusCode)
      expect([200, 404]).toContain((await get(url, { authorization: 'Bearer AK' })).statusCode)
    }
    for (const url of ['/healthz', '/readyz', '/openapi.json']) expect((await get(url)).statusCode).toBe(200)
  })

  test('steering takes an admin key', async () => {
    start({ keys })
    const calls = [
      { method: 'PUT', url: '/v1/segments/vip', payload: '{"where":{"all":[]}}' },
      { method: 'DELETE', url: '/v1/segments/vip' },
      { method: 'POST', url: '/v1/admin/settle' },
      { method: 'POST', url: '/v1/admin/clock', payload: '{"now":"2027-01-01T00:00:00Z"}' },
    ] as const
    for (const call of calls) {
      expect((await h.app.inject(call)).statusCode).toBe(401)
      expect((await h.app.inject({ ...call, headers: { authorization: basic('RK') } })).statusCode).toBe(403)
      expect((await h.app.inject({ ...call, headers: { authorization: basic('AK') } })).statusCode).toBe(200)
    }
  })

  test('pages from elsewhere may read with a key', async () => {
    start({ keys })
    const reply = await get('/v1/status', { authorization: basic('RK'), origin: 'https://console.example' })
    expect(reply.headers['access-control-allow-origin']).toBe('https://console.example')
  })

  test('an open server is read by pages of this machine only', async () => {
    start()
    expect((await get('/v1/status', { origin: 'http://localhost:5173' })).headers['access-control-allow-origin']).toBe(
      'http://localhost:5173',
    )
    const elsewhere = await get('/v1/status', { origin: 'https://evil.example' })
    expect(elsewhere.statusCode).toBe(403)
    expect(elsewhere.headers).not.toHaveProperty('access-control-allow-origin')
    expect((await get('/v1/status', { host: 'evil.example:8080' })).statusCode).toBe(403)
    for (const host of ['127.0.0.1:8080', 'localhost', '[::1]:8080']) expect((await get('/v1/status', { host })).statusCode).toBe(200)
  })
})
