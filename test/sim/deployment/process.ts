// One process of a deployment on simulated topics, composed as open-kafka.ts and open-kafka-host.ts compose it: production hosts to which
// partitions come and from which they go, the production registry and what follows the others. Owns its stores; judges nothing.
//
// 1. Frozen, nothing of it runs; what it has sent is on its way all the same.
// 2. A partition's store is open once at most.
import { must } from '../../../src/core/assert.ts'
import type { Clock } from '../../../src/core/clock.ts'
import type { TaskLimits } from '../../../src/engine/config.ts'
import { Following } from '../../../src/engine/following.ts'
import { type FromHost, Host, type HostPorts, type ToHost } from '../../../src/engine/host.ts'
import { claimedJournals } from '../../../src/engine/journal-claimed.ts'
import type { HostJournal, TaskJournal } from '../../../src/engine/journal-port.ts'
import { META_KEY } from '../../../src/engine/keys.ts'
import { mayComeTo } from '../../../src/engine/layout.ts'
import type { Told } from '../../../src/engine/overview.ts'
import { Registry } from '../../../src/engine/registry.ts'
import type { ReleaseOptions } from '../../../src/engine/release.ts'
import { Shared } from '../../../src/engine/shared.ts'
import type { Task } from '../../../src/engine/task.ts'
import { KafkaEvents } from '../../../src/log/kafka-events.ts'
import type { MemorySnapshot, MemoryStore } from '../../../src/state/memory-store.ts'
import { PendingRows } from '../../../src/state/pending.ts'
import type { StampedLog } from '../../log/unreliable-log.ts'
import type { SimClock } from '../clock.ts'
import { simStore } from '../disk.ts'
import type { Scheduler } from '../scheduler.ts'
import { switches } from '../switches.ts'
import type { Topics } from './topics.ts'

export const TIMING = { waitMs: 100, repeatMs: 200, retryMs: 20, freshMs: 600 }

export interface DeploymentSetup {
  readonly scheduler: Scheduler
  readonly clock: SimClock
  readonly limits: TaskLimits
  readonly sliceRows: number
  readonly hosts: number
  readonly isStandby: boolean
  /** How often owners delete what nobody needs; 0: never. */
  readonly deleteEveryMs: number
  readonly topics: Topics
  /** Is shown each message at the moment it leaves a host. */
  said(process: DeploymentProcess, message: FromHost): void
  /** Likewise each record for the exchange. */
  exchanged(partition: number, payload: Buffer): void
  /** What the others say of all partitions; where the manual clock stands. */
  look(): Told[]
  readonly manualNow: () => number | undefined
  saw(what: 'store discarded'): void
  /** Something that must not be. */
  fail(what: string): void
}

/** What is found on the disk at the start. */
export interface Found {
  readonly stores: readonly (MemorySnapshot | undefined)[]
  /** Another one after each loss of power. */
  readonly bootId: string
}

export class DeploymentProcess {
  readonly name: string
  /** Of the machine: another one after a loss of power. */
  bootId: string
  readonly stores: MemoryStore[]
  readonly hosts: readonly Host[]
  readonly registry: Registry
  /** What the group has told it to run. */
  readonly told = new Set<number>()
  /** The last task of each partition that has begun to run here. */
  readonly began = new Map<number, Task>()
  isFrozen = false
  isDead = false
  /** Works, and can be sent to. */
  isOpen = false
  isClosing = false
  /** A store of it fails. */
  isFaulty = false
  /** Why it can't go on. */
  readonly troubles: string[] = []
  readonly #setup: DeploymentSetup
  readonly #writers: readonly StampedLog[]
  readonly #following: Following
  readonly #openRows = new Map<number, PendingRows>()
  #claims = 0

  constructor(setup: DeploymentSetup, name: string, { stores, bootId }: Found) {
    this.#setup = setup
    this.name = name
    this.bootId = bootId
    const { scheduler, topics, limits } = setup
    const clock = this.#clock
    const reader = { owner: this, clock }
    this.stores = stores.map((snapshot, p) => simStore(p, { scheduler, owner: this }, snapshot))
    const shared = new Shared(setup.hosts, limits.partitions)
    // Until a partition runs here it holds nothing back.
    for (let p = 0; p < limits.partitions; p++) shared.committed(p, Number.POSITIVE_INFINITY)
    this.#writers = stores.map((_, p) => topics.connect('events', p, reader))
    this.registry = new Registry({
      log: topics.connect('definitions', 0, reader),
      clock,
      name,
      heard: (version, change) => {
        for (const host of this.hosts) this.#post(host, { t: 'definition', id: 0, version, change }, 'registry')
      },
    })
    this.#following = new Following({
      clock,
      registry: this.registry,
      overview: { look: () => this.#look() },
      self: () => name,
      seen: setup.manualNow,
      append: (partitions, payload) => Promise.all(partitions.map((p) => this.append(p, payload))),
      failed: (error) => this.troubles.push(`definitions: ${error.message}`),
    })
    this.hosts = Array.from({ length: setup.hosts }, (_, h) => new Host(this.#ports(h, shared), (message) => setup.said(this, message)))
  }

  get #clock(): Clock {
    return this.#setup.clock.of(this)
  }

  /** `joins` once it may be told to run partitions. */
  open(joins: () => void): void {
    const opened = async (): Promise<void> => {
      await this.registry.open()
      for (const host of this.hosts) for (const [i, change] of this.registry.changes.entries()) host.definitions.apply(i + 1, change)
      await Promise.all(this.hosts.map((host) => host.open()))
      this.isOpen = true
      this.#following.begin()
      joins()
    }
    opened().catch((error: Error) => this.troubles.push(`it did not open: ${error.stack}`))
  }

  /** In good order; `closed` when nothing of it runs any more. */
  close(closed: () => void): void {
    this.isClosing = true
    const closing = async (): Promise<void> => {
      this.#following.close()
      await Promise.all(this.hosts.map((host) => host.close()))
      await this.registry.close()
      closed()
    }
    closing().catch((error: Error) => this.troubles.push(`it did not close: ${error.stack}`))
  }

  /** A message for the host to which a partition comes. */
  post(partition: number, message: ToHost, from: string): void {
    this.#post(this.#hostOf(partition), message, from)
  }

  /** In the order of its lane. */
  #post(host: Host, message: ToHost, from: string): void {
    const name = `${from === 'group' ? 'group' : 'post'} ${message.t}`
    this.#setup.scheduler.add(name, this, () => host.receive(message), `${from}>${this.name} ${host.ports.host}`)
  }

  #hostOf(partition: number): Host {
    const { hosts, limits } = this.#setup
    const h = this.hosts.findIndex((_, i) => mayComeTo(i, hosts, limits.partitions).includes(partition))
    return must(this.hosts[h], 'each partition comes to a host')
  }

  /** Of all hosts, whatever their phase. */
  get tasks(): Task[] {
    return this.hosts.flatMap((host) => [...host.tasks.values()])
  }

  /** The task of a partition that others may see. */
  taskOf(partition: number): Task | undefined {
    return this.#hostOf(partition).tasks.get(partition)
  }

  /** Tried once: resolves when the record is there, rejects when nobody knows. */
  append(partition: number, payload: Buffer): Promise<void> {
    return must(this.#writers[partition], 'a writer per partition').append(payload)
  }

  /** The running task of a partition. */
  running(partition: number): Task | undefined {
    const task = this.taskOf(partition)
    return task?.phase === 'running' ? task : undefined
  }

  /** True when a task's rows are this process's. */
  has(task: Task): boolean {
    return this.#openRows.get(task.partition) === task.rows
  }

  isOpenHere(partition: number): boolean {
    return this.#openRows.has(partition)
  }

  async #look(): Promise<Told[]> {
    await this.#setup.scheduler.wait('look', this)
    return this.#setup.look()
  }

  // ---- what its host works with

  #journals(events: KafkaEvents): HostJournal {
    const { topics } = this.#setup
    const clock = this.#clock
    const journals = claimedJournals((partition) => ({
      log: topics.connect('journal', partition, { owner: this, clock }),
      owner: `${this.name}.${++this.#claims}`,
      clock,
      timing: TIMING,
    }))
    const of = (partition: number): TaskJournal => {
      const journal = journals.of(partition)
      return {
        ...journal,
        open: async (opening) => {
          const claim = await journal.open(opening)
          // Whoever owned it before may have read what this process has not heard of.
          await events.begin(partition)
          return claim
        },
      }
    }
    return { ...journals, of }
  }

  #ports(h: number, shared: Shared): HostPorts {
    const { scheduler, limits, topics, hosts, isStandby, deleteEveryMs: everyMs } = this.#setup
    const clock = this.#clock
    const reader = { owner: this, clock }
    const exchange = topics.exchangeOf(reader, (partition, payload) => this.#setup.exchanged(partition, payload))
    const journal = (partition: number): StampedLog => topics.connect('journal', partition, reader)
    const partitions = mayComeTo(h, hosts, limits.partitions)
    const release: ReleaseOptions['release'] = (topic, positions) => topics.release(topic, positions, this)
    const told = (partition: number, end: number): void => shared.appended(partition, end)
    const events = new KafkaEvents({ log: topics.eventsOf(reader), clock, told, troubled: () => {} })
    return {
      ...{ host: h, partitions: [], limits, clock, shared, definitions: [], events, journal: this.#journals(events) },
      journalBytes: Number.POSITIVE_INFINITY,
      outputEnds: () => ({ transitions: undefined, merges: undefined, deadLetters: undefined }),
      openRows: (partition) => this.#open(partition),
      closeRows: async (partition) => {
        events.leave(partition)
        await scheduler.wait(`store ${partition} closes`, this)
        this.#openRows.delete(partition)
      },
      discardRows: (partition) => this.#discard(partition),
      exchange: { topic: exchange, troubled: () => {} },
      ...(everyMs > 0 ? { release: { everyMs, release, troubled: () => {} } } : {}),
      ...(isStandby ? { standby: { partitions, journal, troubled: () => {} } } : {}),
      pause: () => scheduler.wait('pause', this),
      // Now and then, as the seed will have it.
      isSpent: () => !switches.neverSpent && scheduler.hash % 5 === 0,
      closed: () => events.close(),
    }
  }

  /** Its disk is to be built anew. */
  async #discard(partition: number): Promise<void> {
    const { scheduler, saw, fail } = this.#setup
    await scheduler.wait(`store ${partition} is discarded`, this)
    if (this.#openRows.has(partition)) fail(`${this.name} discards the store of partition ${partition}, which is open (2)`)
    this.stores[partition] = simStore(partition, { scheduler, owner: this }, undefined)
    saw('store discarded')
  }

  async #open(partition: number): Promise<PendingRows> {
    if (this.#openRows.has(partition)) this.#setup.fail(`${this.name} opens the store of partition ${partition} twice (2)`)
    const { limits, sliceRows } = this.#setup
    const { applyMs, applyBytes } = limits
    const store = must(this.stores[partition], 'each partition has a store')
    const rows = await PendingRows.open(store, { applyMs, applyBytes, sliceRows, withMark: META_KEY, bootId: this.bootId })
    this.#openRows.set(partition, rows)
    return rows
  }
}
