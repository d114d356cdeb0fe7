// Transition streams, over real sockets.
import { connect } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { STALL_MS } from '../../src/api/stream.ts'
import { VirtualClock } from '../../src/core/clock.ts'
import type { DeliverTransitions } from '../../src/engine/engine.ts'
import { type Harness, harness } from './harness.ts'

let h: Harness
let readers: Reader[] = []
afterEach(async () => {
  for (const reader of readers) reader.abort.abort()
  readers = []
  await h.app.close()
})

interface Reader {
  readonly status: number
  readonly type: string | null
  readonly abort: AbortController
  text: string
  ended: boolean
}

async function open(query = '', headers: { [name: string]: string } = {}): Promise<Reader> {
  const abort = new AbortController()
  const address = h.app.server.address()
  const port = typeof address === 'object' && address ? address.port : 0
  const reply = await fetch(`http://127.0.0.1:${port}/v1/transitions${query}`, {
    headers: { accept: 'text/event-stream', ...headers },
    signal: abort.signal,
  })
  const reader: Reader = { status: reply.status, type: reply.headers.get('content-type'), abort, text: '', ended: false }
  readers.push(reader)
  const decoder = new TextDecoder()
  const read = async () => {
    for await (const chunk of reply.body ?? []) reader.text += decoder.decode(chunk as Uint8Array, { stream: true })
  }
  void read()
    .catch(() => {})
    .finally(() => {
      reader.ended = true
    })
  return reader
}

/** Without the one that says where the stream begins. */
const idsOf = (reader: Reader) => [...reader.text.matchAll(/^id: (.*)$/gm)].map((m) => m[1]).slice(1)
/** Waits for what must come; a busy machine may take its time. */
const until = async (holds: () => boolean) => {
  for (let i = 0; i < 6000 && !holds(); i++) await new Promise((resolve) => setTimeout(resolve, 10))
  expect(holds()).toBe(true)
}
const start = async () => {
  h = harness()
  await h.app.listen({ port: 0, host: '127.0.0.1' })
}
const following = (count: number) => until(() => h.engine.followers.size === count)

describe('a stream', () => {
  test('has the cursors of a cluster for ids, where the engine gives them', async () => {
    await start()
    const follow = h.engine.followTransitions.bind(h.engine)
    h.engine.followTransitions = (query, deliver: DeliverTransitions) =>
      follow(query, (list) =>
        deliver(
          list,
          list.map((t) => `k${t.seq}`),
        ),
      )
    const reader = await open()
    await following(1)
    h.engine.emit(2)
    await until(() => idsOf(reader).length === 2)
    expect(idsOf(reader)).toEqual(['k1', 'k2'])
    expect([...reader.text.matchAll(/^data: (.*)$/gm)].map((m) => (JSON.parse(m[1] ?? '') as { id: string }).id)).toEqual(['0-0', '0-1'])
  })

  test('without a cursor starts now', async () => {
    await start()
    h.engine.emit(2)
    const reader = await open()
    expect(reader.status).toBe(200)
    expect(reader.type).toContain('text/event-stream')
    await following(1)
    h.engine.emit(2)
    await until(() => idsOf(reader).length === 2)
    expect(idsOf(reader)).toEqual(['0-2', '0-3'])
    const data = /^data: (.*)$/m.exec(reader.text)?.[1] ?? ''
    expect(JSON.parse(data)).toMatchObject({ id: '0-2', segment: 'vip', transition: 'entered', at: '2026-11-23T15:00:00.002Z' })
  })

  test.each([
    ['Last-Event-ID', '', { 'last-event-id': '0-1' }],
    ['after', '?after=0-1', {}],
    ['Last-Event-ID before after', '?after=0-3', { 'last-event-id': '0-1' }],
  ])('resumes by %s, missing nothing, repeating nothing', async (_, query, headers) => {
    await start()
    h.engine.emit(4)
    const reader = await open(query, headers)
    await following(1)
    h.engine.emit(1)
    await until(() => idsOf(reader).length >= 3)
    expect(idsOf(reader)).toEqual(['0-2', '0-3', '0-4'])
  })

  test('says at once where it begins, so that a reader who loses it before the first transition misses none', async () => {
    await start()
    h.engine.emit(2)
    const first = await open()
    await until(() => first.text.includes('id: '))
    const [, id = ''] = /^id: (.*)$/m.exec(first.text) ?? []
    first.abort.abort()
    await following(0)
    h.engine.emit(3)
    const second = await open('', { 'last-event-id': id })
    await until(() => idsOf(second).length === 3)
    expect(idsOf(second)).toEqual(['0-2', '0-3', '0-4'])
  })

  test('catches up while new ones come', async () => {
    await start()
    h.engine.emit(5001)
    const reader = await open('?after=0-0')
    h.engine.emit(500)
    await until(() => idsOf(reader).length >= 5500)
    expect(idsOf(reader)).toEqual(Array.from({ length: 5500 }, (_, i) => `0-${i + 1}`))
  })

  test('of one segment', async () => {
    await start()
    const reader = await open('?segment=b')
    await following(1)
    h.engine.emit(1, 'a')
    h.engine.emit(1, 'b')
    await until(() => idsOf(reader).length === 1)
    expect(idsOf(reader)).toEqual(['0-1'])
  })

  test('with an unknown cursor is refused as a page would be', async () => {
    await start()
    const reader = await open('?after=nonsense')
    expect(reader.status).toBe(400)
  })

  test('stops following when its reader leaves', async () => {
    await start()
    const reader = await open()
    await following(1)
    reader.abort.abort()
    await following(0)
  })

  // The limit: a server that waited for idle connections would be at it for longer (KEEP_ALIVE_MS in api.ts).
  test('ends when the server stops, and the server closes at once', { timeout: 30_000 }, async () => {
    await start()
    const reader = await open()
    await following(1)
    h.stop.abort()
    await until(() => reader.ended)
    expect(h.engine.followers.size).toBe(0)
    const late = await open()
    expect(late.status).toBe(503)
    await h.app.close()
  })

  test('whose reader takes nothing keeps no server from closing', async () => {
    const { socket } = await fullSocket()
    h.stop.abort()
    await h.app.close()
    expect(h.engine.followers.size).toBe(0)
    socket.destroy()
  })

  test('waits for a slow reader, and misses nothing', async () => {
    const { socket } = await fullSocket()
    expect(h.engine.followers.size).toBe(1)
    let text = ''
    socket.on('data', (chunk: Buffer) => {
      text += chunk.latin1Slice(0, chunk.length)
    })
    socket.resume()
    const last = h.engine.log.length - 1
    await until(() => text.includes(`id: 0-${last}\n`))
    const ids = [...text.matchAll(/^id: 0-(\d+)$/gm)].map((m) => Number(m[1]))
    expect(ids).toEqual(Array.from({ length: last + 1 }, (_, i) => i))
    socket.destroy()
  })

  test('is cut off when its reader takes nothing for too long', async () => {
    const { socket, clock } = await fullSocket()
    clock.advance(STALL_MS - 1)
    expect(h.engine.followers.size).toBe(1)
    clock.advance(1)
    await following(0)
    expect((await h.app.inject('/metrics')).body).toContain('tributary_transition_streams_slow_total 1')
    socket.destroy()
  })
})

/** A reader that doesn't read, with more sent to it than the sockets on the way hold. */
async function fullSocket() {
  const clock = new VirtualClock()
  h = harness({}, clock)
  await h.app.listen({ port: 0, host: '127.0.0.1' })
  const address = h.app.server.address()
  const socket = connect(typeof address === 'object' && address ? address.port : 0, '127.0.0.1')
  socket.on('error', () => {})
  socket.write('GET /v1/transitions HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n')
  socket.pause()
  await following(1)
  for (let i = 0; i < 100; i++) {
    h.engine.emit(500)
    await new Promise((resolve) => setImmediate(resolve))
  }
  return { socket, clock }
}

test('heartbeats keep an idle stream alive', async () => {
  const clock = new VirtualClock()
  h = harness({}, clock)
  await h.app.listen({ port: 0, host: '127.0.0.1' })
  const reader = await open()
  await following(1)
  clock.advance(45_000)
  await until(() => reader.text.split('\n').filter((line) => line === ': ').length === 3)
})
