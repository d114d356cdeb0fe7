import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { EVENT_NAMES, eventArbitrary, feedArbitrary, NAMESPACES, recordOf, START_MS } from './events-arbitrary.ts'
import { IdentityOracle, type IdentityRules, type OracleIdentifier } from './identity.ts'
import { unionRules, WorldOracle } from './world.ts'

const PRIORITY = ['user_id', 'email', 'anonymous_id']
const PREFIXES: { readonly [letter: string]: string } = { u: 'user_id', e: 'email', a: 'anonymous_id' }

/** `u1` is user_id u1, and so on. */
const id = (short: string): OracleIdentifier => ({ namespace: PREFIXES[short.charAt(0)] ?? 'other', value: short })

function rules(limits: { [namespace: string]: number } = {}, more: Partial<IdentityRules> = {}): IdentityRules {
  return {
    order: (a, b) => PRIORITY.indexOf(a.namespace) - PRIORITY.indexOf(b.namespace) || (a.value < b.value ? -1 : 1),
    limit: (namespace) => limits[namespace],
    sharedDevice: () => 'first',
    isOlder: (a, b) => a.at < b.at,
    ...more,
  }
}

/** Feeds events such as `u1 a1`, one a ms; returns the profiles as texts and the steps. */
function feed(events: readonly string[], given = rules()): { profiles: string[]; steps: string[]; births: string[] } {
  const oracle = new IdentityOracle(given)
  const steps = events.flatMap((text, i) =>
    oracle.take({ messageId: `m${i}`, identifiers: text.split(' ').map(id), at: i }).map((step) => {
      if (step.kind === 'linked' || step.kind === 'refused' || step.kind === 'moved') return `${step.kind} ${step.identifier.value}`
      if (step.kind === 'merged') return `merged ${step.absorbed.messageId} into ${step.survivor.messageId}`
      return step.kind
    }),
  )
  const profiles = oracle.people
    .map((person) =>
      [...person.identifiers.values()]
        .map((x) => x.value)
        .sort()
        .join(' '),
    )
    .sort()
  return { profiles, steps, births: oracle.people.map((person) => person.birth?.messageId ?? 'unborn').sort() }
}

describe('sequential identity', () => {
  test('a visitor who logs in keeps her public id: no merge is seen', () => {
    expect(feed(['a1', 'u1 a1', 'u1'])).toEqual({
      profiles: ['a1 u1'],
      steps: ['linked a1', 'born', 'apply', 'linked u1', 'adopted', 'apply', 'apply'],
      births: ['m0'],
    })
  })
  test('two profiles that an event connects are merged; the older public id survives', () => {
    expect(feed(['a1', 'u1', 'u1 a1'])).toEqual({
      profiles: ['a1 u1'],
      steps: ['linked a1', 'born', 'apply', 'linked u1', 'born', 'apply', 'apply', 'merged m1 into m0'],
      births: ['m0'],
    })
  })
  test('a newcomer that connects two profiles adopts one, then merges the other', () => {
    expect(feed(['e1', 'a1', 'u1 e1 a1']).steps.slice(6)).toEqual(['linked u1', 'adopted', 'apply', 'merged m1 into m0'])
  })
  test('unique users never share a profile; a shared device stays with the first', () => {
    const result = feed(['u1 a1', 'u2 a1', 'u2 a1', 'a1'], rules({ user_id: 1 }))
    expect(result.profiles).toEqual(['a1 u1', 'u2'])
    expect(result.steps.filter((step) => step === 'refused a1').length).toBe(1)
  })
  test('or moves to the last one', () => {
    const result = feed(['u1 a1', 'u2 a1', 'a1'], rules({ user_id: 1 }, { sharedDevice: () => 'last' }))
    expect(result.profiles).toEqual(['a1 u2', 'u1'])
    expect(result.steps.slice(4)).toEqual(['linked u2', 'moved a1', 'born', 'apply', 'apply'])
  })
  test('an identifier over a limit is refused; a later event with it alone founds a profile', () => {
    expect(feed(['u1 e1', 'u1 e2', 'e2'], rules({ email: 1 })).profiles).toEqual(['e1 u1', 'e2'])
  })
  test('limits hold in total, and for what two profiles have together', () => {
    expect(feed(['u1 a1', 'u1 a2', 'u1 a3'], rules({}, { total: 3 })).profiles).toEqual(['a1 a2 u1'])
    expect(feed(['u1 a1', 'e1 a2', 'u1 e1'], rules({ anonymous_id: 1 })).profiles).toEqual(['a1 u1', 'a2 e1'])
  })
  test('a new smallest identifier counts in its own profile where its link is refused', () => {
    expect(feed(['e1 a1', 'e2 a1'], rules({ email: 1 })).profiles).toEqual(['a1 e1', 'e2'])
  })
})

describe('all together', () => {
  const seenIn = (world: WorldOracle): string[] =>
    world.identity.people
      .map((person) =>
        [...person.identifiers.values()]
          .map((x) => x.value)
          .sort()
          .join(' '),
      )
      .sort()

  test('under the plain union policy the profiles are the connected components, in any order of arrival', () => {
    fc.assert(
      fc.property(fc.array(eventArbitrary(), { maxLength: 15 }), fc.infiniteStream(fc.nat()), (sketches, random) => {
        const distinct = sketches.map((sketch, i) => ({ ...sketch, id: i, offsetMs: 0 }))
        const shuffled = distinct
          .map((sketch) => [random.next().value as number, sketch] as const)
          .sort((a, b) => a[0] - b[0])
          .map(([, s]) => s)
        const results = [distinct, shuffled].map((order) => {
          const world = new WorldOracle(unionRules(NAMESPACES))
          for (const sketch of order) world.accept(recordOf(sketch, START_MS), START_MS)
          const counted = world.identity.people.map((person) => world.segmentsOf(person).facts.events.length)
          return { profiles: seenIn(world), events: counted.reduce((a, b) => a + b, 0), traits: traitsOf(world) }
        })
        expect(results[1]).toEqual(results[0])
        expect(results[0]?.profiles).toEqual(components(distinct.map((sketch) => sketch.identifiers)))
        expect(results[0]?.events).toBe(distinct.length)
      }),
      { numRuns: 200 },
    )
  })

  test('transitions alternate per public profile and segment, and the absorbed are out of everything', () => {
    const definitions = [
      { event: 'A' },
      { not: { event: EVENT_NAMES[1] } },
      { event: ['A', 'B'], within: '20ms', count: { gte: 2 } },
      { trait: 'x', exists: true },
    ]
    fc.assert(
      fc.property(feedArbitrary({ maxLength: 25 }), (steps) => {
        const world = new WorldOracle(unionRules(NAMESPACES))
        for (const [i, where] of definitions.entries()) world.define(`s${i}`, where, START_MS)
        let now = START_MS
        for (const step of steps) {
          if (step.kind === 'event') world.accept(recordOf(step.event, now), now)
          else {
            now += step.ms
            world.advance(now)
          }
        }
        const histories = [...Map.groupBy(world.transitions, (t) => t.profile)].flatMap(([birth, all]) =>
          [...Map.groupBy(all, (t) => t.segment)].map(([segment, history]) => ({ birth, segment, history })),
        )
        for (const { history } of histories) {
          expect(history.map((t) => t.seq)).toEqual(history.map((_, i) => i + 1))
          expect(history.map((t) => t.transition)).toEqual(history.map((_, i) => (i % 2 === 0 ? 'entered' : 'exited')))
        }
        const members = histories.filter(({ history }) => history.length % 2 === 1)
        const gone = new Set(world.merges.map((merge) => merge.absorbed))
        expect(members.filter(({ birth }) => gone.has(birth))).toEqual([])
        const inSegments = world.identity.people.flatMap((person) =>
          world.segmentsOf(person).segments.map((segment) => ({ birth: person.birth, segment })),
        )
        expect(members.length).toBe(inSegments.length)
        for (const { birth, segment } of inSegments) expect(members.some((m) => m.birth === birth && m.segment === segment)).toBe(true)
      }),
      { numRuns: 150 },
    )
  })
})

function traitsOf(world: WorldOracle): string[] {
  return world.identity.people.map((person) => JSON.stringify([...world.segmentsOf(person).traits].sort())).sort()
}

/** Connected components, by repeated relabelling. */
function components(groups: readonly (readonly OracleIdentifier[])[]): string[] {
  const label = new Map<string, number>()
  for (const [i, group] of groups.entries()) {
    const old = new Set(group.map((x) => label.get(x.value)))
    for (const [value, n] of label) if (old.has(n)) label.set(value, i)
    for (const x of group) label.set(x.value, i)
  }
  return [...Map.groupBy(label.keys(), (value) => label.get(value)).values()].map((values) => values.sort().join(' ')).sort()
}
