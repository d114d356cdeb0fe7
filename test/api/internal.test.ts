// What processes of a cluster ask each other: who may, what comes back, and what silence means.
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { TributaryError } from '../../src/core/errors.ts'
import type { Answer, Question } from '../../src/engine/questions.ts'
import { httpPeers, QUESTIONS_PATH } from '../../src/engine/remote.ts'
import { LeapingClock } from '../engine/leaping-clock.ts'
import { type Harness, harness } from './harness.ts'

const KAFKA = { kafka: { brokers: ['127.0.0.1:9092'], secret: 'open sesame' } }
const STATUS: Question = { kind: 'status' }
const clock = new LeapingClock(0)
const opened: { close(): unknown }[] = []

afterEach(async () => {
  for (const { close } of opened.splice(0)) await close()
})

async function listening(options: { [name: string]: unknown } = KAFKA): Promise<Harness & { address: string }> {
  const h = harness(options)
  const address = await h.app.listen({ host: '127.0.0.1', port: 0 })
  opened.push({ close: () => h.app.close() })
  return { ...h, address }
}

async function nobodyAt(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  opened.push({ close: () => server.closeAllConnections() })
  opened.push({ close: () => server.close() })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const connect = (secret: string) => httpPeers({ secret, clock, timeoutMs: 1000 })

test('a question and its answer come over as they are, bytes and binary texts included', async () => {
  const { address, engine } = await listening()
  const answer: Answer = { kind: 'rows', rows: [['\u0000\u00ff\n', Buffer.from([0, 255, 10])]], more: true }
  engine.answer = async (question) => {
    engine.questions.push(question)
    return answer
  }
  const question: Question = { kind: 'rows', partition: 3, key: '\u0001\u00fe', what: 'audit', after: '', limit: 7 }
  expect(await connect('open sesame')(address).ask(question)).toEqual(answer)
  expect(engine.questions).toEqual([question])
})

test('an error keeps its code; what is none of ours stays a fault', async () => {
  const { address, engine } = await listening()
  const peer = connect('open sesame')(address)
  engine.failure = new TributaryError('partition_stopped', 'partition 3 has stopped')
  await expect(peer.ask(STATUS)).rejects.toMatchObject({ code: 'partition_stopped', message: 'partition 3 has stopped' })
  engine.failure = new RangeError('too far')
  await expect(peer.ask(STATUS)).rejects.toThrow(/RangeError: too far/)
  engine.failure = new TributaryError('shutting_down', 'the server is stopping')
  await expect(peer.ask(STATUS)).rejects.toMatchObject({ code: 'partition_moving' })
})

test('nobody is answered who does not know the secret, and nothing of the body is looked at', async () => {
  const { address, app, engine } = await listening()
  await expect(connect('open')(address).ask(STATUS)).rejects.toThrow(/has another kafka\.secret/)
  for (const authorization of [undefined, '', 'Bearer', 'Bearer open', 'Basic open sesame']) {
    const headers = { 'content-type': 'application/octet-stream', ...(authorization === undefined ? {} : { authorization }) }
    const reply = await app.inject({ method: 'POST', url: QUESTIONS_PATH, headers, payload: Buffer.from([255, 255]) })
    expect(reply.statusCode).toBe(401)
  }
  expect(engine.questions).toEqual([])
})

test('a key of the API is no secret, and the secret is no key', async () => {
  const { app } = await listening({ ...KAFKA, keys: [{ name: 'root', role: 'admin', key: 'all' }] })
  const ask = (url: string, authorization: string) =>
    app.inject({ method: url === QUESTIONS_PATH ? 'POST' : 'GET', url, headers: { authorization } })
  expect((await ask(QUESTIONS_PATH, 'Bearer all')).statusCode).toBe(401)
  expect((await ask('/v1/status', 'Bearer open sesame')).statusCode).toBe(401)
})

test('without a secret only this machine is answered, and no page of elsewhere', async () => {
  const { address, app } = await listening({ kafka: { brokers: ['127.0.0.1:9092'] } })
  expect(await connect('')(address).ask(STATUS)).toEqual({ kind: 'status', partitions: [] })
  const headers = { origin: 'https://elsewhere.example' }
  expect((await app.inject({ method: 'POST', url: QUESTIONS_PATH, headers })).statusCode).toBe(403)
})

test('a body that is no question is refused', async () => {
  const { app, engine } = await listening()
  const headers = { authorization: 'Bearer open sesame' }
  const post = (payload: Buffer) => app.inject({ method: 'POST', url: QUESTIONS_PATH, headers, payload })
  const { serialize } = await import('node:v8')
  expect((await post(Buffer.concat([Buffer.of(1), serialize({ kind: 'toString' })]))).statusCode).toBe(400)
  expect((await post(Buffer.concat([Buffer.of(1), serialize(null)]))).statusCode).toBe(400)
  expect((await post(Buffer.concat([Buffer.of(2), serialize(STATUS)]))).statusCode).toBe(503)
  expect((await post(Buffer.alloc((4 << 20) + 1, 1))).statusCode).toBe(413)
  expect(engine.questions).toEqual([])
})

test('a server that is no process of a cluster has no such route, and no description of the API tells of one', async () => {
  expect((await harness().app.inject({ method: 'POST', url: QUESTIONS_PATH })).statusCode).toBe(404)
  const { app } = await listening()
  expect(Object.keys((await app.inject('/openapi.json')).json().paths).filter((path) => path.startsWith('/internal'))).toEqual([])
})

test('a process that is gone, hangs up or says nothing does not answer for its partitions', async () => {
  const refused = createServer()
  const address = await nobodyAt(refused)
  refused.close()
  await expect(connect('x')(address).ask(STATUS)).rejects.toMatchObject({ code: 'partition_moving' })

  const hangingUp = await nobodyAt(createServer((request) => request.socket.destroy()))
  await expect(connect('x')(hangingUp).ask(STATUS)).rejects.toMatchObject({ code: 'partition_moving' })

  const torn = await nobodyAt(
    createServer((_, reply) => reply.writeHead(200, { 'content-length': 9 }).write('\u0001', () => reply.destroy())),
  )
  await expect(connect('x')(torn).ask(STATUS)).rejects.toMatchObject({ code: 'partition_moving' })

  let isAsked = (): void => {}
  const asked = new Promise<void>((resolve) => {
    isAsked = resolve
  })
  const mute = await nobodyAt(createServer(() => isAsked()))
  const answer = connect('x')(mute).ask(STATUS)
  const outcome = expect(answer).rejects.toMatchObject({ code: 'partition_moving' })
  await asked
  clock.advance(1000)
  await outcome
})
