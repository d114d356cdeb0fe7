// Events of an ingestion as records of their home partitions.
import { expect, test } from 'vitest'
import { Namespaces } from '../../src/core/namespace.ts'
import { decodeInput } from '../../src/engine/inputs.ts'
import { Packs } from '../../src/engine/packs.ts'
import { readAndMap } from '../../src/intake/intake.ts'
import { DAY } from './harness.ts'

const namespaces = new Namespaces({})

function eventsOf(count: number, bytes: number) {
  const batch = Array.from({ length: count }, (_, k) => ({
    type: 'track',
    event: 'Order',
    userId: `person ${k}`,
    properties: { x: 'x'.repeat(bytes) },
  }))
  const context = { acceptedAt: 0, sourcePriority: 100, namespaces, futureLimit: DAY }
  return readAndMap(Buffer.from(JSON.stringify({ batch })), { dialect: 'segment', type: undefined }, context).events
}

test('a record has the events of one partition, in their order, and no more bytes than it may', () => {
  const packs = new Packs(4, 5000)
  const events = eventsOf(60, 1000)
  const records = packs.records(events, 7)
  const inOrder: string[][] = [[], [], [], []]
  for (const { partition, count, payload } of records) {
    const input = decodeInput(payload)
    const bytes = input.kind === 'events' ? input.events : []
    expect(bytes.length).toBe(count)
    expect(bytes.reduce((sum, event) => sum + event.length, 0)).toBeLessThanOrEqual(5000)
    inOrder[partition]?.push(...bytes.map((event) => /person \d+/.exec(event.toString('latin1'))?.[0] ?? ''))
  }
  const expected: string[][] = [[], [], [], []]
  for (const event of events) expected[packs.homeOf(event)]?.push(event.identifiers[0]?.value ?? '')
  expect(inOrder).toEqual(expected)
  expect(records.length).toBeGreaterThan(12)
})

test('an event that is larger than that has a record of its own', () => {
  expect(new Packs(1, 500).records(eventsOf(3, 1000), 7).map(({ count }) => count)).toEqual([1, 1, 1])
  expect(new Packs(1).records(eventsOf(3, 1000), 7).map(({ count }) => count)).toEqual([3])
})
