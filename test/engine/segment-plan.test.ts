// Definitions, plans, and what the random test (segment-state.test.ts) hardly meets: short timelines, gaps, explanations, previews.
import { describe, expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import { Reader, Writer } from '../../src/core/bytes.ts'
import type { Json, JsonObject } from '../../src/core/event.ts'
import { Definitions } from '../../src/engine/definitions.ts'
import { type ExplainedCondition, explain } from '../../src/engine/explain.ts'
import type { Emit } from '../../src/engine/membership.ts'
import type { EventView } from '../../src/engine/plan-group.ts'
import * as segments from '../../src/engine/segment-state.ts'
import { parseWhere } from '../../src/operators/parse.ts'

const NOW = 1_000_000
const DAY = 86_400_000

function view(name: string, at: number, properties: JsonObject = {}): EventView {
  return { name, at, message: () => ({ type: 'track', event: name, properties }) }
}

const traitsOf = (traits: { [name: string]: Json } = {}): segments.TraitsView => ({ get: (name) => traits[name] })

/** A log of definitions and one profile under them. */
class Subject {
  readonly definitions = new Definitions()
  readonly seen: string[] = []
  state = new segments.SegmentState()
  traits: { [name: string]: Json } = {}
  now = NOW

  readonly emit: Emit = (segment, m, at) => {
    this.seen.push(`${m.in ? '+' : '-'}${this.definitions.idOf(segment)}#${m.seq}@${at - NOW}`)
  }

  get plan() {
    return this.definitions.planAt(this.definitions.version)
  }

  put(id: string, where: unknown): this {
    this.definitions.apply(this.definitions.version + 1, { put: { id, where: parseWhere(where) } })
    return this
  }

  delete(id: string): this {
    this.definitions.apply(this.definitions.version + 1, { delete: id })
    return this
  }

  found(): this {
    this.state = segments.SegmentState.empty(this.plan, this.emit, this.now)
    return this
  }

  apply(...events: EventView[]): this {
    for (const event of events) {
      const step = { event, traits: traitsOf(this.traits), changedTraits: [], now: this.now, emit: this.emit }
      segments.applyEvent(this.plan, this.state, step)
    }
    return this
  }

  fill(timeline: EventView[], timelineFrom = 0): this {
    segments.fill(this.plan, this.state, { traits: traitsOf(this.traits), timeline, timelineFrom, now: this.now, emit: this.emit })
    return this
  }

  pass(now: number): this {
    this.now = now
    segments.flipsDue(this.plan, this.state, { traits: traitsOf(this.traits), now, emit: this.emit })
    return this
  }

  explain(id: string): ExplainedCondition {
    const number = this.definitions.numberOf(id)
    return explain(this.plan, this.state, number, { traits: traitsOf(this.traits), now: this.now }) as ExplainedCondition
  }

  take(): string[] {
    return this.seen.splice(0)
  }
}

describe('definitions', () => {
  const changes = (d: Pick<Definitions, 'apply'>): void => {
    const A = { event: 'A', within: '1d' }
    d.apply(1, { put: { id: 'a', where: A } })
    d.apply(2, { put: { id: 'b', where: { all: [A, { trait: 'p', eq: 'x' }] } } })
    d.apply(3, { delete: 'a' })
    d.apply(4, { put: { id: 'c', where: { not: { event: 'B' } } } })
    d.apply(5, { put: { id: 'a', where: { event: 'A', within: '2d' } } })
    d.apply(6, { delete: 'never there' })
  }
  const shape = (d: Definitions, version: number): unknown => {
    const plan = d.planAt(version)
    return {
      segments: plan.segments.map((s) => s && [s.id, s.number, s.definitionVersion, s.where]),
      groups: plan.groups.map((g) => [
        g.number,
        g.trait,
        g.changedAt,
        g.accumulators.map((a) => [a.ordinal, a.filledAt, a.need, a.conditions.map((c) => c.ref)]),
      ]),
      empty: plan.holdsForEmpty.map((s) => s.id),
    }
  }
  test('numbers are stable: a plan is the same whether later changes have been folded or not, from the front or from the back', () => {
    const whole = new Definitions()
    changes(whole)
    const backwards = [6, 5, 4, 3, 2, 1, 0].map((version) => shape(whole, version)).reverse()
    const growing = new Definitions()
    const forwards: unknown[] = [shape(growing, 0)]
    const step: Pick<Definitions, 'apply'> = {
      apply(version, change) {
        growing.apply(version, change)
        forwards.push(shape(growing, version))
      },
    }
    changes(step)
    expect(forwards).toEqual(backwards)
  })
  test('a segment keeps its number through deletion; its version is that of its last change', () => {
    const d = new Definitions()
    changes(d)
    expect(['a', 'b', 'c'].map((id) => d.numberOf(id))).toEqual([0, 1, 2])
    expect([1, 2, 3, 4, 5].map((version) => d.planAt(version).versionOf(0))).toEqual([1, 1, 3, 3, 5])
    expect(d.planAt(3).segmentById('a')).toBe(undefined)
    expect(d.planAt(5).segmentById('a')?.definitionVersion).toBe(5)
    expect(d.planAt(6).holdsForEmpty.map((s) => s.id)).toEqual(['c'])
    expect(d.holdsForEmpty({ not: { event: 'Z' } })).toBe(true)
    expect(d.holdsForEmpty({ event: 'Z' })).toBe(false)
    expect(() => d.apply(9, { delete: 'a' })).toThrow('follows')
  })
  test('equal conditions share an accumulator and a reading, whatever their spelling', () => {
    const d = new Definitions()
    d.apply(1, { put: { id: 'a', where: { event: ['B', 'A'], within: '24h', where: { 'properties.x': 1 } } } })
    d.apply(2, {
      put: { id: 'b', where: { event: ['A', 'B', 'A'], within: '1d', count: { gte: 1 }, where: { 'properties.x': { eq: 1 } } } },
    })
    d.apply(3, { put: { id: 'c', where: { event: ['A', 'B'], within: '7d', count: { gte: 3 }, where: { 'properties.x': 1 } } } })
    const [group, ...more] = d.planAt(3).groups
    expect(more).toEqual([])
    expect(group?.accumulators.length).toBe(1)
    expect(group?.accumulators[0]?.conditions.map((c) => c.segments.map((s) => s.id))).toEqual([['a', 'b'], ['c']])
    expect(group?.accumulators[0]?.need).toMatchObject({ windowMs: 7 * DAY, newest: 3 })
    expect(d.planAt(2).changesSince(1).needsTimeline).toBe(false)
    expect(d.planAt(3).changesSince(2).needsTimeline).toBe(true)
  })
})

describe('a step', () => {
  test('emits in the order of the segments, however they were affected', () => {
    const s = new Subject().put('a', { event: 'A' }).put('b', { trait: 'p', eq: 1 }).put('c', { event: 'A', sum: 'properties.x', gte: 1 })
    s.put('d', { not: { event: 'A' } }).found()
    expect(s.take()).toEqual(['+d#1@0'])
    s.traits = { p: 1 }
    segments.applyEvent(s.plan, s.state, {
      event: view('A', NOW, { x: 1 }),
      traits: traitsOf(s.traits),
      changedTraits: ['p'],
      now: NOW,
      emit: s.emit,
    })
    expect(s.take()).toEqual(['+a#1@0', '+b#1@0', '+c#1@0', '-d#2@0'])
  })
  test('two conditions that flip at one instant are seen together', () => {
    const s = new Subject()
      .put('a', {
        any: [
          { event: 'A', within: '10ms' },
          { event: 'A', last: { before: '10ms' } },
        ],
      })
      .found()
    s.apply(view('A', NOW)).pass(NOW + 100)
    expect(s.take()).toEqual(['+a#1@0'])
  })
  test('an event counts once where several values of a list lead to its filter', () => {
    const s = new Subject().put('a', { event: 'A', where: { 'properties.items.id': { in: [1, 2] } }, count: { eq: 1 } }).found()
    s.apply(view('A', NOW, { items: [{ id: 1 }, { id: 2 }, { id: 1 }] }))
    expect(s.take()).toEqual(['+a#1@0'])
  })
  test('a state is not used with another plan', () => {
    const s = new Subject().put('a', { event: 'A' }).found().put('b', { event: 'B' })
    expect(() => s.apply(view('A', NOW))).toThrow('filled to version 1')
  })
})

describe('fills', () => {
  test('count what the timeline holds by now, not what waits', () => {
    const s = new Subject().put('a', { event: 'A', count: { gte: 2 } })
    s.fill([view('A', NOW - 5), view('A', NOW + 5)])
    expect(s.take()).toEqual([])
    expect(s.explain('a').value).toBe(1)
  })
  test('need no timeline for traits, nor for new readings of what is kept', () => {
    const s = new Subject()
      .put('a', { event: 'A', within: '10d', count: { gte: 3 } })
      .found()
      .apply(view('A', NOW), view('A', NOW))
    s.put('b', { event: 'A', within: '1d', count: { gte: 2 } }).put('c', { trait: 'p', exists: false })
    expect(segments.needs(s.plan, s.state, { events: [], now: NOW })).toEqual({ groups: [], timeline: false })
    s.fill([])
    expect(s.take()).toEqual(['+b#1@0', '+c#1@0'])
  })
  test('a deleted segment is left, one that comes back goes on counting', () => {
    const s = new Subject().put('a', { event: 'A' }).found().apply(view('A', NOW))
    s.delete('a').fill([])
    s.put('a', { event: 'A', count: { gte: 1 } }).fill([view('A', NOW)])
    expect(s.take()).toEqual(['+a#1@0', '-a#2@0', '+a#3@0'])
  })
  test('with a timeline that no longer reaches back totals are kept, and what may be missing is said', () => {
    const s = new Subject().put('all', { event: 'A', count: { gte: 3 } }).put('max', { event: 'A', max: 'properties.x', gte: 9 })
    s.put('first', { event: 'A', first: { before: '10ms' } })
      .put('sum', { event: 'A', sum: 'properties.x', gte: 15 })
      .found()
    const events = [view('A', NOW - 50, { x: 9 }), view('A', NOW - 10, { x: 5 }), view('A', NOW, { x: 1 })]
    s.apply(...events)
    expect(s.take().sort()).toEqual(['+all#1@0', '+first#1@0', '+max#1@0', '+sum#1@0'])
    s.put('short', { event: 'A', within: '20ms', count: { gte: 2 } }).put('long', { event: 'A', within: '1d', count: { gte: 3 } })
    s.put('maxInWindow', { event: 'A', within: '1d', max: 'properties.x', lt: 9 }).put('sumInWindow', {
      event: 'A',
      within: '1d',
      sum: 'properties.x',
      lt: 15,
    })
    // Only the last two are left in the timeline.
    s.fill(events.slice(1), NOW - 20)
    expect(s.take()).toEqual(['+short#1@0', '+maxInWindow#1@0', '+sumInWindow#1@0'])
    expect(['all', 'max', 'sum'].map((id) => s.explain(id).value)).toEqual([3, 9, 15])
    expect(s.explain('short')).toMatchObject({ value: 2, exact: true, flipsAt: NOW + 10 })
    expect(['long', 'maxInWindow', 'sumInWindow'].map((id) => s.explain(id).exact)).toEqual([false, false, false])
    // A gap goes through bytes, to the profile that it is merged into, and is over once no window reaches into it.
    const w = new Writer()
    segments.encodeState(s.state, w, { bytes: Number.POSITIVE_INFINITY, putGroup: () => {} })
    const from = segments.decodeState(new Reader(w.take()))
    s.state = segments.SegmentState.empty(s.plan, () => {})
    segments.merge(s.plan, s.state, from, { traits: traitsOf(), timeline: [], now: NOW, keep: 'into', emit: s.emit })
    expect(s.explain('long').exact).toBe(false)
    s.pass(NOW - 20 + DAY)
    expect(s.explain('long').exact).toBe(true)
  })
})

describe('negative amounts', () => {
  const where = { event: 'A', within: '1d', sum: 'properties.x', gte: 10 }
  const many = Array.from({ length: 20 }, (_, i) => view('A', NOW - 20 + i, { x: 5 }))
  const refund = view('A', NOW, { x: -93 })
  test('want the timeline only where something was forgotten', () => {
    const s = new Subject().put('a', where).found()
    expect(segments.needs(s.plan, s.state, { events: [refund], now: NOW }).timeline).toBe(false)
    s.apply(...many.slice(0, 2))
    expect(segments.needs(s.plan, s.state, { events: [refund], now: NOW }).timeline).toBe(false)
    s.apply(...many.slice(2))
    expect(segments.needs(s.plan, s.state, { events: [refund], now: NOW }).timeline).toBe(true)
    expect(segments.needs(s.plan, s.state, { events: [view('A', NOW, { x: 93 })], now: NOW }).timeline).toBe(false)
  })
  test('are exact after a rebuild, and forgetting goes on when they have left', () => {
    const s = new Subject()
      .put('a', where)
      .found()
      .apply(...many)
    segments.rebuild(s.plan, s.state, segments.groupsToRebuild(s.plan, s.state, refund), { timeline: many, now: NOW })
    s.apply(refund)
    expect(s.take().at(-1)).toBe('-a#2@0')
    expect(s.explain('a')).toMatchObject({ value: 7, exact: true })
    s.apply(view('A', NOW, { x: 3 }))
    expect(s.take()).toEqual(['+a#3@0'])
    s.pass(NOW + DAY).apply(...many.map((_, i) => view('A', NOW + DAY - 20 + i, { x: 5 })))
    expect(segments.groupsToRebuild(s.plan, s.state, refund)).not.toEqual([])
  })
  test('after a rebuild from a timeline that no longer reaches back, truth follows what is left, and says so', () => {
    const s = new Subject()
      .put('a', { ...where, gte: 30 })
      .put('b', { ...where, where: { 'properties.y': 1 } })
      .found()
      .apply(...many)
    expect(s.take()).toEqual(['+a#1@0'])
    const left = many.slice(-4)
    segments.rebuild(s.plan, s.state, segments.groupsToRebuild(s.plan, s.state, refund), {
      timeline: left,
      timelineFrom: NOW - 4,
      now: NOW,
    })
    // Even an event that matches nothing makes it read again.
    s.apply(view('Z', NOW))
    expect(s.take()).toEqual(['-a#2@0'])
    expect(s.explain('a')).toMatchObject({ value: 20, exact: false })
  })
  test('two that cannot merge are rebuilt from the merged timeline', () => {
    const [s, t] = [new Subject(), new Subject()]
    for (const one of [s, t]) one.put('a', { ...where, gte: 15 }).found()
    s.apply(...many)
    t.apply(refund)
    const step = { traits: traitsOf(), timeline: [...many, refund], now: NOW, emit: s.emit }
    segments.merge(s.plan, s.state, t.state, { ...step, keep: 'into' })
    expect(s.take()).toEqual(['+a#1@0', '-a#2@0'])
    expect(s.explain('a')).toMatchObject({ value: 7, exact: true })
  })
})

test('negative amounts that come by a merge keep what is older', () => {
  const [s, t] = [new Subject(), new Subject()]
  for (const one of [s, t]) one.put('a', { event: 'A', within: '1d', sum: 'properties.x', gte: 10 }).found()
  s.apply(view('A', NOW - 1, { x: 8 }))
  t.apply(view('A', NOW - 2, { x: -3 }), view('A', NOW, { x: 4 }))
  segments.merge(s.plan, s.state, t.state, { traits: traitsOf(), timeline: [], now: NOW, keep: 'into', emit: s.emit })
  expect(s.take()).toEqual([])
  expect(s.explain('a').value).toBe(9)
})

test('an accumulator that went and came back, unseen by the profile, keeps what the timeline no longer has', () => {
  const where = { event: 'A', first: { before: '10ms' } }
  const s = new Subject()
    .put('a', where)
    .found()
    .apply(view('A', NOW - 50), view('A', NOW))
  s.delete('a')
    .put('a', where)
    .fill([view('A', NOW)], NOW - 5)
  expect(s.take()).toEqual(['+a#1@0'])
})

test('more conditions than fit into one word are read from the bytes as from what is decoded', () => {
  const s = new Subject()
  for (let n = 1; n <= 70; n++) s.put(`s${n}`, { event: 'A', within: `${n}s`, count: { gte: n % 4 < 2 ? 1 : 2 } })
  s.put('both', {
    all: [{ event: 'A', within: '64s', count: { gte: 1 } }, { not: { event: 'A', within: '35s', count: { gte: 2 } } }, { event: 'B' }],
  })
  s.found().apply(view('A', NOW - 30_500))
  const w = new Writer()
  segments.encodeState(s.state, w, { bytes: Number.POSITIVE_INFINITY, putGroup: () => {} })
  s.state = segments.decodeState(new Reader(w.take()))
  s.take()
  s.apply(view('B', NOW))
  expect(s.take()).toEqual(['+both#1@0'])
  expect([...s.state.memberships].length).toBe(21)
})

describe('explanations and previews', () => {
  test('name what was compared, condition by condition', () => {
    const s = new Subject().put('a', {
      all: [{ event: 'A', within: '1d' }, { not: { trait: 'p.q', eq: 'x' } }, { any: [{ event: 'A', avg: 'properties.x', gte: 2 }] }],
    })
    s.traits = { p: { q: 'y' } }
    s.found().apply(view('A', NOW - 5, { x: 1 }))
    expect(explain(s.plan, s.state, 0, { traits: traitsOf(s.traits), now: NOW })).toEqual({
      holds: false,
      all: [
        { holds: true, condition: { event: 'A', within: '1d' }, value: 1, flipsAt: NOW - 5 + DAY, exact: true },
        { holds: true, not: { holds: false, condition: { trait: 'p.q', eq: 'x' }, value: 'y', exact: true } },
        { holds: false, any: [{ holds: false, condition: { event: 'A', avg: 'properties.x', gte: 2 }, value: 1, exact: true }] },
      ],
    })
  })
  test('of nothing at all', () => {
    const conditions = [
      { count: { gte: 1 } },
      { sum: 'x', gte: 1 },
      { distinct: 'x', gte: 1 },
      { avg: 'x', gte: 1 },
      { max: 'x', gte: 1 },
      { last: { within: '1d' } },
    ]
    const s = new Subject()
    for (const [i, c] of conditions.entries()) s.put(`s${i}`, { event: 'A', ...c })
    s.found()
    expect(conditions.map((_, i) => s.explain(`s${i}`).value)).toEqual([0, 0, 0, undefined, undefined, undefined])
  })
  test('a preview holds where the saved segment would', () => {
    const preview = segments.previewOf(
      parseWhere({
        all: [
          { event: 'A', within: '10ms', count: { gte: 2 } },
          { trait: 'p', eq: 1 },
        ],
      }),
    )
    expect(preview.readsEvents).toBe(true)
    expect(segments.previewOf(parseWhere({ trait: 'p', eq: 1 })).readsEvents).toBe(false)
    const timeline = [view('A', NOW - 9), view('A', NOW), view('A', NOW + 1)]
    expect(preview.holds({ traits: traitsOf({ p: 1 }), timeline, now: NOW })).toBe(true)
    expect(preview.holds({ traits: traitsOf({ p: 2 }), timeline, now: NOW })).toBe(false)
    expect(preview.holds({ traits: traitsOf({ p: 1 }), timeline: timeline.slice(1), now: NOW })).toBe(false)
  })
})

test('a large profile has groups in rows of their own, and only what has changed is written', () => {
  const s = new Subject()
  for (const name of ['A', 'B', 'C']) s.put(name, { event: name, within: '1d', count: { gte: 100 } })
  s.found()
  for (const name of ['A', 'B', 'C']) s.apply(...Array.from({ length: 90 }, (_, i) => view(name, NOW - i * 1000)))
  const rows = new Map<number, Buffer>()
  const written: number[] = []
  const split = {
    bytes: 256,
    putGroup(group: number, row: Buffer) {
      rows.set(group, row)
      written.push(group)
    },
  }
  const w = new Writer()
  const encode = (): Buffer => {
    written.length = 0
    segments.encodeState(s.state, w.reset(), split)
    return w.take()
  }
  expect(encode().length).toBeLessThan(100)
  expect(written).toEqual([0, 1, 2])
  s.apply(view('B', NOW))
  const row = encode()
  expect(written).toEqual([1])
  expect(encode().equals(row)).toBe(true)
  expect(written).toEqual([])
  s.state = segments.decodeState(new Reader(row))
  expect(segments.missingGroups(s.state)).toEqual([0, 1, 2])
  expect(segments.needs(s.plan, s.state, { events: [view('C', NOW)], now: NOW }).groups).toEqual([2])
  expect(segments.needs(s.plan, s.state, { events: [], now: NOW }).groups).toEqual([])
  expect(() => s.apply(view('C', NOW))).toThrow('was loaded')
  segments.attachGroup(s.state, 2, must(rows.get(2), 'written above'))
  s.apply(...Array.from({ length: 10 }, () => view('C', NOW)))
  expect(s.take()).toEqual(['+C#1@0'])
  encode()
  expect(written).toEqual([2])
})
