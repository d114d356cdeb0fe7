// Blocks of outputs on their way to topics that lose answers, give batches up, and let them arrive later nevertheless: whoever remembers
// the highest seq of each origin sees every entry, in order, once.
import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Distinct } from '../../examples/kafka-consumer/distinct.ts'
import { VirtualClock } from '../../src/core/clock.ts'
import { OriginBlocks } from '../../src/engine/outputs-origin.ts'
import type { OutputEntry } from '../../src/log/kafka-outputs.ts'
import { below, pick, type Random, seeded, seedsOf } from '../identity/random.ts'
import { type Fate, MemoryTopic } from './memory-topics.ts'

const PARTITIONS = 3
const ORIGINS = 2
const FATES: readonly Fate[] = ['there', 'there', 'there', 'lost', 'in doubt', 'late']

/** One origin: what its process gives out, and where it begins again after a crash. */
class Origin {
  readonly origin: number
  readonly #topic: MemoryTopic
  readonly #clock: VirtualClock
  readonly blocks: OutputEntry[][] = []
  /** Blocks that were confirmed, which is what a task writes down. */
  confirmed = 0
  troubles = 0
  #process: OriginBlocks<OutputEntry>

  constructor(origin: number, topic: MemoryTopic, clock: VirtualClock) {
    this.origin = origin
    this.#topic = topic
    this.#clock = clock
    this.#process = this.#start()
  }

  #start(): OriginBlocks<OutputEntry> {
    const started = new OriginBlocks<OutputEntry>({
      clock: this.#clock,
      write: async (entries) => void (await this.#topic.write(entries)),
      troubled: () => void this.troubles++,
    })
    return started
  }

  give(random: Random): void {
    let seq = (this.blocks.at(-1)?.at(-1)?.seq ?? 0) + 1
    const count = 1 + below(random, 5)
    const block = Array.from(
      { length: count },
      (): OutputEntry => ({ key: `p${below(random, 9)}`, origin: this.origin, seq: seq++, value: Buffer.from('{}') }),
    )
    this.blocks.push(block)
    this.#take(this.blocks.length)
  }

  #take(n: number): void {
    const process = this.#process
    process.take(this.blocks[n - 1] ?? []).then(
      () => {
        if (process !== this.#process) return
        expect(n).toBe(this.confirmed + 1)
        this.confirmed = n
      },
      () => undefined,
    )
  }

  /** All that is not written down as confirmed goes out again. */
  crash(): void {
    this.#process.close()
    this.#process = this.#start()
    for (let n = this.confirmed + 1; n <= this.blocks.length; n++) this.#take(n)
  }
}

async function run(seed: number): Promise<{ troubles: number; records: number; entries: number }> {
  const random = seeded(seed)
  const clock = new VirtualClock()
  const topic = new MemoryTopic(PARTITIONS)
  const origins = Array.from({ length: ORIGINS }, (_, origin) => new Origin(origin, topic, clock))
  for (let step = 0; step < 200; step++) {
    const kind = below(random, 10)
    if (kind < 4) pick(random, origins).give(random)
    else if (kind < 8) topic.step(below(random, PARTITIONS), pick(random, FATES))
    else if (kind === 8) topic.stepLate()
    else if (below(random, 8) === 0) pick(random, origins).crash()
    // What comes in the same turn as a batch that is given up comes before anybody has heard of it.
    if (kind >= 4 && below(random, 3) === 0) pick(random, origins).give(random)
    await setImmediate()
    clock.advance(below(random, 200))
  }
  for (let quiet = 0; quiet < 50; quiet++) {
    topic.stepLate()
    topic.flush()
    await setImmediate()
    clock.advance(300)
  }
  expect(faultsIn(topic, origins), `seed ${seed}`).toEqual([])
  for (const o of origins) expect(o.confirmed).toBe(o.blocks.length)
  const entries = origins.reduce((n, o) => n + o.blocks.flat().length, 0)
  return { troubles: origins.reduce((n, o) => n + o.troubles, 0), records: topic.records.flat().length, entries }
}

/** What a consumer sees that goes by the rule, against what was given out. */
function faultsIn(topic: MemoryTopic, origins: readonly Origin[]): string[] {
  const faults: string[] = []
  const distinct = new Distinct()
  const seen = new Set<string>()
  const last = new Map<string, number>()
  for (const { partition, origin, seq, key } of topic.records.flat()) {
    if (!distinct.take({ partition, origin, seq })) continue
    const id = `${origin}-${seq}`
    if (seen.has(id)) faults.push(`${id} is seen twice`)
    seen.add(id)
    const before = last.get(`${key} ${origin}`) ?? 0
    if (seq <= before) faults.push(`${id} comes after ${before}`)
    last.set(`${key} ${origin}`, seq)
  }
  for (const o of origins)
    for (const { origin, seq } of o.blocks.flat()) if (!seen.has(`${origin}-${seq}`)) faults.push(`${origin}-${seq} is not seen`)
  return faults
}

test('nothing is lost or out of order, whatever becomes of batches and processes', async () => {
  let [troubles, records, entries] = [0, 0, 0]
  for (let seed = 0; seed < seedsOf(20); seed++) {
    const of = await run(seed)
    troubles += of.troubles
    records += of.records
    entries += of.entries
  }
  // It was put to the test: much was in doubt, and came again.
  expect(troubles).toBeGreaterThan(50)
  expect(records).toBeGreaterThan(entries * 1.2)
})

test('what can not be mended is told, and what waits is refused', async () => {
  const clock = new VirtualClock()
  const blocks = new OriginBlocks<number>({ clock, write: () => Promise.reject(new TypeError('no')), troubled: () => undefined })
  await expect(blocks.take([1])).rejects.toThrow('no')
  await expect(blocks.take([2])).rejects.toMatchObject({ code: 'shutting_down' })
})
