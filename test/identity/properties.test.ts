import { describe, expect, test } from 'vitest'
import type { CarriedEvent } from '../../src/identity/messages.ts'
import { Root } from '../../src/identity/root.ts'
import { WAITING_BYTES_PER_ROOT } from '../../src/identity/rules.ts'
import { checkFinal } from './checks.ts'
import { seeded, seedsOf } from './random.ts'
import { reference, summaryOf } from './reference.ts'
import { identifiersOf, limitsOf, type RunOptions, randomFeed, randomUniverse, run, runSchedule } from './universes.ts'
import { isBroken, type Mutation, UNLIMITED, type Universe, World } from './world.ts'

/** Runs the seeds and fails with the first that breaks. */
function everySeed(count: number, one: (seed: number) => void): void {
  for (let seed = 0; seed < count; seed++) {
    try {
      one(seed)
    } catch (error) {
      if (isBroken(error)) error.message = `seed ${seed}: ${error.message}`
      throw error
    }
  }
}

/** For TRIBUTARY_SEEDS; as they are, the tests take a second each. */
const SLOW = { timeout: 3_600_000 }

describe('any interleaving', SLOW, () => {
  const kinds: readonly [string, RunOptions][] = [
    ['plain union', { guards: 'none' }],
    ['guards', { guards: 'always' }],
    ['own messages inline', { inline: true }],
    ['rows that only survive as bytes', { persist: true }],
  ]
  test.each(kinds)('%s', (_, options) => {
    let merges = 0
    let refusals = 0
    everySeed(seedsOf(600), (seed) => {
      const world = run(seed, options)
      merges += world.merges.length
      refusals += world.audits.filter((a) => a.action === 'refused').length
    })
    expect(merges).toBeGreaterThan(100)
    if (options.guards === 'always') expect(refusals).toBeGreaterThan(100)
  })

  test('a person whose events share one identifier has one public id, and no merge is seen', () => {
    const universe = (random: () => number): Universe => {
      const partitions = 1 + Math.floor(random() * 4)
      const identifiers = identifiersOf([1, 2, 3])
      return {
        partitions,
        identifiers,
        homes: identifiers.map(() => Math.floor(random() * partitions)),
        limits: random() < 0.5 ? limitsOf(1, 2, 3) : UNLIMITED,
      }
    }
    const feed = (random: () => number) =>
      Array.from({ length: 2 + Math.floor(random() * 8) }, (_, id) => ({ id, ids: [5, ...[0, 1, 2, 3, 4].filter(() => random() < 0.3)] }))
    everySeed(seedsOf(600), (seed) => {
      const world = run(seed, { universe, feed })
      expect(world.minted, `seed ${seed}`).toHaveLength(1)
      expect(world.merges, `seed ${seed}`).toHaveLength(0)
      expect(world.audits.filter((a) => a.action === 'created')).toHaveLength(1)
    })
  })
})

/** So many bytes that whoever waits for a birth is born at once. */
const FAT = Buffer.alloc(WAITING_BYTES_PER_ROOT + 1)
const fatten = <T extends { event: CarriedEvent }>(one: T): T => ({ ...one, event: { ...one.event, bytes: FAT } })

const bornEarly: Mutation = {
  onReceive(m, at) {
    const row = m.kind === 'event' || m.kind === 'handover' ? at.rows.get(m.to) : undefined
    if (!(row instanceof Root) || row.isBorn || m.cause.position % 2 === 0) return m
    if (m.kind === 'event') return fatten(m)
    return m.kind === 'handover' && m.root.publicId === undefined ? { ...m, root: { ...m.root, waiting: m.root.waiting.map(fatten) } } : m
  },
}

test('roots that are born before their links are settled merge later, and nothing is lost', SLOW, () => {
  let early = 0
  let usual = 0
  everySeed(seedsOf(600), (seed) => {
    early += run(seed, { mutation: bornEarly }).merges.length
    usual += run(seed).merges.length
  })
  expect(early).toBeGreaterThan(usual)
})

describe('a settled feed', SLOW, () => {
  test.each([1, 4, 16])('gives the sequential result on %i partitions', (partitions) => {
    everySeed(seedsOf(300), (seed) => {
      const random = seeded(seed)
      const drawn = randomUniverse(random, 'sometimes')
      const events = randomFeed(random, drawn)
      const universe = { ...drawn, partitions, homes: drawn.identifiers.map(() => Math.floor(random() * partitions)) }
      const world = new World(universe, { inline: random() < 0.5 })
      for (const event of events) runSchedule(world, random, [event])
      checkFinal(world)
      expect(summaryOf(world), `seed ${seed}`).toEqual(reference(universe, events))
    })
  })
})
