// States of profiles while processes overtake one another: a process says nothing from memory, so that whoever was overtaken finds that
// out before it says anything more. What nothing prevents is in the end (docs/kafka.md, "Limits that are known"): a request that has left
// already, and that the brokers take after all. Whoever mends that turns those tests around.
import { setImmediate } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { Distinct } from '../../examples/kafka-consumer/distinct.ts'
import { must } from '../../src/core/assert.ts'
import { VirtualClock } from '../../src/core/clock.ts'
import { TributaryError } from '../../src/core/errors.ts'
import { PROFILE_KEY_BYTES } from '../../src/core/identifier.ts'
import type { ProfileView } from '../../src/engine/engine.ts'
import { encodeBlock, ProfileBlock } from '../../src/engine/outbox.ts'
import { ProfilesTopic } from '../../src/engine/outputs-profiles.ts'
import { publicIdText } from '../../src/engine/public-id.ts'
import type { OutputEntry } from '../../src/log/kafka-outputs.ts'
import { below, pick, type Random, seeded, seedsOf } from '../identity/random.ts'
import { type Fate, MemoryTopic } from './memory-topics.ts'

const [P, Q] = [0, 1]
const FRESH_MS = 1000
/** Long for a partition that moves. */
const LONG_MS = 100_000

const publicIdOf = (name: string): string => name.repeat(16)
const keyOf = (name: string): string => name.repeat(PROFILE_KEY_BYTES)

interface Write {
  readonly entries: readonly OutputEntry[]
  readonly untilMs: number
  readonly done: PromiseWithResolvers<void>
}

/** One process. What it writes is settled by the test. */
class Process {
  readonly clock = new VirtualClock(0)
  readonly writes: Write[] = []
  troubles = 0
  lookUps = 0
  /** What its own partitions have of each profile, by name. */
  plans: Record<string, string> = {}
  hasMoved = false
  /** Happens before a look-up has its answer, and after what it answers was read. */
  meanwhile: () => void = () => undefined
  readonly profiles = new ProfilesTopic({
    clock: this.clock,
    freshMs: FRESH_MS,
    profileAt: (_, key) => this.#profileAt(must(key[0], 'keys have bytes')),
    encode: (profile) => Buffer.from(JSON.stringify(profile.traits)),
    write: (entries, untilMs) => {
      const done = Promise.withResolvers<void>()
      this.writes.push({ entries, untilMs, done })
      return done.promise
    },
    troubled: () => void this.troubles++,
    alarm: (text) => expect.fail(text),
  })

  async #profileAt(name: string): Promise<ProfileView | undefined> {
    this.lookUps++
    if (this.hasMoved) throw new TributaryError('partition_moving', 'another process has it')
    const plan = this.plans[name]
    this.meanwhile()
    return plan === undefined ? undefined : ({ id: publicIdText(publicIdOf(name)), traits: { plan } } as unknown as ProfileView)
  }

  take(partition: number, firstSeq: number, names: string): Promise<void> {
    const block = new ProfileBlock()
    for (const name of names) block.changed(publicIdOf(name), keyOf(name))
    return this.profiles.take(partition, encodeBlock({ firstSeq, count: names.length, entries: block.take() }))
  }

  /** Settles the last write. */
  async settle(outcome: 'there' | 'in doubt'): Promise<void> {
    const { done } = must(this.writes.at(-1), 'something was written')
    if (outcome === 'there') done.resolve()
    else done.reject(new TributaryError('append_in_doubt', 'no answer came'))
    await setImmediate()
  }

  async pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 100) {
      this.clock.advance(100)
      await setImmediate()
    }
  }

  /** All that was given to the brokers, write by write. */
  get said(): string[] {
    return this.writes.map(({ entries }) => entries.map(({ seq, value }) => `${seq} ${value}`).join(', '))
  }
}

const plan = (name: string): string => `{"plan":"${name}"}`

describe('a state of a profile', () => {
  test('is not said again after a write in doubt, where its partition has moved meanwhile', async () => {
    const process = new Process()
    process.plans = { x: 'old' }
    let isTold = false
    void process.take(P, 10, 'x').then(() => {
      isTold = true
    })
    await setImmediate()
    process.hasMoved = true
    await process.settle('in doubt')
    await process.pass(LONG_MS)
    expect(process.said).toEqual([`10 ${plan('old')}`])
    expect([isTold, process.troubles]).toEqual([false, 1])
    // It goes on asking who owns the partition, now and then.
    const { lookUps } = process
    expect(lookUps).toBeGreaterThan(2)
    await process.pass(LONG_MS)
    expect(process.lookUps - lookUps).toBeGreaterThan(0)
    expect(process.lookUps - lookUps).toBeLessThanOrEqual(LONG_MS / 1000)
    process.profiles.close()
  })

  test('is not overtaken by one behind it, however long their partition does not answer', async () => {
    const process = new Process()
    process.plans = { x: 'one', y: 'other' }
    process.hasMoved = true
    const told: number[] = []
    // As many as are looked up at once, so that the next block is told by itself.
    void process.take(P, 1, 'x'.repeat(500)).then(() => told.push(1))
    void process.take(P, 501, 'y').then(() => told.push(2))
    await process.pass(LONG_MS)
    process.hasMoved = false
    for (let turn = 0; turn < 50; turn++) {
      await process.pass(100)
      process.writes.at(-1)?.done.resolve()
    }
    expect(process.said).toEqual([`500 ${plan('one')}`, `501 ${plan('other')}`])
    expect(told).toEqual([1, 2])
  })

  test('is looked up anew after a write in doubt, and goes under the seq that it had', async () => {
    const process = new Process()
    process.plans = { x: 'old', y: 'same' }
    const taken = process.take(P, 10, 'xy')
    await setImmediate()
    process.plans = { x: 'new', y: 'same' }
    await process.settle('in doubt')
    await process.pass(1000)
    await process.settle('there')
    await taken
    expect(process.said).toEqual([`10 ${plan('old')}, 11 ${plan('same')}`, `10 ${plan('new')}, 11 ${plan('same')}`])
  })

  test('is looked up again, where its process stood still between look-up and write', async () => {
    const process = new Process()
    process.plans = { x: 'old' }
    process.meanwhile = () => {
      process.meanwhile = () => undefined
      process.clock.advance(FRESH_MS)
      process.plans = { x: 'new' }
    }
    const taken = process.take(P, 10, 'x')
    await setImmediate()
    await process.settle('there')
    await taken
    expect([process.lookUps, process.said]).toEqual([2, [`10 ${plan('new')}`]])
    expect(process.writes[0]?.untilMs).toBe(2 * FRESH_MS)
  })

  test('gets nowhere, where its process stood still and was overtaken', async () => {
    const process = new Process()
    process.plans = { x: 'old' }
    process.meanwhile = () => {
      process.clock.advance(10 * FRESH_MS)
      process.hasMoved = true
    }
    void process.take(P, 10, 'x')
    await setImmediate()
    await process.pass(LONG_MS)
    expect(process.said).toEqual([])
  })

  test('is looked up with fewer others, where so many take too long', async () => {
    const process = new Process()
    const names = 'abcdefgh'
    process.plans = Object.fromEntries([...names].map((name) => [name, name]))
    // So three of them are looked up in time, and four are not.
    process.meanwhile = () => process.clock.advance(0.3 * FRESH_MS)
    let isTold = false
    const taken = process.take(P, 1, names).then(() => {
      isTold = true
    })
    for (let turn = 0; turn < 20 && !isTold; turn++) {
      await setImmediate()
      process.writes.at(-1)?.done.resolve()
    }
    await taken
    expect(process.writes.map(({ entries }) => entries.map(({ seq }) => seq))).toEqual([
      [1, 2],
      [3, 4],
      [5, 6],
      [7, 8],
    ])
  })

  test('that is not confirmed when the outputs close is left to the next start', async () => {
    const process = new Process()
    process.plans = { x: 'old' }
    const taken = process.take(P, 10, 'x')
    await setImmediate()
    process.profiles.close()
    await Promise.all([expect(taken).rejects.toMatchObject({ code: 'shutting_down' }), process.settle('in doubt')])
    await process.pass(LONG_MS)
    expect([process.writes.length, process.troubles]).toEqual([1, 0])
  })
})

// ---- order

const PARTITIONS = 3
const NAMES = 'abcdefghi'
const FATES: readonly Fate[] = ['there', 'there', 'there', 'lost', 'in doubt', 'late']

/** What one partition tells, of profiles of its own, on a topic that loses answers. */
class Origin {
  readonly #origin: number
  readonly #names: readonly string[]
  readonly #profiles: ProfilesTopic
  readonly versions = new Map<string, number>()
  #seq = 0
  given = 0
  /** In the order in which they were told. */
  readonly told: number[] = []
  troubles = 0

  constructor(origin: number, topic: MemoryTopic, clock: VirtualClock) {
    this.#origin = origin
    this.#names = [...(origin === P ? NAMES : NAMES.toUpperCase())]
    this.#profiles = new ProfilesTopic({
      ...{ clock, freshMs: FRESH_MS },
      profileAt: async (_, key) => {
        const name = must(key[0], 'keys have bytes')
        return { id: publicIdText(publicIdOf(name)), traits: { version: this.versions.get(name) } } as unknown as ProfileView
      },
      encode: (profile) => Buffer.from(String(profile.traits.version)),
      write: async (entries) => void (await topic.write(entries)),
      troubled: () => void this.troubles++,
      alarm: (text) => expect.fail(text),
    })
  }

  change(random: Random): void {
    const block = new ProfileBlock()
    const count = 1 + below(random, 5)
    for (let i = 0; i < count; i++) {
      const name = pick(random, this.#names)
      this.versions.set(name, (this.versions.get(name) ?? 0) + 1)
      block.changed(publicIdOf(name), keyOf(name))
    }
    const n = ++this.given
    const payload = encodeBlock({ firstSeq: this.#seq + 1, count, entries: block.take() })
    this.#seq += count
    void this.#profiles.take(this.#origin, payload).then(() => this.told.push(n))
  }
}

/** What a consumer ends with who goes by the rule. */
function versionsOf(topic: MemoryTopic): Map<string, number> {
  const distinct = new Distinct()
  const taken = topic.records.flat().filter((record) => distinct.take(record))
  return new Map(taken.map(({ key, value }) => [must(key, 'states have keys'), Number(value)]))
}

async function run(seed: number): Promise<{ troubles: number }> {
  const random = seeded(seed)
  const clock = new VirtualClock()
  const topic = new MemoryTopic(PARTITIONS)
  const origins = [new Origin(P, topic, clock), new Origin(Q, topic, clock)]
  for (let step = 0; step < 200; step++) {
    const kind = below(random, 10)
    if (kind < 4) pick(random, origins).change(random)
    else if (kind < 9) topic.step(below(random, PARTITIONS), pick(random, FATES))
    else topic.stepLate()
    await setImmediate()
    clock.advance(below(random, 200))
  }
  for (let quiet = 0; quiet < 50; quiet++) {
    topic.stepLate()
    topic.flush()
    await setImmediate()
    clock.advance(300)
  }
  const seen = versionsOf(topic)
  for (const { versions, given, told } of origins) {
    expect(told, `seed ${seed}`).toEqual(Array.from({ length: given }, (_, i) => i + 1))
    for (const [name, version] of versions) expect(seen.get(publicIdText(publicIdOf(name))), `seed ${seed}`).toBe(version)
  }
  return { troubles: origins.reduce((n, { troubles }) => n + troubles, 0) }
}

test('a consumer has the newest states in the end, whatever becomes of writes, and blocks are told in order', async () => {
  let troubles = 0
  for (let seed = 0; seed < seedsOf(20); seed++) troubles += (await run(seed)).troubles
  expect(troubles).toBeGreaterThan(50)
})

// ---- what nothing prevents

/** All that lies in the topic, in its order; one partition. */
type Topic = OutputEntry[]

/** The state that a consumer ends with who keeps to docs/kafka.md. */
function stateOf(topic: Topic): string {
  const distinct = new Distinct()
  const taken = topic.filter(({ origin, seq }) => distinct.take({ partition: 0, origin, seq }))
  return String(taken.at(-1)?.value)
}

/** A process that has said something of profile x. */
async function saying(text: string | undefined, partition: number, seq: number): Promise<readonly OutputEntry[]> {
  const process = new Process()
  if (text !== undefined) process.plans = { x: text }
  void process.take(partition, seq, 'x')
  await setImmediate()
  return must(process.writes[0], 'it was written').entries
}

test('an old state that comes late is passed over by consumers, and is what compaction keeps', async () => {
  const underWay = await saying('old', P, 10)
  const topic: Topic = [...(await saying('new', P, 12)), ...underWay]
  expect(stateOf(topic)).toBe(plan('new'))
  // Of a key Kafka keeps the last record.
  expect(String(topic.at(-1)?.value)).toBe(plan('old'))
})

test('an old state that comes late is taken by consumers, where the profile has moved to another partition meanwhile', async () => {
  const underWay = await saying('old', P, 10)
  // Whoever took over finds the root gone, and says nothing under that seq.
  const topic: Topic = [...(await saying(undefined, P, 10)), ...(await saying('new', Q, 55)), ...underWay]
  expect(topic.map(({ origin, seq }) => `${origin}-${seq}`)).toEqual([`${Q}-55`, `${P}-10`])
  expect(stateOf(topic)).toBe(plan('old'))
})
