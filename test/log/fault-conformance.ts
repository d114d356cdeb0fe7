// What a log with one total order must do when writes are torn, bits flip, and writes or syncs fail. Part of conformance.ts.
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { LogReader, LogRecord, LogWriter } from '../../src/log/log.ts'
import { ALL, appendTo, type OpenPartitions, PARTITIONS, type PartitionKind, payloadOf, seeded } from './partition-conformance.ts'

export interface OpenLog extends OpenPartitions {
  readonly writer: LogWriter & { syncedOrdinal(): number }
  readonly reader: LogReader
}

export type LogKind = PartitionKind<OpenLog> & { readonly faults: LogFaults }

/** What is left of records that were written and not yet durable. */
export interface Left {
  /** So many of them are whole … */
  readonly kept: number
  /** … and of the next one there are so many bytes. */
  readonly torn: number
}

export interface LogFaults {
  /** Process and power are gone while what was appended since the last sync is on its way; opens what is left. */
  crash(log: OpenLog, left: Left): Promise<OpenLog>
  /** How long the stored form of a payload is: it may be torn at each of these bytes. */
  storedBytes(payloadBytes: number): number
  failNext(call: 'write' | 'sync'): void
  /** Flips a bit anywhere in what is stored, undone by what it returns. The log is closed. Absent where nothing is stored as bytes. */
  flip?(random: (below: number) => number): Promise<{ readonly where: string; undo(): Promise<void> }>
}

const PAYLOAD_BYTES = 20
/** TRIBUTARY_FLIPS=2000 for a long run. */
const FLIPS = Number(process.env.TRIBUTARY_FLIPS ?? 30)

/** All that is kept; each record is as it was written, and none is missing in between. */
async function wholeRecords(reader: LogReader): Promise<readonly LogRecord[]> {
  const first = reader.firstOrdinal()
  const records = await reader.readAll(first, ALL)
  const next = Array.from({ length: PARTITIONS }, (_, p) => reader.first(p))
  records.forEach((r, i) => {
    expect([r.ordinal, r.position]).toEqual([first + i, next[r.partition]])
    expect(r.payload.equals(payloadOf(r.partition, r.position, PAYLOAD_BYTES))).toBe(true)
    next[r.partition] = r.position + 1
  })
  expect(records.length).toBe(reader.endOrdinal() - first)
  return records
}

export function faultConformance(name: string, make: () => Promise<LogKind>): void {
  describe(`a log and its faults: ${name}`, () => {
    let kind: LogKind
    let log: OpenLog
    beforeEach(async () => {
      kind = await make()
      log = await kind.open()
    })
    afterEach(() => kind.dispose())

    const append = (count: number): void => {
      for (let i = 0; i < count; i++) appendTo(log.writer, i % PARTITIONS, PAYLOAD_BYTES)
    }
    const appendSynced = async (count: number): Promise<void> => {
      append(count)
      await log.writer.sync()
    }
    const count = async (): Promise<number> => {
      await log.refresh()
      return (await wholeRecords(log.reader)).length
    }

    test('a record torn at any byte is gone, those before it are whole, and positions go on', async () => {
      let expected = 0
      const bytes = kind.faults.storedBytes(PAYLOAD_BYTES)
      for (let torn = 0; torn < bytes; torn++) {
        const kept = torn % 3
        await appendSynced(2)
        append(3)
        log = await kind.faults.crash(log, { kept, torn })
        expected += 2 + kept
        expect(await count(), `torn at byte ${torn}`).toBe(expected)
      }
    })

    for (const call of ['write', 'sync'] as const) {
      test(`after a failed ${call} nothing acknowledged is missing, and what is there of the rest is its beginning`, async () => {
        await appendSynced(5)
        kind.faults.failNext(call)
        append(4)
        await expect(log.writer.sync()).rejects.toMatchObject({ code: 'log_failed' })
        expect(() => append(1)).toThrow(expect.objectContaining({ code: 'log_failed' }))
        await expect(log.writer.sync()).rejects.toMatchObject({ code: 'log_failed' })
        expect(await count()).toBe(5)
        log = await kind.reopen(log)
        const left = await count()
        expect(left).toBeGreaterThanOrEqual(5)
        expect(left).toBeLessThanOrEqual(9)
        await appendSynced(3)
        expect(await count()).toBe(left + 3)
      })
    }

    test('a bit that flips anywhere is found out, or makes no difference, or is taken for the torn last round', async ({ skip }) => {
      const { flip } = kind.faults
      if (!flip) return skip('nothing is stored as bytes')
      const lastRound = 4
      for (let i = 0; i < 60; i++) await appendSynced(lastRound)
      const all = await count()
      await log.writer.close()
      await log.reader.close()
      const random = seeded(20240601)
      const verdicts = { found: 0, harmless: 0, torn: 0 }
      for (let i = 0; i < FLIPS; i++) {
        const { where, undo } = await flip(random)
        try {
          log = await kind.reopen(log)
          const left = await count()
          expect(left, where).toBeGreaterThanOrEqual(all - lastRound)
          if (left < all) verdicts.torn++
          else verdicts.harmless++
          await log.writer.close()
          await log.reader.close()
        } catch (error) {
          expect(error, where).toMatchObject({ code: 'data_corrupt' })
          verdicts.found++
        }
        await undo()
      }
      expect(verdicts.found).toBeGreaterThan(FLIPS / 4)
    })
  })
}
