import { describe, expect, test } from 'vitest'
import { VirtualClock } from '../../src/core/clock.ts'
import { openMainLog } from '../../src/log/file-log-reader.ts'
import { payloadOf, seeded } from './partition-conformance.ts'
import { PowerFiles } from './power-files.ts'

const PARTITIONS = 3
const ALL = { maxRecords: 1_000_000, maxBytes: 1 << 30 }

interface Acknowledged {
  ordinal: number
  readonly ends: number[]
  readonly released: number[]
}

/** Appends, syncs and releases until the power goes; notes what was acknowledged. */
async function live(files: PowerFiles, random: (below: number) => number, known: Acknowledged): Promise<void> {
  const { writer, reader } = await openMainLog('/log', {
    partitions: PARTITIONS,
    segmentBytes: 2000,
    durability: 'fsync',
    clock: new VirtualClock(),
    files,
  })
  // What was not acknowledged may be there too; from here on it counts, because a reader sees it.
  for (let p = 0; p < PARTITIONS; p++) expect(writer.end(p), 'acknowledged records are there').toBeGreaterThanOrEqual(known.ends[p] ?? 0)
  expect(writer.syncedOrdinal()).toBeGreaterThanOrEqual(known.ordinal)
  const first = reader.firstOrdinal()
  const records = await reader.readAll(first, ALL)
  expect(records.length).toBe(writer.syncedOrdinal() - first)
  const next = Array.from({ length: PARTITIONS }, (_, p) => reader.first(p))
  for (const r of records) {
    expect(r.position).toBe(next[r.partition])
    next[r.partition] = r.position + 1
    expect(r.payload.equals(payloadOf(r.partition, r.position, 10 + ((r.position * 37) % 300)))).toBe(true)
  }
  for (let p = 0; p < PARTITIONS; p++) expect(reader.first(p)).toBeLessThanOrEqual(known.released[p] ?? 0)
  const note = (ends: readonly number[], ordinal: number): void => {
    known.ordinal = Math.max(known.ordinal, ordinal)
    ends.forEach((end, p) => {
      known.ends[p] = Math.max(known.ends[p] ?? 0, end)
    })
  }
  note(next, writer.syncedOrdinal())
  for (;;) {
    let ordinal = writer.syncedOrdinal()
    for (let i = 1 + random(8); i > 0; i--) {
      const p = random(PARTITIONS)
      const position = writer.end(p)
      writer.append(p, payloadOf(p, position, 10 + ((position * 37) % 300)))
      ordinal++
    }
    const ends = Array.from({ length: PARTITIONS }, (_, p) => writer.end(p))
    await writer.sync()
    note(ends, ordinal)
    if (random(5) === 0) {
      const p = random(PARTITIONS)
      const position = random((ends[p] ?? 0) + 1)
      known.released[p] = Math.max(known.released[p] ?? 0, position)
      await writer.release(p, position)
    }
  }
}

async function cycles(seed: number, lies = false): Promise<void> {
  const random = seeded(seed)
  const files = new PowerFiles(random)
  const known: Acknowledged = { ordinal: 0, ends: [0, 0, 0], released: [0, 0, 0] }
  for (let cycle = 0; cycle < 6; cycle++) {
    files.callsLeft = random(90)
    files.liesAboutSync = lies
    // The power cut shows as itself while opening, as the failure of the log afterwards.
    await expect(live(files, random, known), `seed ${seed}, cycle ${cycle}`).rejects.toThrow(/no power/)
    files.restart()
  }
}

describe('power cuts', () => {
  test('nothing acknowledged is lost, and what is there is whole and contiguous, at any call', async () => {
    for (let seed = 1; seed <= 120; seed++) await cycles(seed)
  })

  test('this test can fail: a disk that lies about fsync is found out', async () => {
    let found = 0
    for (let seed = 1; seed <= 20; seed++) await cycles(seed, true).catch(() => found++)
    expect(found).toBeGreaterThan(10)
  })
})
