// What is special about the log in files: rounds and fsyncs, torn tails and damage, segments and sidecars, retention, threads.
import { mkdtemp, readdir, readFile, rm, stat, truncate, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { VirtualClock } from '../../src/core/clock.ts'
import { type FileLogOptions, type FileLogWriter, openFileLog } from '../../src/log/file-log.ts'
import { type FileLogReader, openFileLogReader, openMainLog } from '../../src/log/file-log-reader.ts'
import { FRAME_BYTES, sealFrame, writeFrame } from '../../src/log/frame.ts'
import { headerBytes, segmentPath } from '../../src/log/segment-file.ts'
import { payloadOf } from './partition-conformance.ts'
import { TracedFiles } from './traced-files.ts'

const PARTITIONS = 2
const ALL = { maxRecords: 1_000_000, maxBytes: 1 << 30 }

let directory: string
let files: TracedFiles
let clock: VirtualClock

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'log-'))
  files = new TracedFiles()
  clock = new VirtualClock(1_000_000)
})
afterEach(async () => {
  await files.closeAll()
  await rm(directory, { recursive: true })
})

function open(options: Partial<FileLogOptions> = {}): Promise<{ writer: FileLogWriter; reader: FileLogReader }> {
  return openMainLog(directory, { partitions: PARTITIONS, durability: 'fsync', clock, files, segmentBytes: 4096, ...options })
}

function append(writer: FileLogWriter, count: number, size = 20): void {
  for (let i = 0; i < count; i++) {
    const p = writer.syncedOrdinal() % PARTITIONS
    writer.append(p, payloadOf(p, writer.end(p), size))
  }
}

/** Rounds of one record each. */
async function rounds(writer: FileLogWriter, count: number, size = 20): Promise<void> {
  for (let i = 0; i < count; i++) {
    append(writer, 1, size)
    await writer.sync()
  }
}

const names = async (ending: string): Promise<string[]> => (await readdir(directory)).filter((name) => name.endsWith(ending)).sort()
const firstSegment = (): string => segmentPath(directory, 0)
/** Opens and closes the log; answers its end. */
const openedEnd = async (): Promise<number> => {
  // Not about durability, and much faster without.
  const { writer, reader } = await open({ durability: 'none' })
  const { length } = await reader.readAll(0, ALL)
  expect(length).toBe(writer.syncedOrdinal())
  await writer.close()
  await reader.close()
  return length
}

describe('group commit', () => {
  test('a hundred syncs in one turn share one write and one fsync; those that come meanwhile share the next', async () => {
    const { writer } = await open({ segmentBytes: 1 << 20 })
    files.calls.length = 0
    let openGate = (): void => undefined
    files.gate = new Promise((resolve) => {
      openGate = resolve
    })
    const syncs: Promise<void>[] = []
    for (let i = 0; i < 100; i++) {
      append(writer, 1)
      syncs.push(writer.sync())
    }
    while (files.count('write') === 0) await new Promise((resolve) => setImmediate(resolve))
    for (let i = 0; i < 50; i++) {
      append(writer, 1)
      syncs.push(writer.sync())
    }
    expect(writer.syncedOrdinal()).toBe(0)
    openGate()
    await Promise.all(syncs)
    expect([files.count('write'), files.count('datasync'), writer.syncedOrdinal()]).toEqual([2, 2, 150])
  })

  test('onSynced comes after the fsync and before the sync resolves', async () => {
    const { writer } = await open({ onSynced: (ordinal) => files.calls.push(`onSynced ${ordinal}`) })
    files.calls.length = 0
    append(writer, 3)
    await writer.sync().then(() => files.calls.push('resolved'))
    expect(files.calls.map((c) => c.replace(/ 0+\.log/, ''))).toEqual(['write', 'datasync', 'onSynced 3', 'resolved'])
  })

  test('short writes are continued', async () => {
    const { writer } = await open()
    files.maxWrite = 7
    append(writer, 5)
    await writer.sync()
    expect(files.count('write')).toBeGreaterThan(40)
    expect(await openedEnd()).toBe(5)
  })

  test('with durability none nothing is synced', async () => {
    const { writer } = await open({ durability: 'none' })
    await rounds(writer, 100, 200)
    expect((await names('.log')).length).toBeGreaterThan(3)
    expect(files.calls.filter((call) => /^(datasync|sync)/.test(call))).toEqual([])
  })

  test('much that waits is written without anybody asking', async () => {
    const { writer } = await open({ segmentBytes: 64 << 20 })
    for (let i = 0; i < 5; i++) writer.append(0, Buffer.alloc(1 << 20))
    while (writer.syncedOrdinal() < 4) await new Promise((resolve) => setImmediate(resolve))
  })
})

describe('failures', () => {
  test.each(['write', 'datasync'])('after a failed %s the file is not touched again', async (call) => {
    const { writer, reader } = await open()
    await rounds(writer, 2)
    files.calls.length = 0
    files.failing.push(call)
    append(writer, 1)
    const failing = writer.sync()
    await expect(failing).rejects.toMatchObject({
      code: 'log_failed',
      cause: expect.objectContaining({ message: expect.stringContaining('injected') }),
    })
    await expect(writer.sync()).rejects.toMatchObject({ code: 'log_failed' })
    expect(() => append(writer, 1)).toThrow(expect.objectContaining({ code: 'log_failed' }))
    expect(files.calls.filter((c) => c.startsWith('failed') === false)).toEqual(call === 'write' ? [] : [expect.stringMatching(/^write/)])
    expect(reader.endOrdinal()).toBe(2)
    await writer.close()
    expect(await openedEnd()).toBeGreaterThanOrEqual(2)
  })

  test.each(['sync', 'rename', 'syncDirectory'])('a failed %s while a segment is begun is final too', async (call) => {
    const { writer } = await open()
    const failing = (async () => {
      for (;;) {
        files.failing.splice(0, 1, call)
        await rounds(writer, 1, 500)
      }
    })()
    await expect(failing).rejects.toMatchObject({ code: 'log_failed' })
    const { length } = await names('.log')
    await expect(writer.sync()).rejects.toMatchObject({ code: 'log_failed' })
    expect(length).toBe(call === 'syncDirectory' ? 2 : 1)
    files.failing.length = 0
    expect(await openedEnd()).toBe(writer.syncedOrdinal())
  })
})

describe('opening after a crash', () => {
  /** Five synced records, then one in a round of its own, whose frame is at [at, end). */
  async function sixRecords(): Promise<{ bytes: Buffer; at: number; end: number }> {
    const { writer, reader } = await open()
    append(writer, 5)
    await writer.sync()
    const at = writer.segments.activeIndex.endOffset
    await rounds(writer, 1)
    await writer.close()
    await reader.close()
    return { bytes: await readFile(firstSegment()), at, end: at + FRAME_BYTES + 20 }
  }

  test('a last record torn at any byte is cut off', async () => {
    const { bytes, at, end } = await sixRecords()
    expect(bytes.length).toBe(end)
    for (let length = at; length < end; length++) {
      await writeFile(firstSegment(), bytes.subarray(0, length))
      expect(await openedEnd(), `torn at byte ${length - at}`).toBe(5)
      expect((await stat(firstSegment())).size).toBe(at)
    }
  })

  test('a last record with any damaged byte is cut off, or zeros in its place', async () => {
    const { bytes, at, end } = await sixRecords()
    for (let i = at; i < end; i++) {
      const damaged = Buffer.from(bytes)
      damaged[i] = (damaged[i] ?? 0) ^ 0x10
      await writeFile(firstSegment(), damaged)
      expect(await openedEnd(), `damaged at byte ${i - at}`).toBe(5)
    }
    await writeFile(firstSegment(), Buffer.concat([bytes.subarray(0, at), Buffer.alloc(4096)]))
    expect(await openedEnd()).toBe(5)
  })

  test('damage below a later mark is corruption, and the file is left as it is', async () => {
    const { bytes, at } = await sixRecords()
    // Every byte of the first record, and some of each other one.
    const first = headerBytes(PARTITIONS)
    for (let i = first; i < at; i += i < first + FRAME_BYTES + 20 ? 1 : 7) {
      const damaged = Buffer.from(bytes)
      damaged[i] = (damaged[i] ?? 0) ^ 0x10
      await writeFile(firstSegment(), damaged)
      await expect(open({ durability: 'none' }), `damaged at byte ${i}`).rejects.toMatchObject({ code: 'data_corrupt' })
      expect((await readFile(firstSegment())).equals(damaged)).toBe(true)
    }
  })

  test('damage in a round that nothing vouches for is a torn tail, though later records of the round are whole', async () => {
    const { writer } = await open()
    await rounds(writer, 2)
    const at = writer.segments.activeIndex.endOffset
    append(writer, 4)
    await writer.sync()
    await writer.close()
    const bytes = await readFile(firstSegment())
    bytes[at + 50] = (bytes[at + 50] ?? 0) ^ 1
    await writeFile(firstSegment(), bytes)
    expect(await openedEnd()).toBe(2)
  })

  test('a payload that looks like a vouching frame does not pass for one', async () => {
    const { writer } = await open()
    const forged = Buffer.alloc(FRAME_BYTES + 10)
    writeFrame(forged, 0, { partition: 0, position: 9, ordinal: 9 }, Buffer.alloc(10))
    sealFrame(forged, { at: 0, end: forged.length }, 1e9, 0)
    await rounds(writer, 1)
    writer.append(0, forged)
    await writer.sync()
    await writer.close()
    await truncate(firstSegment(), (await stat(firstSegment())).size - 1)
    // The last record's own bytes: its end is missing, the forged frame inside ends with it; then one that is whole.
    expect(await openedEnd()).toBe(1)
    const again = await open()
    again.writer.append(0, Buffer.concat([forged, Buffer.alloc(8)]))
    await again.writer.sync()
    await again.writer.close()
    await truncate(firstSegment(), (await stat(firstSegment())).size - 1)
    expect(await openedEnd()).toBe(1)
  })

  test('the last segment is trusted only as a synced copy', async () => {
    const { writer } = await open()
    await rounds(writer, 3)
    await writer.close()
    files.calls.length = 0
    await open()
    const calls = files.calls.map((c) => c.replace(/0{20}/, '0')).filter((c) => !c.startsWith('close'))
    expect(calls).toEqual(['write 0.log.tmp', 'sync 0.log.tmp', 'rename 0.log', 'syncDirectory .'])
  })

  test('leftovers of a crash are removed', async () => {
    const { writer } = await open()
    await rounds(writer, 1)
    await writer.close()
    await writeFile(join(directory, '00000000000000000007.log.tmp'), 'half a header')
    await writeFile(join(directory, '00000000000000000003.index'), 'of a segment long gone')
    expect(await openedEnd()).toBe(1)
    expect(await readdir(directory)).toEqual(['00000000000000000000.log'])
  })

  test('another number of partitions is refused', async () => {
    await (await open()).writer.close()
    await expect(open({ partitions: 4 })).rejects.toMatchObject({ code: 'fingerprint_mismatch' })
  })
})

describe('segments', () => {
  /** Several segments, closed. */
  async function several(): Promise<number> {
    const { writer, reader } = await open()
    await rounds(writer, 100, 200)
    await writer.close()
    await reader.close()
    expect((await names('.log')).length).toBeGreaterThan(4)
    expect((await names('.index')).length).toBe((await names('.log')).length - 1)
    return 100
  }

  test('no segment is larger than asked unless one round is', async () => {
    await several()
    for (const name of await names('.log')) expect((await stat(join(directory, name))).size).toBeLessThanOrEqual(4096)
  })

  test('a segment begins durable, after its predecessor', async () => {
    const { writer } = await open()
    await rounds(writer, 40, 200)
    const second = (await names('.log'))[1] ?? ''
    const begun = files.calls.indexOf(`rename ${second}`)
    expect(files.calls[begun + 1]).toBe('syncDirectory .')
    expect(files.calls.slice(0, begun)).toContain(`sync ${second}.tmp`)
    const toFirst = files.calls.slice(0, begun).filter((c) => /(write|datasync) 0{20}\.log$/.test(c))
    expect(toFirst[toFirst.length - 1]).toMatch(/^datasync/)
  })

  test('opening scans the last segment only', async () => {
    await several()
    const all = await names('.log')
    files.bytesRead.clear()
    const { writer } = await open()
    expect(writer.syncedOrdinal()).toBe(100)
    for (const name of all.slice(0, -1)) expect(files.bytesRead.get(name), name).toBe(headerBytes(PARTITIONS))
    for (const name of await names('.index')) expect(files.bytesRead.get(name), name).toBe(32)
  })

  test('a sidecar that is missing, cut short or of something else is written again', async () => {
    await several()
    const [first = '', second = '', third = ''] = await names('.index')
    const good = await Promise.all([first, second, third].map((name) => readFile(join(directory, name))))
    await unlink(join(directory, first))
    await truncate(join(directory, second), 40)
    await writeFile(join(directory, third), good[0] ?? '')
    expect(await openedEnd()).toBe(100)
    const again = await Promise.all([first, second, third].map((name) => readFile(join(directory, name))))
    expect(again.map((bytes, i) => bytes.equals(good[i] ?? Buffer.alloc(0)))).toEqual([true, true, true])
  })

  test('a sidecar with damaged contents is not believed, wherever the damage is', async () => {
    await several()
    const path = join(directory, (await names('.index'))[1] ?? '')
    const good = await readFile(path)
    for (const i of [33, 45, Math.floor(good.length / 2), good.length - 20, good.length - 4]) {
      const damaged = Buffer.from(good)
      damaged[i] = (damaged[i] ?? 0) ^ 1
      await writeFile(path, damaged)
      const { writer, reader } = await open({ durability: 'none' })
      for (let p = 0; p < PARTITIONS; p++) {
        const read = (await reader.read(p, 0, ALL)).map(
          (r) => `${r.partition}:${r.position}:${r.payload.equals(payloadOf(p, r.position, 200))}`,
        )
        expect(read, `damaged at byte ${i}`).toEqual(Array.from({ length: 50 }, (_, n) => `${p}:${n}:true`))
      }
      await writer.close()
      await reader.close()
    }
  })

  test('a damaged record in an old segment is found when it is read', async () => {
    await several()
    const path = join(directory, (await names('.log'))[1] ?? '')
    const bytes = await readFile(path)
    bytes[bytes.length - 3] = (bytes[bytes.length - 3] ?? 0) ^ 1
    await writeFile(path, bytes)
    const { reader } = await open()
    await expect(reader.readAll(0, ALL)).rejects.toMatchObject({ code: 'data_corrupt' })
  })

  test('a missing segment is corruption', async () => {
    await several()
    await unlink(join(directory, (await names('.log'))[2] ?? ''))
    await expect(open()).rejects.toMatchObject({ code: 'data_corrupt' })
  })

  test('after close no descriptor stays open', async () => {
    const { writer, reader } = await open()
    await rounds(writer, 100, 200)
    await reader.readAll(0, ALL)
    await Promise.all(Array.from({ length: 50 }, (_, i) => reader.read(i % 2, i, ALL)))
    expect(files.openCount).toBeLessThanOrEqual(9)
    await writer.close()
    await reader.close()
    expect(files.openCount).toBe(0)
  })
})

describe('retention', () => {
  const count = async (): Promise<number> => (await names('.log')).length

  test('segments go as soon as everything in them is released, oldest first, each durably', async () => {
    const { writer } = await open()
    await rounds(writer, 100, 200)
    const all = await names('.log')
    files.calls.length = 0
    await Promise.all([writer.release(0, 50), writer.release(1, 30)])
    const left = await names('.log')
    expect(left.length).toBeGreaterThan(1)
    expect(left.length).toBeLessThan(all.length - 1)
    expect(left).toEqual(all.slice(-left.length))
    const removed = files.calls.filter((c) => /^remove .*log$|^syncDirectory/.test(c))
    expect(removed).toEqual(all.slice(0, -left.length).flatMap((name) => [`remove ${name}`, 'syncDirectory .']))
    expect((await names('.index')).length).toBe(left.length - 1)
    await writer.release(1, 50)
    expect(await count()).toBe(1)
  })

  test('released segments stay for retainMs', async () => {
    const { writer } = await open({ retainMs: 1000 })
    await rounds(writer, 50, 200)
    clock.advance(600)
    await rounds(writer, 50, 200)
    const before = await count()
    await Promise.all([writer.release(0, 50), writer.release(1, 50)])
    expect(await count()).toBe(before)
    clock.advance(400)
    await writer.trim()
    const after = await count()
    expect(after).toBeLessThan(before)
    expect(after).toBeGreaterThan(before / 3)
    clock.advance(600)
    await writer.trim()
    expect(await count()).toBe(1)
  })

  test('released segments stay up to retainBytes', async () => {
    const { writer } = await open({ retainBytes: 10_000 })
    await rounds(writer, 100, 200)
    await Promise.all([writer.release(0, 50), writer.release(1, 50)])
    expect(writer.bytes()).toBeGreaterThanOrEqual(10_000)
    expect(writer.bytes()).toBeLessThan(10_000 + 4096)
    // What is not released stays, however much it is.
    await rounds(writer, 100, 200)
    expect(writer.bytes()).toBeGreaterThan(24_000)
  })

  test('with retainUnreleased nobody has to release, and without a limit everything stays', async () => {
    const { writer } = await open({ retainUnreleased: true, retainBytes: 10_000 })
    await rounds(writer, 200, 200)
    expect(writer.bytes()).toBeLessThan(10_000 + 2 * 4096)
    await writer.close()
    const kept = await open({ retainUnreleased: true })
    const before = await count()
    await Promise.all([kept.writer.release(0, 100), kept.writer.release(1, 100)])
    expect(await count()).toBe(before)
  })

  test('bytes are those of the files', async () => {
    const { writer } = await open()
    await rounds(writer, 77, 150)
    const sizes = async (): Promise<number> => {
      let sum = 0
      for (const name of await names('.log')) sum += (await stat(join(directory, name))).size
      return sum
    }
    expect(writer.bytes()).toBe(await sizes())
    await writer.close()
    expect((await open()).writer.bytes()).toBe(await sizes())
  })
})

describe('a reader that follows', () => {
  const openFollower = (): Promise<FileLogReader> => openFileLogReader(directory, { partitions: PARTITIONS, files })

  test('trusts the last segment only as far as it is told', async () => {
    const writer = await openFileLog(directory, { partitions: PARTITIONS, durability: 'fsync', clock, files, segmentBytes: 4096 })
    await rounds(writer, 10)
    const reader = await openFollower()
    expect(await reader.readAll(0, ALL)).toEqual([])
    reader.advance(4)
    expect((await reader.readAll(0, ALL)).length).toBe(4)
    await reader.refresh()
    expect([reader.endOrdinal(), reader.end(0), reader.end(1)]).toEqual([4, 2, 2])
    reader.advance(2)
    reader.advance(10)
    expect((await reader.read(1, 0, ALL)).length).toBe(5)
  })

  test('notices deleted segments, and starts over when it was overtaken', async () => {
    const { writer } = await open()
    await rounds(writer, 5, 200)
    const near = await openFollower()
    const far = await openFollower()
    near.advance(5)
    far.advance(5)
    await Promise.all([near.refresh(), far.refresh()])
    await rounds(writer, 95, 200)
    near.advance(100)
    await near.refresh()
    expect(near.first(0)).toBe(0)
    await Promise.all([writer.release(0, 45), writer.release(1, 45)])
    await near.refresh()
    expect([near.first(0), near.firstOrdinal()]).toEqual([writer.segments.first(0), writer.segments.firstOrdinal])
    expect(near.first(0)).toBeGreaterThan(30)
    far.advance(100)
    await expect(far.read(0, 0, ALL)).rejects.toMatchObject({ code: 'data_corrupt' })
    const first = far.first(0)
    expect(first).toBe(writer.segments.first(0))
    expect((await far.read(0, first, ALL)).map((r) => r.position)).toEqual(Array.from({ length: 50 - first }, (_, i) => first + i))
  })

  test('a segment deleted while the reader does not know it yet shows as no longer kept', async () => {
    const { writer } = await open()
    await rounds(writer, 100, 200)
    const reader = await openFollower()
    reader.advance(100)
    expect((await reader.readAll(95, ALL)).length).toBe(5)
    await Promise.all([writer.release(0, 45), writer.release(1, 45)])
    expect(reader.first(0)).toBe(0)
    await expect(reader.read(0, 0, ALL)).rejects.toMatchObject({ code: 'data_corrupt', message: expect.stringContaining('no longer kept') })
    expect(reader.first(0)).toBe(writer.segments.first(0))
  })

  test('a log that is shorter than the reader was told is corrupt', async () => {
    const { writer } = await open()
    await rounds(writer, 5)
    const reader = await openFollower()
    reader.advance(6)
    await expect(reader.refresh()).rejects.toMatchObject({ code: 'data_corrupt' })
  })

  test('reads in another thread while the writer writes', async () => {
    const clockless = { partitions: PARTITIONS, durability: 'none', clock, segmentBytes: 200_000 } as const
    let worker: Worker | undefined
    const onSynced = (synced: number): void => worker?.postMessage({ synced, isLast: synced === 5000 })
    const writer = await openFileLog(directory, { ...clockless, onSynced })
    worker = new Worker(new URL('./reader-thread.ts', import.meta.url), { workerData: { directory, partitions: PARTITIONS } })
    const thread = worker
    await new Promise((resolve, reject) => {
      thread.once('message', resolve)
      thread.once('error', reject)
    })
    const answer = new Promise((resolve, reject) => {
      thread.once('message', resolve)
      thread.once('error', reject)
    })
    for (let i = 0; i < 5000; i++) {
      writer.append(i % PARTITIONS, payloadOf(i % PARTITIONS, writer.end(i % PARTITIONS), 300))
      if (i % 100 === 99) await writer.sync()
    }
    expect(await answer).toEqual({ positions: [2500, 2500], bytes: 1_500_000, inOrder: true, endOrdinal: 5000 })
    await writer.close()
  })
})
