import { expect, test } from 'vitest'
import { kafkaBench } from '../../bench/kafka.ts'
import type { Figures } from '../../bench/report.ts'

const TINY = { events: 2000, users: 500, segments: 10, partitions: 4, rate: 200, seconds: 3, warmSeconds: 1, sessionMs: 3000 }

test('the benchmark on Kafka counts every event once, with the engine on files', async () => {
  const told: Figures[] = []
  await kafkaBench({ ...TINY, isEmbedded: true, phases: ['preload'] }, { say: () => undefined, tell: (figures) => told.push(figures) })
  expect(told).toMatchObject([{ events: TINY.events, segments: TINY.segments }])
  expect(told[0]?.profiles).toBeGreaterThan(0)
  expect(told[0]?.transitionsPerEvent).toBeGreaterThan(0)
}, 120_000)
