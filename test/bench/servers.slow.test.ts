// The benchmarks of the whole server, tiny: they must run, and their results must add up. What they measure says nothing here.
import { expect, test } from 'vitest'
import { e2e } from '../../bench/e2e.ts'
import { exits } from '../../bench/exits.ts'
import { growth } from '../../bench/growth.ts'
import { restart } from '../../bench/restart.ts'

const small = { partitions: 4, hosts: 2, segments: 20 }

test('end to end: every event is applied, its transitions come, and the memberships are right', async () => {
  const said: string[] = []
  const told: unknown[] = []
  const load = { history: 800, users: 250, rate: 500, seconds: 3, warmSeconds: 1, lookupsPerSecond: 50, check: true }
  const { results, comparison } = await e2e(
    { ...small, ...load },
    { say: (line) => said.push(line), tell: (figures) => told.push(figures) },
  )
  expect(told).toEqual(results)
  expect(comparison).toMatchObject({ ok: true, missing: 0, extra: 0 })
  expect(comparison?.memberships).toBeGreaterThan(300)
  const [whole, latency, lookup] = results
  expect(whole).toMatchObject({ name: 'e2e', refused: 0, rate: 500 })
  expect(whole?.profiles).toBeGreaterThan(200)
  expect(whole?.journalBytesPerEvent).toBeGreaterThan(50)
  expect(whole?.cpuUsPerEvent).toBeGreaterThan(whole?.mainThreadCpuUsPerEvent as number)
  // 10 of the 15 requests count; those of the last third set off transitions.
  expect(latency).toMatchObject({ name: 'e2e latency', acknowledgedCount: 10 })
  expect(latency?.transitionCount).toBeGreaterThan(100)
  expect(latency?.transitionP50Ms).toBeGreaterThan(0)
  expect(latency?.transitionP99Ms).toBeGreaterThanOrEqual(latency?.transitionP50Ms as number)
  expect(lookup).toMatchObject({ name: 'e2e lookup', lookupCount: 100, found: 150, missing: 0, failed: 0 })
  expect(said.length).toBe(1)
})

test('bisection goes up while it is sustained', async () => {
  const load = { history: 200, users: 50, rate: 0, seconds: 1, warmSeconds: 0, lookupsPerSecond: 0, check: false }
  const said: string[] = []
  const { results } = await e2e(
    { ...small, ...load, bisect: { low: 200, high: 800, probes: 1 } },
    { say: (line) => said.push(line), tell: () => {} },
  )
  expect(said.length).toBe(2)
  expect(said[1]).toMatch(/^200\/s: p99 [\d.]+ ms, 0 refused: (sustained|too much)$/)
  expect(results[0]).toMatchObject({ name: 'e2e sustained', eventsPerSecond: expect.any(Number), notSustained: expect.any(Number) })
})

test('restart: what was accepted before the kill is there', async () => {
  const result = await restart({ ...small, profiles: [], rate: 1000, loadSeconds: 0.5, kills: 1 }, 500)
  expect(result).toMatchObject({ name: 'restart', kills: 1 })
  expect(result.profiles).toBeGreaterThanOrEqual(500)
  const { median } = result.newEventMs as { median: number }
  expect(median).toBeGreaterThanOrEqual((result.listeningMs as { median: number }).median)
})

test('exits: everybody leaves, each once', async () => {
  const measured = (headStartSeconds: number) => exits({ partitions: 4, hosts: 2, profiles: 100, lookupsPerSecond: 50, headStartSeconds })
  const result = await measured(12).catch((error: Error) => {
    if (!error.message.includes('took longer')) throw error
    // A machine that is so busy is given more time.
    return measured(90)
  })
  expect(result).toMatchObject({ name: 'exits', exits: 100, left: 0, lookupCount: 100 })
  expect(result.firstAfterMs).toBeGreaterThanOrEqual(0)
})

test('growth: few and many segments, in turn', async () => {
  const result = await growth({ n: 500, users: 100, few: 5, many: 30, rounds: 1 })
  expect(result).toMatchObject({ name: 'growth', few: 5, many: 30 })
  expect((result.ratio as { median: number }).median).toBeGreaterThan(0)
})
