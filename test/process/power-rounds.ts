// Load, power loss, and what must be true of what is left: everything acknowledged is there, and so is every transition that
// somebody has seen. That no partition stands still says that events ≥ journal ≥ outputs and journal ≥ store (engine/agreement.ts).
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { ShownTransition } from '../../src/cli/follow.ts'
import { below, type Random, seeded } from '../identity/random.ts'
import { call, Follower, setClock, settle } from './client.ts'
import { Load } from './load.ts'
import { powerLost, standStill } from './power.ts'
import { BUSY_STORE, faultsOf } from './rounds.ts'
import { DataDirectory, pause, ServerProcess } from './server.ts'
import { readWorld } from './world.ts'

export interface PowerOptions {
  readonly seed: number
  readonly cuts: number
  readonly people: number
  /** How long the load runs between two cuts, at most. */
  readonly lifeMs: number
  readonly thinkMs: number
  /** Plants the bug of a disk that only pretends to sync: then things must be lost. */
  readonly isDiskLying?: boolean
}

export interface PowerOutcome {
  readonly faults: string[]
  readonly figures: { readonly [name: string]: number }
}

const T0 = Date.parse('2026-05-01T12:00:00Z')
const HOUR = 3_600_000
const FLAGS = ['--partitions', '4', '--hosts', '2', '--clock', 'manual']
/** Before the first cut. */
const LEAST_MESSAGES = 50
const LEAST_TRANSITIONS = 10
const NOTHING_SYNCED = '/dev/null'
const PRELOAD = new URL('./sync-trace.ts', import.meta.url).href

export async function powerRounds(options: PowerOptions): Promise<PowerOutcome> {
  const rounds = new PowerRounds(options)
  try {
    return await rounds.run()
  } finally {
    await rounds.end()
  }
}

class PowerRounds {
  readonly #options: PowerOptions
  readonly #random: Random
  readonly #directory = new DataDirectory()
  readonly #trace = join(this.#directory.path, '../trace')
  readonly #server: ServerProcess
  readonly #load: Load
  readonly #follower: Follower
  readonly #faults: string[] = []
  #now = T0
  #boots = 0
  #lostBytes = 0
  #seen = 0
  #others: ServerProcess | undefined

  constructor(options: PowerOptions) {
    this.#options = options
    this.#random = seeded(options.seed)
    this.#server = this.#begin(this.#directory.path, this.#trace)
    const urlOf = (): string => this.#server.url
    const { people, thinkMs } = options
    const timestamp = (random: Random): number => this.#now - below(random, 20 * HOUR)
    this.#load = new Load({ random: this.#random, urlOf, connections: 4, people, thinkMs, timestamp })
    this.#follower = new Follower(urlOf)
  }

  /** Each start is another boot of the machine. */
  #begin(dataDir: string, trace: string): ServerProcess {
    const env = { SYNC_TRACE: trace, SYNC_BOOT: `boot-${this.#boots++}` }
    return new ServerProcess(dataDir, [...FLAGS, ...BUSY_STORE], { argv: ['--import', PRELOAD], env })
  }

  async run(): Promise<PowerOutcome> {
    const { url } = await this.#server.listening()
    await setClock(url, this.#now)
    const segments = {
      buyers: { event: 'Order Completed' },
      quiet: { not: { event: ['View', 'Order Completed'], within: '6h' } },
      viewers: { event: 'View', within: '12h', count: { gte: 3 } },
    }
    for (const [id, where] of Object.entries(segments)) await call(url, `/v1/segments/${id}`, { method: 'PUT', body: { where } })
    await this.#follower.start()
    this.#load.start()
    for (let i = 0; i < this.#options.cuts; i++) await this.#round(i)
    const { cuts } = this.#options
    const figures = { cuts, lostBytes: this.#lostBytes, acknowledged: this.#load.fates.size, seenTransitions: this.#seen }
    return { faults: [...this.#faults, ...this.#load.faults], figures }
  }

  async end(): Promise<void> {
    await this.#follower.stop()
    const stopping = this.#load.abandon()
    await this.#server.end('SIGKILL')
    await this.#others?.end('SIGKILL')
    await stopping
    this.#directory.remove()
  }

  async #round(i: number): Promise<void> {
    await pause(below(this.#random, this.#options.lifeMs))
    // However slow the machine is: there is something to lose.
    while (!this.#hasEnough && this.#load.faults.length === 0) await pause(5)
    if (i % 3 === 1) {
      this.#now += below(this.#random, 5 * HOUR)
      await setClock(this.#server.url, this.#now)
    }
    await standStill(this.#server.pid)
    const acknowledged = [...this.#load.fates].filter(([, fate]) => fate === 'acknowledged').map(([id]) => id)
    const received = this.#follower.received.map((r) => r.transition)
    this.#seen = received.length
    const copy = join(this.#directory.path, `../copy-${i}`)
    this.#lostBytes += powerLost(this.#directory.path, copy, {
      trace: this.#options.isDiskLying ? NOTHING_SYNCED : this.#trace,
      random: this.#random,
    })
    const faults = await this.#verify(copy, acknowledged, received)
    this.#faults.push(...faults.map((f) => `cut ${i}: ${f}`))
    rmSync(copy, { recursive: true })
    process.kill(this.#server.pid, 'SIGCONT')
  }

  get #hasEnough(): boolean {
    return this.#load.fates.size > LEAST_MESSAGES && this.#follower.received.length > LEAST_TRANSITIONS
  }

  async #verify(copy: string, acknowledged: string[], received: ShownTransition[]): Promise<string[]> {
    const server = this.#begin(copy, `${copy}.trace`)
    this.#others = server
    try {
      const { url } = await server.listening()
      await settle(url)
      const world = await readWorld(url, this.#load.identifiers)
      const now = Date.parse(world.status.now)
      const { follower: _, ...laws } = faultsOf({ world, now, sent: this.#load.messages, acknowledged, received })
      const pages = world.transitions.map((t) => JSON.stringify(t))
      const unlike = received.findIndex((t, i) => pages[i] !== JSON.stringify(t))
      const missing = unlike < 0 ? [] : [`transition ${unlike} was seen as ${JSON.stringify(received[unlike])}, now it is ${pages[unlike]}`]
      const clock = now < this.#now ? [`the clock stands at ${now} and stood at ${this.#now}`] : []
      return [...Object.values(laws).flat(), ...missing, ...clock, ...(await goesOn(url))]
    } catch (error) {
      return [`${error}`]
    } finally {
      await server.end('SIGKILL')
    }
  }
}

/** It takes something new, and shows it. */
async function goesOn(url: string): Promise<string[]> {
  await call(url, '/v1/track', { method: 'POST', body: { event: 'View', userId: 'afterwards' } })
  await settle(url)
  const { items } = await call<{ items: unknown[] }>(url, '/v1/profiles/user_id:afterwards/events')
  return items.length === 1 ? [] : [`of one new message it shows ${items.length}`]
}
