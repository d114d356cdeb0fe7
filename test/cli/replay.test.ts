import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { messageOf } from '../../src/core/event.ts'
import { folder, type Live, listening, run, WaitingClock } from './harness.ts'

let live: Live
let files: ReturnType<typeof folder>
let scripted: Server | undefined
beforeEach(async () => {
  live = await listening()
})
afterEach(async () => {
  await live.app.close()
  files?.remove()
  scripted?.close()
  scripted?.closeAllConnections()
  scripted = undefined
})

const iso = (ms: number) => new Date(ms).toISOString()
const line = (n: number, more: object = {}) => JSON.stringify({ type: 'track', event: 'E', userId: `u${n}`, messageId: `m${n}`, ...more })
const lines = (count: number, more: (n: number) => object = () => ({})) =>
  `${Array.from({ length: count }, (_, n) => line(n, more(n))).join('\n')}\n`
const idsSeen = () => live.engine.events.map((e) => e.messageId).sort()

describe('replay', () => {
  test('sends plain and gzipped files and standard input, each message once', async () => {
    files = folder({ 'a.ndjson': lines(25), 'b.gz': gzipSync(`${line(100)}\n\n${line(101)}`) })
    const { code, out } = await run(['replay', files.path('a.ndjson'), files.path('b.gz'), '-', '--batch', '10'], {
      url: live.url,
      stdin: line(200),
    })
    expect(code).toBe(0)
    expect(out).toMatch(/^28 messages accepted in /)
    expect(idsSeen()).toEqual([...Array.from({ length: 25 }, (_, n) => `m${n}`), 'm100', 'm101', 'm200'].sort())
  })

  test('a message without an id gets the same one in every replay, and equal lines stay two', async () => {
    const bare = '{"type":"track","event":"E","userId":"u"}'
    files = folder({ 'a.ndjson': `${bare}\n${bare}\n` })
    await run(['replay', files.path('a.ndjson')], { url: live.url })
    await run(['replay', files.path('a.ndjson')], { url: live.url })
    expect(live.engine.events).toHaveLength(2)
    expect(new Set(idsSeen()).size).toBe(2)
  })

  test('lists what was rejected with its place, and exits with 1', async () => {
    files = folder({ 'a.ndjson': `${line(1)}\nnot json\n[1]\n{"type":"track","event":"E"}\n${line(2)}` })
    const { code, out } = await run(['replay', files.path('a.ndjson')], { url: live.url })
    expect(code).toBe(1)
    expect(out).toContain('2 messages accepted')
    expect(out).toContain('3 rejected: unreadable 2, no_identifier 1')
    expect(out).toContain('a.ndjson:2  unreadable: The line is not JSON.')
    expect(out).toContain('a.ndjson:3  unreadable: The line is no JSON object.')
    expect(out).toContain('a.ndjson:4  no_identifier: ')
    expect(idsSeen()).toEqual(['m1', 'm2'])
  })

  test('a line that never ends does not fill the memory', async () => {
    files = folder({ 'a.ndjson': `${line(1)}\n${'x'.repeat(3 * 1024 * 1024)}\n${line(2)}\n` })
    const { code, out } = await run(['replay', files.path('a.ndjson')], { url: live.url })
    expect(code).toBe(1)
    expect(out).toContain('a.ndjson:2  unreadable: The line is longer than')
    expect(idsSeen()).toEqual(['m1', 'm2'])
  })

  test('shifts all timestamps so that the newest is where it is asked to be, and leaves sentAt out', async () => {
    const first = Date.parse('2011-01-01T00:00:00Z')
    files = folder({ 'a.ndjson': lines(3, (n) => ({ timestamp: iso(first + n * 1000), sentAt: iso(first + 5000) })) })
    const newest = live.engine.nowMs
    expect((await run(['replay', files.path('a.ndjson'), '--shift-to', iso(newest)], { url: live.url })).code).toBe(0)
    expect(live.engine.events.map((e) => e.at).sort()).toEqual([newest - 2000, newest - 1000, newest])
    for (const event of live.engine.events) expect(messageOf(event).sentAt).toBeUndefined()
  })

  test('damaged gzip is told as such', async () => {
    const whole = gzipSync(lines(3000))
    files = folder({ 'a.gz': whole.subarray(0, whole.length - 100) })
    const { code, err } = await run(['replay', files.path('a.gz')], { url: live.url })
    expect(code).toBe(1)
    expect(err).toMatch(/unreadable: .*a\.gz is damaged/)
  })

  test.each([
    [[], 'No file is named'],
    [['x', '--step', '1h'], '--step needs --clock'],
    [['x', '--clock', '--step', '2d'], '--step is at most 24h'],
    [['x', '--clock', '--speed', '1', '--duration', '1s'], 'exclude one another'],
    [['-', '--shift-to', 'now'], 'standard input does not allow'],
    [['x', '--shift-to', 'soon'], '--shift-to takes now or an ISO time'],
    [['nowhere.ndjson'], 'There is no such file: nowhere.ndjson'],
  ])('%j is refused', async (argv, message) => {
    const { code, err } = await run(['replay', ...argv], { url: live.url })
    expect(code).toBe(1)
    expect(err).toContain(message)
    expect(err).toContain('What to do next: ')
  })
})

describe('replay against a server in trouble', () => {
  type Reply = { readonly status: number; readonly headers?: { readonly [name: string]: string } } | 'drop'

  /** Answers by a script, then with success. */
  async function troubled(replies: Reply[]): Promise<{ url: string; bodies: string[] }> {
    const bodies: string[] = []
    scripted = createServer(async (request, response) => {
      let body = ''
      for await (const chunk of request) body += chunk
      bodies.push(body)
      const reply = replies.shift() ?? { status: 200 }
      if (reply === 'drop') return void request.socket.destroy()
      response.writeHead(reply.status, { 'content-type': 'application/json', ...('headers' in reply ? reply.headers : {}) })
      response.end(reply.status === 200 ? '{"success":true}' : '{"code":"x","message":"no"}')
    })
    const server = scripted
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, bodies }
  }

  test('dropped connections, 503 and 500 are repeated with the same bytes', async () => {
    files = folder({ 'a.ndjson': '{"type":"track","event":"E","userId":"u"}\n' })
    const { url, bodies } = await troubled(['drop', { status: 503 }, { status: 500 }])
    const { code, out } = await run(['replay', files.path('a.ndjson')], { url })
    expect(code).toBe(0)
    expect(out).toContain('1 messages accepted')
    expect(bodies).toHaveLength(4)
    expect(new Set(bodies).size).toBe(1)
  })

  test('Retry-After of a 429 is waited out', async () => {
    files = folder({ 'a.ndjson': line(1) })
    const { url, bodies } = await troubled([{ status: 429, headers: { 'retry-after': '7' } }])
    const clock = new WaitingClock()
    expect((await run(['replay', files.path('a.ndjson')], { url, clock })).code).toBe(0)
    expect(clock.waits).toEqual([7000])
    expect(bodies).toHaveLength(2)
  })

  test('a refusal ends the replay at once', async () => {
    files = folder({ 'a.ndjson': lines(30) })
    const { url, bodies } = await troubled([{ status: 401 }])
    const { code, err } = await run(['replay', files.path('a.ndjson'), '--batch', '10', '--concurrency', '1'], { url })
    expect(code).toBe(1)
    expect(err).toContain('x: no')
    expect(bodies).toHaveLength(1)
  })
})

describe('replay --clock', () => {
  const HOUR = 3_600_000
  const start = Date.parse('2027-01-01T00:00:00Z')

  /** What the engine was told, in order: clock moves, and the instants of events. */
  function record(): string[] {
    const told: string[] = []
    const { engine } = live
    const [setClock, ingest] = [engine.setClock.bind(engine), engine.ingest.bind(engine)]
    engine.setClock = async (now) => {
      told.push(`clock ${(now - start) / HOUR}`)
      await setClock(now)
    }
    engine.ingest = async (events, rejected) => {
      for (const e of events) told.push(`event ${(e.at - start) / HOUR}`)
      return ingest(events, rejected)
    }
    return told
  }
  const at = (hours: number[]) => hours.map((h, n) => line(n, { timestamp: iso(start + h * HOUR) })).join('\n')

  test('sends what lies in a step, then moves the clock to its end', async () => {
    const told = record()
    files = folder({ 'a.ndjson': at([0.5, 6, 6.5, 20]) })
    const { code, err } = await run(['replay', files.path('a.ndjson'), '--clock', '--concurrency', '1'], { url: live.url })
    expect(err).not.toContain('What to do next')
    expect(code).toBe(0)
    expect(told).toEqual(['clock 0', 'event 0.5', 'event 6', 'clock 6', 'event 6.5', 'clock 12', 'clock 18', 'event 20', 'clock 24'])
  })

  test('--clock-first moves to the end of a step that holds messages, then sends them', async () => {
    const told = record()
    files = folder({ 'a.ndjson': at([0.5, 5, 6.5, 20]) })
    await run(['replay', files.path('a.ndjson'), '--clock', '--clock-first'], { url: live.url })
    expect(told).toEqual(['clock 0', 'clock 6', 'event 0.5', 'event 5', 'clock 12', 'event 6.5', 'clock 24', 'event 20'])
  })

  test('a late message does not turn the clock back', async () => {
    const told = record()
    files = folder({ 'a.ndjson': at([7, 1, 8]) })
    expect((await run(['replay', files.path('a.ndjson'), '--clock'], { url: live.url })).code).toBe(0)
    expect(told).toEqual(['clock 6', 'event 7', 'event 1', 'event 8', 'clock 12'])
  })

  test('--duration paces it', async () => {
    files = folder({ 'a.ndjson': at([0, 12, 24]) })
    const clock = new WaitingClock()
    expect((await run(['replay', files.path('a.ndjson'), '--clock', '--duration', '600s'], { url: live.url, clock })).code).toBe(0)
    // A step of six hours each.
    expect(clock.waits).toEqual([150_000, 150_000, 150_000, 150_000])
  })

  test('a server on the wall clock is refused before anything is sent', async () => {
    live.engine.clock = 'wall'
    files = folder({ 'a.ndjson': at([0]) })
    const { code, err } = await run(['replay', files.path('a.ndjson'), '--clock'], { url: live.url })
    expect(code).toBe(1)
    expect(err).toContain('clock_not_manual: ')
    expect(live.engine.events).toEqual([])
  })
})
