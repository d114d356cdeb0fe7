// One process of several that claim the same partitions: production hosts on claimed journals, with every message between them, and
// every answer of a journal, in the hands of the scheduler. Owns its stores; judges nothing.
//
// 1. Frozen, nothing of it runs; what it has sent is on its way all the same.
// 2. Messages to its hosts wait until all of them are open.
import { must } from '../../../src/core/assert.ts'
import type { TaskLimits } from '../../../src/engine/config.ts'
import type { DefinitionChange } from '../../../src/engine/definitions.ts'
import { type FromHost, Host, type HostPorts, type ToHost } from '../../../src/engine/host.ts'
import { claimedJournals } from '../../../src/engine/journal-claimed.ts'
import type { HostJournal, TaskJournal } from '../../../src/engine/journal-port.ts'
import { META_KEY } from '../../../src/engine/keys.ts'
import { partitionsOf } from '../../../src/engine/layout.ts'
import { Shared } from '../../../src/engine/shared.ts'
import type { Task } from '../../../src/engine/task.ts'
import type { SharedLog } from '../../../src/log/claimed.ts'
import type { ClaimOptions } from '../../../src/log/claimed-log.ts'
import type { MemorySnapshot, MemoryStore } from '../../../src/state/memory-store.ts'
import { PendingRows } from '../../../src/state/pending.ts'
import type { UnreliableLog } from '../../log/unreliable-log.ts'
import type { SimClock } from '../clock.ts'
import { type SimLog, simStore } from '../disk.ts'
import type { Scheduler } from '../scheduler.ts'
import { switches } from '../switches.ts'
import { headOf } from './judge.ts'

export const TIMING = { waitMs: 20, repeatMs: 30, retryMs: 5, freshMs: 100 }

export interface OwnerSetup {
  readonly scheduler: Scheduler
  readonly clock: SimClock
  readonly limits: TaskLimits
  readonly hosts: number
  readonly sliceRows: number
  readonly definitions: readonly DefinitionChange[]
  readonly events: SimLog
  readonly journals: readonly UnreliableLog[]
  /** Is shown each message at the moment it leaves a host. */
  said(process: OwnerProcess, message: FromHost): void
}

export class OwnerProcess {
  readonly name: string
  readonly stores: readonly MemoryStore[]
  readonly hosts: readonly Host[]
  isFrozen = false
  isDead = false
  /** Why it did not open. */
  failed: Error | undefined
  readonly #setup: OwnerSetup
  #opened = 0
  /** Hosts that are open, or never will be. */
  #settled = 0
  #early: (() => void)[] = []

  constructor(setup: OwnerSetup, name: string, stores: readonly (MemorySnapshot | undefined)[]) {
    this.#setup = setup
    this.name = name
    const { scheduler } = setup
    this.stores = stores.map((snapshot, p) => simStore(p, { scheduler, owner: this }, snapshot))
    const shared = new Shared(setup.hosts, setup.limits.partitions)
    this.hosts = Array.from({ length: setup.hosts }, (_, h) => new Host(this.#ports(h, shared), (message) => this.#said(h, message)))
  }

  open(): void {
    for (const host of this.hosts) {
      host.open().then(
        () => this.#hasOpened(),
        (error: Error) => {
          this.#settled++
          this.failed ??= error
        },
      )
    }
  }

  #hasOpened(): void {
    this.#opened++
    this.#settled++
    if (this.#opened === this.hosts.length) for (const run of this.#early.splice(0)) run()
  }

  get isSettled(): boolean {
    return this.#settled === this.hosts.length
  }

  get tasks(): Task[] {
    return this.hosts.flatMap((host) => [...host.tasks.values()])
  }

  taskOf(partition: number): Task | undefined {
    return this.#hostOf(partition).tasks.get(partition)
  }

  #hostOf(partition: number): Host {
    return must(
      this.hosts.find((host) => host.ports.partitions.includes(partition)),
      'each partition is on a host',
    )
  }

  /** A message for the host of a partition, in the order of its lane. */
  post(partition: number, message: ToHost, from: string): void {
    const host = this.#hostOf(partition)
    const arrive = (): void => {
      if (this.#opened < this.hosts.length) this.#early.push(() => host.receive(message))
      else host.receive(message)
    }
    this.#setup.scheduler.add(`post ${message.t}`, this, arrive, `${this.name} ${from}>${host.ports.host}`)
  }

  /** The events log is durable up to here. */
  synced(ordinal: number): void {
    for (const host of this.hosts) this.post(must(host.ports.partitions[0], 'a host has partitions'), { t: 'synced', ordinal }, 'intake')
  }

  #said(h: number, message: FromHost): void {
    this.#setup.said(this, message)
    if (message.t === 'exchange') this.post(message.target, message, String(h))
    else if (message.t === 'confirm') this.post(message.origin, message, String(h))
  }

  #claimOptions(partition: number): ClaimOptions {
    const { scheduler, journals } = this.#setup
    const clock = this.#setup.clock.of(this)
    const connection = must(journals[partition], 'each partition has a journal').connect({
      schedule: (step, run) => scheduler.add(`${step} journal ${partition}`, this, run),
      clock,
    })
    const log = switches.ignoresClaims ? withoutClaims(connection, this.name) : connection
    return { log, owner: this.name, clock, timing: TIMING }
  }

  #journals(): HostJournal {
    if (!switches.trustsAppends) return claimedJournals((partition) => this.#claimOptions(partition))
    const answers = this.stores.map((): Answers => ({ last: Promise.resolve(-1) }))
    const of = (partition: number): Answers => must(answers[partition], 'each partition has answers')
    const journals = claimedJournals((partition) => {
      const options = this.#claimOptions(partition)
      return {
        ...options,
        log: listening(options.log, of(partition), must(this.#setup.journals[partition], 'each partition has a journal')),
      }
    })
    return { ...journals, of: (partition) => trusting(journals.of(partition), of(partition)) }
  }

  #ports(h: number, shared: Shared): HostPorts {
    const { scheduler, limits, hosts, definitions, events, sliceRows } = this.#setup
    const { applyMs, applyBytes } = limits
    return {
      host: h,
      partitions: partitionsOf(h, hosts, limits.partitions),
      limits,
      clock: this.#setup.clock.of(this),
      shared,
      definitions,
      // It must know the end as of the claim: whoever owned before may have read what this process was not told of yet.
      events: events.readerOf(events.log.reader, this),
      outputEnds: () => ({ transitions: undefined, merges: undefined, deadLetters: undefined }),
      journal: this.#journals(),
      journalBytes: Number.POSITIVE_INFINITY,
      openRows: (p) =>
        PendingRows.open(must(this.stores[p], 'each partition has a store'), { applyMs, applyBytes, sliceRows, withMark: META_KEY }),
      pause: () => scheduler.wait(`pause ${h}`, this),
      // Now and then, as the seed will have it.
      isSpent: () => !switches.neverSpent && scheduler.hash % 5 === 0,
      closed: async () => {},
    }
  }
}

// ---- planted bugs

interface Answers {
  /** To the append that was sent last: where its record came to lie. */
  last: Promise<number>
}

function listening(log: SharedLog, answers: Answers, journal: UnreliableLog): SharedLog {
  return {
    ...log,
    append: (payload) => {
      const answered = log.append(payload)
      answers.last = answered.then(() => journal.records.findLastIndex((record) => record.payload.equals(payload)))
      // Claims are appended too, and nobody waits for their answers here.
      answers.last.catch(() => undefined)
      return answered
    },
  }
}

/** Commits are done once their append was answered, or else once they were read back. */
function trusting(journal: TaskJournal, answers: Answers): TaskJournal {
  let before: Promise<unknown> = Promise.resolve()
  return {
    ...journal,
    commit: async (payload) => {
      const copy = Buffer.from(payload)
      const sent = before.then(() => ({ counted: journal.commit(copy), answered: answers.last }))
      before = sent.then(({ counted }) => counted)
      before.catch(() => undefined)
      const { counted, answered } = await sent
      return answered.catch(() => counted)
    },
  }
}

/** Once the own claim was read, those of others are passed over. */
function withoutClaims(log: SharedLog, owner: string): SharedLog {
  let hasClaimed = false
  return {
    ...log,
    read: async (from, limits) => {
      const page = await log.read(from, limits)
      const records = page.records.filter((record) => {
        const head = headOf(record)
        if (head.kind !== 'claim') return true
        if (head.owner !== owner) return !hasClaimed
        hasClaimed = true
        return true
      })
      return { ...page, records }
    },
  }
}
