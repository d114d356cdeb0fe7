// Several processes change definitions on one log that loses answers, repeats records and delays them: all have the same versions.
import { describe, expect, test } from 'vitest'
import type { DefinitionChange } from '../../src/engine/definitions.ts'
import { Registry } from '../../src/engine/registry.ts'
import { MemoryLog } from '../../src/log/memory-log.ts'
import { oneWriterLog } from '../../src/log/one-writer.ts'
import type { Where } from '../../src/operators/definition.ts'
import { below, pick, type Random, seeded, seedsOf } from '../identity/random.ts'
import { type Fate, UnreliableLog } from '../log/unreliable-log.ts'
import { afterTurns, turns } from './disk.ts'
import { LeapingClock } from './leaping-clock.ts'

const PROCESSES = 3
const CHANGES = 12
const GOOD: Fate = { arrivals: 1, isAnswered: true }
const whereOf = (n: number): Where => ({ event: `Order ${n}` })

interface Process {
  readonly registry: Registry
  readonly heard: DefinitionChange[]
}

class World {
  readonly clock = new LeapingClock(0)
  readonly log: UnreliableLog
  readonly #random: Random
  isCalm = false

  constructor(random: Random) {
    this.#random = random
    this.log = new UnreliableLog({ schedule: (_, run) => this.#later(30, run), fate: () => this.#fate() })
  }

  #later(most: number, run: () => void): void {
    afterTurns(below(this.#random, most), run)
  }

  #fate(): Fate {
    if (this.isCalm) return GOOD
    return { arrivals: pick(this.#random, [0, 1, 1, 2, 3]), isAnswered: this.#random() < 0.6 }
  }

  async process(name: string): Promise<Process> {
    const heard: DefinitionChange[] = []
    const failsToRead = (): boolean => !this.isCalm && this.#random() < 0.1
    const log = this.log.connect({ schedule: (_, run) => this.#later(4, run), clock: this.clock, failsToRead })
    const registry = new Registry({
      log,
      clock: this.clock,
      name,
      heard: (version, change) => {
        heard.push(change)
        expect(version).toBe(heard.length)
      },
    })
    await registry.open()
    registry.follow().catch((error: Error) => expect(error).toBeUndefined())
    return { registry, heard }
  }

  /** Moves time on until the work is done. */
  async during<T>(work: Promise<T>): Promise<T> {
    let isDone = false
    const settled = work.finally(() => {
      isDone = true
    })
    settled.catch(() => undefined)
    for (let i = 0; !isDone; i++) {
      expect(i).toBeLessThan(20_000)
      this.clock.advance(10)
      await turns(1)
    }
    return settled
  }
}

interface Outcome {
  readonly change: DefinitionChange
  /** Undefined: nothing was to be changed. */
  readonly version?: number | undefined
  readonly error?: unknown
}

async function changed(registry: Registry, random: Random): Promise<Outcome> {
  const id = `s${below(random, 3)}`
  const where = whereOf(below(random, 4))
  const change: DefinitionChange = random() < 0.3 ? { delete: id } : { put: { id, where } }
  try {
    const version = await ('put' in change ? registry.put(id, { where }) : registry.remove(id))
    return { change, version }
  } catch (error) {
    return { change, error }
  }
}

async function manyChanges(random: Random, registry: Registry): Promise<Outcome[]> {
  const outcomes: Outcome[] = []
  for (let i = 0; i < CHANGES; i++) {
    outcomes.push(await changed(registry, random))
    await turns(below(random, 5))
  }
  return outcomes
}

describe('on a log of several processes', () => {
  test.each(Array.from({ length: seedsOf(25) }, (_, seed) => seed))('all have the same versions, seed %i', async (seed) => {
    const random = seeded(seed)
    const world = new World(random)
    const processes = await world.during(Promise.all(Array.from({ length: PROCESSES }, (_, i) => world.process(`p${i}`))))
    const outcomes = (await world.during(Promise.all(processes.map((p) => manyChanges(random, p.registry))))).flat()
    world.isCalm = true
    // What is late by now arrives, and must change nothing that somebody was told.
    await turns(60)
    const late = await world.during(world.process('late'))
    const [first = late, ...others] = processes
    await world.during(Promise.all(processes.map((p) => p.registry.refresh())))

    for (const { registry } of others) expect(registry.changes).toEqual(first.registry.changes)
    expect(late.registry.changes).toEqual(first.registry.changes)
    for (const { registry, heard } of processes) expect(heard).toEqual(registry.changes)

    const made = outcomes.filter((o) => o.version !== undefined)
    expect(made.length).toBeGreaterThan(0)
    expect(new Set(made.map((o) => o.version)).size).toBe(made.length)
    for (const { version = 0, change } of made) expect(first.registry.changes[version - 1]).toEqual(change)
    for (const { error } of outcomes) if (error !== undefined) expect(error).toMatchObject({ code: 'append_in_doubt' })
    await Promise.all([late, ...processes].map((p) => p.registry.close()))
  })

  test('whoever loses the version that it wanted looks again: an equal definition is saved once', async () => {
    const world = new World(seeded(1))
    world.isCalm = true
    const [a, b] = await world.during(Promise.all([world.process('a'), world.process('b')]))
    const versions = await world.during(
      Promise.all([a.registry.put('buyers', { where: whereOf(1) }), b.registry.put('buyers', { where: whereOf(1) })]),
    )
    expect(versions.toSorted()).toEqual([1, undefined])
    expect(await world.during(b.registry.remove('buyers'))).toBe(2)
    // It has not been told of the deletion yet, and sees it nevertheless.
    expect(await world.during(a.registry.put('buyers', { where: whereOf(1) }))).toBe(3)
    await Promise.all([a, b].map((p) => p.registry.close()))
  })

  test('a change that does not come back is given up as in doubt', async () => {
    const world = new World(seeded(1))
    const { registry } = await world.during(world.process('a'))
    const deaf = new UnreliableLog({ schedule: () => {}, fate: () => ({ arrivals: 0, isAnswered: false }) })
    const log = deaf.connect({ schedule: (_, run) => queueMicrotask(run), clock: world.clock })
    const lost = new Registry({ log, clock: world.clock, name: 'b', heard: () => {} })
    await lost.open()
    await expect(world.during(lost.put('buyers', { where: whereOf(1) }))).rejects.toMatchObject({ code: 'append_in_doubt' })
    await Promise.all([registry.close(), lost.close()])
  })
})

test('records that say no version count, one after another', async () => {
  const memory = new MemoryLog({ partitions: 1 })
  for (const change of [{ put: { id: 'a', where: whereOf(1) } }, { put: { id: 'b', where: whereOf(2) } }, { delete: 'a' }])
    memory.writer.append(0, Buffer.from(JSON.stringify(change)))
  await memory.writer.sync()
  const registry = new Registry({ log: oneWriterLog(memory), clock: new LeapingClock(0), name: '', heard: () => {} })
  await registry.open()
  expect(registry.version).toBe(3)
  expect(registry.current().map(({ id, version }) => ({ id, version }))).toEqual([{ id: 'b', version: 2 }])
  expect(await registry.put('c', { where: whereOf(3) })).toBe(4)
})
