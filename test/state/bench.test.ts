import { expect, test } from 'vitest'
import { storeCost } from '../../bench/store.ts'

test('the store benchmark runs, and all kinds find the same rows', async () => {
  const costs = []
  for (const kind of ['memory', 'nxt', 'native'] as const) costs.push(await storeCost(kind, 12_000, { databases: 2 }))
  for (const cost of costs) {
    expect(cost.events).toBe(12_000)
    expect(cost.cpuUs).toBeGreaterThan(cost.hostUs * 0.9)
    expect(cost.hostUs).toBeGreaterThan(0)
    expect(cost.batchMsP99).toBeGreaterThanOrEqual(cost.batchMsP50)
    expect(cost.diskMb).toBeGreaterThan(3)
    expect(cost.found).toBe(costs[0]?.found)
  }
  expect(costs[0]?.found).toBeGreaterThan(0)
})
