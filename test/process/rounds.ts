// Rounds of load and faults (faults.ts), and what must be true after the last of them: read through the public interface only.
import type { ShownTransition } from '../../src/cli/follow.ts'
import { must } from '../../src/core/assert.ts'
import type { Where } from '../../src/operators/definition.ts'
import { below, seeded } from '../identity/random.ts'
import { call, Follower, setClock, settle } from './client.ts'
import { FAULTS, type FaultName, type Ground, saysFull } from './faults.ts'
import { Load, PATIENCE_MS } from './load.ts'
import { DataDirectory, pause, ServerProcess } from './server.ts'
import { type DiskKind, SmallDisk } from './small-disk.ts'
import {
  followerFaults,
  historyFaults,
  membershipFaults,
  readWorld,
  sequenceFaults,
  timelineFaults,
  traitFaults,
  type World,
} from './world.ts'

export interface RoundsOptions {
  readonly seed: number
  /** A round each, in this order. */
  readonly faults: readonly FaultName[]
  /** Where the data lies; by default in a directory. */
  readonly disk?: { readonly kind: DiskKind; readonly megabytes: number }
  readonly clock: 'manual' | 'wall'
  readonly people: number
  /** How long the load runs between two faults, at most. */
  readonly lifeMs: number
  /** Between two requests of a connection, at most. */
  readonly thinkMs?: number
  /** Told of every step. */
  readonly say?: (what: string) => void
}

export interface Outcome {
  readonly faults: readonly string[]
  readonly figures: { readonly [name: string]: number }
  /** The last state that was looked at, for tests of the laws themselves. */
  readonly seen: Seen
}

export interface Seen {
  readonly world: World
  /** What the clock said when it was read, ms. */
  readonly now: number
  readonly sent: ReadonlyMap<string, object>
  readonly acknowledged: readonly string[]
  readonly received: readonly ShownTransition[]
}

/** Everything that must hold, by the name of the law. */
export function faultsOf({ world, now, sent, acknowledged, received }: Seen): { readonly [law: string]: string[] } {
  return {
    timelines: timelineFaults(world, sent, acknowledged),
    sequences: sequenceFaults(world),
    follower: followerFaults(world, received),
    memberships: membershipFaults(world, now),
    traits: traitFaults(world, now),
    partitions: world.status.partitions.filter((p) => p.state !== 'running' || p.lag > 0).map((p) => `partition ${JSON.stringify(p)}`),
  }
}

const SECOND = 1000
const HOUR = 3600 * SECOND
const DAY = 24 * HOUR
/** Where the manual clock stands at first. */
const T0 = Date.parse('2026-05-01T12:00:00Z')
const CONNECTIONS = 6
const LAST_PEOPLE = 25
const LAST_EVENTS = [
  { event: 'View', properties: { page: 1 } },
  { event: 'View', properties: { page: 2 } },
  { event: 'View', properties: { page: 3 } },
  { event: 'Order Completed', properties: { total: 1 } },
] as const
/** Answered or given up, over all rounds. */
const LEAST_MESSAGES = 400
/** Servers that apply to their stores all the time and cut their journals soon, so that faults hit that too. */
export const BUSY_STORE = ['--apply-ms', '20', '--batch-bytes', '1MB', '--apply-bytes', '1MB', '--journal-bytes', '2MB']
const BUSY_SHARE = 0.6
/** On a disk of its own. */
const MIN_FREE_MB = 64

/** Segments that more events move one way only, so that every single transition can be recomputed. */
const oneWay = (unit: number): { readonly [id: string]: Where } => ({
  views: { event: 'View', within: `${unit}ms`, count: { gte: 3 } },
  buyers: { event: 'Order Completed', within: `${2 * unit}ms` },
  spenders: { event: 'Order Completed', sum: 'properties.total', gte: 300 },
  quiet: { not: { event: ['View', 'Order Completed'], within: `${3 * unit}ms` } },
  browsers: { event: 'View', distinct: 'properties.page', gte: 5 },
})

const others = (unit: number): { readonly [id: string]: Where } => ({
  pro: { trait: 'plan', eq: 'pro' },
  lapsed: { event: 'Order Completed', last: { before: `${unit}ms` } },
  undecided: { all: [{ event: 'View' }, { event: 'Order Completed', within: `${2 * unit}ms`, count: { eq: 0 } }] },
  average: { event: 'Order Completed', avg: 'properties.total', between: [30, 60] },
  scored: { all: [{ trait: 'score', gte: 50 }, { not: { trait: 'plan', in: ['free'] } }] },
})

export async function faultRounds(options: RoundsOptions): Promise<Outcome> {
  const disk = options.disk && SmallDisk.mount(options.disk.kind, options.disk.megabytes)
  if (options.disk && !disk) throw new Error(`no ${options.disk.kind} can be mounted here: this takes root`)
  const directory = disk ?? new DataDirectory()
  const rounds = new Rounds(options, directory.path, disk)
  try {
    return await rounds.run()
  } finally {
    await rounds.end()
    directory.remove()
  }
}

class Rounds {
  readonly #options: RoundsOptions
  readonly #dataDir: string
  readonly #disk: SmallDisk | undefined
  readonly #random: () => number
  readonly #load: Load
  readonly #follower: Follower
  readonly #unit: number
  #server: ServerProcess | undefined
  #now = T0
  /** What servers wrote to their logs as errors. */
  readonly #errors: string[] = []
  /** Servers that were told of a full disk: what they say of it is no fault. */
  readonly #onFullDisk = new Set<ServerProcess>()
  #starts = 0
  #clockMoves = 0
  #edits = 0
  #threshold = 0

  constructor(options: RoundsOptions, dataDir: string, disk: SmallDisk | undefined) {
    this.#options = options
    this.#dataDir = dataDir
    this.#disk = disk
    this.#random = seeded(options.seed)
    this.#unit = options.clock === 'manual' ? DAY : 2 * SECOND
    const urlOf = (): string => {
      if (!this.#server) throw new Error('there is no server')
      return this.#server.url
    }
    this.#load = new Load({
      random: this.#random,
      urlOf,
      connections: CONNECTIONS,
      people: options.people,
      ...(options.thinkMs === undefined ? {} : { thinkMs: options.thinkMs }),
      timestamp: (r) => this.#timestamp(r),
      forgives: (answer) => this.#onFullDisk.size > 0 && saysFull(answer),
    })
    this.#follower = new Follower(urlOf)
  }

  get #clockMs(): number {
    return this.#options.clock === 'manual' ? this.#now : Date.now()
  }

  /** Mostly new, some late, on the manual clock a few ahead. */
  #timestamp(random: () => number): number {
    const now = this.#clockMs
    const draw = random()
    if (draw < 0.03 && this.#options.clock === 'manual') return now + below(random, 2 * HOUR)
    return now - below(random, draw < 0.8 ? 2 * this.#unit : 10 * this.#unit)
  }

  async run(): Promise<Outcome> {
    await this.#start()
    await this.#prepare()
    this.#load.start()
    for (const fault of this.#options.faults) await this.#round(fault)
    await pause(this.#options.lifeMs)
    // However slow the machine is: what is verified is worth it.
    while (this.#load.fates.size < LEAST_MESSAGES && this.#load.faults.length === 0) await pause(20)
    await this.#load.stop()
    await this.#sendLast()
    return this.#verify()
  }

  /** Something of everybody once nobody merges any more: however late the machine was with merges, there is a history behind them. */
  async #sendLast(): Promise<void> {
    await settle(this.#url)
    const timestamp = new Date(this.#clockMs).toISOString()
    const people = Array.from({ length: Math.min(this.#options.people, LAST_PEOPLE) }, (_, person) => `u${person}`)
    const batch = people.flatMap((userId) =>
      LAST_EVENTS.map((event, i) => ({ ...event, type: 'track', userId, messageId: `last ${userId} ${i}`, timestamp })),
    )
    await this.#persist(() => call(this.#url, '/v1/batch', { method: 'POST', body: { batch } }))
    for (const message of batch) {
      this.#load.messages.set(message.messageId, message)
      this.#load.fates.set(message.messageId, 'acknowledged')
      this.#load.identifiers.add(`user_id:${message.userId}`)
    }
  }

  async end(): Promise<void> {
    await this.#follower.stop()
    await this.#server?.end('SIGKILL')
    for (const line of this.#errors) this.#options.say?.(line)
  }

  get #url(): string {
    if (!this.#server) throw new Error('there is no server')
    return this.#server.url
  }

  #begin(): ServerProcess {
    const busy = this.#random() < BUSY_SHARE ? BUSY_STORE : []
    const room = this.#disk ? ['--min-free-bytes', `${MIN_FREE_MB}MB`] : []
    this.#starts++
    return new ServerProcess(this.#dataDir, ['--partitions', '4', '--hosts', '2', '--clock', this.#options.clock, ...busy, ...room])
  }

  async #start(): Promise<void> {
    this.#noteErrors()
    this.#server = await this.#begin().listening()
    this.#options.say?.(`a server listens at ${this.#server.url}`)
  }

  /** What the server that is no more had said. */
  #noteErrors(): void {
    const server = this.#server
    if (!server) return
    const isFull = this.#onFullDisk.has(server)
    for (const line of server.err.split('\n')) if (/"level":[56]0/.test(line) && !(isFull && saysFull(line))) this.#errors.push(line)
  }

  /** Segments, and a first transition, so that the follower has an id to resume from. */
  async #prepare(): Promise<void> {
    if (this.#options.clock === 'manual') await setClock(this.#url, this.#now)
    const segments = { ...oneWay(this.#unit), ...others(this.#unit) }
    for (const [id, where] of Object.entries(segments)) await call(this.#url, `/v1/segments/${id}`, { method: 'PUT', body: { where } })
    await this.#follower.start()
    const first = {
      type: 'track',
      event: 'View',
      userId: 'first',
      messageId: 'first',
      timestamp: new Date(this.#timestamp(() => 0.5)).toISOString(),
    }
    this.#load.messages.set(first.messageId, first)
    this.#load.identifiers.add('user_id:first')
    const deadline = Date.now() + PATIENCE_MS
    while (this.#follower.received.length === 0) {
      if (Date.now() > deadline) throw new Error('no transition comes on the stream')
      await call(this.#url, '/v1/track', { method: 'POST', body: { ...first, event: 'Order Completed', properties: { total: 1000 } } })
      await pause(20)
    }
    this.#load.fates.set(first.messageId, 'acknowledged')
  }

  async #round(name: FaultName): Promise<void> {
    const steering = this.#steer()
    steering.catch(() => {})
    await pause(20 + below(this.#random, this.#options.lifeMs))
    await FAULTS[name](this.#ground)
    await steering
    this.#options.say?.(`${name}; so far ${this.#load.answered} requests answered, ${this.#load.unanswered} not`)
  }

  get #ground(): Ground {
    const server = (): ServerProcess => must(this.#server, 'a fault begins with a server that runs')
    return {
      random: this.#random,
      server,
      begin: () => this.#begin(),
      start: () => this.#start(),
      write: () => this.#edit(),
      expectFullDisk: () => this.#onFullDisk.add(server()),
      disk: this.#disk,
      minFreeBytes: MIN_FREE_MB << 20,
      say: (what) => this.#options.say?.(what),
    }
  }

  /** Moves the clock or edits a segment, until that has succeeded. */
  async #steer(): Promise<void> {
    const draw = this.#random()
    if (this.#options.clock === 'manual' && draw < 0.4) {
      this.#now += below(this.#random, 6 * HOUR)
      this.#clockMoves++
      return this.#persist(() => setClock(this.#url, this.#now))
    }
    if (draw > 0.6) {
      this.#edits++
      return this.#persist(() => this.#edit())
    }
  }

  /** Another threshold each time: an equal definition would be no change. */
  #edit(): Promise<unknown> {
    const where = { event: 'View', count: { gte: 1 + (this.#threshold++ % 4) } }
    return call(this.#url, '/v1/segments/edited', { method: 'PUT', body: { where } })
  }

  async #persist(act: () => Promise<unknown>): Promise<void> {
    const deadline = Date.now() + PATIENCE_MS
    for (;;) {
      try {
        await act()
        return
      } catch (error) {
        if (Date.now() > deadline) throw new Error(`steering did not succeed: ${this.#server?.err}`, { cause: error })
        await pause(20)
      }
    }
  }

  async #verify(): Promise<Outcome> {
    await this.#settled()
    this.#noteErrors()
    const faults = [...this.#load.faults, ...this.#errors]
    let seen = await this.#look()
    const until = seen.now
    faults.push(...Object.values(faultsOf(seen)).flat())
    // Everything that time alone brings about.
    for (const days of this.#options.clock === 'manual' ? [1, 1, 3] : []) {
      this.#now += days * DAY
      await setClock(this.#url, this.#now)
      seen = await this.#look()
      faults.push(...Object.values(faultsOf(seen)).flat())
    }
    const { checked, faults: wrong } = historyFaults(seen.world, Object.keys(oneWay(this.#unit)), until)
    return { faults: [...faults, ...wrong], figures: { ...this.#figures(seen.world), checkedOneByOne: checked }, seen }
  }

  /** On the wall clock, until no window holds anything any more: from then on nothing moves. */
  async #settled(): Promise<void> {
    await settle(this.#url)
    if (this.#options.clock === 'wall') await pause(3 * this.#unit + 1.5 * SECOND)
    let count = -1
    while (count !== this.#follower.received.length) {
      count = this.#follower.received.length
      await pause(200)
    }
  }

  async #look(): Promise<Seen> {
    await settle(this.#url)
    const now = this.#clockMs
    const world = await readWorld(this.#url, this.#load.identifiers)
    const deadline = Date.now() + PATIENCE_MS
    const last = world.transitions.at(-1)?.id
    while (this.#follower.received.at(-1)?.transition.id !== last && Date.now() < deadline) await pause(20)
    const acknowledged = [...this.#load.fates].filter(([, fate]) => fate === 'acknowledged').map(([id]) => id)
    return { world, now, sent: this.#load.messages, acknowledged, received: this.#follower.received.map((r) => r.transition) }
  }

  #figures(world: World): Outcome['figures'] {
    const fates = [...this.#load.fates.values()]
    return {
      faults: this.#options.faults.length,
      starts: this.#starts,
      clockMoves: this.#clockMoves,
      definitionEdits: this.#edits,
      answered: this.#load.answered,
      unanswered: this.#load.unanswered,
      acknowledged: fates.filter((f) => f === 'acknowledged').length,
      givenUp: fates.filter((f) => f === 'given up').length,
      profiles: world.profiles.size,
      merges: world.merges.length,
      transitions: world.transitions.length,
      streamed: this.#follower.received.length,
      streamConnections: this.#follower.connections,
    }
  }
}
