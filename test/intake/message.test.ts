import { describe, expect, test } from 'vitest'
import { checkConfig } from '../../src/config-load.ts'
import { Writer } from '../../src/core/bytes.ts'
import { decodeEvent, type EventRecord, encodeEvent, messageOf } from '../../src/core/event.ts'
import { Namespaces } from '../../src/core/namespace.ts'
import type { Envelope } from '../../src/intake/envelope.ts'
import { mapMessages } from '../../src/intake/intake.ts'
import { MAX_BATCH_MESSAGES, MAX_MESSAGE_BYTES } from '../../src/intake/limits.ts'

const ACCEPTED_AT = Date.parse('2026-05-03T10:00:00.000Z')
const namespaces = new Namespaces(checkConfig({}).identity)
const context = { acceptedAt: ACCEPTED_AT, sourcePriority: 7, futureLimit: 86_400_000, namespaces }

/** Maps a batch given as JSON text or value; always through JSON, as intake gets it. */
function map(messages: unknown, outer: Partial<Envelope> = {}) {
  const parsed = JSON.parse(typeof messages === 'string' ? messages : JSON.stringify(messages))
  return mapMessages({ messages: parsed, single: false, ...outer }, context)
}

function one(message: unknown, outer: Partial<Envelope> = {}): EventRecord {
  const { events, rejected } = map(typeof message === 'string' ? `[${message}]` : [message], outer)
  expect(rejected).toEqual([])
  expect(events).toHaveLength(1)
  return events[0] as EventRecord
}

function codeOf(message: unknown): string | undefined {
  const { events, rejected } = map(typeof message === 'string' ? `[${message}]` : [message])
  expect(events).toEqual([])
  return rejected[0]?.code
}

const idsOf = (e: EventRecord) => e.identifiers.map((i) => `${i.namespace}:${i.value}`)
const TRACK = { type: 'track', event: 'Seen', userId: 'u1', messageId: 'm1' }

describe('identifiers', () => {
  test('come from userId, anonymousId, traits, context.traits and external ids, in key order', () => {
    const event = one({
      ...TRACK,
      type: 'identify',
      anonymousId: 'a1',
      traits: { email: ' Jane@Example.COM ' },
      context: {
        traits: { email: 'other@example.com' },
        externalIds: [{ id: 'g1', type: 'ga_client_id', collection: 'users', encoding: 'none' }],
      },
    })
    expect(idsOf(event).toSorted()).toEqual([
      'anonymous_id:a1',
      'email:jane@example.com',
      'email:other@example.com',
      'ga_client_id:g1',
      'user_id:u1',
    ])
    expect(event.identifiers.map((i) => i.key)).toEqual(event.identifiers.map((i) => i.key).toSorted())
    expect(idsOf(event)[0]).toBe('user_id:u1')
  })

  test('are distinct', () => {
    expect(idsOf(one({ ...TRACK, context: { externalIds: [{ type: 'user_id', id: 'u1' }] } }))).toEqual(['user_id:u1'])
  })

  test('of external ids alone make a valid event', () => {
    expect(idsOf(one({ type: 'track', event: 'Seen', context: { externalIds: [{ type: 'crm', id: 'c1' }] } }))).toEqual(['crm:c1'])
  })

  test('an alias links previousId as an anonymous_id; to oneself it links nothing', () => {
    expect(idsOf(one({ type: 'alias', userId: 'u1', previousId: 'a1' }))).toEqual(['user_id:u1', 'anonymous_id:a1'])
    expect(idsOf(one({ type: 'alias', userId: 'u1', previousId: 'u1', anonymousId: 'a9' }))).toEqual(['user_id:u1'])
    expect(idsOf(one({ type: 'track', event: 'x', userId: 'u1', previousId: 'a1' }))).toEqual(['user_id:u1'])
  })

  test("a group's traits and id are not the person's", () => {
    const event = one({ type: 'group', userId: 'u1', groupId: 'g1', traits: { email: 'office@example.com', phone: '+43123456789' } })
    expect(idsOf(event)).toEqual(['user_id:u1'])
    expect(event.hasTraits).toBe(false)
  })

  test('blocked ones are dropped, the event is kept and says why', () => {
    const event = one({ ...TRACK, anonymousId: 'null', context: { ip: '1.2.3.4', tributary: 'forged' } })
    expect(idsOf(event)).toEqual(['user_id:u1'])
    const { context } = messageOf(event) as { context: { ip: string; tributary: { blocked: { namespace: string; value: string }[] } } }
    expect(context.ip).toBe('1.2.3.4')
    expect(context.tributary.blocked).toEqual([expect.objectContaining({ namespace: 'anonymous_id', value: 'null' })])
    expect(messageOf(one({ ...TRACK, context: { tributary: 'forged' } })).context).toEqual({})
  })

  test.each([
    [{ type: 'track', event: 'x' }],
    [{ type: 'track', event: 'x', userId: 'null', anonymousId: '' }],
    [{ type: 'track', event: 'x', userId: { a: 1 } }],
    [{ type: 'track', event: 'x', userId: true }],
    ['{"type":"track","event":"x","userId":12345678901234567890}'],
    ['{"type":"track","event":"x","userId":"\\ud800"}'],
    [{ type: 'track', event: 'x', userId: 'x'.repeat(600) }],
    [
      {
        type: 'track',
        event: 'x',
        context: { externalIds: [{ type: 'profile_id', id: 'p' }, { type: 'a\u0000b', id: 'c' }, { id: 'x' }, 7] },
      },
    ],
    [{ type: 'group', groupId: 'g1', traits: { email: 'office@example.com' } }],
  ])('%j has no usable one', (message) => {
    expect(codeOf(message)).toBe('no_identifier')
  })

  test('numbers count as their text', () => {
    expect(idsOf(one({ ...TRACK, userId: 42 }))).toEqual(['user_id:42'])
  })

  test('more than 20 are refused', () => {
    const externalIds = Array.from({ length: 5000 }, (_, i) => ({ type: 'crm', id: `c${i}` }))
    expect(codeOf({ ...TRACK, context: { externalIds } })).toBe('too_many_identifiers')
    expect(one({ ...TRACK, context: { externalIds: externalIds.slice(0, 19) } }).identifiers).toHaveLength(20)
  })
})

describe('instants', () => {
  const at = (message: object, outer: Partial<Envelope> = {}) => one({ ...TRACK, ...message }, outer).at - ACCEPTED_AT

  test('timestamp, else originalTimestamp, else acceptance', () => {
    expect(at({ timestamp: '2026-05-03T09:00:00.000Z', originalTimestamp: '2026-05-01T09:00:00.000Z' })).toBe(-3_600_000)
    expect(at({ originalTimestamp: '2026-05-03T09:00:00Z' })).toBe(-3_600_000)
    expect(at({ timestamp: '' })).toBe(0)
    expect(at({})).toBe(0)
  })

  test('of a message that has waited are told by when it came, while the limit ahead counts from acceptance', () => {
    const receivedAt = ACCEPTED_AT - 3_600_000
    const told = (fields: object) => {
      const { events, rejected } = mapMessages({ messages: [{ ...TRACK, ...fields }], single: true }, { ...context, receivedAt })
      return events[0]?.at ?? rejected[0]?.code
    }
    expect(told({})).toBe(receivedAt)
    expect(told({ timestamp: '2026-05-03T12:00:00.000Z', sentAt: '2026-05-03T12:00:05.000Z' })).toBe(receivedAt - 5000)
    expect(told({ timestamp: '2026-05-04T10:00:00.000Z' })).toBe(ACCEPTED_AT + 86_400_000)
    expect(told({ timestamp: '2026-05-04T10:00:00.001Z' })).toBe('future_event')
  })

  test("are corrected by sentAt, the message's own first", () => {
    // A client two hours fast: the event was 5 s old when sent.
    const sent = { timestamp: '2026-05-03T12:00:00.000Z', sentAt: '2026-05-03T12:00:05.000Z' }
    expect(at(sent)).toBe(-5000)
    expect(at({ timestamp: sent.timestamp }, { sentAt: sent.sentAt })).toBe(-5000)
    expect(at(sent, { sentAt: '2026-05-03T12:00:09.000Z' })).toBe(-5000)
    expect(at({ ...sent, sentAt: 'soon' })).toBe(7_200_000)
  })

  test('are not corrected twice', () => {
    expect(at({ timestamp: '2026-05-03T09:00:00.000Z', sentAt: '2026-05-03T08:00:00.000Z', receivedAt: '2026-05-03T09:00:01.000Z' })).toBe(
      -3_600_000,
    )
  })

  test('the body shows the corrected one and keeps the original', () => {
    const message = messageOf(one({ ...TRACK, timestamp: '2026-05-03T12:00:00.000Z', sentAt: '2026-05-03T12:00:05.000Z' }))
    expect(message).toMatchObject({
      timestamp: '2026-05-03T09:59:55.000Z',
      originalTimestamp: '2026-05-03T12:00:00.000Z',
      sentAt: '2026-05-03T12:00:05.000Z',
      receivedAt: '2026-05-03T10:00:00.000Z',
    })
  })

  test('up to 24 h ahead, not beyond', () => {
    expect(at({ timestamp: '2026-05-04T10:00:00.000Z' })).toBe(86_400_000)
    expect(codeOf({ ...TRACK, timestamp: '2026-05-04T10:00:00.001Z' })).toBe('future_event')
    expect(codeOf({ ...TRACK, timestamp: '2026-05-03T10:00:00Z', sentAt: '1970-01-01T00:00:00Z' })).toBe('future_event')
  })

  test('before 1970 count as 1970', () => {
    expect(one({ ...TRACK, timestamp: '1931-01-01' }).at).toBe(0)
  })

  test.each(['yesterday', '1', '03/05/2026', '2026-13-01', 1_700_000_000, true, [], {}])('%j is none', (timestamp) => {
    expect(codeOf({ ...TRACK, timestamp })).toBe('invalid_timestamp')
  })
})

describe('names and types', () => {
  test.each([
    ['page', '$page'],
    ['screen', '$screen'],
    ['identify', '$identify'],
    ['group', '$group'],
    ['alias', '$alias'],
  ])('%s is %s', (type, name) => {
    expect(one({ type, userId: 'u1', name: 'Home' }).name).toBe(name)
  })

  test.each([
    [{ userId: 'u1' }],
    [{ ...TRACK, type: 'toString' }],
    [{ ...TRACK, type: 'Track' }],
    [null],
    [7],
    ['"text"'],
    [[]],
    [{ ...TRACK, properties: 'x' }],
    [{ ...TRACK, context: [] }],
    [{ ...TRACK, messageId: {} }],
    [{ ...TRACK, messageId: 'x'.repeat(600) }],
  ])('%j is no message', (message) => {
    expect(codeOf(message === '"text"' ? '"text"' : message)).toBe('invalid_message')
  })

  test.each([[undefined], [''], ['  '], [7], [null], ['x'.repeat(600)]])('%j is no event name', (event) => {
    expect(codeOf({ ...TRACK, event })).toBe('invalid_event_name')
  })

  test("a route's type goes before the message's", () => {
    expect(one({ ...TRACK, type: 'page' }, { type: 'track' }).name).toBe('Seen')
  })
})

describe('the record', () => {
  test('holds everything but the key, and survives encoding', () => {
    const event = one({ ...TRACK, writeKey: 'secret', properties: { total: 9.5 }, extra: [1], integrations: { All: false } })
    const message = messageOf(decodeEvent(encoded(event)))
    expect(message).toMatchObject({ ...TRACK, properties: { total: 9.5 }, extra: [1], integrations: { All: false } })
    expect(message).not.toHaveProperty('writeKey')
    expect(event).toMatchObject({ messageId: 'm1', sourcePriority: 7, acceptedAt: ACCEPTED_AT, hasTraits: false })
  })

  test('repeats hash alike, whatever else changed; other ids and other people do not', () => {
    const hash = (m: object) => one({ ...TRACK, ...m }).messageHash
    expect(hash({ sentAt: '2026-05-03T09:59:59.000Z', timestamp: '2026-05-03T09:59:50.000Z' })).toBe(hash({}))
    expect(hash({ messageId: 'm2' })).not.toBe(hash({}))
    expect(hash({ userId: 'u2' })).not.toBe(hash({}))
  })

  test('without a messageId gets one of its own', () => {
    const { events } = map([
      { ...TRACK, messageId: undefined },
      { ...TRACK, messageId: '' },
      { ...TRACK, messageId: null },
    ])
    expect(new Set(events.map((e) => e.messageId)).size).toBe(3)
    expect(new Set(events.map((e) => e.messageHash)).size).toBe(3)
  })

  test("a batch's context and integrations go to all of it, the message's own first", () => {
    const event = one(
      { ...TRACK, context: { ip: 'own' } },
      { context: { ip: 'outer', locale: 'de', traits: { plan: 'pro' } }, integrations: { All: true } },
    )
    expect(messageOf(event)).toMatchObject({ context: { ip: 'own', locale: 'de' }, integrations: { All: true } })
    expect(event.hasTraits).toBe(true)
  })

  test('says whether there are traits of the person', () => {
    expect(one({ type: 'identify', userId: 'u1', traits: { plan: 'pro' } }).hasTraits).toBe(true)
    expect(one({ type: 'identify', userId: 'u1', traits: {} }).hasTraits).toBe(false)
    expect(one({ type: 'group', userId: 'u1', context: { traits: { plan: 'pro' } } }).hasTraits).toBe(true)
  })
})

describe('hostile input', () => {
  test('a bad member never takes a good one with it', () => {
    const { events, rejected } = map([null, TRACK, { ...TRACK, timestamp: 'x' }, { ...TRACK, messageId: 'm2' }, []])
    expect(events.map((e) => e.messageId)).toEqual(['m1', 'm2'])
    expect(rejected.map((r) => [r.index, r.code])).toEqual([
      [0, 'invalid_message'],
      [2, 'invalid_timestamp'],
      [4, 'invalid_message'],
    ])
  })

  test('__proto__ is taken out, at any depth and however it is spelled', () => {
    const event = one(
      `{"type":"identify","userId":"u1","traits":{"__proto__":{"admin":true},"a":[{"\\u005f_proto__":1}]},"__proto__":{"x":1}}`,
    )
    expect(event.body.toString()).not.toContain('__proto__')
    expect(({} as { admin?: boolean }).admin).toBeUndefined()
  })

  test.each([65, 5000, 100_000])('nesting of %d levels is refused', (depth) => {
    expect(codeOf(`{"type":"track","event":"x","userId":"u1","properties":{"p":${'['.repeat(depth)}${']'.repeat(depth)}}}`)).toBe(
      'invalid_message',
    )
  })

  test('odd texts and numbers pass through', () => {
    const event = one(
      '{"type":"track","event":"a\\u0000\\ud800","userId":"u\\u0000","properties":{"a":1e999,"a":2,"b":123456789012345678901234567890,"c":"\\udfff"}}',
    )
    const back = decodeEvent(encoded(event))
    expect(back.name).toBe(event.name)
    expect(idsOf(back)).toEqual(idsOf(event))
    expect(messageOf(back).properties).toEqual({ a: 2, b: 1.2345678901234568e29, c: '\udfff' })
  })

  test('a message beyond 256 KiB is refused and kept in part', () => {
    const { rejected } = map([{ ...TRACK, properties: { pad: 'ü'.repeat(MAX_MESSAGE_BYTES / 2) } }])
    expect(rejected[0]?.code).toBe('too_large')
    expect(String(JSON.stringify(rejected[0]?.original)).length).toBeLessThan(MAX_MESSAGE_BYTES + 1000)
    expect(one({ ...TRACK, properties: { pad: 'x'.repeat(MAX_MESSAGE_BYTES - 500) } }).body.length).toBeLessThanOrEqual(MAX_MESSAGE_BYTES)
  })

  test('a batch of too many messages is refused whole', () => {
    expect(() => map(Array.from({ length: MAX_BATCH_MESSAGES + 1 }, () => 0))).toThrow(expect.objectContaining({ code: 'too_large' }))
  })
})

function encoded(event: EventRecord): Buffer {
  const w = new Writer()
  encodeEvent(event, w)
  return w.take()
}
