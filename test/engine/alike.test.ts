// What processes of a deployment say of their settings when they start, on one log that loses answers, repeats records and delays them.
import { describe, expect, test } from 'vitest'
import { type Alike, compareAlike } from '../../src/engine/alike.ts'
import { Registry } from '../../src/engine/registry.ts'
import { below, pick, type Random, seeded, seedsOf } from '../identity/random.ts'
import { UnreliableLog } from '../log/unreliable-log.ts'
import { afterTurns } from './disk.ts'
import { LeapingClock } from './leaping-clock.ts'

const FIRST: Alike = {
  fixed: { partitions: 16, namespaces: 'user_id email' },
  changing: { futureLimit: 1000, 'kafka.outputs.profiles': false },
}
const LATER: Alike = { ...FIRST, changing: { ...FIRST.changing, futureLimit: 2000 } }
const OTHER: Alike = { ...FIRST, fixed: { ...FIRST.fixed, namespaces: 'email user_id' } }

class World {
  readonly clock = new LeapingClock(0)
  readonly log: UnreliableLog
  readonly #random: Random
  #isClosed = false

  constructor(random: Random) {
    this.#random = random
    const fate = () => ({ arrivals: pick(random, [0, 1, 1, 2, 3]), isAnswered: random() < 0.6 })
    this.log = new UnreliableLog({ schedule: (_, run) => this.#later(30, run), fate })
    this.#pump()
  }

  #later(most: number, run: () => void): void {
    afterTurns(below(this.#random, most), run)
  }

  /** Retries take time. */
  #pump(): void {
    if (this.#isClosed) return
    this.clock.advance(10)
    setImmediate(() => this.#pump())
  }

  close(): void {
    this.#isClosed = true
  }

  connect() {
    const failsToRead = (): boolean => this.#random() < 0.1
    return this.log.connect({ schedule: (_, run) => this.#later(4, run), clock: this.clock, failsToRead })
  }

  /** A process that starts with these settings: what it says, or why it doesn't start. */
  async start(settings: Alike): Promise<string[]> {
    const alarms: string[] = []
    try {
      await compareAlike(settings, { log: this.connect(), clock: this.clock, alarm: (message) => void alarms.push(message) })
      return alarms
    } catch (error) {
      return [String(error)]
    }
  }
}

describe.each(Array.from({ length: seedsOf(6) }, (_, seed) => seed))('seed %i', (seed) => {
  test('who has other fixed settings does not start, and is told which', async () => {
    const world = new World(seeded(seed))
    expect(await world.start(FIRST)).toEqual([])
    expect(await world.start(FIRST)).toEqual([])
    const why = 'namespaces: is "user_id email" there, "email user_id" here'
    expect(await world.start(OTHER)).toEqual([expect.stringContaining(`other settings: ${why}`)])
    expect(await world.start(FIRST)).toEqual([])
    world.close()
  })

  test('of two that start at one time with other fixed settings one starts', async () => {
    const world = new World(seeded(seed))
    const said = await Promise.all([world.start(FIRST), world.start(OTHER)])
    expect(said.filter((s) => s.length === 0).length).toBe(1)
    world.close()
  })

  test('a setting that may change is told once in a rolling change, and again by who was forgotten', async () => {
    const world = new World(seeded(seed))
    await world.start(FIRST)
    const change = 'settings have changed: futureLimit: is 1000 there, 2000 here'
    expect(await world.start(LATER)).toEqual([expect.stringContaining(change)])
    expect(await world.start(LATER)).toEqual([])
    expect(await world.start(FIRST)).toEqual([expect.stringContaining('futureLimit: is 2000 there, 1000 here')])
    world.close()
  })

  test('definitions on the same log are what they would be without', async () => {
    const world = new World(seeded(seed))
    const open = async (name: string): Promise<Registry> => {
      const registry = new Registry({ log: world.connect(), clock: world.clock, name, heard: () => undefined })
      await registry.open()
      return registry
    }
    await world.start(FIRST)
    const one = await open('one')
    expect(await one.put('a', { where: { event: 'A' } })).toBe(1)
    await world.start(LATER)
    expect(await one.put('b', { where: { event: 'B' } })).toBe(2)
    expect((await open('two')).current().map(({ id, version }) => [id, version])).toEqual([
      ['a', 1],
      ['b', 2],
    ])
    world.close()
  })
})
