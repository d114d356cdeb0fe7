// Processes that take the same partitions over from one another: each runs a production Host on a claimed journal, all read one
// events log, and what they relay is collected. Owns the processes and what came out; judged by owners.test.ts.
import { must } from '../../src/core/assert.ts'
import type { Clock } from '../../src/core/clock.ts'
import type { TaskLimits } from '../../src/engine/config.ts'
import type { DefinitionChange } from '../../src/engine/definitions.ts'
import { type FromHost, Host } from '../../src/engine/host.ts'
import { claimedJournals } from '../../src/engine/journal-claimed.ts'
import { embeddedJournal } from '../../src/engine/journal-embedded.ts'
import type { HostJournal } from '../../src/engine/journal-port.ts'
import { Standby } from '../../src/engine/journal-standby.ts'
import { META_KEY } from '../../src/engine/keys.ts'
import { decodeBlock, readTransitions } from '../../src/engine/outbox.ts'
import { Shared } from '../../src/engine/shared.ts'
import { decodeTaskState } from '../../src/engine/task-state.ts'
import type { ClaimOptions } from '../../src/log/claimed-log.ts'
import { MemoryLog } from '../../src/log/memory-log.ts'
import { MemoryStore } from '../../src/state/memory-store.ts'
import { PendingRows } from '../../src/state/pending.ts'
import { below, type Random } from '../identity/random.ts'
import { type Schedule, UnreliableLog } from '../log/unreliable-log.ts'
import { afterTurns, turns } from './disk.ts'
import { LeapingClock } from './leaping-clock.ts'

export const TIMING = { waitMs: 20, repeatMs: 30, retryMs: 5, freshMs: 100 }

export interface Surroundings {
  readonly limits: TaskLimits
  readonly definitions: readonly DefinitionChange[]
  readonly random: Random
}

export class Process {
  readonly name: string
  readonly stores: MemoryStore[]
  readonly host: Host
  /** What the host said, in order. */
  readonly said: FromHost[] = []
  isDead = false
  #isAsleep = false
  readonly #held: (() => void)[] = []
  readonly #world: Owners

  constructor(world: Owners, name: string, stores: MemoryStore[]) {
    this.#world = world
    this.name = name
    this.stores = stores
    this.host = new Host(world.portsOf(this), (message) => this.#said(message))
  }

  /** Its answers and timers wait; what it has sent arrives. */
  sleep(): void {
    this.#isAsleep = true
  }

  wake(): void {
    this.#isAsleep = false
    for (const run of this.#held.splice(0)) run()
  }

  /** Nothing of it is heard again. */
  kill(): void {
    this.isDead = true
  }

  /** Runs this once the process is awake; never, when it is dead. */
  step(run: () => void): void {
    if (this.isDead) return
    if (this.#isAsleep) this.#held.push(() => this.step(run))
    else run()
  }

  get reasons(): (string | undefined)[] {
    return [...this.host.tasks.values()].map((task) => (task.stopReason as { code?: string } | undefined)?.code ?? task.stopReason?.message)
  }

  get relays(): number {
    return this.said.filter((m) => m.t === 'relay').length
  }

  #said(message: FromHost): void {
    if (this.isDead) return
    this.said.push(message)
    if (message.t === 'relay') this.#world.relayed(this, message)
  }
}

export class Owners {
  readonly events: MemoryLog
  readonly journals: UnreliableLog[]
  readonly clock = new LeapingClock(0)
  readonly troubles: Error[] = []
  /** Blocks by partition, stream and last seq. */
  readonly #blocks = new Map<string, Buffer>()
  readonly #around: Surroundings
  #isCalm = false

  constructor(around: Surroundings) {
    this.#around = around
    const { partitions } = around.limits
    this.events = new MemoryLog({ partitions })
    this.journals = Array.from({ length: partitions }, () => new UnreliableLog({ schedule: this.#scheduled(), fate: () => this.#fate() }))
  }

  /** From now on, nothing goes wrong. */
  calm(): void {
    this.#isCalm = true
  }

  #fate(): { arrivals: number; isAnswered: boolean } {
    const { random } = this.#around
    if (this.#isCalm) return { arrivals: 1, isAnswered: true }
    return { arrivals: [0, 1, 1, 1, 2][below(random, 5)] ?? 1, isAnswered: random() < 0.7 }
  }

  #scheduled(): Schedule {
    return (_, run) => afterTurns(below(this.#around.random, 4), run)
  }

  clockOf(process: Pick<Process, 'step'>): Clock {
    const { clock } = this
    return {
      now: () => clock.now(),
      monotonicMs: () => clock.monotonicMs(),
      after: (delayMs, run) => {
        let isCancelled = false
        const cancel = clock.after(delayMs, () => process.step(() => isCancelled || run()))
        return () => {
          isCancelled = true
          cancel()
        }
      },
    }
  }

  /** A process's connection to the journal of one partition. */
  claimOptions(process: Pick<Process, 'step' | 'name'>, partition: number): ClaimOptions {
    const schedule: Schedule = (_, run) => afterTurns(below(this.#around.random, 3), () => process.step(run))
    const clock = this.clockOf(process)
    const log = must(this.journals[partition], 'each partition has a journal').connect({ schedule, clock })
    return { log, owner: process.name, clock, timing: TIMING, troubled: (error) => this.troubles.push(error) }
  }

  portsOf(process: Process): ConstructorParameters<typeof Host>[0] {
    const journal = claimedJournals((partition) => this.claimOptions(process, partition))
    return hostPorts(this.#around, { events: this.events, journal, stores: process.stores, clock: this.clockOf(process) })
  }

  async standby(process: Pick<Process, 'step' | 'name'>, partition: number, store: MemoryStore): Promise<Standby> {
    const { limits } = this.#around
    const rows = await openRows(limits, store)
    const { log, clock } = this.claimOptions(process, partition)
    const standby = new Standby({ log, rows, clock, timing: TIMING, failed: (error) => this.troubles.push(error) })
    const [row] = await rows.getMany([META_KEY])
    const { claim, n } = row ? decodeTaskState(row, limits.partitions) : { claim: 0, n: 0 }
    standby.begin({ claim, n })
    return standby
  }

  /** A block that was relayed twice must be the same to the byte. */
  relayed(process: Process, message: FromHost & { t: 'relay' }): void {
    const { partition, stream, lastSeq } = message
    const key = `${partition} ${stream} ${lastSeq}`
    const payload = Buffer.from(message.payload)
    const known = this.#blocks.get(key)
    if (known && !known.equals(payload)) throw new Error(`two blocks of ${key}`)
    this.#blocks.set(key, payload)
    afterTurns(below(this.#around.random, 3), () =>
      process.step(() => process.host.receive({ t: 'relayed', partition, stream, seq: lastSeq })),
    )
  }

  /** All transitions that came out, in the order of their seqs; throws where one is missing. */
  transitions(partition: number): string[] {
    const blocks = [...this.#blocks].filter(([key]) => key.startsWith(`${partition} transitions `)).map(([, b]) => decodeBlock(b))
    return listed(blocks)
  }

  async append(partition: number, payload: Uint8Array): Promise<void> {
    this.events.writer.append(partition, payload)
    await this.events.writer.sync()
  }

  synced(process: Process): void {
    process.step(() => process.host.receive({ t: 'synced', ordinal: this.events.reader.endOrdinal() }))
  }

  async run(turnsToRun: number): Promise<void> {
    for (let i = 0; i < turnsToRun; i++) {
      this.clock.advance(1)
      await turns(1)
    }
  }
}

function listed(blocks: ReturnType<typeof decodeBlock>[]): string[] {
  const all: string[] = []
  for (const block of blocks.sort((a, b) => a.firstSeq - b.firstSeq)) {
    if (block.firstSeq !== all.length + 1) throw new Error(`transition ${all.length + 1} did not come out`)
    readTransitions(block.entries, (entry) => void all.push(JSON.stringify({ ...entry, publicId: Buffer.from(entry.publicId, 'latin1') })))
  }
  return all
}

const openRows = (limits: TaskLimits, store: MemoryStore): Promise<PendingRows> =>
  PendingRows.open(store, { applyMs: limits.applyMs, applyBytes: limits.applyBytes, withMark: META_KEY })

function hostPorts(
  { limits, definitions }: Surroundings,
  on: { readonly events: MemoryLog; readonly journal: HostJournal; readonly stores: readonly MemoryStore[]; readonly clock: Clock },
): ConstructorParameters<typeof Host>[0] {
  return {
    host: 0,
    partitions: Array.from({ length: limits.partitions }, (_, p) => p),
    limits,
    clock: on.clock,
    shared: new Shared(1, limits.partitions),
    definitions,
    events: on.events.reader,
    journal: on.journal,
    journalBytes: Number.POSITIVE_INFINITY,
    outputEnds: () => ({ transitions: undefined, merges: undefined, deadLetters: undefined }),
    openRows: (p) => openRows(limits, must(on.stores[p], 'each partition has a store')),
    pause: () => turns(1),
    closed: async () => undefined,
  }
}

export const newStores = (partitions: number): MemoryStore[] => Array.from({ length: partitions }, () => new MemoryStore())

/** The same inputs, worked off by one process on a journal of its own: transitions by partition, and rows by store. */
export async function alone(around: Surroundings, events: MemoryLog): Promise<{ transitions: string[][]; stores: MemoryStore[] }> {
  const { partitions } = around.limits
  const stores = newStores(partitions)
  const blocks: ReturnType<typeof decodeBlock>[][] = stores.map(() => [])
  const clock = new LeapingClock(0)
  const host: Host = new Host(
    hostPorts(around, { events, journal: embeddedJournal(new MemoryLog({ partitions })), stores, clock }),
    (message) => {
      if (message.t !== 'relay') return
      const { partition, stream, lastSeq } = message
      if (stream === 'transitions') blocks[partition]?.push(decodeBlock(Buffer.from(message.payload)))
      queueMicrotask(() => host.receive({ t: 'relayed', partition, stream, seq: lastSeq }))
    },
  )
  await host.open()
  await idle(host, events, () => clock.advance(1))
  await host.close()
  return { transitions: blocks.map(listed), stores }
}

const MOST_TURNS = 3000

/** Resolves when the host has worked everything off. */
export async function idle(host: Host, events: MemoryLog, eachTurn: () => void): Promise<void> {
  const isDone = (): boolean =>
    [...host.tasks.values()].every(
      (task) => task.phase === 'running' && task.isIdle && task.committedInput / 4096 >= events.reader.end(task.partition),
    )
  for (let i = 0; !isDone(); i++) {
    if (i > MOST_TURNS) throw new Error('the host does not come to rest')
    eachTurn()
    await turns(1)
  }
}
