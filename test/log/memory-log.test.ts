import { describe, expect, test } from 'vitest'
import { type MemoryFaults, MemoryLog } from '../../src/log/memory-log.ts'
import { logConformance } from './conformance.ts'
import type { OpenLog } from './fault-conformance.ts'
import { PARTITIONS } from './partition-conformance.ts'

const ALL = { maxRecords: 1000, maxBytes: 1e9 }

logConformance('in memory', async () => {
  const faults: MemoryFaults = {}
  const logs = new Map<object, MemoryLog>()
  const opened = (log: MemoryLog): OpenLog => {
    logs.set(log.writer, log)
    return { writer: log.writer, reader: log.reader, refresh: async () => undefined }
  }
  return {
    open: async () => opened(new MemoryLog({ partitions: PARTITIONS, faults })),
    reopen: async (log) => opened((logs.get(log.writer) as MemoryLog).crash({ keepUnsynced: 0 })),
    failNextSync: () => {
      faults.failNext = 'sync'
    },
    faults: {
      crash: async (log, { kept, torn }) => {
        const memory = logs.get(log.writer) as MemoryLog
        return opened(torn > 0 ? memory.crash({ keepUnsynced: kept + 1, torn: true }) : memory.crash({ keepUnsynced: kept }))
      },
      // A record is whole, or torn.
      storedBytes: () => 3,
      failNext: (call) => {
        faults.failNext = call
      },
    },
    dispose: async () => undefined,
  }
})

function three(faults: MemoryFaults = {}): MemoryLog {
  const log = new MemoryLog({ partitions: 1, faults })
  for (const text of ['a', 'b', 'c']) log.writer.append(0, Buffer.from(text))
  return log
}
const texts = async (log: MemoryLog): Promise<string> =>
  (await log.reader.read(0, log.reader.first(0), ALL)).map((r) => String(r.payload)).join('')

describe('faults of the log in memory', () => {
  test('the schedule decides when a sync resolves; what comes meanwhile takes the next round', async () => {
    const rounds: (() => void)[] = []
    const log = three({ schedule: (complete) => rounds.push(complete) })
    const order: string[] = []
    void log.writer.sync().then(() => order.push('first'))
    await Promise.resolve()
    log.writer.append(0, Buffer.from('d'))
    void log.writer.sync().then(() => order.push('second'))
    await new Promise((resolve) => setImmediate(resolve))
    expect([rounds.length, order.length, log.reader.end(0)]).toEqual([1, 0, 0])
    rounds[0]?.()
    await new Promise((resolve) => setImmediate(resolve))
    expect([rounds.length, order, log.reader.end(0)]).toEqual([2, ['first'], 3])
    rounds[1]?.()
    await new Promise((resolve) => setImmediate(resolve))
    expect([order, log.reader.end(0)]).toEqual([['first', 'second'], 4])
  })

  test('a crash keeps what was synced and as much of the rest as asked', async () => {
    for (const [keepUnsynced, torn, expected] of [
      [0, false, 'a'],
      [1, false, 'ab'],
      [2, true, 'ab'],
      [9, false, 'abc'],
      [9, true, 'ab'],
    ] as const) {
      const log = new MemoryLog({ partitions: 1 })
      log.writer.append(0, Buffer.from('a'))
      await log.writer.sync()
      log.writer.append(0, Buffer.from('b'))
      log.writer.append(0, Buffer.from('c'))
      expect(await texts(log.crash({ keepUnsynced, torn }))).toBe(expected)
    }
  })

  test('a crashed log is dead: nothing goes in, a pending sync never resolves', async () => {
    const rounds: (() => void)[] = []
    const log = three({ schedule: (complete) => rounds.push(complete) })
    let settled = false
    void log.writer.sync().finally(() => {
      settled = true
    })
    await Promise.resolve()
    const after = log.crash({ keepUnsynced: 1 })
    rounds[0]?.()
    await new Promise((resolve) => setImmediate(resolve))
    expect(settled).toBe(false)
    expect(() => log.writer.append(0, Buffer.alloc(1))).toThrow('crashed')
    expect([await texts(after), after.writer.end(0)]).toEqual(['a', 1])
  })

  test('records of a failed write are gone after a crash, those of a failed sync may be there', async () => {
    for (const [failNext, expected] of [
      ['write', ''],
      ['sync', 'abc'],
    ] as const) {
      const log = three({ failNext })
      await expect(log.writer.sync()).rejects.toMatchObject({ code: 'log_failed' })
      expect(await texts(log.crash({ keepUnsynced: 3 }))).toBe(expected)
    }
  })

  test('onSynced tells how far the log is durable before the sync resolves', async () => {
    const seen: (number | string)[] = []
    const log = new MemoryLog({ partitions: 1, onSynced: (ordinal) => seen.push(ordinal) })
    log.writer.append(0, Buffer.from('a'))
    await log.writer.sync().then(() => seen.push('resolved'))
    expect(seen).toEqual([1, 'resolved'])
  })
})
