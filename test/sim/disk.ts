// The disks of a simulated machine: memory logs and stores whose every answer waits for its turn, and what a crash leaves of them.
// Owns what is durable. A disk belongs to one life of a process; `after` gives the next life its disk.
//
// 1. Whoever watches hears of every record when it is appended and when it is durable, in order.
// 2. A host's reader of the events log knows what it was told (`advance`), no more, like that of a file.
import { must } from '../../src/core/assert.ts'
import { STREAMS, type Stream } from '../../src/engine/outbox.ts'
import type { LogReader, LogRecord, LogWriter } from '../../src/log/log.ts'
import { type CrashOptions, type MemoryFaults, MemoryLog } from '../../src/log/memory-log.ts'
import { type MemorySnapshot, MemoryStore } from '../../src/state/memory-store.ts'
import { below } from '../identity/random.ts'
import type { Scheduler } from './scheduler.ts'
import { switches } from './switches.ts'

export interface Appended {
  readonly partition: number
  readonly position: number
  readonly payload: Buffer
}

/** Hears what happens to a log (1). */
export interface Watch {
  appended(log: string, record: Appended): void
  durable(log: string, record: Appended): void
  /** The process has died: so many records are left. */
  cut(log: string, records: number): void
}

export interface DiskSetup {
  readonly partitions: number
  readonly hosts: number
  readonly scheduler: Scheduler
  readonly watch: Watch
  /** Whose ports the disk's are. */
  readonly owner: object
}

export class SimLog {
  readonly name: string
  readonly log: MemoryLog
  readonly writer: LogWriter
  readonly reader: LogReader
  readonly faults: MemoryFaults
  onSynced: (ordinal: number) => void = () => {}
  readonly #setup: DiskSetup
  /** Every record there ever was, by ordinal, whether released or not. */
  readonly #records: Appended[]
  #durable: number

  constructor(name: string, setup: DiskSetup, before?: { readonly log: MemoryLog; readonly records: Appended[] }, partitions?: number) {
    this.name = name
    this.#setup = setup
    const { scheduler, owner } = setup
    this.faults = { schedule: (complete) => scheduler.add(`sync ${name}`, owner, complete) }
    const options = { partitions: partitions ?? setup.partitions, faults: this.faults, onSynced: (end: number) => this.#synced(end) }
    this.log = before ? before.log.crash({ keepUnsynced: 0 }, options) : new MemoryLog(options)
    this.#records = before?.records ?? []
    this.#durable = this.#records.length
    this.writer = this.#makeWriter()
    this.reader = this.readerOf(this.log.reader)
  }

  /** What is left when the process dies. */
  crash(options: CrashOptions, setup: DiskSetup): SimLog {
    const left = this.log.crash(options)
    this.#records.length = left.reader.endOrdinal()
    for (const record of this.#records.slice(this.#durable)) setup.watch.durable(this.name, record)
    setup.watch.cut(this.name, this.#records.length)
    return new SimLog(this.name, setup, { log: left, records: this.#records }, this.log.partitions)
  }

  /** Every record that is left, released ones too. */
  get all(): readonly Appended[] {
    return this.#records
  }

  #synced(end: number): void {
    for (; this.#durable < end; this.#durable++) this.#setup.watch.durable(this.name, must(this.#records[this.#durable], 'it was appended'))
    this.onSynced(end)
  }

  #makeWriter(): LogWriter {
    const { writer } = this.log
    return {
      ...writer,
      append: (partition, payload) => {
        const position = writer.append(partition, payload)
        const record = { partition, position, payload: Buffer.from(payload) }
        this.#records.push(record)
        this.#setup.watch.appended(this.name, record)
        return position
      },
      sync: () => {
        const synced = writer.sync()
        if (!isTrusted(this.name)) return synced
        synced.catch(() => undefined)
        return Promise.resolve()
      },
    }
  }

  readerOf(inner: LogReader, owner: object = this.#setup.owner): LogReader {
    const { scheduler } = this.#setup
    const inTurn = async <T>(what: string, read: () => Promise<T>): Promise<T> => {
      await scheduler.wait(what, owner)
      return read()
    }
    return {
      ...inner,
      read: (partition, from, limits) => inTurn(`read ${this.name} ${partition}`, () => inner.read(partition, from, limits)),
      readAll: (ordinal, limits) => inTurn(`read ${this.name}`, () => inner.readAll(ordinal, limits)),
      last: (partition) => inTurn(`read ${this.name} last`, () => inner.last(partition)),
    }
  }

  /** A reader that knows what it was told (2). */
  toldReader(): LogReader & { advance(ordinal: number): void } {
    const { reader } = this
    const ends = new Array<number>(this.log.partitions).fill(0)
    let known = 0
    const advance = (ordinal: number): void => {
      for (; known < ordinal; known++) {
        const { partition, position } = must(this.#records[known], 'what is durable was appended')
        ends[partition] = position + 1
      }
    }
    advance(this.log.reader.endOrdinal())
    const read = async (partition: number, from: number, limits: Parameters<LogReader['read']>[2]): Promise<LogRecord[]> => {
      const end = must(ends[partition], 'the partition exists')
      return (await reader.read(partition, from, limits)).filter((record) => record.position < end)
    }
    return { ...reader, advance, end: (partition) => ends[partition] ?? 0, endOrdinal: () => known, read }
  }
}

/** A planted bug takes its answers for granted. */
function isTrusted(log: string): boolean {
  if (log === 'events') return switches.trustsEvents
  return log === 'transitions' ? switches.trustsOutputs : log.startsWith('journal') && switches.trustsJournal
}

/** What befalls the disk when the process dies. */
export interface DiskCrash {
  /** How many records beyond the durable ones are left of a log; by default as luck will have it. */
  readonly keep?: { readonly log: string; readonly records: 'none' | 'some' | 'all'; readonly torn: boolean }
  /** The power fails: stores lose what they hadn't synced. */
  readonly power: boolean
  /** Other stores are found than there were. */
  readonly stores?: readonly MemorySnapshot[]
}

export class Disk {
  readonly events: SimLog
  readonly journals: SimLog[]
  readonly definitions: SimLog
  readonly streams: Readonly<Record<Stream, SimLog>>
  readonly stores: MemoryStore[]
  readonly setup: DiskSetup

  constructor(setup: DiskSetup, before?: { readonly disk: Disk; readonly crash: DiskCrash }) {
    this.setup = setup
    const { partitions, hosts } = setup
    const open = (name: string, old: SimLog | undefined, n = partitions): SimLog =>
      old && before ? old.crash(leftOf(old, before.crash, setup.scheduler), setup) : new SimLog(name, setup, undefined, n)
    const was = before?.disk
    this.events = open('events', was?.events)
    this.journals = Array.from({ length: hosts }, (_, h) => open(`journal ${h}`, was?.journals[h]))
    this.definitions = open('definitions', was?.definitions, 1)
    const stream = (name: Stream): SimLog => open(name, was?.streams[name], partitions + 1)
    this.streams = { transitions: stream(STREAMS[0]), merges: stream(STREAMS[1]), deadLetters: stream(STREAMS[2]) }
    this.stores = Array.from({ length: partitions }, (_, p) => this.#store(p, was && before && left(was, p, before.crash, setup)))
  }

  get logs(): SimLog[] {
    return [this.events, ...this.journals, this.definitions, ...Object.values(this.streams)]
  }

  #store(partition: number, snapshot: MemorySnapshot | undefined): MemoryStore {
    return simStore(partition, this.setup, snapshot)
  }
}

/** A store whose every answer waits for its turn. */
export function simStore(
  partition: number,
  { scheduler, owner }: Pick<DiskSetup, 'scheduler' | 'owner'>,
  snapshot: MemorySnapshot | undefined,
): MemoryStore {
  const store = new MemoryStore(snapshot)
  store.faults.beforeRead = () => scheduler.wait(`store ${partition} read`, owner)
  store.faults.beforeWrite = () => scheduler.wait(`store ${partition} write`, owner, `store ${partition} writes`)
  store.faults.afterWrite = () => scheduler.wait(`store ${partition} written`, owner)
  store.faults.beforeSync = () => scheduler.wait(`store ${partition} sync`, owner)
  return store
}

function leftOf({ name, log }: SimLog, { keep }: DiskCrash, { random }: Scheduler): CrashOptions {
  const unsynced = log.unsynced()
  if (keep === undefined || !name.startsWith(keep.log)) return { keepUnsynced: below(random, unsynced + 1), torn: random() < 0.3 }
  if (keep.records === 'none') return { keepUnsynced: 0 }
  return { keepUnsynced: keep.records === 'all' ? unsynced : 1 + below(random, Math.max(1, unsynced - 1)), torn: keep.torn }
}

function left(disk: Disk, partition: number, { power, stores }: DiskCrash, { scheduler }: DiskSetup): MemorySnapshot {
  if (stores) return must(stores[partition], 'every partition has a store')
  const store = must(disk.stores[partition], 'every partition has a store')
  return power ? store.afterPowerLoss(below(scheduler.random, store.unsyncedWrites + 1)) : store.snapshot()
}
