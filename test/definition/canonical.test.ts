import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { messageOf } from '../../src/core/event.ts'
import { canonicalHash, canonicalText } from '../../src/operators/canonical.ts'
import type { Where } from '../../src/operators/definition.ts'
import { parseWhere } from '../../src/operators/parse.ts'
import { whereArbitrary } from '../oracle/definitions-arbitrary.ts'
import { holds } from '../oracle/evaluate.ts'
import { eventArbitrary, oneIdentifier, recordOf, START_MS } from '../oracle/events-arbitrary.ts'

const canonical = (json: unknown): string => canonicalText(parseWhere(json))

describe('canonical form', () => {
  const same: [string, unknown, unknown][] = [
    ['the order of keys', { event: 'A', within: '1d' }, { within: '1d', event: 'A' }],
    ['the default count', { event: 'A' }, { event: 'A', count: { gte: 1 } }],
    ['a list of one name', { event: 'A' }, { event: ['A'] }],
    ['the order of names', { event: ['A', 'B'] }, { event: ['B', 'A', 'B'] }],
    ['a scalar in a filter', { event: 'A', where: { 'p.x': 1 } }, { event: 'A', where: { 'p.x': { eq: 1 } } }],
    ['an empty filter', { event: 'A', where: {} }, { event: 'A' }],
    ['the spelling of durations', { event: 'A', within: '1d' }, { event: 'A', within: '24h' }],
    ['that of ages', { event: 'A', last: { before: '1h' } }, { event: 'A', last: { before: '60m' } }],
    ['that of dates', { trait: 'd', after: '2026-01-01' }, { trait: 'd', after: '2026-01-01T01:00:00+01:00' }],
    ['the order of a list', { trait: 'x', in: [1, 'a', '1'] }, { trait: 'x', in: ['1', 1, 'a', 1] }],
    ['the order of parts', { all: [{ event: 'A' }, { event: 'B' }] }, { all: [{ event: 'B' }, { event: 'A' }] }],
  ]
  test.each(same)('does not depend on %s', (_what, a, b) => {
    expect(canonical(a)).toBe(canonical(b))
  })
  const different: [unknown, unknown][] = [
    [
      { trait: 'x', eq: 1 },
      { trait: 'x', eq: '1' },
    ],
    [
      { trait: 'x', in: [1] },
      { trait: 'x', in: ['1'] },
    ],
    [
      { trait: 'x', between: [1, 2] },
      { trait: 'x', between: [1, 3] },
    ],
    [{ event: 'A', within: '1d' }, { event: 'A' }],
    [
      { event: 'A', first: { within: '1d' } },
      { event: 'A', last: { within: '1d' } },
    ],
    [
      { event: 'A', sum: 'p.x', gte: 1 },
      { event: 'A', avg: 'p.x', gte: 1 },
    ],
    [{ all: [{ event: 'A' }] }, { any: [{ event: 'A' }] }],
    [
      { event: 'A', count: { eq: 0 } },
      { event: 'A', count: { gte: 0 } },
    ],
  ]
  test.each(different)('tells %j from %j', (a, b) => {
    expect(canonical(a)).not.toBe(canonical(b))
  })
  test('is fixed: stored ids depend on it', () => {
    expect(canonical({ event: 'A', where: { 'properties.x': 1 }, within: '1d' })).toBe(
      '{"count":{"gte":1},"event":["A"],"where":{"properties.x":{"eq":1}},"within":86400000}',
    )
    expect(canonicalHash({ event: 'A' }).length).toBe(16)
  })
  test('equal forms mean the same', () => {
    const byForm = new Map<string, Where>()
    fc.assert(
      fc.property(whereArbitrary, fc.array(eventArbitrary(oneIdentifier), { maxLength: 4 }), (where, sketches) => {
        const form = canonicalText(where)
        expect(canonicalText(JSON.parse(JSON.stringify(where)))).toBe(form)
        const other = byForm.get(form)
        byForm.set(form, where)
        if (other === undefined) return
        const events = sketches.map((sketch) => recordOf(sketch, START_MS)).map((r) => ({ name: r.name, at: r.at, message: messageOf(r) }))
        const facts = { events, traits: new Map() }
        expect(holds(where, facts, START_MS)).toBe(holds(other, facts, START_MS))
      }),
      { numRuns: 500 },
    )
  })
})
