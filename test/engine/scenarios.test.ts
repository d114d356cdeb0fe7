// Known topologies of identity on the engine: every batch in one burst, in any order of arrival.
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import type { EventRecord } from '../../src/core/event.ts'
import type { Identifier } from '../../src/core/identifier.ts'
import { Namespaces } from '../../src/core/namespace.ts'
import { seeded, seedsOf, shuffled } from '../identity/random.ts'
import { recordOf, START_MS } from '../oracle/events-arbitrary.ts'
import { testDisk } from './disk.ts'
import { harness } from './harness.ts'
import { restOf } from './world-run.ts'

interface Scenario {
  readonly name: string
  readonly batches: readonly (readonly (readonly string[])[])[]
  readonly expect: readonly (readonly string[])[]
}

const file = new URL('../fixtures/identity-scenarios.json', import.meta.url)
const { scenarios } = JSON.parse(readFileSync(file, 'utf8')) as { scenarios: Scenario[] }

const LETTERS: { readonly [letter: string]: string } = { u: 'user_id', e: 'email', a: 'anonymous_id', n: 'device' }
const unlimited = ['user_id', 'email', 'phone', 'anonymous_id'].map((name) => ({ name, limit: 1000 }))
const namespaces = new Namespaces({ namespaces: unlimited, others: { limit: 1000 } })

/** A value such as 0 or 1 is short for some real one. */
function identifierOf(text: string): Identifier {
  const [letter, value] = text.split(/:(.*)/s) as [string, string]
  const found = namespaces.identifierOf(must(LETTERS[letter], 'a known letter'), `id-${value}`)
  if ('blocked' in found) throw new Error(`${text} is blocked`)
  return found
}

function eventOf(texts: readonly string[], id: number): EventRecord {
  const sketch = { name: 'A', offsetMs: 0, properties: {}, traits: undefined, contextTraits: undefined, sourcePriority: 100 }
  return recordOf({ ...sketch, id, identifiers: [...new Set(texts)].map(identifierOf) }, START_MS)
}

/** The profiles that a scenario ends in, as sorted lists of its identifiers. */
async function play(scenario: Scenario, partitions: number, seed: number): Promise<string[]> {
  const random = seeded(seed)
  const hosts = partitions > 1 && random() < 0.5 ? 2 : 1
  const h = await harness({ partitions, hosts, namespaces, disk: testDisk(partitions, hosts, random) })
  let id = 0
  for (const batch of scenario.batches) {
    const records = shuffled(
      random,
      batch.map((texts) => eventOf(texts, id++)),
    )
    await restOf(h, h.engine.ingest(records, []))
    await restOf(h, h.engine.settle())
  }
  const profiles = new Map<string, string[]>()
  for (const text of new Set(scenario.batches.flat(2))) {
    const { namespace, value } = identifierOf(text)
    const { id: profile } = must(await h.engine.profile({ namespace, value }), `the profile of ${text}`)
    profiles.set(profile, [...(profiles.get(profile) ?? []), text])
  }
  await h.close()
  return [...profiles.values()].map((texts) => texts.sort().join(' ')).sort()
}

describe.each([1, 16])('on %i partitions', (partitions) => {
  test.each(scenarios)('$name', async (scenario) => {
    const expected = scenario.expect.map((ids) => [...ids].sort().join(' ')).sort()
    for (let seed = 0; seed < Math.min(seedsOf(4), 200); seed++) {
      expect(await play(scenario, partitions, seed), `seed ${seed}`).toEqual(expected)
    }
  })
})
