import { expect, test } from 'vitest'
import { decodeInput, EVENTS_PER_RECORD } from '../../src/engine/inputs.ts'
import { harness } from './harness.ts'

const EVENTS = 9000

test('an ingestion of more events than positions of one record tell apart becomes several records', async () => {
  const h = await harness({ partitions: 1 })
  const { position } = await h.send(
    ...Array.from({ length: EVENTS }, (_, i) => ({ type: 'track', event: 'View', userId: `u${i % 10}`, messageId: `m${i}` })),
  )
  const { reader } = h.disk.events
  const records = await reader.read(0, reader.first(0), { maxRecords: 100, maxBytes: 64 << 20 })
  const counts = records.map(({ payload }) => decodeInput(payload)).map((input) => (input.kind === 'events' ? input.events.length : 0))
  expect(counts).toEqual([EVENTS_PER_RECORD, EVENTS_PER_RECORD, EVENTS - 2 * EVENTS_PER_RECORD])
  const profile = await h.engine.profile({ namespace: 'user_id', value: 'u0' }, { minPosition: position })
  expect(profile?.position).toBe(`0:${records.length * EVENTS_PER_RECORD}`)
  await h.close()
})
