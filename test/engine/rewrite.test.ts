// A journal that is rewritten in rounds and loses its head has every row, for whoever reads it from wherever it can be read.
import { describe, expect, test } from 'vitest'
import { MemoryStore } from '../../src/state/memory-store.ts'
import { seedsOf } from '../identity/random.ts'
import { type Mistakes, RewriteWorld } from './rewrite-world.ts'

const STEPS = 400
const SEEDS = seedsOf(4)
/** A mistake shows in so many worlds of at most so many. */
const ENOUGH = 2
const MOST_SEEDS = 30

const sorted = (rows: ReadonlyMap<string, string>): string[] => [...rows].map(([key, value]) => `${key} ${value}`).sort()

async function judge(world: RewriteWorld, seed: number): Promise<void> {
  const truth = sorted(world.truth())
  expect(world.troubles, `seed ${seed}`).toEqual([])
  expect(sorted(await world.found(new MemoryStore())), `seed ${seed}: who knows nothing`).toEqual(truth)
  for (const [i, store] of world.left.entries().take(5))
    expect(sorted(await world.found(new MemoryStore(store.snapshot()))), `seed ${seed}: who has store ${i}`).toEqual(truth)
  expect(sorted(await world.followed()), `seed ${seed}: who has followed`).toEqual(truth)
}

async function lived(seed: number, mistakes: Mistakes = {}): Promise<RewriteWorld> {
  const world = new RewriteWorld(seed, mistakes)
  await world.run(STEPS)
  return world
}

describe('a journal that is rewritten and loses its head', () => {
  test(`has every row for new readers, old stores and slow followers (${SEEDS} seeds)`, async () => {
    let [cuts, owners, leftBehind, cold, gone, all] = [0, 0, 0, 0, 0, 0]
    for (let seed = 1; seed <= SEEDS; seed++) {
      const world = await lived(seed)
      await judge(world, seed)
      cuts += world.cuts
      owners += world.owners.length
      leftBehind += world.leftBehind
      cold += world.coldRows
      gone += world.log.first
      all += world.log.records.length
    }
    console.info(`${owners} owners, ${cuts} cuts, ${gone} of ${all} records gone, ${cold} cold rows, ${leftBehind} left behind`)
    expect(cuts).toBeGreaterThan(3 * SEEDS)
    expect(owners).toBeGreaterThan(4 * SEEDS)
    expect(leftBehind).toBeGreaterThan(SEEDS)
    expect(gone).toBeGreaterThan(all / 3)
  }, 1_200_000)
})

describe('a mistake is found out', () => {
  test.each<[string, Mistakes]>([
    ['deleting up to the end of the round', { releasable: ({ rewrite, lastPosition }) => (rewrite.releasable > 0 ? lastPosition + 1 : 0) }],
    ['deleting up to the start of the round under way', { releasable: ({ rewrite }) => rewrite.start?.from ?? 0 }],
    ['starting a round behind what is in memory only', { startsAhead: true }],
    ['going on with a round whose start the store has not come to', { waitsForNothing: true }],
    ['rewriting rows as they were before something newer', { hidesRows: true }],
    ['forgetting a range', { hidesRanges: true }],
    ['keeping a store that the journal has left behind', { keepsStores: true }],
  ])(
    '%s',
    async (_, mistakes) => {
      let found = 0
      for (let seed = 1; seed <= MOST_SEEDS && found < ENOUGH; seed++) {
        await lived(seed, mistakes)
          .then((world) => judge(world, seed))
          .catch(() => found++)
      }
      expect(found).toBe(ENOUGH)
    },
    60_000,
  )
})
