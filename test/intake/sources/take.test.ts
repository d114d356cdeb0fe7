// What becomes of records: events as over HTTP, ids from places, and dead letters that say where a record lies.
import { describe, expect, test } from 'vitest'
import { messageOf } from '../../../src/core/event.ts'
import { compileMapping } from '../../../src/intake/sources/mapping.ts'
import { takeRecords } from '../../../src/intake/sources/take.ts'
import type { SourceRecord } from '../../../src/log/record-group.ts'
import { NOW, record, STAMP, seen, takeOptions } from './world.ts'

const take = (records: readonly SourceRecord[], options: Partial<typeof takeOptions> = {}) =>
  takeRecords({ topic: 'orders', partition: 3, records }, { ...takeOptions, ...options }, NOW)

const codesOf = ({ rejected }: { rejected: readonly { code: string }[] }) => rejected.map((r) => r.code)

describe('a value that is a Segment message', () => {
  test('becomes the event that it would become over HTTP', async () => {
    const { events, rejected } = await take([record(7, { ...seen(1), timestamp: '2026-11-20T11:00:00.000Z', properties: { total: 5 } })])
    expect(rejected).toEqual([])
    expect(events[0]).toMatchObject({ messageId: 'm1', name: 'Seen', at: Date.parse('2026-11-20T11:00:00.000Z'), sourcePriority: 100 })
    expect(events.map(messageOf)).toMatchObject([{ type: 'track', userId: 'u1', properties: { total: 5 } }])
  })

  test('without an id gets the same one each time it comes, and another one at another place', async () => {
    const { messageId: _, ...anonymous } = seen(1) as { messageId: string }
    const ids = async (records: readonly SourceRecord[]) => (await take(records)).events.map((e) => e.messageId)
    const [first, second] = await ids([record(7, anonymous), record(8, { ...anonymous, messageId: '' })])
    expect(first).toBe(`shop/orders/3/7/${STAMP.toString(36)}`)
    expect(second).toBe(`shop/orders/3/8/${STAMP.toString(36)}`)
    expect(await ids([record(7, anonymous)])).toEqual([first])
    // The topic was made anew: the same offset holds another record.
    expect(await ids([record(7, anonymous, { stamp: STAMP + 1 })])).not.toEqual([first])
  })

  test("without a timestamp happened at its record's instant, which can't lie ahead", async () => {
    const records = [record(0, seen(1)), record(1, seen(2), { stamp: NOW + 5000 }), record(2, seen(3), { stamp: -1 })]
    expect((await take(records)).events.map((e) => e.at)).toEqual([STAMP, NOW, NOW])
  })

  test('may be a batch, whose members get an id each', async () => {
    const { events } = await take([record(7, { batch: [seen(1), { type: 'page', userId: 'u2' }], context: { app: { name: 'shop' } } })])
    expect(events.map((e) => e.messageId)).toEqual(['m1', `shop/orders/3/7/${STAMP.toString(36)}/1`])
    expect(events.map(messageOf)).toMatchObject([{ context: { app: { name: 'shop' } } }, { context: { app: { name: 'shop' } } }])
  })
})

test('events have the place of their message, counting those before it that are set aside', async () => {
  const late = { ...seen(2), timestamp: '2027-11-20T12:00:00.000Z' }
  const { events, places, rejected } = await take([record(7, [seen(1), late, 5, seen(4)]), record(9, seen(5))])
  expect(events.map((e) => e.messageId)).toEqual(['m1', 'm4', 'm5'])
  expect(places).toEqual([
    { offset: 7, index: 0 },
    { offset: 7, index: 3 },
    { offset: 9, index: 0 },
  ])
  expect(codesOf({ rejected })).toEqual(['future_event', 'invalid_message'])
})

describe('a record that can be no event', () => {
  test('is set aside with its place, its key and the beginning of its bytes; the next one is taken', async () => {
    const taken = await take([record(7, Buffer.from('{"type":'), { key: Buffer.from('k1') }), record(8, seen(1))])
    expect(taken.events).toHaveLength(1)
    expect(taken.rejected).toEqual([
      {
        code: 'unreadable',
        reason: expect.stringContaining('The value is not valid JSON.'),
        message: {
          source: 'shop',
          topic: 'orders',
          partition: 3,
          offset: 7,
          timestamp: '2026-11-20T11:59:00.000Z',
          key: 'k1',
          bytes: 8,
          text: '{"type":',
        },
      },
    ])
  })

  test('shows no more of itself than a kilobyte, as base64 where it is no text', async () => {
    const { rejected } = await take([record(0, Buffer.alloc(5000, 0xff)), record(1, Buffer.from(`{"a": "${'é'.repeat(2000)}`))])
    const [binary, text] = rejected.map((r) => r.message as { bytes: number; base64?: string; text?: string })
    expect(binary).toMatchObject({ bytes: 5000, base64: Buffer.alloc(1024, 0xff).toString('base64') })
    expect(text?.bytes).toBe(4007)
    expect(text?.text?.startsWith('{"a": "é')).toBe(true)
    expect(text?.text?.length).toBeLessThan(600)
  })

  test('has the code that it would have over HTTP, and its value', async () => {
    const values = [{ ...seen(1), userId: 'null' }, { ...seen(2), type: 'buy' }, 5, { ...seen(3), timestamp: 'soon' }, 'x'.repeat(5 << 20)]
    const taken = await take(values.map((value, i) => record(i, value)))
    expect(codesOf(taken)).toEqual(['no_identifier', 'invalid_message', 'unreadable', 'invalid_timestamp', 'too_large'])
    expect(taken.rejected[1]?.message).toMatchObject({ offset: 1, value: { type: 'buy', userId: 'u2' } })
    expect(JSON.stringify(taken.rejected).length).toBeLessThan(10_000)
  })

  test('is passed over when it has no value: it says that a key is gone; an empty value is set aside', async () => {
    const taken = await take([record(0, null), record(1, Buffer.alloc(0))])
    expect(taken).toMatchObject({ events: [], empty: 1, rejected: [{ code: 'unreadable' }] })
  })

  test('may be nested as deep as it likes', async () => {
    const deep = Buffer.from(`${'['.repeat(200_000)}${']'.repeat(200_000)}`)
    const deepMember = Buffer.from(`{"type":"track","event":"E","userId":"u","properties":${'{"a":'.repeat(9000)}1${'}'.repeat(9000)}}`)
    const taken = await take([record(0, deep), record(1, deepMember), record(2, seen(1))])
    expect(codesOf(taken)).toEqual(['invalid_message', 'invalid_message'])
    expect(taken.events).toHaveLength(1)
  })

  test('is set aside even where the fault is ours', async () => {
    const mapping = () => {
      throw new TypeError('a fault')
    }
    const taken = await take([record(0, seen(1))], { mapping })
    expect(taken.rejected).toMatchObject([{ code: 'execution_failed', message: { value: { userId: 'u1' } } }])
  })
})

test('a decoder that cannot know now ends the taking, and nothing is set aside', async () => {
  const decode = async () => {
    throw new Error('no answer')
  }
  await expect(take([record(0, seen(1))], { decode })).rejects.toThrow('no answer')
})

test('a mapped value whose message is refused is shown as it came', async () => {
  const mapping = compileMapping({ type: 'track', event: 'Bought', userId: '$.who' }, 'ms', 'm')
  const taken = await take([record(0, { who: 'u1', what: 'x' }), record(1, { what: 'y' })], { mapping, priority: 5 })
  expect(taken.events).toMatchObject([{ name: 'Bought', sourcePriority: 5 }])
  expect(taken.rejected).toMatchObject([{ code: 'no_identifier', message: { offset: 1, value: { what: 'y' } } }])
})
