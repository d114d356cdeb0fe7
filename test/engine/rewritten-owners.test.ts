// Production hosts that take partitions over from one another while the heads of their journals go, whoever deletes them: what is left
// is enough for the next one, with or without a store.
import { expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import { Writer } from '../../src/core/bytes.ts'
import { TributaryError } from '../../src/core/errors.ts'
import { encodeEvent } from '../../src/core/event.ts'
import { homeOf } from '../../src/core/identifier.ts'
import { Namespaces } from '../../src/core/namespace.ts'
import type { DefinitionChange } from '../../src/engine/definitions.ts'
import { encodeClock, encodeDefinitions, Pack } from '../../src/engine/inputs.ts'
import { isCut } from '../../src/engine/journal-port.ts'
import { readAndMap } from '../../src/intake/intake.ts'
import type { ClaimOptions } from '../../src/log/claimed-log.ts'
import { MemoryStore } from '../../src/state/memory-store.ts'
import { openValue } from '../../src/state/value.ts'
import { below, pick, type Random, seeded, seedsOf } from '../identity/random.ts'
import { DAY, limitsOf } from './harness.ts'
import { alone, idle, newStores, Owners, Process, type Surroundings } from './owners.ts'

const T0 = Date.parse('2026-05-01T00:00:00.000Z')
const PARTITIONS = 2
const SEEDS = seedsOf(6)
const STEPS = 60
/** Beyond what passes before a partition is opened again (host-moves.ts). */
const AGAIN_MS = 800
const namespaces = new Namespaces({})
const DEFINITIONS: DefinitionChange[] = [
  { put: { id: 'buyers', where: { event: 'Order' } } },
  { put: { id: 'often', where: { event: 'Order', count: { gte: 2 }, within: '1h' } } },
  { put: { id: 'idle', where: { not: { event: 'Order', within: '1h' } } } },
]

/** Owners whose journals lose their heads. */
class CutOwners extends Owners {
  readonly firsts: number[] = new Array(PARTITIONS).fill(0)
  /** Partitions come to hosts, and are followed by them until then, or not. */
  moving: 'followed' | 'alone' | undefined
  discarded = 0

  override portsOf(process: Process): ReturnType<Owners['portsOf']> {
    const ports = super.portsOf(process)
    if (!this.moving) return ports
    const partitions = ports.partitions
    return {
      ...ports,
      partitions: [],
      closeRows: async () => undefined,
      discardRows: async (partition) => {
        this.discarded++
        process.stores[partition] = new MemoryStore()
      },
      ...(this.moving === 'followed'
        ? {
            standby: {
              partitions,
              journal: (partition) => this.claimOptions(process, partition).log,
              troubled: (error) => this.troubles.push(error),
            },
          }
        : {}),
    }
  }

  override claimOptions(process: Pick<Process, 'step' | 'name'>, partition: number): ClaimOptions {
    const options = super.claimOptions(process, partition)
    const { log } = options
    const first = (): number => must(this.firsts[partition], 'each journal begins somewhere')
    return {
      ...options,
      log: {
        ...log,
        first: async () => first(),
        read: async (from, limits) => {
          if (from < first()) throw new TributaryError('data_corrupt', `position ${from} is no longer kept`)
          return log.read(from, limits)
        },
      },
    }
  }
}

const around = (random: Random): Surroundings => ({
  limits: limitsOf({ partitions: PARTITIONS, clock: 'manual', namespaces, limits: { applyMs: 5, batchEvents: 4, applyBytes: 4000 } }),
  definitions: DEFINITIONS,
  random,
})

class Story {
  readonly world: CutOwners
  readonly past: Process[] = []
  readonly around: Surroundings
  readonly #random: Random
  #sent = 0
  #now = T0
  cuts = 0
  leftBehind = 0

  constructor(seed: number) {
    this.#random = seeded(seed)
    this.around = around(this.#random)
    this.world = new CutOwners(this.around)
  }

  async run(): Promise<Process> {
    const { world } = this
    const random = this.#random
    await this.#control(encodeClock(T0))
    await this.#control(encodeDefinitions(DEFINITIONS.length))
    this.#begin(newStores(PARTITIONS))
    for (let i = 0; i < STEPS; i++) {
      if (random() < 0.6) await this.#ingest()
      if (random() < 0.1) {
        this.#now += 10 * 60_000
        await this.#control(encodeClock(this.#now))
      }
      for (const process of this.past) world.synced(process)
      this.#cut()
      const dice = random()
      if (dice < 0.08) this.#begin(this.#inherited())
      else if (dice < 0.16) pick(random, this.past).sleep()
      else if (dice < 0.34) pick(random, this.past).wake()
      else if (dice < 0.37) pick(random, this.past).kill()
      await world.run(10 + below(random, 15))
    }
    return this.#last()
  }

  /** One process that owns everything. */
  async begun(): Promise<Process> {
    await this.#control(encodeClock(T0))
    await this.#control(encodeDefinitions(DEFINITIONS.length))
    this.#begin(newStores(PARTITIONS))
    await this.world.run(60)
    return must(this.past[0], 'it has begun')
  }

  async goOn(process: Process): Promise<void> {
    await this.#ingest()
    this.world.synced(process)
    await this.world.run(25)
    this.#cut()
  }

  async #last(): Promise<Process> {
    const { world } = this
    world.calm()
    for (const process of this.past) process.wake()
    await world.run(150)
    const last = new Process(world, 'the last', newStores(PARTITIONS))
    await Promise.all([last.host.open(), world.run(300)])
    for (const process of [...this.past, last]) world.synced(process)
    await idle(last.host, world.events, () => world.clock.advance(1))
    return last
  }

  #begin(stores: MemoryStore[]): void {
    const { world } = this
    const process = new Process(world, `process ${this.past.length + 1}`, stores)
    this.past.push(process)
    process.host.open().catch((error: Error & { code?: string }) => {
      if (error.code === 'fenced') return
      if (!isCut(error)) {
        world.troubles.push(new Error(`opening failed: ${error.stack}`))
        return
      }
      this.leftBehind++
      this.#begin(newStores(PARTITIONS))
    })
  }

  /** As some process, living or not, thinks that it may. */
  #cut(): void {
    const process = pick(this.#random, this.past)
    for (const [p, task] of process.host.tasks) {
      const first = this.world.firsts[p] ?? 0
      if (task.releasable <= first) continue
      this.world.firsts[p] = task.releasable
      this.cuts++
    }
  }

  #inherited(): MemoryStore[] {
    if (this.#random() < 0.4) return newStores(PARTITIONS)
    return pick(this.#random, this.past).stores.map((store) => new MemoryStore(store.snapshot()))
  }

  async #control(payload: Buffer): Promise<void> {
    for (let p = 0; p < PARTITIONS; p++) await this.world.append(p, payload)
  }

  async #ingest(): Promise<void> {
    const random = this.#random
    const batch = Array.from({ length: 3 }, () => ({
      type: 'track',
      event: random() < 0.7 ? 'Order' : 'Look',
      anonymousId: `a${below(random, 6)}`,
      messageId: `m${random() < 0.1 ? below(random, this.#sent + 1) : ++this.#sent}`,
      timestamp: new Date(this.#now + this.#sent).toISOString(),
    }))
    const context = { acceptedAt: this.#now, sourcePriority: 100, namespaces, futureLimit: DAY }
    const { events } = readAndMap(Buffer.from(JSON.stringify({ batch })), { dialect: 'segment', type: undefined }, context)
    for (const e of events) {
      const pack = new Pack()
      const w = new Writer(256)
      encodeEvent(e, w)
      pack.add(w.view())
      await this.world.append(homeOf(must(e.identifiers[0], 'each event has an identifier').key, PARTITIONS), pack.take())
    }
  }
}

/** Rows that say what profiles are; the others (positions, outbox) tell how the stream was cut and who relayed what. */
const facts = (stores: readonly MemoryStore[]): string[][] =>
  stores.map((store) =>
    [...store.snapshot().rows]
      .filter(([key]) => 'lpatubz'.includes(key.charAt(0)))
      .map(([key, stored]) => `${Buffer.from(key, 'latin1').toString('hex')} ${openValue(key, stored).toString('hex')}`)
      .sort(),
  )

test(`what is left of a journal is what one process alone would have left (${SEEDS} seeds)`, async () => {
  let [cuts, owners, leftBehind] = [0, 0, 0]
  for (let seed = 1; seed <= SEEDS; seed++) {
    const story = new Story(seed)
    const last = await story.run()
    const reference = await alone(story.around, story.world.events)
    await last.host.close()
    const troubles = story.world.troubles.filter((e) => !/no answer|leader has changed|connection is closed/.test(e.message))
    expect(troubles, `seed ${seed}`).toEqual([])
    for (const process of story.past) for (const reason of process.reasons) expect(['fenced', 'journal_cut', undefined]).toContain(reason)
    for (let p = 0; p < PARTITIONS; p++) expect(story.world.transitions(p), `seed ${seed}`).toEqual(reference.transitions[p])
    expect(facts(last.stores), `seed ${seed}`).toEqual(facts(reference.stores))
    cuts += story.cuts
    owners += story.past.length
    leftBehind += story.leftBehind
  }
  console.info(`${owners} owners, ${cuts} cuts, ${leftBehind} left behind`)
  expect(cuts).toBeGreaterThan(3 * SEEDS)
  expect(owners).toBeGreaterThan(3 * SEEDS)
}, 1_200_000)

test.each(['followed', 'alone'] as const)('a host that the journal has left behind builds its stores anew (%s)', async (moving) => {
  const story = new Story(3)
  const { world } = story
  world.calm()
  const first = await story.begun()
  for (let i = 0; i < 5; i++) await story.goOn(first)
  const old = first.stores.map((store) => new MemoryStore(store.snapshot()))
  const ends = world.journals.map((journal) => journal.records.length)
  while (world.firsts.some((position, p) => position <= (ends[p] ?? 0))) await story.goOn(first)
  world.moving = moving
  const second = new Process(world, 'the second', old)
  await Promise.all([second.host.open(), world.run(100)])
  expect(world.discarded).toBe(moving === 'followed' ? PARTITIONS : 0)
  world.synced(second)
  for (let p = 0; p < PARTITIONS; p++) second.host.receive({ t: 'assign', partition: p })
  await world.run(AGAIN_MS)
  await idle(second.host, world.events, () => world.clock.advance(1))
  expect(world.discarded).toBe(PARTITIONS)
  expect(second.host.tasks.size).toBe(PARTITIONS)
  const reference = await alone(story.around, world.events)
  await second.host.close()
  expect(facts(second.stores)).toEqual(facts(reference.stores))
  for (const error of world.troubles) expect(error).toMatchObject({ code: 'journal_cut' })
})
