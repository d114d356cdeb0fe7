// The benchmark of intake, tiny, so that it can't rot.
import { expect, test } from 'vitest'
import { mappingCost } from '../../bench/intake.ts'

test('mapping takes every message', async () => {
  expect(await mappingCost(3)).toBeGreaterThan(0)
})
