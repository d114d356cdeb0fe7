// Known topologies of identity, each in any arrival order within its batches, on 1 and on 16 partitions.
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import type { Identifier } from '../../src/core/identifier.ts'
import { type IdentityOptions, Namespaces } from '../../src/core/namespace.ts'
import { checkFinal } from './checks.ts'
import { seeded, seedsOf, shuffled } from './random.ts'
import { runSchedule } from './universes.ts'
import { UNLIMITED, World } from './world.ts'

interface Scenario {
  readonly name: string
  readonly batches: readonly (readonly (readonly string[])[])[]
  readonly expect: readonly (readonly string[])[]
}

const file = new URL('../fixtures/identity-scenarios.json', import.meta.url)
const { scenarios } = JSON.parse(readFileSync(file, 'utf8')) as { scenarios: Scenario[] }

const NAMESPACES: { readonly [letter: string]: string } = { u: 'user_id', e: 'email', a: 'anonymous_id', n: 'device' }

function identifierOf(namespaces: Namespaces, text: string): Identifier {
  const [letter, value] = text.split(/:(.*)/s) as [string, string]
  const found = namespaces.identifierOf(must(NAMESPACES[letter], 'a known letter'), value)
  if ('blocked' in found) throw new Error(`${text} is blocked`)
  return found
}

interface Layout {
  readonly partitions: number
  readonly identity?: IdentityOptions
  readonly seed: number
}

/** The profiles that a scenario ends in, as sorted lists of its identifiers. */
function play(scenario: Scenario, { partitions, identity, seed }: Layout): string[] {
  const random = seeded(seed)
  const namespaces = new Namespaces(identity)
  // A value such as 0 or 1 is short for some real one.
  const texts = [...new Set(scenario.batches.flat(2))]
  const named = texts.map((text) => ({ text, identifier: identifierOf(namespaces, text.replace(':', ':id-')) }))
  named.sort((a, b) => (a.identifier.key < b.identifier.key ? -1 : 1))
  const places = new Map(named.map(({ text }, place) => [text, place]))
  const limits = identity ? namespaces.limits : UNLIMITED
  const world = new World(
    { partitions, identifiers: named.map(({ identifier }) => identifier), limits },
    { inline: random() < 0.5, persist: true },
  )
  let id = 0
  for (const batch of scenario.batches) {
    const events = shuffled(random, batch).map((event) => ({ id: id++, ids: event.map((text) => must(places.get(text), 'named above')) }))
    runSchedule(world, random, events)
  }
  checkFinal(world)
  const textOf = new Map(named.map(({ text, identifier }) => [identifier.key, text]))
  return world
    .roots()
    .map((root) =>
      [...root.ids.keys()]
        .map((key) => textOf.get(key))
        .sort()
        .join(' '),
    )
    .sort()
}

describe.each([1, 16])('on %i partitions', (partitions) => {
  test.each(scenarios)('$name', (scenario) => {
    const expected = scenario.expect.map((ids) => [...ids].sort().join(' ')).sort()
    for (let seed = 0; seed < Math.min(seedsOf(10), 1000); seed++) {
      expect(play(scenario, { partitions, seed }), `seed ${seed}`).toEqual(expected)
    }
  })

  test('with user ids unique, two strangers at one kiosk stay two', () => {
    const kiosk = must(
      scenarios.find(({ name }) => name === 'two-strangers-one-kiosk'),
      'a scenario of that name',
    )
    const ends = new Set<string>()
    for (let seed = 0; seed < 20; seed++) ends.add(play(kiosk, { partitions, identity: {}, seed }).join(' / '))
    expect([...ends].sort()).toEqual(['n:kiosk u:1 / u:2', 'n:kiosk u:2 / u:1'])
  })
})

test('all eighteen are there', () => {
  expect(scenarios).toHaveLength(18)
})
