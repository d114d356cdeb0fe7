import { describe, expect, test } from 'vitest'
import { expectedMemberships } from '../../bench/workload/check.ts'
import { DEFAULT_EVENTS, eventLines } from '../../bench/workload/events.ts'
import type { WorkloadEvent } from '../../bench/workload/map.ts'
import { hashTies } from '../../bench/workload/records.ts'
import { type SegmentFile, segmentFile, type WorkloadCondition } from '../../bench/workload/segments.ts'
import { compareTransitions, expectedTransitions, type FlipRules, type Person, SegmentIndex } from '../../bench/workload/transitions.ts'

const HOUR_MS = 3_600_000
const START_MS = Date.parse('2026-05-01T00:00:00.000Z')
const END_MS = START_MS + 100 * HOUR_MS

let count = 0
function event(hours: number, fields: Partial<WorkloadEvent> = {}): string {
  const timestamp = new Date(START_MS + hours * HOUR_MS).toISOString()
  return JSON.stringify({ messageId: `m${count++}`, type: 'track', event: 'Signed In', userId: 'u1', timestamp, properties: {}, ...fields })
}

const DONE: WorkloadCondition = { type: 'count', event: 'Signed In', atLeast: 1, windowMs: HOUR_MS }

function people(lines: string[], condition: WorkloadCondition = DONE, rules: FlipRules = { sums: 'exact' }): Map<string, Person> {
  const file: SegmentFile = { traits: [], sumBuckets: 60, segments: [{ id: 's', op: 'and', conditions: [condition] }] }
  return expectedTransitions(lines, new SegmentIndex(file, rules), END_MS)
}

/** Flips as `+hours` for an entry and `-hours` for an exit, profile by profile. */
function flips(person: Person | undefined): string[] {
  return (person?.profiles ?? []).flatMap((p) => p.flips.map((f) => `${f.entered ? '+' : '-'}${(f.at - START_MS) / HOUR_MS} ${f.by}`))
}

describe('the naive transitions', () => {
  test('an exit by time and the entry by the next event are both told, each at its own instant', () => {
    const lines = [event(0), event(0.5), event(3)]
    expect(flips(people(lines).get('u1'))).toEqual(['+0 event', '-1.5 time', '+3 event', '-4 time'])
  })

  test('an event that comes after its window is over changes nothing', () => {
    const lines = [event(5, { event: 'Cart Viewed' }), event(2)]
    expect(flips(people(lines).get('u1'))).toEqual([])
  })

  test('nobody enters "not done" by the event that undoes it', () => {
    expect(flips(people([event(0)], { type: 'notDone', event: 'Signed In', windowMs: HOUR_MS }).get('u1'))).toEqual(['+1 time'])
  })

  test('a bucket leaves a sum as one, up to a bucket before its events would', () => {
    const sum: WorkloadCondition = { type: 'sum', event: 'Signed In', property: 'amount', atLeast: 50, windowMs: 60 * HOUR_MS }
    const lines = [event(1.25, { properties: { amount: 50 } })]
    expect(flips(people(lines, sum).get('u1'))).toEqual(['+1.25 event', '-61.25 time'])
    expect(flips(people(lines, sum, { sums: 'buckets' }).get('u1'))).toEqual(['+1.25 event', '-61 time'])
  })

  test('where two profiles become one, the older one goes on and the other leaves', () => {
    const { userId: _, ...visitor } = JSON.parse(event(0.5, { anonymousId: 'a1' })) as WorkloadEvent
    const lines = [event(0), JSON.stringify(visitor), event(0.75, { event: 'Cart Viewed', anonymousId: 'a1' })]
    const got = people(lines)
    expect([...got.keys()]).toEqual(['u1'])
    expect(flips(got.get('u1'))).toEqual(['+0 event', '-1.5 time', '+0.5 event', '-0.75 merge'])
  })

  test("a user's first event makes the device's profile the user's", () => {
    const { userId: _, ...visitor } = JSON.parse(event(0, { anonymousId: 'a1' })) as WorkloadEvent
    const got = people([JSON.stringify(visitor), event(0.5, { event: 'Cart Viewed', anonymousId: 'a1' })])
    expect(flips(got.get('u1'))).toEqual(['+0 event', '-1 time'])
    expect(got.get('u1')?.isLinked).toBe(true)
  })

  test.each(['exact', 'buckets'] as const)('what the transitions lead to is what the memberships are, sums %s', (sums) => {
    const file = segmentFile({ n: 100 })
    const lines = [...eventLines({ n: 5000, users: 1000 })]
    const rules = { sums, tieOf: hashTies() }
    const expected = expectedMemberships(lines, file, { ...rules, atMs: DEFAULT_EVENTS.endMs })
    const got = expectedTransitions(lines, new SegmentIndex(file, rules), DEFAULT_EVENTS.endMs)
    const members = [...got].map(([name, { profiles }]) => {
      const segments = profiles.flatMap((p) => [...p.members].map((segment) => file.segments[segment]?.id ?? ''))
      return [name, segments.sort()] as const
    })
    expect(new Map(members)).toEqual(new Map([...expected].map(([name, segments]) => [name, [...segments].sort()])))
  })
})

describe('comparing transitions', () => {
  const expected = people([event(0), event(3)])
  const told = (expected.get('u1')?.profiles[0]?.flips ?? []).map((flip) => ({ profile: 'u1', flip }))

  test('the same is the same in any order', () => {
    const sole = { people: 1, expected: 4, missing: 0, extra: 0 }
    expect(compareTransitions(expected, told.toReversed())).toEqual({ ok: true, expected: 4, got: 4, sole })
  })

  test('one that is missing, a millisecond off, told twice or of nobody shows', () => {
    const compared = (got: typeof told) => compareTransitions(expected, got)
    const [first, ...rest] = told
    if (first === undefined) throw new Error('there are transitions')
    expect(compared(rest)).toMatchObject({ ok: false, sole: { missing: 1, extra: 0 } })
    const late = { ...first, flip: { ...first.flip, at: first.flip.at + 1 } }
    expect(compared([late, ...rest])).toMatchObject({ ok: false, sole: { missing: 1, extra: 1 } })
    expect(compared([first, ...told])).toMatchObject({ ok: false, sole: { missing: 0, extra: 1 } })
    expect(compared([...told, { ...first, profile: 'u2' }])).toMatchObject({ ok: false, sole: { missing: 0, extra: 1 } })
  })
})
