// A journal that is rewritten in rounds and loses its head has every row, for whoever reads it from wherever it can be read.
import { describe, expect, test } from 'vitest'
import { MemoryStore } from '../../src/state/memory-store.ts'
import { seedsOf } from '../identity/random.ts'
import { LIMITS, type Mistakes, RewriteWorld } from './rewrite-world.ts'

const STEPS = 400
const COMMITS = 400
const SEEDS = seedsOf(3)
/** A mistake shows in one of so many worlds. */
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

/** So many commits go by, at most, before a round's first page and behind its start. */
const LAG_COMMITS = 2

test.each([0.25, 0.5, 1, 2])(
  'no more is kept than 2(1 + 1/r) times what is live, and a few commits, for r = %d',
  async (ratio) => {
    const limits = { ...LIMITS, ratio, leastBytes: 0, mostBytes: 10_000, mostOwedBytes: 100_000, lowBytes: 3000, fetchBytes: 3000 }
    const world = new RewriteWorld(11, {}, limits)
    const seen: { kept: number; live: number; last: number }[] = []
    for await (const now of world.steady(COMMITS)) seen.push(now)
    const rounds = seen.filter(({ kept }, i) => kept < (seen[i - 1]?.kept ?? 0)).length
    const largest = Math.max(...seen.map(({ last }) => last))
    // Not before there is something to keep.
    const steady = seen.slice(COMMITS / 4)
    const most = Math.max(...steady.map(({ kept, live }) => kept / live))
    const bound = 2 * (1 + 1 / ratio)
    console.info(`r = ${ratio}: at most ${most.toFixed(2)} × live is kept, ${bound} and some commits are allowed, in ${rounds} rounds`)
    for (const { kept, live } of steady) expect(kept).toBeLessThan(bound * live + 2 * LAG_COMMITS * largest)
    expect(rounds).toBeGreaterThan(10)
    // And it is no bound that nothing comes near to.
    expect(most).toBeGreaterThan(bound / 3)
  },
  60_000,
)

describe('a mistake is found out', () => {
  // The last are first seeds that make it short.
  test.each<[string, Mistakes, number]>([
    [
      'deleting up to the end of the round',
      { releasable: ({ rewrite, lastPosition }) => (rewrite.releasable > 0 ? lastPosition + 1 : 0) },
      1,
    ],
    ['deleting up to the start of the round under way', { releasable: ({ rewrite }) => rewrite.start?.from ?? 0 }, 1],
    ['starting a round behind what is in memory only', { startsAhead: true }, 1],
    ['going on with a round whose start the store has not come to', { waitsForNothing: true }, 7],
    ['rewriting rows as they were before something newer', { hidesRows: true }, 1],
    ['forgetting a range', { hidesRanges: true }, 1],
    ['keeping a store that the journal has left behind', { keepsStores: true }, 1],
  ])(
    '%s',
    async (_, mistakes, firstSeed) => {
      let isFound = false
      for (let seed = firstSeed; seed < firstSeed + MOST_SEEDS && !isFound; seed++) {
        await lived(seed, mistakes)
          .then((world) => judge(world, seed))
          .catch(() => {
            isFound = true
          })
      }
      expect(isFound).toBe(true)
    },
    60_000,
  )
})
