import { describe, expect, test } from 'vitest'
import { afterChanges, type CheckRules, compare, expectedMemberships, profileName } from '../../bench/workload/check.ts'
import { eventLines } from '../../bench/workload/events.ts'
import { definitionsOf, durationText, messageOf, type WorkloadEvent } from '../../bench/workload/map.ts'
import { hashTies, recordsOf } from '../../bench/workload/records.ts'
import { type SegmentFile, segmentFile, type WorkloadCondition } from '../../bench/workload/segments.ts'
import { messageOf as recordedMessage } from '../../src/core/event.ts'
import { durationMs } from '../../src/operators/duration.ts'
import { parseWhere } from '../../src/operators/parse.ts'

const AT_MS = Date.parse('2026-06-01T00:00:00.000Z')
const HOUR_MS = 3_600_000

let count = 0
function event(agoMs: number, fields: Partial<WorkloadEvent> = {}): WorkloadEvent {
  const timestamp = new Date(AT_MS - agoMs).toISOString()
  return { messageId: `m${count++}`, type: 'track', event: 'Order Completed', userId: 'u1', timestamp, properties: {}, ...fields }
}

function fileOf(...conditions: WorkloadCondition[]): SegmentFile {
  return { traits: [], sumBuckets: 60, segments: [{ id: 's', op: 'and', conditions }] }
}

function members(events: WorkloadEvent[], file: SegmentFile, rules: Partial<CheckRules> = {}): string[] {
  const lines = events.map((e) => JSON.stringify(e))
  const expected = expectedMemberships(lines, file, { atMs: AT_MS, sums: 'exact', ...rules })
  return [...expected].filter(([, segments]) => segments.has('s')).map(([profile]) => profile)
}

describe('the naive check', () => {
  test('a count has a half-open window', () => {
    const file = fileOf({ type: 'count', event: 'Order Completed', atLeast: 2, windowMs: HOUR_MS })
    expect(members([event(0), event(HOUR_MS - 1)], file)).toEqual(['u1'])
    expect(members([event(0), event(HOUR_MS)], file)).toEqual([])
    expect(members([event(0), event(1, { event: 'Signed In' })], file)).toEqual([])
  })

  test('a filtered count looks at the property', () => {
    const file = fileOf({
      type: 'count',
      event: 'Order Completed',
      atLeast: 1,
      windowMs: HOUR_MS,
      where: { property: 'plan', equals: 'pro' },
    })
    expect(members([event(0, { properties: { plan: 'pro' } })], file)).toEqual(['u1'])
    expect(members([event(0, { properties: { plan: 'free' } })], file)).toEqual([])
  })

  test('notDone holds where nothing is recent', () => {
    const file = fileOf({ type: 'notDone', event: 'Order Completed', windowMs: HOUR_MS })
    expect(members([event(HOUR_MS)], file)).toEqual(['u1'])
    expect(members([event(HOUR_MS - 1)], file)).toEqual([])
    expect(members([event(0, { event: 'Signed In' })], file)).toEqual(['u1'])
  })

  test('a sum is exact to the cent, over the window or over its buckets', () => {
    const file = fileOf({ type: 'sum', event: 'Order Completed', property: 'amount', atLeast: 0.3, windowMs: HOUR_MS })
    const of = (agoMs: number) => [event(0, { properties: { amount: 0.1 } }), event(agoMs, { properties: { amount: 0.2 } })]
    // At a multiple of the bucket the 60 buckets reach from 59 minutes ago on: the check's instant is one.
    const bucketsFromMs = 59 * 60_000
    for (const sums of ['exact', 'buckets'] as const) expect(members(of(bucketsFromMs), file, { sums })).toEqual(['u1'])
    expect(members(of(bucketsFromMs + 1), file, { sums: 'exact' })).toEqual(['u1'])
    expect(members(of(bucketsFromMs + 1), file, { sums: 'buckets' })).toEqual([])
    expect(members(of(HOUR_MS - 1), file, { sums: 'exact' })).toEqual(['u1'])
    expect(members(of(HOUR_MS), file, { sums: 'exact' })).toEqual([])
  })

  test('a property is the last seen one; a tie goes by value or by message', () => {
    const file = fileOf({ type: 'property', property: 'plan', equals: 'free' })
    const free = event(5, { properties: { plan: 'free' } })
    const pro = event(5, { properties: { plan: 'pro' } })
    const earlier = event(6, { properties: { plan: 'pro' } })
    expect(members([free, earlier, event(0)], file)).toEqual(['u1'])
    expect(members([free, pro], file)).toEqual([])
    expect(members([free, pro], file, { tieOf: (e) => (e.messageId === free.messageId ? 'b' : 'a') })).toEqual(['u1'])
    const byHash = hashTies()
    expect(members([pro, free], file, { tieOf: byHash })).toEqual(byHash(free) > byHash(pro) ? ['u1'] : [])
  })

  test('an anonymous history counts as the linked user’s, a visitor’s as his own', () => {
    const file = fileOf({ type: 'count', event: 'Order Completed', atLeast: 2, windowMs: HOUR_MS })
    const { userId: _, ...anonymous } = event(1, { anonymousId: 'a1' })
    const { userId: __, ...visitor } = event(1, { anonymousId: 'v1' })
    expect(members([anonymous, event(0, { anonymousId: 'a1' }), visitor, { ...visitor, messageId: 'other' }], file)).toEqual(['u1', 'v1'])
    expect(() => members([event(0, { anonymousId: 'a1' }), event(0, { anonymousId: 'a1', userId: 'u2' })], file)).toThrow(/two users/)
  })

  test('or takes any, and takes all', () => {
    const never: WorkloadCondition = { type: 'count', event: 'Signed In', atLeast: 1, windowMs: HOUR_MS }
    const always: WorkloadCondition = { type: 'count', event: 'Order Completed', atLeast: 1, windowMs: HOUR_MS }
    const file = fileOf(never, always)
    expect(members([event(0)], file)).toEqual([])
    expect(members([event(0)], { ...file, segments: [{ id: 's', op: 'or', conditions: [never, always] }] })).toEqual(['u1'])
  })

  test('a comparison tells what is missing and what is too much', () => {
    const expected = new Map([
      ['u1', new Set(['s0', 's1'])],
      ['u2', new Set<string>()],
    ])
    expect(compare(expected, new Map([['u1', new Set(['s1', 's0'])]]))).toMatchObject({ ok: true, profiles: 2, memberships: 2 })
    const got = new Map([
      ['u1', new Set(['s0'])],
      ['u3', new Set(['s1'])],
    ])
    expect(compare(expected, got)).toMatchObject({ ok: false, missing: 1, extra: 1, sample: ['-u1 s1', '+u3 s1'] })
  })

  test('changes lead to memberships, and must alternate', () => {
    const change = (c: 'entered' | 'exited') => ({ profile: 'u1', segment: 's', change: c })
    expect(afterChanges([change('entered'), change('exited'), change('entered')])).toEqual({
      memberships: new Map([['u1', new Set(['s'])]]),
      notAlternating: 0,
    })
    expect(afterChanges([change('exited'), change('entered'), change('entered')]).notAlternating).toBe(2)
  })

  test('a profile is known by its user, else by its device', () => {
    expect(
      profileName([
        { namespace: 'anonymous_id', value: 'a1' },
        { namespace: 'user_id', value: 'u1' },
      ]),
    ).toBe('u1')
    expect(profileName([{ namespace: 'anonymous_id', value: 'v1' }])).toBe('v1')
    expect(() => profileName([])).toThrow()
  })
})

describe('the workload in our terms', () => {
  test('every kind of condition', () => {
    const where = { property: 'plan', equals: 'pro' } as const
    const file = fileOf(
      { type: 'count', event: 'A', atLeast: 2, windowMs: HOUR_MS, where },
      { type: 'count', event: 'A', atLeast: 1, windowMs: 14 * 24 * HOUR_MS },
      { type: 'notDone', event: 'A', windowMs: 24 * HOUR_MS },
      { type: 'sum', event: 'A', property: 'amount', atLeast: 50, windowMs: 6 * HOUR_MS },
      { type: 'property', property: 'plan', equals: 'pro' },
    )
    const all = [
      { event: 'A', where: { 'properties.plan': 'pro' }, within: '1h', count: { gte: 2 } },
      { event: 'A', within: '14d', count: { gte: 1 } },
      { event: 'A', within: '1d', count: { eq: 0 } },
      { event: 'A', within: '6h', sum: 'properties.amount', gte: 50 },
      { trait: 'plan', eq: 'pro' },
    ]
    expect(definitionsOf(file)).toEqual([{ id: 's', where: { all } }])
  })

  test('our grammar takes all of a thousand segments as they are', () => {
    const definitions = definitionsOf(segmentFile({ n: 1000 }))
    for (const { where } of definitions) expect(parseWhere(where)).toEqual(where)
    expect(
      definitions
        .map((d) => ('any' in d.where ? 'any' : 'all'))
        .slice(0, 10)
        .join(),
    ).toBe('all,all,all,all,all,any,all,all,all,any')
  })

  test.each([1, 1500, 60_000, 90_000, 3_600_000, 86_400_000, 2_592_000_000])('a duration of %d ms', (ms) => {
    expect(durationMs(durationText(ms))).toBe(ms)
  })

  test('records carry the event, its identifiers and its traits, and acceptance never goes back', () => {
    const lines = [...eventLines({ n: 3000, users: 300 })]
    const records = [...recordsOf(lines)]
    expect(records.length).toBe(3000)
    let acceptedAt = 0
    let late = 0
    for (const [i, record] of records.entries()) {
      const original = JSON.parse(lines[i] as string) as WorkloadEvent
      const ids = [original.userId, original.anonymousId].filter((id) => id !== undefined)
      expect(record).toMatchObject({
        type: 'track',
        name: original.event,
        messageId: original.messageId,
        at: Date.parse(original.timestamp),
        hasTraits: true,
      })
      expect(record.identifiers.map((id) => id.value)).toEqual(ids)
      expect(recordedMessage(record)).toMatchObject(messageOf(original))
      expect(record.acceptedAt).toBeGreaterThanOrEqual(Math.max(acceptedAt, record.at))
      acceptedAt = record.acceptedAt
      if (record.at < record.acceptedAt) late++
    }
    expect(late).toBeGreaterThan(10)
    expect(messageOf(JSON.parse(lines[0] as string)).context).toMatchObject({
      traits: { plan: expect.any(String), device: expect.any(String) },
    })
  })
})
