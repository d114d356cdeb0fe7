// The simulator can fail: it finds each planted bug within its stated number of seeds.
import { expect, test } from 'vitest'
import { hunt } from './planted/hunt.ts'
import { PLANTED } from './planted/planted.ts'

test.each(PLANTED.map((bug) => [bug.name, bug] as const))('it is found that %s', { timeout: 120_000 }, async (_, bug) => {
  const found = await hunt(bug)
  expect(found, `found within ${bug.seeds} seeds`).toBeDefined()
})
