// A log in memory with the file log's behaviour, for tests and the simulator: rounds of group commit, failures that are final,
// and crashes after which some unsynced records are there and others not. Owns its records; nothing survives the process.
//
// 1. One round is in flight at a time; it has what was appended before it began. `faults.schedule` decides when it completes.
// 2. A failed round is final (log.ts 4). After a failed sync its records may be there after a crash, after a failed write not.
// 3. After `crash` this log is dead: its pending syncs never resolve, because the process that waited for them is gone.
import { invariant, must } from '../core/assert.ts'
import { TributaryError } from '../core/errors.ts'
import type { LogReader, LogRecord, LogWriter, ReadLimits } from './log.ts'

/** Set and changed by the test at any time. */
export interface MemoryFaults {
  /** Fails the next round that completes, once. */
  failNext?: 'write' | 'sync' | undefined
  /** Is given each round's completion, to call when the round shall be durable. By default that is the next microtask. */
  schedule?: ((complete: () => void) => void) | undefined
}

export interface MemoryLogOptions {
  readonly partitions: number
  readonly faults?: MemoryFaults
  readonly onSynced?: (syncedOrdinal: number) => void
}

export interface CrashOptions {
  /** So many of the records not yet durable are there afterwards, the oldest ones. */
  readonly keepUnsynced: number
  /** The last one of them is torn: opening the log cuts it off. */
  readonly torn?: boolean
}

export interface MemoryLogWriter extends LogWriter {
  /** All records with a smaller ordinal are durable. */
  syncedOrdinal(): number
}

interface Kept {
  /** Ordinal of the first record. */
  readonly base: number
  readonly firsts: readonly number[]
  readonly records: readonly LogRecord[]
}

interface PartitionRecords {
  first: number
  readonly records: LogRecord[]
}

type Waiting = PromiseWithResolvers<void>

function waiting(): Waiting {
  const w = Promise.withResolvers<void>()
  // A round may have no caller that waits for it; its failure is kept in the log.
  w.promise.catch(() => undefined)
  return w
}

export class MemoryLog {
  readonly partitions: number
  readonly writer: MemoryLogWriter
  readonly reader: LogReader
  readonly #options: MemoryLogOptions
  readonly #faults: MemoryFaults
  #base: number
  readonly #records: LogRecord[] = []
  readonly #partitions: PartitionRecords[]
  readonly #durable: number[]
  readonly #released: number[]
  #synced: number
  #collected = waiting()
  #inFlight: (Waiting & { readonly end: number }) | undefined
  #isWanted = false
  /** Records from this ordinal on went with a failed write. */
  #lostFrom = Number.POSITIVE_INFINITY
  #failed: TributaryError | undefined
  #state: 'open' | 'closed' | 'crashed' = 'open'

  constructor(options: MemoryLogOptions, kept?: Kept) {
    const { partitions } = options
    this.partitions = partitions
    this.#options = options
    this.#faults = options.faults ?? {}
    this.#base = kept?.base ?? 0
    this.#synced = this.#base
    this.#partitions = Array.from({ length: partitions }, (_, p) => ({ first: kept?.firsts[p] ?? 0, records: [] }))
    for (const record of kept?.records ?? []) this.#add(record)
    this.#synced += this.#records.length
    this.#durable = this.#partitions.map((p) => p.first + p.records.length)
    this.#released = new Array<number>(partitions).fill(0)
    this.writer = this.#makeWriter()
    this.reader = this.#makeReader()
  }

  /** What a process finds that opens this log after this one was killed (3). */
  crash(options: CrashOptions, reopened: MemoryLogOptions = this.#options): MemoryLog {
    const appended = Math.min(this.#base + this.#records.length, Math.max(this.#lostFrom, this.#synced))
    const unsynced = Math.min(options.keepUnsynced, appended - this.#synced)
    const whole = options.torn === true && unsynced > 0 ? unsynced - 1 : unsynced
    this.#state = 'crashed'
    const records = this.#records.slice(0, this.#synced - this.#base + whole)
    return new MemoryLog(reopened, { base: this.#base, firsts: this.#partitions.map((p) => p.first), records })
  }

  /** Records appended and not yet durable. */
  unsynced(): number {
    return this.#base + this.#records.length - this.#synced
  }

  #of(partition: number): PartitionRecords {
    return must(this.#partitions[partition], `partition ${partition} of ${this.partitions}`)
  }

  #add(record: LogRecord): void {
    this.#records.push(record)
    this.#of(record.partition).records.push(record)
  }

  #makeWriter(): MemoryLogWriter {
    return {
      partitions: this.partitions,
      append: (partition, payload) => this.#append(partition, payload),
      sync: () => this.#sync(),
      end: (partition) => this.#end(partition),
      release: async (partition, position) => this.#release(partition, position),
      bytes: () => this.#records.reduce((bytes, record) => bytes + record.payload.length, 0),
      syncedOrdinal: () => this.#synced,
      close: () => this.#close(),
    }
  }

  #makeReader(): LogReader {
    return {
      partitions: this.partitions,
      first: (partition) => this.#of(partition).first,
      end: (partition) => must(this.#durable[partition], `partition ${partition} of ${this.partitions}`),
      read: async (partition, from, limits) => this.#read(partition, from, limits),
      readAll: async (ordinal, limits) => this.#readAll(ordinal, limits),
      firstOrdinal: () => this.#base,
      endOrdinal: () => this.#synced,
      last: async (partition) => this.#last(partition),
      close: async () => undefined,
    }
  }

  #end(partition: number): number {
    const { first, records } = this.#of(partition)
    return first + records.length
  }

  #refuseUnlessOpen(): void {
    if (this.#failed) throw this.#failed
    invariant(this.#state === 'open', `a log that is ${this.#state} takes nothing`)
  }

  #append(partition: number, payload: Uint8Array): number {
    this.#refuseUnlessOpen()
    const position = this.#end(partition)
    this.#add({ partition, position, ordinal: this.#base + this.#records.length, payload: Buffer.from(payload) })
    return position
  }

  async #sync(): Promise<void> {
    this.#refuseUnlessOpen()
    if (this.unsynced() === 0) return
    if (this.#inFlight?.end === this.#base + this.#records.length) return this.#inFlight.promise
    if (!this.#isWanted && !this.#inFlight) queueMicrotask(() => this.#begin())
    this.#isWanted = true
    return this.#collected.promise
  }

  /** Begins a round with everything appended by now (1). */
  #begin(): void {
    this.#isWanted = false
    const end = this.#base + this.#records.length
    const done = { ...this.#collected, end }
    this.#inFlight = done
    this.#collected = waiting()
    const complete = (): void => {
      if (this.#inFlight === done && this.#state !== 'crashed') this.#complete(end, done)
    }
    const schedule = this.#faults.schedule ?? queueMicrotask
    schedule(complete)
  }

  #complete(end: number, done: Waiting): void {
    this.#inFlight = undefined
    const fault = this.#faults.failNext
    if (fault) {
      this.#faults.failNext = undefined
      if (fault === 'write') this.#lostFrom = this.#synced
      this.#failed = new TributaryError('log_failed', `the log in memory failed: the test said so (${fault})`)
      done.reject(this.#failed)
      this.#collected.reject(this.#failed)
      return
    }
    for (let ordinal = this.#synced; ordinal < end; ordinal++) {
      const { partition, position } = must(this.#records[ordinal - this.#base], 'records not yet durable are kept')
      this.#durable[partition] = position + 1
    }
    this.#synced = end
    this.#options.onSynced?.(end)
    done.resolve()
    if (this.#isWanted) this.#begin()
  }

  #release(partition: number, position: number): void {
    this.#refuseUnlessOpen()
    const released = must(this.#released[partition], `partition ${partition} of ${this.partitions}`)
    this.#released[partition] = Math.max(released, position)
    let dropped = 0
    for (; this.#base + dropped < this.#synced; dropped++) {
      const record = must(this.#records[dropped], 'durable records are kept')
      if (record.position >= (this.#released[record.partition] ?? 0)) break
      this.#of(record.partition).first = record.position + 1
    }
    if (dropped === 0) return
    this.#records.splice(0, dropped)
    this.#base += dropped
    for (const p of this.#partitions) p.records.splice(0, p.first - (p.records[0]?.position ?? p.first))
  }

  #read(partition: number, from: number, limits: ReadLimits): LogRecord[] {
    const { first, records } = this.#of(partition)
    if (from < first) throw noLongerKept(`position ${from} of partition ${partition}`, first)
    return page(records, { from: from - first, to: (this.#durable[partition] ?? 0) - first }, limits)
  }

  #readAll(ordinal: number, limits: ReadLimits): LogRecord[] {
    if (ordinal < this.#base) throw noLongerKept(`ordinal ${ordinal}`, this.#base)
    return page(this.#records, { from: ordinal - this.#base, to: this.#synced - this.#base }, limits)
  }

  #last(partition: number): LogRecord | undefined {
    const { first, records } = this.#of(partition)
    return records[(this.#durable[partition] ?? 0) - first - 1]
  }

  async #close(): Promise<void> {
    if (this.#state !== 'open') return
    if (!this.#failed) await this.#sync()
    this.#state = 'closed'
  }
}

function page(records: readonly LogRecord[], range: { from: number; to: number }, limits: ReadLimits): LogRecord[] {
  invariant(limits.maxRecords >= 1, 'a read asks for at least one record')
  const found: LogRecord[] = []
  let bytes = 0
  for (let i = range.from; i < range.to && found.length < limits.maxRecords; i++) {
    const record = must(records[i], 'durable records are kept')
    bytes += record.payload.length
    if (found.length > 0 && bytes > limits.maxBytes) break
    found.push(record)
  }
  return found
}

function noLongerKept(what: string, first: number): TributaryError {
  return new TributaryError('data_corrupt', `${what} is no longer kept: the log begins at ${first}`)
}
