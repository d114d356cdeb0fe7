// A reader of explicit offsets, and a leader that is new: it has all records, and does not know yet how far they are replicated.
import { expect, test } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { TributaryError } from '../../src/core/errors.ts'
import { ClaimedReader, type Counted } from '../../src/log/claimed.ts'
import type { Fetched, FetchWant } from '../../src/log/kafka-client.ts'
import { packValue } from '../../src/log/kafka-pack.ts'
import { KafkaReader } from '../../src/log/kafka-reader.ts'

const LIMITS = { maxRecords: 100, maxBytes: 1 << 20, waitMs: 0 }

/** A leader of one partition. */
class Leader {
  /** Records that it has. */
  has = 0
  /** Of those it gives out so many. */
  replicated = 0

  readonly link = {
    leaders: (): [string, number[]][] => [['1', [0]]],
    fetch: async (_leader: string, _topic: string, wants: readonly FetchWant[]): Promise<Fetched[]> =>
      wants.map(({ partition, offset }) => {
        if (offset > this.has) throw Object.assign(new Error('out of range'), { name: 'KafkaJSProtocolError', type: 'OFFSET_OUT_OF_RANGE' })
        const offsets = Array.from({ length: Math.max(0, this.replicated - offset) }, (_, i) => offset + i)
        const value = packValue(Buffer.from('x'))
        const records = offsets.map((at) => ({ offset: at, key: null, value, headers: {}, stamp: 0 }))
        return { partition, end: this.replicated, records }
      }),
    heal: async (): Promise<boolean> => true,
    explained: (error: unknown): TributaryError => new TributaryError('kafka_failed', String(error)),
    offsets: async (_topic: string, _partitions: readonly number[], which: unknown): Promise<Map<number, number>> =>
      new Map([[0, which === 'first' ? 0 : this.replicated]]),
  }
}

function opened(): { leader: Leader; reader: KafkaReader } {
  const leader = new Leader()
  return { leader, reader: new KafkaReader({ live: leader.link, behind: leader.link, topic: 'journal', clock: systemClock }) }
}

test('an end before what was read is no end, as long as the offset is not refused', async () => {
  const { leader, reader } = opened()
  Object.assign(leader, { has: 36, replicated: 36 })
  const cursor = reader.cursor(0)
  const page = await cursor.read(0, LIMITS)
  expect([page.records.length, page.end]).toEqual([36, 36])
  leader.replicated = 32
  // Beyond what was read: nobody takes it for the whole.
  expect(await cursor.read(36, LIMITS)).toMatchObject({ records: [], end: 37 })
  Object.assign(leader, { has: 38, replicated: 38 })
  const rest = await cursor.read(36, LIMITS)
  expect([rest.records.map(({ position }) => position), rest.end]).toEqual([[36, 37], 38])
  await reader.close()
})

test('a log that has lost its end says so', async () => {
  const { leader, reader } = opened()
  Object.assign(leader, { has: 32, replicated: 32 })
  expect(await reader.cursor(0).read(36, LIMITS)).toMatchObject({ records: [], end: 32 })
  await reader.close()
})

test('the reader of a claimed journal goes on under a new leader, and stops where records are lost', async () => {
  const { leader, reader } = opened()
  Object.assign(leader, { has: 36, replicated: 36 })
  const cursor = reader.cursor(0)
  const log = { first: async () => 0, append: async () => undefined, read: cursor.read.bind(cursor), close: async () => cursor.close() }
  const ports = { log, clock: systemClock, retryMs: 1, troubled: () => undefined, isStopped: () => false }
  const journal = new ClaimedReader(ports, 36, { claim: 0, n: 36 })
  const read = (): Promise<readonly Counted[]> => journal.next(0)
  expect([await read(), journal.isCaughtUp]).toEqual([[], true])
  leader.replicated = 32
  expect([await read(), journal.isCaughtUp]).toEqual([[], false])
  leader.replicated = 36
  expect([await read(), journal.isCaughtUp]).toEqual([[], true])
  Object.assign(leader, { has: 32, replicated: 32 })
  await expect(read()).rejects.toThrow('the journal was read up to position 36, but it ends at 32')
  await reader.close()
})
