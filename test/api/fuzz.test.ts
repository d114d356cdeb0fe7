// Random bodies: intake never fails, never answers 5xx, and good members of a batch are always taken.
// TRIBUTARY_FUZZ_CASES sets the number of cases; a failure prints its seed, which `{ seed, path }` replays.
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { Writer } from '../../src/core/bytes.ts'
import { decodeEvent, encodeEvent, messageOf } from '../../src/core/event.ts'
import { harness } from './harness.ts'

const numRuns = Number(process.env.TRIBUTARY_FUZZ_CASES ?? 300)
const { app, engine } = harness()
let taken = 0
afterAll(() => app.close())

const PATHS = [
  '/v1/track',
  '/v1/i',
  '/v1/batch',
  '/v1/import',
  '/v1/a',
  '/api/s/page',
  '/batch/',
  '/e/',
  '/com.snowplowanalytics.snowplow/tp2',
]

const oddText = fc.oneof(
  fc.string(),
  fc.string({ unit: 'binary' }),
  fc.constantFrom('', 'null', '__proto__', '\ud800', '\u0000', '2026-05-03T10:00:00Z', '9'.repeat(400)),
)
const oddKey = fc.oneof(
  fc.constantFrom('__proto__', 'constructor', 'toJSON', 'email', 'externalIds', 'traits', '$set', 'id', 'type'),
  fc.string(),
)
const odd = fc.letrec<{ any: unknown }>((tie) => ({
  any: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    oddText,
    fc.constantFrom(null, true, false, 0, -1, 1e308, 1.2345678901234567e19),
    fc.double(),
    fc.array(tie('any'), { maxLength: 4 }),
    fc.array(fc.tuple(oddKey, tie('any')), { maxLength: 5 }).map((entries) => Object.fromEntries(entries)),
  ),
})).any

const FIELDS = [
  'type',
  'event',
  'userId',
  'anonymousId',
  'previousId',
  'groupId',
  'messageId',
  'timestamp',
  'originalTimestamp',
  'sentAt',
  'receivedAt',
  'traits',
  'context',
  'properties',
  'integrations',
  'writeKey',
  'distinct_id',
  'uuid',
  'e',
  'eid',
  'ue_pr',
]
const wild = fc.array(fc.tuple(fc.constantFrom(...FIELDS), odd), { maxLength: 12 }).map((entries) => Object.fromEntries(entries))
// Mostly right, with a few fields wrong: what gets past the first checks.
const name = fc.constantFrom('track', 'identify', 'page', 'screen', 'group', 'alias')
const nearlyRight = fc
  .record({ type: name, id: fc.string({ minLength: 1 }), faults: fc.array(fc.tuple(fc.constantFrom(...FIELDS), odd), { maxLength: 2 }) })
  .map(({ type, id, faults }) => ({
    type,
    event: 'Seen',
    userId: 'u1',
    anonymousId: id,
    properties: { id },
    ...Object.fromEntries(faults),
  }))
const messageLike = fc.oneof({ weight: 3, arbitrary: nearlyRight }, { weight: 1, arbitrary: wild })
const body = fc.oneof(
  messageLike,
  odd,
  fc.record(
    { batch: fc.array(fc.oneof(messageLike, odd), { maxLength: 6 }), context: odd, sentAt: odd, integrations: odd },
    { requiredKeys: ['batch'] },
  ),
  fc.record({ data: fc.array(fc.oneof(messageLike, odd), { maxLength: 6 }) }),
)
const bytes = fc.oneof(
  body.map((b) => Buffer.from(JSON.stringify(b) ?? 'null')),
  body.map((b) => gzipSync(JSON.stringify(b) ?? 'null')),
  body.map((b) => Buffer.from(`data=${encodeURIComponent((JSON.stringify(b) ?? 'null').toWellFormed())}`)),
  // Cut or damaged.
  fc.tuple(body, fc.double({ min: 0, max: 1, noNaN: true })).map(([b, part]) => {
    const text = Buffer.from(JSON.stringify(b) ?? 'null')
    return text.subarray(0, Math.floor(text.length * part))
  }),
  fc.uint8Array({ maxLength: 200 }).map((b) => Buffer.from(b)),
)
const type = fc.constantFrom('application/json', 'text/plain', 'application/x-www-form-urlencoded', 'x', '')
const encoding = fc.constantFrom(undefined, 'gzip', 'br', 'deflate', 'zstd')

test('any bytes are answered, and every message is either taken or set aside', async () => {
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...PATHS), bytes, type, encoding, async (url, payload, contentType, contentEncoding) => {
      engine.events.length = 0
      engine.rejected.length = 0
      const headers = { 'content-type': contentType, ...(contentEncoding === undefined ? {} : { 'content-encoding': contentEncoding }) }
      const reply = await app.inject({ method: 'POST', url, payload, headers })
      expect([200, 400, 413]).toContain(reply.statusCode)
      const answer = reply.json()
      if (reply.statusCode === 200) expect(answer).toMatchObject({ success: true, position: expect.any(String) })
      else expect(engine.rejected.length).toBe(1)
      expect((answer.rejected ?? []).length).toBe(reply.statusCode === 200 ? engine.rejected.length : 0)
      for (const event of engine.events) {
        const w = new Writer()
        encodeEvent(event, w)
        const back = decodeEvent(w.take())
        expect(back.identifiers.length).toBeGreaterThan(0)
        expect(messageOf(back)).toMatchObject({ type: event.type, messageId: back.messageId, receivedAt: expect.any(String) })
      }
      expect(Object.keys(Object.prototype)).toEqual([])
      taken += engine.events.length
    }),
    { numRuns },
  )
  // Else the cases only test the first check.
  expect(taken).toBeGreaterThan(numRuns / 10)
})

test('good members are always taken, whatever stands beside them', async () => {
  let n = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof({ weight: 1, arbitrary: fc.constant('good') }, { weight: 2, arbitrary: fc.oneof(messageLike, odd) }), {
        maxLength: 12,
      }),
      async (members) => {
        engine.events.length = 0
        const good: string[] = []
        const batch = members.map((member) => {
          if (member !== 'good') return member
          good.push(`good-${n++}`)
          return { type: 'track', event: 'Good', userId: 'good', messageId: good.at(-1) }
        })
        const reply = await app.inject({ method: 'POST', url: '/v1/batch', payload: JSON.stringify({ batch }) })
        expect(reply.statusCode).toBe(200)
        const taken = engine.events.map((e) => e.messageId).filter((id) => id.startsWith('good-'))
        expect(taken).toEqual(good)
      },
    ),
    { numRuns },
  )
})
