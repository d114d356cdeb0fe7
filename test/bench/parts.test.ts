// What the benchmarks of the server are made of: percentiles, schedules, clients.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { Latencies, named, onSchedule, wallMs } from '../../bench/latency.ts'
import { eventReader } from '../../bench/open-loop.ts'
import { requestBytes, Wire } from '../../bench/wire.ts'

test('percentiles are those of the values', () => {
  const latencies = new Latencies()
  for (let i = 10_000; i > 0; i--) latencies.add(i)
  const p = latencies.percentiles()
  expect(p).toEqual({ count: 10_000, p50: 5001, p90: 9001, p99: 9901, p999: 9991, max: 10_000 })
  expect(named('x', p)).toMatchObject({ xCount: 10_000, xP50Ms: 5001, xMaxMs: 10_000 })
})

test('a schedule skips nothing, is never early, and keeps the due instants while it is held up', async () => {
  const start = wallMs()
  const calls: [k: number, dueMs: number, lateMs: number][] = []
  await onSchedule(start, 5, 10, (k, dueMs) => {
    calls.push([k, dueMs, wallMs() - dueMs])
    // A stall of four steps.
    while (k === 2 && wallMs() < start + 35);
  })
  expect(calls.map(([k]) => k)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  for (const [k, dueMs, lateMs] of calls) {
    expect(dueMs).toBeCloseTo(start + (k + 1) * 5, 5)
    expect(lateMs).toBeGreaterThanOrEqual(0)
  }
  expect(calls[3]?.[2]).toBeGreaterThanOrEqual(14)
})

test('events of a stream are found wherever chunks begin', () => {
  const text = 'retry: 1000\n\n1f\r\nid: 1-1\ndata: {"a":"ü"}\n\n\r\n5\r\n: \n\n\r\nid: 1-2\ndata: {"a":2}\n\n'
  const bytes = Buffer.from(text)
  for (const size of [1, 7, bytes.length]) {
    const got: string[] = []
    const read = eventReader((data) => got.push(data))
    for (let at = 0; at < bytes.length; at += size) read(bytes.subarray(at, at + size))
    expect(got.map((d) => d.replace(/[^\x20-\x7e]+/, 'ü'))).toEqual(['{"a":"ü"}', '{"a":2}'])
  }
})

test('a wire sends one request at a time on each connection, in order, and tells of broken ones', async () => {
  let [open, most] = [0, 0]
  const server = createServer((request, reply) => {
    most = Math.max(most, ++open)
    request.resume()
    setTimeout(() => {
      open--
      if (request.url === '/break') request.socket.destroy()
      else reply.writeHead(request.url === '/missing' ? 404 : 200, { 'content-length': 2 }).end('ok')
    }, 5)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const wire = new Wire((server.address() as AddressInfo).port, 2)
  const send = (path: string) =>
    new Promise<[number, string]>((resolve) => {
      wire.send(requestBytes('POST', path, '{}'), (status, body) => resolve([status, body.toString()]))
    })
  const replies = await Promise.all(['/a', '/missing', '/b', '/c', '/d'].map(send))
  expect(replies.map(([status]) => status)).toEqual([200, 404, 200, 200, 200])
  expect(new Set(replies.map(([, body]) => body))).toEqual(new Set(['ok']))
  expect(most).toBe(2)
  expect((await send('/break'))[0]).toBe(0)
  wire.close()
  server.close()
})
