// Sources in the status and in the metrics.
import { expect, test } from 'vitest'
import { buildApi } from '../../src/api/api.ts'
import { checkConfig } from '../../src/config-load.ts'
import { Namespaces } from '../../src/core/namespace.ts'
import type { SourceFacts } from '../../src/intake/sources/source.ts'
import { FakeEngine } from './fake-engine.ts'

const FACTS: SourceFacts = {
  name: 'shop',
  topics: ['orders'],
  state: 'retrying',
  records: 12,
  events: 9,
  rejected: 2,
  empty: 1,
  failures: 3,
  lag: 5,
  partitions: [
    { topic: 'orders', partition: 0, next: 10, end: 13, lag: 3 },
    { topic: 'orders', partition: 1, next: 2, end: 4, lag: 2 },
  ],
  lastError: { code: 'kafka_unreachable', message: 'no broker', at: '2026-11-23T15:00:00.000Z' },
}

async function asked(facts: readonly SourceFacts[]): Promise<{ status: Record<string, unknown>; metrics: string }> {
  const config = checkConfig({ clock: 'manual' })
  const app = buildApi(new FakeEngine(), { config, namespaces: new Namespaces(config.identity), sources: () => facts })
  const status = (await app.inject('/v1/status')).json()
  const metrics = (await app.inject('/metrics')).body
  await app.close()
  return { status, metrics }
}

test('are shown with their lag and what goes wrong', async () => {
  const { status, metrics } = await asked([FACTS])
  expect(status.sources).toEqual([FACTS])
  const lines = metrics.split('\n')
  expect(lines).toEqual(
    expect.arrayContaining([
      '# TYPE tributary_source_records_total counter',
      'tributary_source_records_total{source="shop"} 12',
      'tributary_source_rejected_total{source="shop"} 2',
      'tributary_source_running{source="shop"} 0',
      'tributary_source_lag_records{source="shop",topic="orders",partition="0"} 3',
      'tributary_source_lag_records{source="shop",topic="orders",partition="1"} 2',
    ]),
  )
  expect((await asked([{ ...FACTS, state: 'waiting' }])).metrics).toContain('tributary_source_running{source="shop"} 1')
})

test('are not mentioned where there are none', async () => {
  const { status, metrics } = await asked([])
  expect(status.sources).toBeUndefined()
  expect(metrics).not.toContain('tributary_source')
})
