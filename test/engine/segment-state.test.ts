// The evaluator against the naive oracle: random definitions, events (late ones too), waits, merges; the state goes through its
// bytes after every step, with groups split off at random.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import { Reader, Writer } from '../../src/core/bytes.ts'
import type { Json } from '../../src/core/event.ts'
import { Definitions } from '../../src/engine/definitions.ts'
import type { Membership } from '../../src/engine/membership.ts'
import type { EventView } from '../../src/engine/plan-group.ts'
import * as segments from '../../src/engine/segment-state.ts'
import type { Where } from '../../src/operators/definition.ts'
import { NEVER } from '../../src/operators/operator.ts'
import { whereArbitrary } from '../oracle/definitions-arbitrary.ts'
import { type EventSketch, eventArbitrary, messageOfSketch, oneIdentifier, START_MS, WINDOWS_MS } from '../oracle/events-arbitrary.ts'
import { type OracleEvent, SegmentOracle } from '../oracle/segments.ts'
import { narrowEvent, narrowWhere } from './narrow-arbitrary.ts'

interface Seen {
  readonly segment: string
  readonly transition: string
  readonly seq: number
  readonly at: number
}

const bySegment = (a: Seen, b: Seen): number => a.at - b.at || a.seq - b.seq || (a.segment < b.segment ? -1 : 1)

/** One profile, twice: as the engine keeps it and as the oracle does. */
class Twin {
  readonly oracle = new SegmentOracle()
  readonly definitions: Definitions
  readonly splitBytes: number
  state: segments.SegmentState | undefined
  events: OracleEvent[] = []
  rows = new Map<number, Buffer>()
  /** The definitions that the oracle knows. */
  readonly defined = new Map<string, Where | undefined>()
  seen: Seen[] = []
  expected: Seen[] = []

  constructor(definitions: Definitions, splitBytes: number) {
    this.definitions = definitions
    this.splitBytes = splitBytes
  }

  readonly emit = (segment: number, m: Membership, at: number): void => {
    this.seen.push({ segment: this.definitions.idOf(segment), transition: m.in ? 'entered' : 'exited', seq: m.seq, at })
  }

  get plan() {
    return this.definitions.planAt(this.definitions.version)
  }

  get traits(): Map<string, Json> {
    return this.oracle.traits
  }

  views(): EventView[] {
    return this.events.map((e) => ({ name: e.name, at: e.at, message: () => e.message }))
  }

  /** Loads what the next step needs; true when that includes the timeline. */
  load(events: readonly EventView[], now: number): boolean {
    const state = must(this.state, 'founded')
    for (;;) {
      const needs = segments.needs(this.plan, state, { events, now })
      if (needs.groups.length === 0) return needs.timeline
      for (const group of needs.groups) segments.attachGroup(state, group, must(this.rows.get(group), 'a split-off group has its row'))
    }
  }

  pass(now: number): void {
    const state = must(this.state, 'founded')
    segments.flipsDue(this.definitions.planAt(state.version), state, { traits: this.traits, now, emit: this.emit })
    segments.fill(this.plan, state, { traits: this.traits, timeline: this.views(), now, emit: this.emit })
  }

  apply(event: OracleEvent, now: number): void {
    const view: EventView = { name: event.name, at: event.at, message: () => event.message }
    const before = this.traits
    if (this.state !== undefined) {
      const timeline = this.load([view], now)
      this.pass(now)
      const groups = segments.groupsToRebuild(this.plan, this.state, view)
      expect(groups.length === 0 || timeline, 'a rebuild was announced').toBe(true)
      segments.rebuild(this.plan, this.state, groups, { timeline: this.views(), now })
    }
    const founding = this.state === undefined
    const state = this.state ?? segments.SegmentState.empty(this.plan, () => {})
    this.state = state
    this.expected.push(...this.oracle.apply(event, now))
    const changedTraits = [...new Set([...before.keys(), ...this.traits.keys()])].filter(
      (name) => before.get(name) !== this.traits.get(name),
    )
    const emit = founding ? () => {} : this.emit
    segments.applyEvent(this.plan, state, { event: view, traits: this.traits, changedTraits, now, emit })
    if (founding) {
      for (const [segment, m] of state.memberships) {
        if (m.in) this.emit(segment, m, now)
        else state.memberships.delete(segment)
      }
    }
    this.events.push(event)
  }

  wait(now: number): void {
    this.expected.push(...this.oracle.advance(now))
    if (this.state === undefined) return
    this.load([], now)
    segments.flipsDue(this.definitions.planAt(this.state.version), this.state, { traits: this.traits, now, emit: this.emit })
  }

  fill(pending: readonly (readonly [string, Where | undefined])[], now: number): void {
    for (const [id, where] of pending) {
      this.expected.push(...this.oracle.define(id, where, now))
      this.defined.set(id, where)
    }
    if (this.state === undefined) return
    this.load([], now)
    this.pass(now)
  }

  absorb(other: Twin, now: number, keep: 'into' | 'from'): void {
    for (const twin of [this, other]) {
      twin.load([], now)
      twin.pass(now)
      for (const group of segments.missingGroups(must(twin.state, 'founded'))) {
        segments.attachGroup(must(twin.state, 'founded'), group, must(twin.rows.get(group), 'a split-off group has its row'))
      }
    }
    // A hand-over carries everything in one piece.
    const w = new Writer()
    segments.encodeState(must(other.state, 'founded'), w, { bytes: Number.POSITIVE_INFINITY, putGroup: () => expect.unreachable() })
    const from = segments.decodeState(new Reader(w.take()))
    const [mine, theirs] = [this.seen, other.seen]
    if (keep === 'from') this.seen = [...theirs]
    const { survivor } = this.oracle.merge(other.oracle, now, keep === 'into' ? 'mine' : 'theirs')
    this.expected = keep === 'into' ? [...this.expected, ...survivor] : [...other.expected, ...survivor]
    if (keep === 'from') mine.length = 0
    this.events = [...this.events, ...other.events]
    const step = { traits: this.traits, timeline: this.views(), now, keep, emit: this.emit }
    segments.merge(this.plan, must(this.state, 'founded'), from, step)
  }

  /** Compares, then goes through bytes. */
  check(): void {
    expect(this.seen.sort(bySegment)).toEqual(
      this.expected.map(({ segment, transition, seq, at }) => ({ segment, transition, seq, at })).sort(bySegment),
    )
    this.seen = []
    this.expected = []
    if (this.state === undefined) return
    const memberships = [...this.state.memberships].map(([n, m]) => [this.definitions.idOf(n), m] as const)
    expect(new Map(memberships)).toEqual(this.oracle.memberships)
    const w = new Writer()
    segments.encodeState(this.state, w, { bytes: this.splitBytes, putGroup: (group, row) => this.rows.set(group, row) })
    const row = w.take()
    expect([...segments.readMemberships(new Reader(row))]).toEqual([...this.state.memberships])
    const decoded = segments.decodeState(new Reader(row))
    expect(decoded.flipsAt).toBe(this.state.flipsAt)
    if (this.events.length % 3 !== 0) this.state = decoded
  }
}

type Step =
  | { readonly kind: 'event'; readonly who: number; readonly event: EventSketch }
  | { readonly kind: 'wait'; readonly ms: number }
  | { readonly kind: 'put'; readonly id: string; readonly where: Where | undefined }
  | { readonly kind: 'merge'; readonly keep: 'into' | 'from' }

const ids = fc.constantFrom('s0', 's1', 's2', 's3')
const waits = fc.oneof(
  fc.constantFrom(...WINDOWS_MS),
  fc.constantFrom(...WINDOWS_MS).map((ms) => ms - 1),
  fc.constantFrom(...WINDOWS_MS).map((ms) => ms + 1),
  fc.integer({ min: 0, max: 150 }),
)
const stepArbitrary: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      kind: fc.constant('event' as const),
      who: fc.integer({ min: 0, max: 1 }),
      event: eventArbitrary(oneIdentifier),
    }),
  },
  { weight: 3, arbitrary: waits.map((ms) => ({ kind: 'wait', ms }) as const) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('put' as const), id: ids, where: fc.option(whereArbitrary, { nil: undefined, freq: 4 }) }),
  },
  { weight: 1, arbitrary: fc.constantFrom('into', 'from').map((keep) => ({ kind: 'merge', keep }) as const) },
)

function eventOf(sketch: EventSketch, n: number, now: number): OracleEvent {
  const at = now + Math.min(0, sketch.offsetMs)
  const messageHash = String(n).padStart(8, '0')
  return {
    name: sketch.name,
    at,
    message: messageOfSketch(sketch, now),
    messageId: `m${n}`,
    messageHash,
    sourcePriority: sketch.sourcePriority,
  }
}

function run(first: readonly Where[], steps: readonly Step[], splitBytes: number): void {
  const definitions = new Definitions()
  const twins: [Twin, Twin] = [new Twin(definitions, splitBytes), new Twin(definitions, splitBytes)]
  let pending: [string, Where | undefined][] = []
  let now = START_MS
  const settle = (): void => {
    for (const twin of twins) twin.fill(pending, now)
    pending = []
  }
  const define = (id: string, where: Where | undefined): void => {
    if (pending.some(([other]) => other === id)) settle()
    pending.push([id, where])
    definitions.apply(definitions.version + 1, where === undefined ? { delete: id } : { put: { id, where } })
  }
  for (const [i, where] of first.entries()) define(`s${i}`, where)
  for (const [n, step] of steps.entries()) {
    switch (step.kind) {
      case 'event':
        settle()
        twins[step.who === 0 ? 0 : 1].apply(eventOf(step.event, n, now), now)
        break
      case 'wait':
        now += step.ms
        for (const twin of twins) twin.wait(now)
        break
      case 'put':
        define(step.id, step.where)
        break
      case 'merge':
        settle()
        if (twins[0].state && twins[1].state) {
          twins[0].absorb(twins[1], now, step.keep)
          // Somebody new takes the other's place.
          twins[1] = new Twin(definitions, splitBytes)
          for (const [id, where] of twins[0].defined) {
            twins[1].oracle.define(id, where, now)
            twins[1].defined.set(id, where)
          }
        }
    }
    for (const twin of twins) twin.check()
  }
}

const narrowStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 12, arbitrary: fc.record({ kind: fc.constant('event' as const), who: fc.constantFrom(0, 0, 1), event: narrowEvent }) },
  { weight: 3, arbitrary: waits.map((ms) => ({ kind: 'wait', ms }) as const) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('put' as const), id: ids, where: fc.option(narrowWhere, { nil: undefined, freq: 4 }) }),
  },
  { weight: 1, arbitrary: fc.constantFrom('into', 'from').map((keep) => ({ kind: 'merge', keep }) as const) },
)

describe('a profile equals its naive recomputation after every step', () => {
  test.each([0, 60, 4096])('with groups split off above %i bytes', (splitBytes) => {
    fc.assert(
      fc.property(
        fc.array(whereArbitrary, { maxLength: 4 }),
        fc.array(stepArbitrary, { maxLength: 25, size: 'medium' }),
        (first, steps) => {
          run(first, steps, splitBytes)
        },
      ),
      { numRuns: 150 },
    )
  })
  test('where nearly every event matters', () => {
    const first = fc.array(narrowWhere, { minLength: 2, maxLength: 4, size: 'max' })
    const steps = fc.array(narrowStep, { minLength: 5, maxLength: 30, size: 'max' })
    fc.assert(
      fc.property(first, steps, fc.constantFrom(0, 100, 4096), (some, list, splitBytes) => run(some, list, splitBytes)),
      { numRuns: 250 },
    )
  })
})

test('a group that is split off already keeps its changes when another one is split off with the same row', () => {
  const definitions = new Definitions()
  const counts = (event: string): Where => ({ event, count: { gte: 80 }, within: '1d' }) as Where
  for (const [i, event] of ['A', 'B'].entries()) definitions.apply(i + 1, { put: { id: event, where: counts(event) } })
  const plan = definitions.planAt(2)
  const state = segments.SegmentState.empty(plan, () => {})
  let now = START_MS
  const apply = (name: string, times: number): void => {
    for (let i = 0; i < times; i++) {
      const event = { name, at: ++now, message: () => ({}) }
      segments.applyEvent(plan, state, { event, traits: new Map(), changedTraits: [], now, emit: () => {} })
    }
  }
  const rows = new Map<number, Buffer>()
  const w = new Writer(1024)
  const encode = (bytes: number): Buffer => {
    w.reset()
    segments.encodeState(state, w, { bytes, putGroup: (group, row) => rows.set(group, row) })
    return w.take()
  }
  const SPLIT_BYTES = 70
  apply('A', 80)
  encode(SPLIT_BYTES)
  expect([...rows.keys()]).toEqual([0])
  apply('B', 80)
  apply('A', 1)
  const row = encode(SPLIT_BYTES)
  expect([...rows.keys()]).toEqual([0, 1])
  const read = segments.decodeState(new Reader(row))
  for (const [group, body] of rows) segments.attachGroup(read, group, body)
  const whole = encode(NEVER)
  segments.encodeState(read, w.reset(), { bytes: NEVER, putGroup: () => {} })
  expect(w.take().equals(whole)).toBe(true)
})
