// Output streams on their own: what is read from memory and what from files, and ids beyond retention.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { VirtualClock } from '../../src/core/clock.ts'
import { cursorText, type Numbered } from '../../src/engine/cursor.ts'
import { encodeBlock, JsonBlock, readJsonEntries } from '../../src/engine/outbox.ts'
import { OutputStream, Outputs, type StreamLog } from '../../src/engine/outputs.ts'
import type { DeadLetterEntry } from '../../src/engine/outputs-port.ts'
import { openMainLog } from '../../src/log/file-log-reader.ts'
import type { LogReader } from '../../src/log/log.ts'
import { MemoryLog } from '../../src/log/memory-log.ts'
import { below, seeded } from '../identity/random.ts'

const PARTITIONS = 3

/** A log that counts how often it is read. */
function counted({ writer, reader }: StreamLog): { log: StreamLog; reads: () => number } {
  let reads = 0
  const counting: LogReader = {
    partitions: reader.partitions,
    first: (p) => reader.first(p),
    end: (p) => reader.end(p),
    firstOrdinal: () => reader.firstOrdinal(),
    endOrdinal: () => reader.endOrdinal(),
    last: (p) => reader.last(p),
    close: () => reader.close(),
    read: (p, from, limits) => {
      reads++
      return reader.read(p, from, limits)
    },
    readAll: (ordinal, limits) => {
      reads++
      return reader.readAll(ordinal, limits)
    },
  }
  return { log: { writer, reader: counting }, reads: () => reads }
}

class Filled {
  readonly log = new MemoryLog({ partitions: PARTITIONS })
  readonly counted = counted(this.log)
  stream = new OutputStream<string>(this.counted.log, (entries) => readJsonEntries(entries) as string[])
  readonly ids: string[] = []
  readonly #random = seeded(7)

  /** Appends blocks of any size to any partition. */
  async fill(blocks: number): Promise<void> {
    for (let i = 0; i < blocks; i++) {
      const partition = below(this.#random, PARTITIONS)
      const firstSeq = this.stream.lastSeq(partition) + 1
      const count = 1 + (below(this.#random, 10) === 0 ? below(this.#random, 200) : below(this.#random, 5))
      const block = new JsonBlock()
      for (let k = 0; k < count; k++) {
        const id = `${partition}-${firstSeq + k}`
        block.add(`entry ${id}`)
        this.ids.push(id)
      }
      await this.stream.take(partition, encodeBlock({ firstSeq, count, entries: block.take() }), firstSeq + count - 1)
    }
  }

  /** Started anew, with nothing in memory. */
  async reopen(): Promise<void> {
    this.stream = new OutputStream<string>(this.counted.log, (entries) => readJsonEntries(entries) as string[])
    await this.stream.open()
  }
}

async function rest(stream: OutputStream<string>, after: string | undefined): Promise<Numbered<string>[]> {
  const all: Numbered<string>[] = []
  for (let cursor = after; ; ) {
    const page = await stream.page({ limit: 100, ...(cursor === undefined ? {} : { after: cursor }) }, () => true)
    all.push(...page.items)
    if (page.next === undefined) return all
    cursor = page.next
  }
}

describe('an output stream', () => {
  test('serves its newest entries from memory, by cursor and by id, without a read', async () => {
    const s = new Filled()
    await s.stream.open()
    await s.fill(1000)
    const before = s.counted.reads()
    const newest = s.ids.slice(-2000)
    for (const id of [newest[0], newest[1000], newest[1999]] as string[]) {
      const found = await rest(s.stream, id)
      expect(found.map((n) => n.id)).toEqual(s.ids.slice(s.ids.indexOf(id) + 1))
      for (const n of found) expect(n.entry).toBe(`entry ${n.id}`)
    }
    const end = cursorText(s.stream.end())
    expect(await rest(s.stream, end)).toEqual([])
    await s.fill(10)
    expect((await rest(s.stream, end)).at(-1)?.id).toBe(s.ids.at(-1))
    expect(s.counted.reads()).toBe(before)
  })

  test('holds so many bytes in memory and no more; older entries are read, none is missed where the two meet', async () => {
    const s = new Filled()
    await s.stream.open()
    await s.fill(6000)
    const before = s.counted.reads()
    expect((await rest(s.stream, undefined)).map((n) => n.id)).toEqual(s.ids)
    expect(s.counted.reads()).toBeGreaterThan(before)
    await s.reopen()
    await s.fill(50)
    expect((await rest(s.stream, s.ids[1])).map((n) => n.id)).toEqual(s.ids.slice(2))
  })

  test('finds an old id with few reads', async () => {
    const s = new Filled()
    await s.stream.open()
    await s.fill(3000)
    await s.reopen()
    const random = seeded(3)
    let total = 0
    const LOOKS = 200
    for (let i = 0; i < LOOKS; i++) {
      const at = below(random, s.ids.length)
      const before = s.counted.reads()
      const cursor = await s.stream.locate(s.ids[at] ?? '')
      total += s.counted.reads() - before
      expect(s.counted.reads() - before).toBeLessThanOrEqual(10)
      const { entries } = await s.stream.read(cursor)
      if (entries.length > 0) expect(entries[0]?.id).toBe(s.ids[at + 1])
    }
    // Halving alone takes ten.
    expect(total / LOOKS).toBeLessThan(3)
    await expect(s.stream.locate(`0-${s.stream.lastSeq(0) + 1}`)).rejects.toMatchObject({ code: 'not_found' })
    await expect(s.stream.locate('0-0')).rejects.toMatchObject({ code: 'not_found' })
  })

  test('pages pass over marks', async () => {
    const s = new Filled()
    await s.stream.open()
    for (let i = 0; i < 20; i++) {
      await s.fill(2)
      await s.stream.mark()
      await s.stream.mark()
    }
    expect((await rest(s.stream, undefined)).map((n) => n.id)).toEqual(s.ids)
    await s.reopen()
    for (const [i, id] of s.ids.entries()) {
      const next = (await s.stream.page({ after: id, limit: 1 }, () => true)).items[0]
      expect(next?.id).toBe(s.ids[i + 1])
    }
  })
})

describe('beyond retention', () => {
  const DAY = 86_400_000
  let directory: string
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'outputs-'))
  })
  afterEach(() => rm(directory, { recursive: true }))

  async function open(clock: VirtualClock): Promise<Outputs> {
    const options = {
      partitions: PARTITIONS,
      durability: 'none',
      clock,
      segmentBytes: 2048,
      retainMs: DAY,
      retainUnreleased: true,
    } as const
    const log = (name: string) => openMainLog(join(directory, name), options)
    const outputs = new Outputs({ transitions: await log('t'), merges: await log('m'), deadLetters: await log('d') })
    await outputs.open({ idOf: String, numberOf: Number })
    return outputs
  }
  async function reject(outputs: Outputs, origin: number, letters: readonly DeadLetterEntry[]): Promise<void> {
    const block = new JsonBlock()
    for (const letter of letters) block.add(letter)
    const count = block.count
    const firstSeq = outputs.deadLetters.lastSeq(origin) + 1
    await outputs.take('deadLetters', origin, encodeBlock({ firstSeq, count, entries: block.take() }), firstSeq + count - 1)
  }
  const letter = (n: number): DeadLetterEntry => ({ code: 'unreadable', reason: `${n} ${'x'.repeat(100)}`, at: n })

  test.each([true, false])('the ids of dead letters go on, and repeats are refused, if marked (%s)', async (isMarked) => {
    const clock = new VirtualClock()
    let outputs = await open(clock)
    await reject(outputs, 1, [letter(1), letter(2)])
    await outputs.reject([letter(1)])
    // Another origin goes on for days: the log drops what the first one wrote.
    for (let hour = 0; hour < 72; hour++) {
      clock.advance(DAY / 24)
      await reject(outputs, 0, [letter(hour), letter(hour)])
      if (isMarked && hour % 12 === 11) await outputs.mark()
    }
    await outputs.close()
    outputs = await open(clock)
    const kept = await outputs.deadLetters.page({ limit: 1000 }, () => true)
    expect(kept.items.some((n) => !n.id.startsWith('0-'))).toBe(false)
    expect([1, 2].map((p) => outputs.deadLetters.lastSeq(p))).toEqual(isMarked ? [2, 1] : [0, 0])
    await reject(outputs, 1, [letter(3)])
    expect((await outputs.deadLetters.page({ limit: 1000 }, () => true)).items.at(-1)?.id).toBe(isMarked ? '1-3' : '1-1')
    await outputs.close()
  })
})
