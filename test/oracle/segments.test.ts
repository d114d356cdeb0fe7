import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { JsonObject } from '../../src/core/event.ts'
import { messageOf } from '../../src/core/event.ts'
import type { Where } from '../../src/operators/definition.ts'
import { parseWhere } from '../../src/operators/parse.ts'
import { whereArbitrary } from './definitions-arbitrary.ts'
import { type Facts, holds, timelineOfTruth } from './evaluate.ts'
import { eventArbitrary, feedArbitrary, oneIdentifier, recordOf, START_MS } from './events-arbitrary.ts'
import { type ExpectedTransition, type OracleEvent, SegmentOracle } from './segments.ts'

let made = 0
function event(
  name: string,
  at: number,
  more: { traits?: JsonObject; properties?: JsonObject; priority?: number; hash?: string } = {},
): OracleEvent {
  const messageId = `m${++made}`
  const message: JsonObject = { type: name === '$identify' ? 'identify' : 'track', event: name, properties: more.properties ?? {} }
  if (more.traits) message.traits = more.traits
  return { name, at, message, messageId, messageHash: more.hash ?? messageId, sourcePriority: more.priority ?? 100 }
}

const where = (json: unknown): Where => parseWhere(json)
/** `entered s #1 at 5 (event)`, for short. */
const shown = (transitions: readonly ExpectedTransition[]): string[] =>
  transitions.map((t) => `${t.transition} ${t.segment} #${t.seq} at ${t.at} (${t.cause})`)

describe('one profile', () => {
  test('enters by an event, leaves by time, at the exact instants', () => {
    const oracle = new SegmentOracle()
    oracle.define('s', where({ event: 'A', within: '100ms' }), 0)
    expect(shown(oracle.apply(event('A', 1000), 1005))).toEqual(['entered s #1 at 1005 (event)'])
    expect(oracle.advance(1099)).toEqual([])
    expect(shown(oracle.advance(5000))).toEqual(['exited s #2 at 1100 (timer)'])
    expect(oracle.segments).toEqual([])
  })

  test('flips due before an event come first; one at the same instant too', () => {
    const oracle = new SegmentOracle()
    oracle.define('s', where({ event: 'A', within: '100ms' }), 0)
    oracle.apply(event('A', 1000), 1000)
    expect(shown(oracle.apply(event('A', 1100), 1100))).toEqual(['exited s #2 at 1100 (timer)', 'entered s #3 at 1100 (event)'])
    expect(shown(oracle.apply(event('A', 1300), 1300))).toEqual(['exited s #4 at 1200 (timer)', 'entered s #5 at 1300 (event)'])
  })

  test('several flips within one step happen in the order of their instants', () => {
    const oracle = new SegmentOracle()
    oracle.define('young', where({ event: 'A', within: '10ms' }), 0)
    oracle.define(
      'middle',
      where({
        all: [
          { event: 'A', last: { before: '5ms' } },
          { event: 'A', last: { within: '20ms' } },
        ],
      }),
      0,
    )
    expect(shown(oracle.apply(event('A', 100), 100))).toEqual(['entered young #1 at 100 (event)'])
    expect(shown(oracle.advance(1000))).toEqual([
      'entered middle #1 at 105 (timer)',
      'exited young #2 at 110 (timer)',
      'exited middle #2 at 120 (timer)',
    ])
  })

  test('a late event counts from its own time, and what it would have caused earlier is not made up', () => {
    const oracle = new SegmentOracle()
    oracle.define('two', where({ event: 'A', within: '100ms', count: { gte: 2 } }), 0)
    oracle.apply(event('A', 1000), 1000)
    expect(shown(oracle.apply(event('A', 950), 1040))).toEqual(['entered two #1 at 1040 (event)'])
    expect(shown(oracle.advance(2000))).toEqual(['exited two #2 at 1050 (timer)'])
    expect(oracle.apply(event('A', 1000), 2100)).toEqual([])
  })

  test('NOT at the root: founding a profile evaluates it, as it stands after its first event', () => {
    const oracle = new SegmentOracle()
    oracle.define('never', where({ not: { event: 'A' } }), 0)
    oracle.define('did not', where({ event: 'A', within: '10ms', count: { eq: 0 } }), 0)
    expect(oracle.advance(500)).toEqual([])
    expect(oracle.apply(event('A', 1000), 1000)).toEqual([])
    expect(shown(oracle.advance(2000))).toEqual(['entered did not #1 at 1010 (timer)'])
    const other = new SegmentOracle()
    other.define('never', where({ not: { event: 'A' } }), 0)
    expect(shown(other.apply(event('B', 1000), 1000))).toEqual(['entered never #1 at 1000 (event)'])
    expect(shown(other.apply(event('A', 1001), 1001))).toEqual(['exited never #2 at 1001 (event)'])
  })

  test('an event dated in the future founds the profile at once and counts from its instant, after flips of that instant', () => {
    const oracle = new SegmentOracle()
    oracle.define('not', where({ not: { event: 'A' } }), 0)
    oracle.define('vip', where({ trait: 'plan', eq: 'vip' }), 0)
    oracle.define('b', where({ event: 'B', within: '50ms' }), 0)
    const future = event('$identify', 1050, { traits: { plan: 'vip' } })
    expect(shown(oracle.apply(future, 1000))).toEqual(['entered not #1 at 1000 (event)'])
    expect(shown(oracle.apply(event('B', 1000), 1000))).toEqual(['entered b #1 at 1000 (event)'])
    expect(oracle.advance(1049)).toEqual([])
    const out = oracle.advance(1050)
    expect(shown(out)).toEqual(['exited b #2 at 1050 (timer)', 'entered vip #1 at 1050 (timer)'])
    expect(out[1]?.causeId).toBe(future.messageId)
  })

  test('definitions: filled, edited, deleted, created again; the sequence goes on', () => {
    const oracle = new SegmentOracle()
    oracle.apply(event('A', 1000), 1000)
    expect(shown(oracle.define('s', where({ event: 'A' }), 1010))).toEqual(['entered s #1 at 1010 (definition)'])
    expect(oracle.define('s', where({ event: 'A', count: { lt: 2 } }), 1020)).toEqual([])
    expect(shown(oracle.define('s', where({ event: 'B' }), 1030))).toEqual(['exited s #2 at 1030 (definition)'])
    oracle.define('s', where({ event: 'A' }), 1040)
    expect(shown(oracle.define('s', undefined, 1050))).toEqual(['exited s #4 at 1050 (definition)'])
    expect(oracle.apply(event('A', 1060), 1060)).toEqual([])
    expect(shown(oracle.define('s', where({ event: 'A' }), 1070))).toEqual(['entered s #5 at 1070 (definition)'])
  })

  test('what is due under the old definition happens before the new one is filled', () => {
    const oracle = new SegmentOracle()
    oracle.define('s', where({ event: 'A', within: '10ms' }), 0)
    oracle.apply(event('A', 1000), 1000)
    expect(shown(oracle.define('s', where({ event: 'A' }), 1020))).toEqual([
      'exited s #2 at 1010 (timer)',
      'entered s #3 at 1020 (definition)',
    ])
  })

  test('its time never runs backwards', () => {
    const oracle = new SegmentOracle()
    oracle.define('s', where({ event: 'A', within: '10ms' }), 0)
    oracle.apply(event('B', 1000), 1000)
    expect(oracle.apply(event('A', 985), 985)).toEqual([])
    expect(oracle.now).toBe(1000)
  })
})

describe('traits', () => {
  test('last write wins by event time, whatever the order of arrival', () => {
    const oracle = new SegmentOracle()
    oracle.apply(event('$identify', 2000, { traits: { plan: 'new', city: 'Ulm' } }), 2000)
    oracle.apply(event('$identify', 1000, { traits: { plan: 'old', age: 7 } }), 2000)
    expect(Object.fromEntries(oracle.traits)).toEqual({ plan: 'new', city: 'Ulm', age: 7 })
  })
  test('at one instant the source with the smaller priority, then the larger message hash', () => {
    const oracle = new SegmentOracle()
    oracle.apply(event('$identify', 1000, { traits: { a: 'weak', b: 'small' }, priority: 100, hash: '1' }), 1000)
    oracle.apply(event('$identify', 1000, { traits: { a: 'strong' }, priority: 50, hash: '0' }), 1000)
    oracle.apply(event('$identify', 1000, { traits: { a: 'weak again', b: 'large' }, priority: 100, hash: '2' }), 1000)
    expect(Object.fromEntries(oracle.traits)).toEqual({ a: 'strong', b: 'large' })
  })
  test('null removes, also against an older write that comes late; values are replaced whole', () => {
    const oracle = new SegmentOracle()
    oracle.apply(event('$identify', 1000, { traits: { a: 1, address: { city: 'Ulm', zip: 1 } } }), 1000)
    oracle.apply(event('$identify', 1002, { traits: { a: null, address: { city: 'Bonn' } } }), 1002)
    oracle.apply(event('$identify', 1001, { traits: { a: 2 } }), 1003)
    expect(Object.fromEntries(oracle.traits)).toEqual({ address: { city: 'Bonn' } })
  })
  test('context.traits of any call count; only identify counts its own', () => {
    const oracle = new SegmentOracle()
    const track = event('A', 1000, { traits: { ignored: 1 } })
    oracle.apply({ ...track, message: { ...track.message, context: { traits: { seen: 1 } } } }, 1000)
    const identify = event('$identify', 1001, { traits: { both: 'own' } })
    oracle.apply({ ...identify, message: { ...identify.message, context: { traits: { both: 'context', more: 1 } } } }, 1001)
    expect(Object.fromEntries(oracle.traits)).toEqual({ seen: 1, both: 'own', more: 1 })
  })
})

describe('merge', () => {
  test('the absorbed id exits everything; the survivor gets only real changes', () => {
    const [mine, theirs] = [new SegmentOracle(), new SegmentOracle()]
    for (const oracle of [mine, theirs]) {
      oracle.define('a', where({ event: 'A' }), 0)
      oracle.define('two', where({ event: 'A', count: { gte: 2 } }), 0)
      oracle.define('one', where({ event: 'A', count: { eq: 1 } }), 0)
      oracle.apply(event('A', 1000), 1000)
    }
    const out = mine.merge(theirs, 1010, 'mine')
    expect(shown(out.absorbed)).toEqual(['exited a #2 at 1010 (merge)', 'exited one #2 at 1010 (merge)'])
    expect(shown(out.survivor)).toEqual(['entered two #1 at 1010 (merge)', 'exited one #2 at 1010 (merge)'])
    expect(mine.segments.sort()).toEqual(['a', 'two'])
  })
  test('where the other public id survives, so do its memberships; both are brought up to now first', () => {
    const [mine, theirs] = [new SegmentOracle(), new SegmentOracle()]
    for (const oracle of [mine, theirs]) oracle.define('a', where({ event: 'A', within: '10ms' }), 0)
    theirs.apply(event('A', 1000), 1000)
    theirs.advance(1010)
    theirs.apply(event('A', 1020), 1020)
    mine.apply(event('A', 1026), 1026)
    const out = mine.merge(theirs, 1032, 'theirs')
    expect(shown(out.absorbed)).toEqual(['exited a #2 at 1032 (merge)'])
    expect(shown(out.survivor)).toEqual(['exited a #4 at 1030 (timer)', 'entered a #5 at 1032 (merge)'])
    expect(shown(mine.advance(2000))).toEqual(['exited a #6 at 1036 (timer)'])
  })
  test('events that wait for their instant wait on in the survivor', () => {
    const [mine, theirs] = [new SegmentOracle(), new SegmentOracle()]
    for (const oracle of [mine, theirs]) oracle.define('two', where({ event: 'A', count: { gte: 2 } }), 0)
    mine.apply(event('A', 1005), 1000)
    theirs.apply(event('A', 1020), 1000)
    mine.merge(theirs, 1010, 'mine')
    expect(shown(mine.advance(2000))).toEqual(['entered two #1 at 1020 (timer)'])
  })
})

describe('the flips of the oracle itself', () => {
  test('are those found by testing every millisecond', () => {
    const eventsArbitrary = fc.array(eventArbitrary(oneIdentifier), { maxLength: 6 })
    fc.assert(
      fc.property(whereArbitrary, eventsArbitrary, (definition, sketches) => {
        const oracle = new SegmentOracle()
        for (const [i, sketch] of sketches.entries()) oracle.apply(oracleEvent(recordOf(sketch, START_MS + 7 * i)), START_MS + 200)
        const facts: Facts = oracle.facts
        const [from, to] = [START_MS - 60, START_MS + 260]
        const found = timelineOfTruth(definition, facts, from, to)
        let truth = found.initial
        const brute: { at: number; holds: boolean }[] = []
        for (let at = from + 1; at <= to; at++) {
          const next = holds(definition, facts, at)
          if (next !== truth) brute.push({ at, holds: next })
          truth = next
        }
        expect(found.flips).toEqual(brute)
      }),
      { numRuns: 150 },
    )
  })

  test('do not depend on how time is cut into steps, and entries and exits alternate', () => {
    fc.assert(
      fc.property(whereArbitrary, feedArbitrary({ event: eventArbitrary(oneIdentifier), maxLength: 12 }), (definition, feed) => {
        const runs = [1, 3].map((cuts) => {
          const oracle = new SegmentOracle()
          oracle.define('s', definition, 0)
          const out: ExpectedTransition[] = []
          let now = START_MS
          for (const step of feed) {
            if (step.kind === 'event') out.push(...oracle.apply(oracleEvent(recordOf(step.event, now)), now))
            else {
              for (let cut = 1; cut < cuts; cut++) out.push(...oracle.advance(now + Math.floor((step.ms * cut) / cuts)))
              now += step.ms
              out.push(...oracle.advance(now))
            }
          }
          return { out, isIn: oracle.segments.length === 1, expected: oracle.founded && holds(definition, oracle.facts, now) }
        })
        expect(runs[1]).toEqual(runs[0])
        const run = runs[0] as (typeof runs)[number]
        expect(run.isIn).toBe(run.expected)
        expect(run.out.map((t) => t.seq)).toEqual(run.out.map((_, i) => i + 1))
        expect(run.out.map((t) => t.transition)).toEqual(run.out.map((_, i) => (i % 2 === 0 ? 'entered' : 'exited')))
      }),
      { numRuns: 300 },
    )
  })
})

function oracleEvent(record: ReturnType<typeof recordOf>): OracleEvent {
  const { name, at, messageId, messageHash, sourcePriority } = record
  return { name, at, message: messageOf(record), messageId, messageHash, sourcePriority }
}
