// Planted bugs that are found only after hundreds of seeds.
import { expect, test } from 'vitest'
import { PLANTED } from './planted/all.ts'
import { hunt } from './planted/hunt.ts'
import { QUICK_SEEDS } from './planted/planted.ts'

const slow = PLANTED.filter((bug) => bug.seeds > QUICK_SEEDS)

test.each(slow.map((bug) => [bug.name, bug] as const))('it is found that %s', async (_, bug) => {
  const found = await hunt(bug)
  expect(found, `found within ${bug.seeds} seeds`).toBeDefined()
})
