// The simulator can fail: it finds each planted bug within its stated number of seeds. Those that take long are in planted.long.test.ts.
import { expect, test } from 'vitest'
import { PLANTED } from './planted/all.ts'
import { hunt } from './planted/hunt.ts'
import { QUICK_SEEDS } from './planted/planted.ts'

const quick = PLANTED.filter((bug) => bug.seeds <= QUICK_SEEDS)

test.each(quick.map((bug) => [bug.name, bug] as const))('it is found that %s', async (_, bug) => {
  const found = await hunt(bug)
  expect(found, `found within ${bug.seeds} seeds`).toBeDefined()
})
