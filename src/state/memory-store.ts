// The Store in memory, for tests and the simulator: the same contract, faults on demand, and what a crash leaves behind.
// Owns its rows and the list of writes since the last sync.
//
// 1. Everything resolves by microtasks alone, so that a seeded scheduler replays exactly.
// 2. Values are kept in their stored form, so that a damaged one is noticed as it is by the other adapters.
import { invariant } from '../core/assert.ts'
import { TributaryError } from '../core/errors.ts'
import type { ScanRange, Store, StoreBatch, StoreRow, StoreScan } from './store.ts'
import { openValue, storedValue, VALUE_PAYLOAD_AT } from './value.ts'

/** Called at the named moments; may throw (the call fails with store_failed) or wait. */
export interface Faults {
  /** Nothing of the batch is written if this throws. */
  beforeWrite?: (batch: StoreBatch) => void | Promise<void>
  /** The batch is written, but the caller doesn't learn of it, if this throws. */
  afterWrite?: (batch: StoreBatch) => void | Promise<void>
  /** Before a getMany or a page of a scan. */
  beforeRead?: () => void | Promise<void>
  beforeSync?: () => void | Promise<void>
}

/** What a store held at some moment; `new MemoryStore(snapshot)` opens it again. */
export interface MemorySnapshot {
  readonly rows: ReadonlyMap<string, Buffer>
}

type StoredBatch = { readonly puts: (readonly [string, Buffer | undefined])[]; readonly deletedRanges: (readonly [string, string])[] }

export class MemoryStore implements Store {
  readonly faults: Faults = {}
  #rows: Map<string, Buffer>
  /** Keys in order; undefined when rows came or went since. */
  #sorted: string[] | undefined
  /** What survives power loss for certain: `#synced`, then these writes as far as the disk got. */
  #synced: Map<string, Buffer>
  #unsynced: StoredBatch[] = []
  readonly #writes = new Set<Promise<void>>()
  #isClosed = false

  constructor(snapshot?: MemorySnapshot) {
    this.#rows = new Map(snapshot?.rows)
    this.#synced = new Map(snapshot?.rows)
  }

  /** What the death of the process leaves: every resolved write. */
  snapshot(): MemorySnapshot {
    return { rows: new Map(this.#rows) }
  }

  /** What power loss leaves: what was synced, and the first `kept` writes after it. */
  afterPowerLoss(kept = 0): MemorySnapshot {
    const rows = new Map(this.#synced)
    for (const batch of this.#unsynced.slice(0, kept)) apply(batch, rows)
    return { rows }
  }

  get unsyncedWrites(): number {
    return this.#unsynced.length
  }

  /** Back to a snapshot, as if the process had died then. Scans that are open keep their moment. */
  restore(snapshot: MemorySnapshot): void {
    this.#rows = new Map(snapshot.rows)
    this.#synced = new Map(snapshot.rows)
    this.#unsynced = []
    this.#sorted = undefined
    this.#isClosed = false
  }

  /** Damages the stored form of one value. */
  damage(key: string): void {
    const stored = this.#rows.get(key)
    invariant(stored !== undefined, 'only a row that exists can be damaged')
    const damaged = Buffer.from(stored)
    damaged[VALUE_PAYLOAD_AT] = (damaged[VALUE_PAYLOAD_AT] ?? 0) ^ 1
    this.#rows.set(key, damaged)
  }

  async getMany(keys: readonly string[]): Promise<(Buffer | undefined)[]> {
    this.#mustBeOpen()
    if (this.faults.beforeRead) await this.#fault('reading', this.faults.beforeRead)
    return keys.map((key) => {
      const stored = this.#rows.get(key)
      return stored && openValue(key, stored)
    })
  }

  scan(range: ScanRange): StoreScan {
    this.#mustBeOpen()
    let rows: (readonly [string, Buffer])[] | undefined
    let at = 0
    return {
      next: async (limit) => {
        this.#mustBeOpen()
        invariant(limit > 0, 'a page has room for a row')
        if (this.faults.beforeRead) await this.#fault('scanning', this.faults.beforeRead)
        rows ??= this.#range(range)
        const page = rows.slice(at, at + limit).map(([key, stored]): StoreRow => [key, openValue(key, stored)])
        at += page.length
        return page
      },
      close: async () => {
        rows = []
      },
    }
  }

  #range({ gte, lt, reverse }: ScanRange): (readonly [string, Buffer])[] {
    this.#sorted ??= [...this.#rows.keys()].sort(compareBytes)
    const keys = this.#sorted.slice(lowerBound(this.#sorted, gte), lowerBound(this.#sorted, lt))
    if (reverse) keys.reverse()
    return keys.map((key) => [key, this.#rows.get(key) as Buffer] as const)
  }

  write(batch: StoreBatch): Promise<void> {
    const written = this.#write(batch)
    const settled = written.then(noop, noop).then(() => void this.#writes.delete(settled))
    this.#writes.add(settled)
    return written
  }

  async #write(batch: StoreBatch): Promise<void> {
    this.#mustBeOpen()
    const stored: StoredBatch = {
      puts: batch.puts.map(([key, value]) => {
        invariant(key.length > 0, 'a key has at least one byte')
        return [key, value && storedValue(value)] as const
      }),
      deletedRanges: [...(batch.deletedRanges ?? [])],
    }
    if (this.faults.beforeWrite) await this.#fault('writing', () => this.faults.beforeWrite?.(batch))
    apply(stored, this.#rows)
    this.#sorted = undefined
    this.#unsynced.push(stored)
    if (this.faults.afterWrite) await this.#fault('writing', () => this.faults.afterWrite?.(batch))
  }

  async sync(): Promise<void> {
    this.#mustBeOpen()
    const writes = this.#unsynced.length
    if (this.faults.beforeSync) await this.#fault('syncing', this.faults.beforeSync)
    for (const batch of this.#unsynced.splice(0, writes)) apply(batch, this.#synced)
  }

  async bytes(): Promise<number> {
    let bytes = 0
    for (const [key, stored] of this.#rows) bytes += key.length + stored.length
    return bytes
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.all(this.#writes)
  }

  async #fault(doing: string, fault: () => void | Promise<void>): Promise<void> {
    try {
      await fault()
    } catch (cause) {
      throw new TributaryError('store_failed', `${doing} failed: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
    }
  }

  #mustBeOpen(): void {
    if (this.#isClosed) throw new TributaryError('store_failed', 'the store is closed')
  }
}

function apply(batch: StoredBatch, rows: Map<string, Buffer>): void {
  for (const [from, to] of batch.deletedRanges) {
    for (const key of rows.keys()) if (key >= from && key < to) rows.delete(key)
  }
  for (const [key, stored] of batch.puts) {
    if (stored === undefined) rows.delete(key)
    else rows.set(key, stored)
  }
}

function noop(): void {}

function compareBytes(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** Index of the first key that is not below `key`. */
function lowerBound(sorted: readonly string[], key: string): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const mid = (low + high) >>> 1
    if ((sorted[mid] as string) < key) low = mid + 1
    else high = mid
  }
  return low
}
