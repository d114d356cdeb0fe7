import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { readEventStream } from '../../src/cli/event-stream.ts'
import { type Live, listening, run, until } from './harness.ts'

let live: Live
let stop: AbortController
beforeEach(async () => {
  live = await listening()
  stop = new AbortController()
})
afterEach(async () => {
  stop.abort()
  await live.app.close()
})

const tail = (argv: string[], url: string, onOut: (all: string) => void) =>
  run(['tail', '--json', ...argv], { url, signal: stop.signal, onOut })
const idsIn = (out: string) =>
  out
    .split('\n')
    .filter((l) => l !== '')
    .map((l) => (JSON.parse(l) as { id: string }).id)

describe('tail', () => {
  test('shows what happens from now on, until it is stopped', async () => {
    live.engine.emit(2)
    let out = ''
    const tailing = tail([], live.url, (all) => {
      out = all
    })
    await until(() => live.engine.followers.size === 1, 'it follows')
    live.engine.emit(3)
    await until(() => idsIn(out).length === 3, 'three lines')
    stop.abort()
    expect(await tailing).toMatchObject({ code: 0 })
    expect(idsIn(out)).toEqual(['0-2', '0-3', '0-4'])
  })

  test('--after - begins with all that is kept, and goes on without a gap', async () => {
    live.engine.emit(2500)
    let out = ''
    const tailing = tail(['--after', '-'], live.url, (all) => {
      out = all
    })
    await until(() => live.engine.followers.size === 1, 'it follows')
    live.engine.emit(10)
    await until(() => idsIn(out).length >= 2510, 'all lines')
    stop.abort()
    await tailing
    expect(idsIn(out)).toEqual(Array.from({ length: 2510 }, (_, n) => `0-${n}`))
  })

  test('filters', async () => {
    let out = ''
    const tailing = tail(
      ['--exited', '--segment', 'vip', '--segment', 'other', '--cause', 'event', '--profile', 'prf_1'],
      live.url,
      (all) => {
        out = all
      },
    )
    await until(() => live.engine.followers.size === 1, 'it follows')
    live.engine.emit(4, 'vip')
    live.engine.emit(2, 'third')
    live.engine.emit(2, 'other')
    await until(() => idsIn(out).length >= 3, 'three exits')
    expect(idsIn(out)).toEqual(['0-1', '0-3', '0-7'])
    stop.abort()
    await tailing
  })

  test('lines for people name who, which way, where and why; colours only on a terminal', async () => {
    const show = async (tty: boolean): Promise<string> => {
      const own = new AbortController()
      let out = ''
      const tailing = run(['tail'], { url: live.url, tty, signal: own.signal, onOut: (all) => (out = all) })
      await until(() => live.engine.followers.size === 1, 'it follows')
      live.engine.emit(1)
      await until(() => out !== '', 'a line')
      own.abort()
      await tailing
      await until(() => live.engine.followers.size === 0, 'it has gone')
      return out
    }
    expect(await show(false)).toMatch(/^2026-11-23 15:00:00 {2}prf_1 +▲ entered {2}vip {2}event\n$/)
    expect(await show(true)).toContain('\x1b[31m▼ exited')
  })

  test.each([
    [['--cause', 'magic'], 'is no cause'],
    [['--entered', '--exited'], 'exclude one another'],
    [['vip'], '"vip" is not expected here'],
    [['--after', 'nonsense'], 'invalid_request'],
  ])('%j is refused', async (argv, message) => {
    const { code, err } = await run(['tail', ...argv], { url: live.url })
    expect(code).toBe(1)
    expect(err).toContain(message)
  })
})

test('after a lost connection it goes on with the last id that it has seen, be it that of where it began', async () => {
  const asked: (string | undefined)[] = []
  const begin = 'retry: 1000\nid: c0.0\n\n'
  const event = (n: number) => `id: 0-${n}\ndata: {"id":"0-${n}"}\n\n`
  const server: Server = createServer((request, response) => {
    asked.push(request.headers['last-event-id'] as string | undefined)
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write(begin + [[], [event(1), event(2)], [event(3)]].at(asked.length - 1)?.join(''), () => {
      if (asked.length < 3) setTimeout(() => request.socket.destroy(), 20)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  let out = ''
  const tailing = tail([], `http://127.0.0.1:${(server.address() as AddressInfo).port}`, (all) => {
    out = all
  })
  await until(() => idsIn(out).length === 3, 'the third')
  stop.abort()
  const { err } = await tailing
  expect(asked).toEqual([undefined, 'c0.0', '0-2'])
  expect(idsIn(out)).toEqual(['0-1', '0-2', '0-3'])
  expect(err).toContain('connection lost')
  server.closeAllConnections()
  server.close()
})

test('an event stream may be cut anywhere', async () => {
  const text = 'retry: 1000\nid: c1.0\n\n: beat\n\nid: a\ndata: {"x":"ü"}\n\nid: b\r\ndata: one\r\ndata: two\r\n\r\nid: c\ndata: unfinished'
  const bytes = Buffer.from(text)
  for (const size of [1, 2, 3, 7, 1000]) {
    const chunks = async function* () {
      for (let i = 0; i < bytes.length; i += size) yield bytes.subarray(i, i + size)
    }
    const seen: object[] = []
    for await (const event of readEventStream(chunks())) seen.push(event)
    expect(seen).toEqual([
      { id: 'c1.0', data: '' },
      { id: 'a', data: '{"x":"ü"}' },
      { id: 'b', data: 'one\ntwo' },
    ])
  }
})
