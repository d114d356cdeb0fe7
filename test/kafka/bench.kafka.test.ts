import { expect, test } from 'vitest'
import { kafkaBench } from '../../bench/kafka.ts'
import type { Figures } from '../../bench/report.ts'

const TINY = { events: 1000, users: 300, segments: 10, partitions: 4, rate: 200, seconds: 4, warmSeconds: 1, sessionMs: 6000 }

test('the benchmark on Kafka counts every event once, and sees its transitions come', async () => {
  const told: Figures[] = []
  const phases = ['preload', 'source', 'live'] as const
  await kafkaBench({ ...TINY, isEmbedded: false, phases }, { say: () => undefined, tell: (figures) => told.push(figures) })
  const [preload, dropped, appended, live, latency] = told
  expect(preload).toMatchObject({ name: 'kafka preload', events: TINY.events, segments: TINY.segments })
  expect(preload?.topicBytesPerEvent).toMatchObject({
    ...{ events: expect.any(Number), journal: expect.any(Number), transitions: expect.any(Number) },
  })
  for (const source of [dropped, appended])
    expect(source).toMatchObject({ name: expect.stringContaining('kafka source'), cpuUsPerEvent: expect.any(Number) })
  expect(live?.events).toBeGreaterThan(0)
  expect(latency?.transitionCount).toBeGreaterThan(0)
}, 240_000)
