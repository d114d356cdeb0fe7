// Random requests of every kind against the real server, several at once: it never crashes, never answers 5xx, sets no good message
// aside, and every good member of every batch is counted. TRIBUTARY_FUZZ_CASES sets how many; the seed makes the requests.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { DeadLetter, EngineStatus, TimelineEvent } from '../../src/engine/engine.ts'
import { bytes, contentEncoding, contentType, messageLike, odd, PATHS } from '../api/bodies-arbitrary.ts'
import { whereArbitrary } from '../oracle/definitions-arbitrary.ts'
import { call, listOf, settle } from './client.ts'
import { DataDirectory, pause, startServer } from './server.ts'

const cases = Number(process.env.TRIBUTARY_FUZZ_CASES ?? 1500)
const seed = Number(process.env.TRIBUTARY_SEED ?? Math.floor(Math.random() * 1e6))
const CONNECTIONS = 8
/** Cases that are drawn at once. */
const CHUNK = 500
const GOOD_PEOPLE = 40
const SEGMENTS = 12
const REQUEST_LIMIT_MS = 60_000

interface Case {
  readonly method: string
  readonly path: string
  readonly body?: Buffer | string
  readonly headers?: { readonly [name: string]: string }
  /** What the reply must be, where that is known. */
  readonly status?: number
  /** Places of good members in the batch. */
  readonly good?: readonly number[]
}

const text = odd.map((x) => encodeURIComponent((typeof x === 'string' ? x : (JSON.stringify(x) ?? '')).toWellFormed()).slice(0, 300))
const json = odd.map((x) => JSON.stringify(x) ?? 'null')
const segment = fc.nat(SEGMENTS - 1).map((n) => `fuzz-${n}`)

const ingestion: fc.Arbitrary<Case> = fc
  .tuple(fc.constantFrom(...PATHS), bytes, contentType, contentEncoding)
  .map(([path, body, type, encoding]) => ({
    method: 'POST',
    path,
    body,
    headers: { 'content-type': type, ...(encoding === undefined ? {} : { 'content-encoding': encoding }) },
  }))

/** The good ones get their ids when sent. */
const mixedBatch: fc.Arbitrary<Case> = fc
  .array(fc.oneof({ weight: 1, arbitrary: fc.constant('good') }, { weight: 2, arbitrary: fc.oneof(messageLike, odd) }), { maxLength: 12 })
  .map((batch) => ({
    method: 'POST',
    path: '/v1/batch',
    body: JSON.stringify({ batch }),
    status: 200,
    good: batch.flatMap((member, i) => (member === 'good' ? [i] : [])),
  }))

// Those that must be saved have ids that nobody deletes meanwhile.
const definition: fc.Arbitrary<Case> = fc.oneof(
  fc
    .tuple(segment, whereArbitrary)
    .map(([id, where]) => ({ method: 'PUT', path: `/v1/segments/kept-${id}`, body: JSON.stringify({ where }), status: 200 })),
  fc.tuple(segment, json).map(([id, where]) => ({ method: 'PUT', path: `/v1/segments/${id}`, body: `{"where":${where}}` })),
  fc.tuple(text, json).map(([id, body]) => ({ method: 'PUT', path: `/v1/segments/${id}`, body })),
  segment.map((id) => ({ method: 'DELETE', path: `/v1/segments/${id}` })),
)

const preview: fc.Arbitrary<Case> = fc.oneof(
  whereArbitrary.map((where) => ({ method: 'POST', path: '/v1/segments/preview', body: JSON.stringify({ where }), status: 200 })),
  json.map((where) => ({ method: 'POST', path: '/v1/segments/preview', body: `{"where":${where}}` })),
)

const ref = fc.oneof(
  fc.constantFrom('user_id:u1', 'email:x@example.com', 'profile_id:none').map(encodeURIComponent),
  fc
    .tuple(fc.constantFrom('user_id', 'anonymous_id', 'email', 'phone', 'profile_id', 'x'), text)
    .map(([name, value]) => `${name}:${value}`),
  text,
)
const query = fc
  .array(fc.tuple(fc.constantFrom('limit', 'after', 'segment'), fc.oneof(text, fc.constantFrom('1', '1000', '1001', 'c0.0', '0-1', ''))), {
    maxLength: 3,
  })
  .map((pairs) => pairs.map(([name, value]) => `${name}=${value}`).join('&'))
const reading: fc.Arbitrary<Case> = fc
  .tuple(
    fc.oneof(
      fc.tuple(ref, fc.constantFrom('', '/events', '/memberships', '/audit', '/x')).map(([r, list]) => `/v1/profiles/${r}${list}`),
      fc.tuple(segment, fc.constantFrom('', '/members')).map(([id, list]) => `/v1/segments/${id}${list}`),
      fc.tuple(segment, ref).map(([id, r]) => `/v1/segments/${id}/explain/${r}`),
      fc.constantFrom('/v1/transitions', '/v1/merges', '/v1/dead-letters', '/v1/status', '/v1/segments', '/metrics'),
    ),
    query,
  )
  .map(([path, parameters]) => ({ method: 'GET', path: `${path}?${parameters}` }))

const anyCase = fc.oneof(
  { weight: 600, arbitrary: ingestion },
  { weight: 200, arbitrary: mixedBatch },
  { weight: 3, arbitrary: definition },
  { weight: 7, arbitrary: preview },
  { weight: 190, arbitrary: reading },
)

class Fuzz {
  readonly #url: string
  readonly #good = new Map<string, string[]>()
  #goods = 0
  readonly faults: string[] = []
  readonly statuses: { [status: number]: number } = {}

  constructor(url: string) {
    this.#url = url
  }

  async run(list: readonly Case[]): Promise<void> {
    const queue = [...list]
    const connection = async (): Promise<void> => {
      for (let c = queue.pop(); c; c = queue.pop()) {
        const sent = this.#named(c)
        const fault = await this.#send(sent).catch((error: unknown) => `no answer: ${error} ${(error as Error).cause}`)
        if (fault !== undefined)
          this.faults.push(`${fault}: ${sent.method} ${sent.path} ${JSON.stringify(sent.headers)} ${sent.body?.toString('base64')}`)
      }
    }
    await Promise.all(Array.from({ length: CONNECTIONS }, connection))
  }

  #named(c: Case): Case {
    if (!c.good || c.good.length === 0) return c
    const { batch } = JSON.parse(String(c.body)) as { batch: unknown[] }
    for (const i of c.good) {
      const n = this.#goods++
      const userId = `good-${n % GOOD_PEOPLE}`
      const messageId = `good-${n}`
      batch[i] = { type: 'track', event: 'Good', userId, messageId }
      this.#good.set(userId, [...(this.#good.get(userId) ?? []), messageId])
    }
    return { ...c, body: JSON.stringify({ batch }) }
  }

  async #send(c: Case): Promise<string | undefined> {
    for (;;) {
      const { method, headers, body } = c
      const signal = AbortSignal.timeout(REQUEST_LIMIT_MS)
      const init = { method, signal, ...(headers === undefined ? {} : { headers }), ...(body === undefined ? {} : { body }) }
      const reply = await fetch(this.#url + c.path, init)
      const answer = await reply.text()
      this.statuses[reply.status] = (this.statuses[reply.status] ?? 0) + 1
      if (reply.status === 429) {
        await pause(20)
        continue
      }
      if (reply.status >= 500 || (c.status !== undefined && reply.status !== c.status)) return `${reply.status} ${answer.slice(0, 300)}`
      if (reply.status >= 400 && !/^\{"code":"[a-z_]+","message":/.test(answer)) return `an error of another shape, ${answer.slice(0, 300)}`
      return undefined
    }
  }

  /** Good messages that are not counted, or more than once. */
  async lost(): Promise<string[]> {
    const wrong: string[] = []
    for (const [userId, ids] of this.#good) {
      const seen = Map.groupBy(await listOf<TimelineEvent>(this.#url, `/v1/profiles/user_id:${userId}/events`), (e) => e.messageId)
      for (const id of ids) if (seen.get(id)?.length !== 1) wrong.push(`${id} of ${userId}`)
    }
    return wrong
  }

  get goods(): number {
    return this.#goods
  }
}

test('any requests are answered, and good messages are counted', { timeout: 60_000 + cases * 20 }, async () => {
  const directory = new DataDirectory()
  const server = await startServer(directory.path, ['--partitions', '4'])
  const fuzz = new Fuzz(server.url)
  try {
    for (let done = 0; done < cases && fuzz.faults.length === 0; done += CHUNK) {
      await fuzz.run(fc.sample(anyCase, { seed: seed + done, numRuns: Math.min(CHUNK, cases - done) }))
      if (cases > 10_000 && done % 10_000 === 0) console.log(`${done} cases, ${JSON.stringify(fuzz.statuses)}`)
    }
    console.log(`seed ${seed}, ${cases} cases: ${JSON.stringify(fuzz.statuses)}, ${fuzz.goods} good messages among bad ones`)
    expect(fuzz.faults).toEqual([])
    await settle(server.url)
    expect(await fuzz.lost()).toEqual([])
    const status = await call<EngineStatus>(server.url, '/v1/status')
    expect(status.partitions.map((p) => p.state)).toEqual(['running', 'running', 'running', 'running'])
    const letters = await listOf<DeadLetter>(server.url, '/v1/dead-letters')
    expect(letters.filter((l) => l.code === 'execution_failed').slice(0, 10)).toEqual([])
    expect(server.err).toBe('')
    expect(await server.end('SIGTERM')).toEqual({ code: 0, signal: null })
    expect(fuzz.goods).toBeGreaterThan(cases / 10)
  } finally {
    await server.end('SIGKILL')
    directory.remove()
  }
})
