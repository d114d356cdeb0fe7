import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Live, listening, run } from './harness.ts'

let live: Live
beforeEach(async () => {
  live = await listening()
})
afterEach(() => live.app.close())

test('status shows sources, where there are any', async () => {
  const { engine } = live
  const status = engine.status.bind(engine)
  expect((await run(['status'], { url: live.url })).out).not.toContain('source')
  const source = { name: 'shop', state: 'retrying', records: 1200, rejected: 3, lag: 45 }
  const lastError = { code: 'kafka_unreachable', message: 'no broker', at: '2026-11-23T15:00:00.000Z' }
  engine.status = async () => ({ ...(await status()), sources: [{ ...source, lastError }] })
  expect((await run(['status'], { url: live.url })).out).toMatch(
    /shop +retrying +1,200 +3 +45 +kafka_unreachable at 2026-11-23T15:00:00.000Z/,
  )
})

test('status shows partitions and segments, and fails when one has stopped', async () => {
  const { engine } = live
  const status = engine.status.bind(engine)
  const partition = {
    partition: 0,
    state: 'running' as const,
    position: 12_345,
    end: 12_350,
    lag: 5,
    now: '2026-11-23T15:00:00.000Z',
    profiles: 1234,
  }
  engine.status = async () => ({
    ...(await status()),
    profiles: 1234,
    partitions: [partition],
    deleting: [{ id: 'old', version: 7, progress: 0.25 }],
  })
  await engine.putSegment('vip', { where: { all: [] } })
  const good = await run(['status'], { url: live.url })
  expect(good.code).toBe(0)
  expect(good.out).toMatch(/0 +running +12,345 +12,350 +5 +1,234 /)
  expect(good.out).toContain('1,234 profiles · lag 5 · 1 segments')
  expect(good.out).toMatch(/vip +0 +1 +live/)
  expect(good.out).toContain('old is deleted; its members are leaving: 25 %')
  expect(good.out).not.toContain('owner')
  engine.status = async () => ({
    ...(await status()),
    partitions: [
      { ...partition, owner: 'process-7' },
      { ...partition, state: 'moving' },
    ],
  })
  expect((await run(['status'], { url: live.url })).out).toMatch(/owner.*process-7 *\n.*moving.*nobody/s)
  engine.status = async () => ({ ...(await status()), partitions: [{ ...partition, state: 'stopped', reason: 'a broken rule' }] })
  const bad = await run(['status'], { url: live.url })
  expect(bad.code).toBe(1)
  expect(bad.err).toContain('Partition 0 has stopped: a broken rule.')
})
