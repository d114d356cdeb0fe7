// One life of the engine's process on a simulated machine: the engine and its hosts as open.ts composes them, with every message between
// them in the hands of the scheduler. Owns nothing that outlives it.
import type { Clock } from '../../src/core/clock.ts'
import { TributaryError } from '../../src/core/errors.ts'
import type { Namespaces } from '../../src/core/namespace.ts'
import type { TaskLimits } from '../../src/engine/config.ts'
import type { DefinitionChange } from '../../src/engine/definitions.ts'
import { EmbeddedEngine } from '../../src/engine/embedded.ts'
import { eventsPort } from '../../src/engine/events-port.ts'
import { type FromHost, Host, type HostPorts, type ToHost } from '../../src/engine/host.ts'
import { embeddedJournal } from '../../src/engine/journal-embedded.ts'
import { META_KEY } from '../../src/engine/keys.ts'
import { partitionsOf } from '../../src/engine/layout.ts'
import { Outputs, type StreamLog } from '../../src/engine/outputs.ts'
import type { HostLink } from '../../src/engine/ports.ts'
import { Shared } from '../../src/engine/shared.ts'
import type { Task } from '../../src/engine/task.ts'
import { oneWriterLog } from '../../src/log/one-writer.ts'
import { PendingRows } from '../../src/state/pending.ts'
import type { SimClock } from './clock.ts'
import type { Disk, SimLog } from './disk.ts'
import type { Scheduler } from './scheduler.ts'
import { switches } from './switches.ts'

export interface ProcessSetup {
  readonly scheduler: Scheduler
  readonly clock: SimClock
  readonly limits: TaskLimits
  readonly namespaces: Namespaces
  readonly hosts: number
  readonly journalBytes: number
  /** Rows in one write of an apply: few, so that applies have several. */
  readonly sliceRows: number
  /** Another one after each loss of power. */
  readonly bootId: string
  /** Is shown each message as it is sent; says how often it arrives. */
  deliver(message: FromHost): number
}

/** What hosts are started with. */
interface Known {
  readonly shared: Shared
  readonly outputs: Outputs
  readonly definitions: readonly DefinitionChange[]
}

export class SimProcess {
  readonly disk: Disk
  readonly hosts: Host[] = []
  /** Undefined until it serves. */
  engine: EmbeddedEngine | undefined
  /** Why it can't go on: a log failed, or it didn't open. */
  fatal: Error | undefined
  readonly stopped: string[] = []
  diskIsFull = false
  readonly #setup: ProcessSetup

  constructor(setup: ProcessSetup, diskOf: (owner: object) => Disk) {
    this.#setup = setup
    this.disk = diskOf(this)
  }

  get tasks(): Task[] {
    return this.hosts.flatMap((host) => [...host.tasks.values()])
  }

  get hasTrouble(): boolean {
    return this.fatal !== undefined || this.stopped.length > 0
  }

  get trouble(): string {
    return this.fatal ? String(this.fatal.stack ?? this.fatal) : this.stopped.join('; ')
  }

  /** Begins to open; `engine` is there when it is done. */
  start(): void {
    const { limits, namespaces, clock, hosts } = this.#setup
    const shared = new Shared(hosts, limits.partitions)
    const log = ({ writer, reader }: SimLog): StreamLog => ({ writer, reader })
    const { streams, events, definitions } = this.disk
    const outputs = new Outputs({
      transitions: log(streams.transitions),
      merges: log(streams.merges),
      deadLetters: log(streams.deadLetters),
    })
    const engine = new EmbeddedEngine({
      limits,
      namespaces,
      clock: clock.of(this),
      shared,
      events: eventsPort(events.writer, shared),
      definitions: oneWriterLog(definitions),
      outputs,
      startHosts: (changes, receive) => this.#startHosts({ shared, outputs, definitions: changes }, receive),
      freeBytes: () => (this.diskIsFull ? 0 : Number.POSITIVE_INFINITY),
      minFreeBytes: 1,
      maxLagEvents: 1e9,
      readTimeoutMs: 1e12,
      stopped: (partition, reason) => void this.stopped.push(`partition ${partition}: ${reason}`),
      fatal: (error) => {
        this.fatal ??= error
      },
      closed: async () => {},
    })
    events.onSynced = (ordinal) => engine.synced(ordinal)
    engine.open().then(
      () => {
        this.engine = engine
      },
      (error: Error) => {
        this.fatal ??= error
      },
    )
  }

  async #startHosts(known: Known, receive: (message: FromHost) => void): Promise<HostLink[]> {
    const { scheduler, hosts } = this.#setup
    const started = Array.from({ length: hosts }, async (_, h): Promise<HostLink> => {
      const post = (message: FromHost): void => {
        for (let n = this.#setup.deliver(message); n > 0; n--)
          scheduler.add(`post ${h}>main ${message.t}`, this, () => receive(message), `${h}>main`)
      }
      const ports = this.#hostPorts(h, known)
      const host = new Host(ports, post)
      this.hosts.push(host)
      await host.open()
      const toHost = (message: ToHost): void => {
        scheduler.add(`post main>${h} ${message.t}`, this, () => host.receive(message), `main>${h}`)
        if (message.t !== 'exchange' || !switches.confirmsEarly) return
        post({ t: 'confirm', origin: message.origin, target: message.target, seq: message.seq })
      }
      return { partitions: ports.partitions, post: toHost }
    })
    return Promise.all(started)
  }

  #hostPorts(h: number, { shared, outputs, definitions }: Known): HostPorts {
    const { scheduler, limits, hosts, journalBytes, sliceRows, bootId } = this.#setup
    const clock: Clock = this.#setup.clock.of(this)
    const journal = this.disk.journals[h]
    if (!journal) throw new TributaryError('internal', `host ${h} has a journal`)
    return {
      host: h,
      partitions: partitionsOf(h, hosts, limits.partitions),
      limits,
      clock,
      shared,
      definitions,
      events: this.disk.events.toldReader(),
      outputEnds: (partition) => outputs.ends(partition),
      journal: embeddedJournal({ writer: journal.writer, reader: journal.reader }),
      journalBytes,
      openRows: (partition) => {
        const store = this.disk.stores[partition]
        if (!store) throw new TributaryError('internal', `partition ${partition} has a store`)
        const { applyMs, applyBytes } = limits
        return PendingRows.open(store, { applyMs, applyBytes, sliceRows, withMark: META_KEY, bootId })
      },
      pause: () => scheduler.wait(`pause ${h}`, this),
      // Now and then, as the seed will have it.
      isSpent: () => !switches.neverSpent && scheduler.hash % 5 === 0,
      closed: async () => {},
    }
  }
}
