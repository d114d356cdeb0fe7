// What owners delete of shared topics: nothing but what commits that count have covered, and again when it could not be done.
import { describe, expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import { VirtualClock } from '../../src/core/clock.ts'
import { positionOf } from '../../src/engine/inputs.ts'
import { KEPT_RECORDS, Release, type ReleasedTopic, type ReleasingTask } from '../../src/engine/release.ts'
import { emptyTaskState } from '../../src/engine/task-state.ts'
import { turns } from './disk.ts'

const EVERY_MS = 1000

/** A task of which a test says how far it is. */
class Told implements ReleasingTask {
  readonly partition: number
  readonly released = { journal: 0, events: 0, exchange: 0, failures: 0 }
  readonly state = emptyTaskState(2)
  releasable = 0
  committedInput = 0
  readonly received = [0, 0]
  readonly durable = [0, 0]

  constructor(partition: number) {
    this.partition = partition
  }

  expected(origin: number): number {
    return (this.received[origin] ?? 0) + 1
  }

  durableMark(origin: number): number {
    return this.durable[origin] ?? 0
  }
}

class Bench {
  readonly clock = new VirtualClock()
  readonly tasks = [new Told(0), new Told(1)]
  readonly deleted: [ReleasedTopic, Record<number, number>][] = []
  readonly troubles: string[] = []
  readonly read = [0, 0]
  refuses: ReleasedTopic | undefined
  readonly release = new Release({
    everyMs: EVERY_MS,
    clock: this.clock,
    tasks: () => this.tasks,
    exchangeRead: (partition) => this.read[partition] ?? 0,
    release: async (topic, positions) => {
      if (topic === this.refuses) throw new Error(`${topic} is not yours`)
      this.deleted.push([topic, Object.fromEntries(positions)])
    },
    troubled: (error) => this.troubles.push(error.message),
  })

  task(partition: number): Told {
    return must(this.tasks[partition], 'there are two')
  }

  /** What is deleted with the next look. */
  async look(): Promise<[ReleasedTopic, Record<number, number>][]> {
    this.clock.advance(EVERY_MS)
    await turns(1)
    return this.deleted.splice(0)
  }
}

describe('what nobody needs any more', () => {
  test('goes once, as far as commits that count cover it, of the partitions that run here', async () => {
    const bench = new Bench()
    const look = (): ReturnType<Bench['look']> => bench.look()
    const [first, second] = [bench.task(0), bench.task(1)]
    expect(await look()).toEqual([])
    first.releasable = 70
    first.committedInput = positionOf(100, 3)
    second.committedInput = positionOf(KEPT_RECORDS, 0)
    expect(await look()).toEqual([
      ['journal', { 0: 70 }],
      ['events', { 0: 100 - KEPT_RECORDS }],
    ])
    expect(first.released).toEqual({ journal: 70, events: 100 - KEPT_RECORDS, exchange: 0, failures: 0 })
    expect(await look()).toEqual([])
    second.releasable = 7
    second.committedInput = positionOf(KEPT_RECORDS + 1, 0)
    expect(await look()).toEqual([
      ['journal', { 1: 7 }],
      ['events', { 1: 1 }],
    ])
    await bench.release.close()
    first.releasable = 71
    expect(await look()).toEqual([])
  })

  test('goes of the exchange once all that had come by some reading is durable', async () => {
    const bench = new Bench()
    const task = bench.task(0)
    await bench.look()
    bench.read[0] = 50
    task.received[1] = 9
    // What had been read by the look before was nothing.
    expect(await bench.look()).toEqual([])
    bench.read[0] = 60
    task.durable[1] = 8
    expect(await bench.look()).toEqual([])
    task.durable[1] = 9
    expect(await bench.look()).toEqual([['exchange', { 0: 50 }]])
    expect(await bench.look()).toEqual([['exchange', { 0: 60 }]])
    await bench.release.close()
  })

  test('is tried again when it could not be deleted, which is told now and then and holds up nothing else', async () => {
    const bench = new Bench()
    const task = bench.task(0)
    bench.refuses = 'journal'
    task.releasable = 5
    task.committedInput = positionOf(100, 0)
    expect(await bench.look()).toEqual([['events', { 0: 100 - KEPT_RECORDS }]])
    for (let i = 0; i < 3; i++) expect(await bench.look()).toEqual([])
    expect(bench.troubles).toEqual(['journal is not yours'])
    expect(task.released).toMatchObject({ journal: 0, failures: 4 })
    bench.clock.advance(600_000)
    await bench.look()
    expect(bench.troubles).toHaveLength(2)
    bench.refuses = undefined
    expect(await bench.look()).toEqual([['journal', { 0: 5 }]])
    await bench.release.close()
  })
})
