// What only shows on a real socket: uploads cut short, chunked bodies, pipelines, refusals before a body is read.
import { connect } from 'node:net'
import { gzipSync } from 'node:zlib'
import { afterEach, expect, test } from 'vitest'
import { MAX_BODY_BYTES } from '../../src/intake/limits.ts'
import { type Harness, harness } from './harness.ts'

let h: Harness
afterEach(() => h.app.close())

async function start(options: { [name: string]: unknown } = {}): Promise<number> {
  h = harness(options)
  await h.app.listen({ port: 0, host: '127.0.0.1' })
  const address = h.app.server.address()
  return typeof address === 'object' && address ? address.port : 0
}

/** Beyond this a server has nothing to say. */
const SILENCE_MS = 30_000

/** Everything the server says until it closes, or for as long as `done` does not hold. */
function talk(port: number, send: readonly (string | Buffer)[], done: (text: string) => boolean): Promise<string> {
  return new Promise((resolve) => {
    let text = ''
    const socket = connect(port, '127.0.0.1')
    const finish = () => {
      socket.destroy()
      resolve(text)
    }
    socket.setTimeout(SILENCE_MS, finish)
    socket.on('error', finish).on('close', finish)
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      if (done(text)) finish()
    })
    for (const part of send) socket.write(part)
  })
}

const MESSAGE = JSON.stringify({ event: 'Seen', userId: 'u1', messageId: 'm1' })
const head = (extra: string) => `POST /v1/track HTTP/1.1\r\nhost: localhost\r\n${extra}\r\n\r\n`
const replies = (text: string) => [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map((m) => m[1])

test('a chunked body, compressed and not declared', async () => {
  const port = await start()
  const packed = gzipSync(MESSAGE)
  const chunks = [packed.subarray(0, 10), packed.subarray(10)].flatMap((part) => [`${part.length.toString(16)}\r\n`, part, '\r\n'])
  const text = await talk(port, [head('transfer-encoding: chunked'), ...chunks, '0\r\n\r\n'], (t) => t.includes('success'))
  expect(replies(text)).toEqual(['200'])
  expect(h.engine.events).toHaveLength(1)
})

test('an announced body beyond the limit is refused before it is sent', async () => {
  const port = await start()
  const text = await talk(port, [head(`content-length: ${MAX_BODY_BYTES + 1}`)], (t) => t.includes('too_large'))
  expect(replies(text)).toEqual(['413'])
  expect(text.toLowerCase()).toContain('connection: close')
})

test('a chunked body beyond the limit is refused while it is sent', async () => {
  const port = await start()
  const mib = Buffer.alloc(1024 * 1024, 32)
  const chunks = Array.from({ length: 6 }, () => ['100000\r\n', mib, '\r\n']).flat()
  const text = await talk(port, [head('transfer-encoding: chunked'), ...chunks], (t) => t.includes('too_large'))
  expect(replies(text)).toEqual(['413'])
})

test('a refusal leaves the connection usable', async () => {
  const port = await start({ keys: [{ name: 'web', role: 'write', key: 'WK' }] })
  const length = `content-length: ${MESSAGE.length}`
  const good = head(`${length}\r\nauthorization: Bearer WK`)
  const text = await talk(port, [head(length), MESSAGE, good, MESSAGE], (t) => t.includes('"success"'))
  expect(replies(text)).toEqual(['401', '200'])
})

test('a client that leaves in the middle of its body harms nobody', async () => {
  const port = await start()
  await new Promise<void>((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.write(`${head('content-length: 1000')}{"event":`)
      setTimeout(() => socket.destroy(), 20)
    })
    socket.on('close', () => resolve())
  })
  const text = await talk(port, [head(`content-length: ${MESSAGE.length}`), MESSAGE], (t) => t.includes('success'))
  expect(replies(text)).toEqual(['200'])
  expect(h.engine.events).toHaveLength(1)
})

test('a server that stops answers what is under way and closes, whoever keeps a connection open', async () => {
  const port = await start()
  let answer: (() => void) | undefined
  h.engine.settle = () => new Promise((resolve) => (answer = resolve))
  const request = (path: string): string =>
    `POST ${path} HTTP/1.1\r\nhost: localhost\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n`
  const [silent, half, idle, busy] = [
    connect(port, '127.0.0.1'),
    connect(port, '127.0.0.1'),
    connect(port, '127.0.0.1'),
    connect(port, '127.0.0.1'),
  ]
  const heard = new Map([silent, half, idle, busy].map((socket) => [socket, '']))
  const closed = [silent, half, idle, busy].map((socket) => {
    socket.on('data', (chunk) => heard.set(socket, `${heard.get(socket)}${chunk.toString('latin1')}`))
    return new Promise((resolve) => socket.on('close', resolve))
  })
  half.write('GET /healthz HTTP/1.1\r\nhost')
  idle.write(`GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: keep-alive\r\n\r\n`)
  busy.write(request('/v1/admin/settle'))
  while (!heard.get(idle)?.includes('true') || !answer) await new Promise((resolve) => setImmediate(resolve))
  h.stop.abort()
  const closing = h.app.close()
  await Promise.all(closed.slice(0, 3))
  expect(heard.get(busy)).toBe('')
  answer?.()
  await closing
  await closed[3]
  expect(replies(heard.get(busy) ?? '')).toEqual(['200'])
  expect((heard.get(busy) ?? '').toLowerCase()).toContain('connection: close')
})
