// The one scheduler of a simulation: whatever the production code awaits (a log, a store, a message, a turn of the loop) waits here for
// its turn, and the seed says whose it is. Owns the order of everything; knows nothing of what it orders.
//
// 1. Ports of one lane run in the order in which they came (messages of a channel); lanes know no order among each other.
// 2. Between two ports all microtasks run out, so a state of the world is a function of the seed and the number of steps.
// 3. Ports of a process that has died never run, those of one that is frozen not before it thaws.
import { must } from '../../src/core/assert.ts'
import { below, type Random, seeded } from '../identity/random.ts'

interface Port {
  readonly name: string
  readonly owner: object
  readonly run: () => void
}

export class Scheduler {
  readonly random: Random
  /** Names of the last steps, for the story of a failure. */
  readonly trail: string[] = []
  readonly keepsTrail: boolean
  steps = 0
  /** Of the names of all steps so far: equal runs have equal ones. */
  hash = 0x811c9dc5
  last = ''
  #lanes = new Map<string, Port[]>()
  #holds: { readonly prefix: string; readonly until: number }[] = []
  readonly #frozen = new Set<object>()
  readonly #dead = new WeakSet<object>()
  #nextLane = 0

  constructor(seed: number, keepsTrail: boolean) {
    this.random = seeded(seed)
    this.keepsTrail = keepsTrail
  }

  /** Queues a port; without a lane it is in nobody's order. */
  add(name: string, owner: object, run: () => void, lane = `${name}#${this.#nextLane++}`): void {
    // What others still have for it finds nobody (3).
    if (this.#dead.has(owner)) return
    const ports = this.#lanes.get(lane)
    if (ports) ports.push({ name, owner, run })
    else this.#lanes.set(lane, [{ name, owner, run }])
  }

  /** Resolves when it is this port's turn. */
  wait(name: string, owner: object, lane?: string): Promise<void> {
    return new Promise((resolve) => this.add(name, owner, resolve, lane))
  }

  /** Ports whose names begin so must wait, as long as there are others and at most so many steps. */
  hold(prefix: string, steps: number): void {
    this.#holds.push({ prefix, until: this.steps + steps })
  }

  /** Nothing is held back any more. */
  release(): void {
    this.#holds = []
  }

  /** The owner has died (3). */
  forget(owner: object): void {
    this.#dead.add(owner)
    for (const [lane, ports] of this.#lanes) {
      const kept = ports.filter((port) => port.owner !== owner)
      if (kept.length === 0) this.#lanes.delete(lane)
      else this.#lanes.set(lane, kept)
    }
  }

  /** Nothing of this owner runs (3). */
  freeze(owner: object): void {
    this.#frozen.add(owner)
  }

  thaw(owner: object): void {
    this.#frozen.delete(owner)
  }

  get isEmpty(): boolean {
    return this.#awake().length === 0
  }

  /** Lanes whose turn it could be. */
  #awake(): string[] {
    if (this.#frozen.size === 0) return [...this.#lanes.keys()]
    return [...this.#lanes].filter(([, ports]) => !this.#frozen.has(must(ports[0], 'a lane has a port').owner)).map(([lane]) => lane)
  }

  isPending(prefix: string): boolean {
    for (const ports of this.#lanes.values()) if (must(ports[0], 'a lane has a port').name.startsWith(prefix)) return true
    return false
  }

  /** Runs one port, if there is any, and all that follows from it by itself (2). */
  async step(): Promise<boolean> {
    const lane = this.#draw()
    if (lane === undefined) return false
    const ports = must(this.#lanes.get(lane), 'the lane was drawn')
    const port = must(ports.shift(), 'a lane has a port')
    if (ports.length === 0) this.#lanes.delete(lane)
    this.note(port.name)
    port.run()
    await turn()
    return true
  }

  /** Something else has happened that belongs to the run. */
  note(name: string): void {
    this.steps++
    this.last = name
    for (let i = 0; i < name.length; i++) this.hash = Math.imul(this.hash ^ name.charCodeAt(i), 0x01000193) >>> 0
    if (this.keepsTrail) this.trail.push(name)
  }

  #draw(): string | undefined {
    if (this.#holds.length > 0) this.#holds = this.#holds.filter((hold) => hold.until > this.steps)
    const awake = this.#awake()
    const free =
      this.#holds.length === 0 ? awake : awake.filter((lane) => !this.#isHeld(must(this.#lanes.get(lane)?.[0], 'a lane has a port')))
    const lanes = free.length > 0 ? free : awake
    return lanes[below(this.random, lanes.length)]
  }

  #isHeld({ name }: Port): boolean {
    return this.#holds.some((hold) => name.startsWith(hold.prefix))
  }
}

/** Resolves when all microtasks have run out. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
