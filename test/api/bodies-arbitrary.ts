// Random request bodies for fast-check: messages wild, nearly right and cut, in every dressing that intake takes.
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'

export const PATHS = [
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
export const odd = fc.letrec<{ any: unknown }>((tie) => ({
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
export const messageLike = fc.oneof({ weight: 3, arbitrary: nearlyRight }, { weight: 1, arbitrary: wild })
const body = fc.oneof(
  messageLike,
  odd,
  fc.record(
    { batch: fc.array(fc.oneof(messageLike, odd), { maxLength: 6 }), context: odd, sentAt: odd, integrations: odd },
    { requiredKeys: ['batch'] },
  ),
  fc.record({ data: fc.array(fc.oneof(messageLike, odd), { maxLength: 6 }) }),
)
export const bytes = fc.oneof(
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
export const contentType = fc.constantFrom('application/json', 'text/plain', 'application/x-www-form-urlencoded', 'x', '')
export const contentEncoding = fc.constantFrom(undefined, 'gzip', 'br', 'deflate', 'zstd')
