// Several engines in one process, as on several machines: each with its own host, stores, directory and clock; they share the logs of
// events, definitions, journals, exchange and outputs, and the test says who is to own what. Owns those logs and the group.
//
// A process that is killed does and hears nothing more; what it has sent arrives. A process that is slow answers and doesn't work.
import type { FastifyInstance } from 'fastify'
import { buildApi } from '../../src/api/api.ts'
import { checkConfig } from '../../src/config-load.ts'
import { must } from '../../src/core/assert.ts'
import { type Clock, systemClock } from '../../src/core/clock.ts'
import { TributaryError } from '../../src/core/errors.ts'
import type { EventRecord } from '../../src/core/event.ts'
import { homeOf, identifierKey } from '../../src/core/identifier.ts'
import { Namespaces } from '../../src/core/namespace.ts'
import type { TaskLimits } from '../../src/engine/config.ts'
import { type Member, type Peer, ToldDirectory } from '../../src/engine/directory.ts'
import { EmbeddedEngine } from '../../src/engine/embedded.ts'
import { type EventsPort, eventsPort } from '../../src/engine/events-port.ts'
import type { ExchangeTopic } from '../../src/engine/exchange.ts'
import { type FromHost, Host, type HostPorts, type ToHost } from '../../src/engine/host.ts'
import { claimedJournals } from '../../src/engine/journal-claimed.ts'
import { META_KEY } from '../../src/engine/keys.ts'
import { mayComeTo } from '../../src/engine/layout.ts'
import { Outputs } from '../../src/engine/outputs.ts'
import type { HostLink } from '../../src/engine/ports.ts'
import { httpPeers } from '../../src/engine/remote.ts'
import { Shared } from '../../src/engine/shared.ts'
import { readAndMap } from '../../src/intake/intake.ts'
import type { SharedLog } from '../../src/log/claimed.ts'
import { MemoryLog } from '../../src/log/memory-log.ts'
import { MemoryStore } from '../../src/state/memory-store.ts'
import { PendingRows } from '../../src/state/pending.ts'
import { turns } from '../engine/disk.ts'
import { DAY, limitsOf } from '../engine/harness.ts'
import { LeapingClock } from '../engine/leaping-clock.ts'
import { type Fate, type Schedule, UnreliableLog } from '../log/unreliable-log.ts'

const TIMING = { waitMs: 20, repeatMs: 30, retryMs: 5, freshMs: 100 }
const READ_TIMEOUT_MS = 3000
const SECRET = 'open sesame'
const HTTP_CONFIG = { clock: 'manual', kafka: { brokers: ['127.0.0.1:9092'], secret: SECRET } }
export const MAX_LAG = 50

export interface ClusterOptions {
  readonly processes: number
  readonly partitions?: number
  /** Of each process. */
  readonly hosts?: number
  readonly limits?: Partial<TaskLimits>
  /** How long a question takes to another process and back. */
  readonly peerTurns?: number
  /** Processes ask each other over HTTP. */
  readonly overHttp?: boolean
  readonly readTimeoutMs?: number
  /** What becomes of records of the exchange. */
  readonly exchangeFate?: () => Fate
}

const soon: Schedule = (_, run) => queueMicrotask(run)

export class ClusterProcess {
  readonly name: string
  readonly engine: EmbeddedEngine
  readonly directory = new ToldDirectory()
  readonly stopped: string[] = []
  isDead = false
  /** Its tasks get no turn. */
  isSlow = false
  /** What it opens waits for this. */
  mayOpen: Promise<void> = Promise.resolve()
  /** While set, what it appends to the events log gets nowhere. */
  losesEvents = false
  /** It hears of no definition that it doesn't know. */
  isDeaf = false
  readonly #cluster: Cluster
  readonly #stores = new Map<number, MemoryStore>()
  readonly #shared: Shared
  readonly #hosts: Host[] = []
  #api: FastifyInstance | undefined
  #url: string | undefined

  constructor(cluster: Cluster, name: string) {
    this.#cluster = cluster
    this.name = name
    const { limits, namespaces } = cluster
    const clock = this.#clock()
    this.#shared = new Shared(cluster.hosts, limits.partitions)
    for (let p = 0; p < limits.partitions; p++) this.#shared.committed(p, Number.POSITIVE_INFINITY)
    this.engine = new EmbeddedEngine({
      ...{ limits, namespaces, clock, shared: this.#shared, minFreeBytes: 0, maxLagEvents: MAX_LAG, readTimeoutMs: cluster.readTimeoutMs },
      events: this.#events(),
      definitions: this.#definitions(),
      outputs: cluster.outputsOf(this),
      cluster: { name, directory: this.directory, connect: (address) => this.#peer(address) },
      startHosts: (definitions, receive) =>
        Promise.all(Array.from({ length: cluster.hosts }, (_, host) => this.#startHost(host, definitions, receive))),
      freeBytes: () => Number.POSITIVE_INFINITY,
      stopped: (partition, reason) => void this.stopped.push(`${partition}: ${reason}`),
      fatal: (error) => void this.stopped.push(String(error.stack)),
      closed: async () => undefined,
    })
  }

  get address(): string {
    return this.#url ?? `memory:${this.name}`
  }

  /** From now on it is asked over HTTP. */
  async listen(): Promise<void> {
    this.#api = buildApi(this.engine, { config: checkConfig(HTTP_CONFIG), namespaces: this.#cluster.namespaces })
    this.#url = await this.#api.listen({ host: '127.0.0.1', port: 0 })
  }

  async close(): Promise<void> {
    await this.#api?.close()
    await this.engine.close()
  }

  #hostOf(partition: number): Host {
    return must(this.#hosts[partition % this.#hosts.length], 'each partition has a host')
  }

  /** What the group wants it to run is told to the host to which it comes. */
  post(message: ToHost & { readonly partition: number }): void {
    this.#post(this.#hostOf(message.partition), message)
  }

  #post(host: Host, message: ToHost): void {
    queueMicrotask(() => this.isDead || host.receive(message))
  }

  kill(): void {
    this.isDead = true
  }

  /** Its task finds something wrong and stops. */
  stop(partition: number): void {
    must(this.#hostOf(partition).tasks.get(partition), 'it runs here').fail(new Error('an invariant is broken'))
  }

  synced(ordinal: number): void {
    if (this.isDead) return
    const { events, limits } = this.#cluster
    for (let p = 0; p < limits.partitions; p++) this.#shared.appended(p, events.reader.end(p))
    this.engine.synced(ordinal)
  }

  #clock(): Clock {
    const { clock } = this.#cluster
    return {
      now: () => clock.now(),
      monotonicMs: () => clock.monotonicMs(),
      after: (delayMs, run) => clock.after(delayMs, () => this.isDead || run()),
    }
  }

  #connect(log: UnreliableLog): SharedLog {
    return log.connect({ schedule: (_, run) => queueMicrotask(() => this.isDead || run()), clock: this.#clock() })
  }

  #events(): EventsPort {
    const { writer } = this.#cluster.events
    const port = eventsPort(writer, this.#shared)
    return {
      ...port,
      append: (records) => (this.losesEvents || this.isDead ? new Promise(() => {}) : port.append(records)),
      close: async () => undefined,
    }
  }

  #definitions(): SharedLog {
    const log = this.#connect(this.#cluster.definitions)
    return {
      first: () => log.first(),
      append: (payload) => log.append(payload),
      read: async (from, limits) => {
        const page = await log.read(from, limits)
        if (!this.isDeaf) return page
        await turns(1)
        return { records: [], end: from }
      },
      close: () => log.close(),
    }
  }

  #exchange(): ExchangeTopic {
    const { exchange } = this.#cluster
    const of = (p: number): UnreliableLog => must(exchange[p], 'each partition has an exchange')
    return {
      partitions: exchange.length,
      append: (p, payload) => this.#connect(of(p)).append(payload),
      end: async (p) => of(p).records.length,
      cursor: (p) => {
        const log = this.#connect(of(p))
        return { read: (from, limits) => log.read(from, limits), close: () => void log.close() }
      },
    }
  }

  #peer(address: string): Peer {
    const { processes, peerTurns } = this.#cluster
    if (address.startsWith('http:')) return httpPeers({ secret: SECRET, clock: systemClock, timeoutMs: 10_000 })(address)
    return {
      ask: async (question) => {
        const other = processes.find((process) => process.address === address)
        await turns(peerTurns)
        if (!other || other.isDead) throw new TributaryError('partition_moving', `${address} does not answer`)
        const answer = await other.engine.answer(structuredClone(question))
        if (other.isDead) throw new TributaryError('partition_moving', `${address} has hung up`)
        return structuredClone(answer)
      },
    }
  }

  async #startHost(number: number, definitions: HostPorts['definitions'], receive: (message: FromHost) => void): Promise<HostLink> {
    const host = new Host(this.#hostPorts(number, definitions), (message) => queueMicrotask(() => this.isDead || receive(message)))
    this.#hosts[number] = host
    await host.open()
    const { hosts, limits } = this.#cluster
    return { partitions: mayComeTo(number, hosts, limits.partitions), post: (message) => this.#post(host, message) }
  }

  #hostPorts(host: number, definitions: HostPorts['definitions']): HostPorts {
    const { limits, events, journals } = this.#cluster
    const clock = this.#clock()
    let claims = 0
    return {
      ...{ host, partitions: [], limits, clock, shared: this.#shared, definitions, events: events.reader },
      journal: claimedJournals((p) => {
        const log = this.#connect(must(journals[p], 'each partition has a journal'))
        return { log, owner: `${this.name}.${host} ${++claims}`, clock, timing: TIMING }
      }),
      journalBytes: Number.POSITIVE_INFINITY,
      outputEnds: () => ({ transitions: undefined, merges: undefined, deadLetters: undefined }),
      openRows: async (p) => {
        await this.mayOpen
        return PendingRows.open(this.#store(p), { applyMs: limits.applyMs, applyBytes: limits.applyBytes, withMark: META_KEY })
      },
      exchange: { topic: this.#exchange(), troubled: () => {} },
      pause: async () => {
        do await turns(1)
        while (this.isSlow || this.isDead)
      },
      closed: async () => undefined,
    }
  }

  #store(partition: number): MemoryStore {
    const store = this.#stores.get(partition) ?? new MemoryStore()
    this.#stores.set(partition, store)
    return store
  }
}

export class Cluster {
  readonly clock = new LeapingClock(0)
  readonly namespaces = new Namespaces({})
  readonly limits: TaskLimits
  readonly events: MemoryLog
  readonly definitions = new UnreliableLog({ schedule: soon })
  readonly journals: readonly UnreliableLog[]
  readonly exchange: readonly UnreliableLog[]
  readonly processes: ClusterProcess[] = []
  readonly hosts: number
  readonly peerTurns: number
  readonly overHttp: boolean
  readonly readTimeoutMs: number
  readonly #outputs: Outputs
  /** By partition, the name of the process that is to own it. */
  readonly #owners = new Map<number, string>()
  #isClosed = false

  constructor(options: ClusterOptions) {
    const partitions = options.partitions ?? 4
    this.hosts = options.hosts ?? 1
    this.peerTurns = options.peerTurns ?? 1
    this.overHttp = options.overHttp ?? false
    // The clocks run on while HTTP takes its time.
    this.readTimeoutMs = options.readTimeoutMs ?? (this.overHttp ? 1e6 : READ_TIMEOUT_MS)
    this.limits = limitsOf({ partitions, namespaces: this.namespaces, limits: options.limits ?? {} })
    this.events = new MemoryLog({ partitions, onSynced: (ordinal) => this.#synced(ordinal) })
    const logs = (fate?: () => Fate): UnreliableLog[] =>
      Array.from({ length: partitions }, () => new UnreliableLog({ schedule: soon, ...(fate ? { fate } : {}) }))
    this.journals = logs()
    this.exchange = logs(options.exchangeFate)
    const stream = (): MemoryLog => new MemoryLog({ partitions: partitions + 1 })
    this.#outputs = new Outputs({ transitions: stream(), merges: stream(), deadLetters: stream() })
    this.#pump()
  }

  /** As if they lay in topics: all write to them and read them. */
  outputsOf(process: ClusterProcess): Outputs {
    const outputs = this.#outputs
    return new Proxy(outputs, {
      get: (_, name) => {
        if (name === 'close') return async () => undefined
        if (name === 'open')
          return (names: Parameters<Outputs['open']>[0]) => (this.processes[0] === process ? outputs.open(names) : undefined)
        const value: unknown = Reflect.get(outputs, name, outputs)
        return typeof value === 'function' ? value.bind(outputs) : value
      },
    })
  }

  #synced(ordinal: number): void {
    for (const process of this.processes) process.synced(ordinal)
  }

  /** The machines' clocks only drive ticks and retries: they run as the loop turns. */
  #pump(): void {
    if (this.#isClosed) return
    this.clock.advance(1)
    setImmediate(() => this.#pump())
  }

  async add(): Promise<ClusterProcess> {
    const process = new ClusterProcess(this, `process-${this.processes.length}`)
    this.processes.push(process)
    await process.engine.open()
    if (this.overHttp) await process.listen()
    this.tell()
    return process
  }

  get living(): ClusterProcess[] {
    return this.processes.filter((process) => !process.isDead)
  }

  /** Gives a partition to a process, or to nobody; those that are told hear of it at once. */
  move(partition: number, to?: ClusterProcess): void {
    const from = this.processes.find(({ name }) => name === this.#owners.get(partition))
    if (from === to) return
    if (to) this.#owners.set(partition, to.name)
    else this.#owners.delete(partition)
    from?.post({ t: 'revoke', partition })
    to?.post({ t: 'assign', partition })
    this.tell()
  }

  /** Deals the partitions out in turn. */
  spread(): void {
    const { living } = this
    for (let p = 0; p < this.limits.partitions; p++) this.move(p, must(living[p % living.length], 'somebody lives'))
  }

  /** The processes hear who owns what. */
  tell(to: readonly ClusterProcess[] = this.living): void {
    const members = this.living.map(({ name, address }): Member => {
      const partitions = [...this.#owners].filter(([, owner]) => owner === name).map(([partition]) => partition)
      return { name, address, partitions: partitions.sort((a, b) => a - b) }
    })
    for (const process of to) process.directory.tell(process.name, members)
  }

  /** Kills a process; nobody owns what it had until it is dealt out again. */
  kill(process: ClusterProcess): void {
    process.kill()
    for (const [partition, owner] of [...this.#owners]) if (owner === process.name) this.#owners.delete(partition)
    this.tell()
  }

  map(engine: EmbeddedEngine, messages: readonly object[]): EventRecord[] {
    const body = Buffer.from(JSON.stringify({ batch: messages }))
    const context = { acceptedAt: engine.acceptanceTime(), sourcePriority: 100, namespaces: this.namespaces, futureLimit: DAY }
    const { events, rejected } = readAndMap(body, { dialect: 'segment', type: undefined }, context)
    if (rejected.length > 0) throw new Error(`rejected: ${JSON.stringify(rejected)}`)
    return events
  }

  send({ engine }: ClusterProcess, ...messages: object[]): Promise<{ position: string }> {
    return engine.ingest(this.map(engine, messages), [])
  }

  async close(): Promise<void> {
    for (const process of this.living) {
      process.isSlow = false
      await process.close()
    }
    this.#isClosed = true
  }
}

export async function cluster(options: ClusterOptions): Promise<Cluster> {
  const world = new Cluster(options)
  for (let i = 0; i < options.processes; i++) await world.add()
  world.spread()
  return world
}

/** A value of the namespace whose home is this partition. */
export function valueAt({ namespaces, limits }: Cluster, namespace: string, partition: number): string {
  for (let n = 0; ; n++) {
    const key = identifierKey(namespaces.priorityOf(namespace), namespace, `x${n}`)
    if (homeOf(key, limits.partitions) === partition) return `x${n}`
  }
}
