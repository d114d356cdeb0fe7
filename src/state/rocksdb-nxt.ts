// The Store on @nxtedition/rocksdb. Reads single rows on the binding's own threads; leaves writes and scans, which block, to
// the store thread that all databases of this thread share. The adapter owns the database; the store thread borrows it.
//
// 1. The binding does not check that a database is open: no call is made after `close` has begun, and the database is closed
//    only once no call is under way, here or in the store thread.
// 2. Writes are carried out in the order of the calls.
// 3. A write that deletes ranges may take several steps in the store thread (store-thread.ts, 2): no read runs meanwhile.
import { mkdir } from 'node:fs/promises'
import { Worker } from 'node:worker_threads'
import binding, { type Database } from '@nxtedition/rocksdb/binding.js'
import { invariant, must } from '../core/assert.ts'
import { TributaryError } from '../core/errors.ts'
import { directoryBytes, syncWriteAheadLogs } from './files.ts'
import { keyViews, packBatch, unpackRows } from './packed.ts'
import { type RocksOptions, storeError } from './rocksdb-options.ts'
import type { ScanRange, Store, StoreBatch, StoreRow, StoreScan } from './store.ts'
import type { StoreCall, StoreReply, StoreRequest } from './store-thread.ts'
import { openValue } from './value.ts'

const NO_OPTIONS = {}

export async function openNxt(dir: string, options: RocksOptions): Promise<Store> {
  await mkdir(dir, { recursive: true })
  const db = binding.db_init(dir)
  try {
    await new Promise<void>((resolve, reject) => {
      binding.db_open(db, openOptions(options), (error) => (error ? reject(error) : resolve()))
    })
  } catch (error) {
    throw storeError('opening', dir, error)
  }
  const thread = StoreThread.acquire()
  const store = new NxtStore(dir, db, thread)
  try {
    await store.attach()
  } catch (error) {
    await store.close()
    throw error
  }
  return store
}

function openOptions(options: RocksOptions): Parameters<typeof binding.db_open>[1] {
  return {
    createIfMissing: true,
    // Compressing everything costs 2.4 times the CPU. `level` compresses from its third level on, where rows are cold.
    compression: false,
    walCompression: false,
    // The only way to tell this binding the size of a memtable: a quarter of the budget.
    compaction: 'level',
    memtableMemoryBudget: options.writeBufferBytes * 4,
    optimize: 'point-lookup',
    parallelism: options.backgroundThreads,
    cacheSize: options.cacheBytes,
    infoLogLevel: 'warn',
  }
}

class NxtStore implements Store {
  readonly #dir: string
  readonly #db: Database
  readonly #thread: StoreThread
  readonly #id: number
  #reads = 0
  #readsDone: (() => void) | undefined
  /** Settles when the write that excludes reads is done (3). */
  #exclusive: Promise<void> | undefined
  /** Settles when the last write that has to keep its place behind an exclusive one is done; undefined if there is none. */
  #queued: Promise<void> | undefined
  #scans = 0
  #closing: Promise<void> | undefined

  constructor(dir: string, db: Database, thread: StoreThread) {
    this.#dir = dir
    this.#db = db
    this.#thread = thread
    this.#id = thread.newDatabase()
  }

  async attach(): Promise<void> {
    await this.#call('opening', { op: 'attach', db: this.#id, handle: binding.db_get_handle(this.#db) })
  }

  async getMany(keys: readonly string[]): Promise<(Buffer | undefined)[]> {
    this.#mustBeOpen()
    if (keys.length === 0) return []
    while (this.#exclusive) await this.#exclusive
    this.#mustBeOpen()
    const stored = await this.#read(keyViews(keys))
    const values = new Array<Buffer | undefined>(stored.length)
    for (let i = 0; i < stored.length; i++) {
      const value = stored[i]
      values[i] = value ? openValue(keys[i] as string, value) : undefined
    }
    return values
  }

  #read(keys: Buffer[]): Promise<(Buffer | undefined | null)[]> {
    return new Promise((resolve, reject) => {
      this.#reads++
      const done = (error: unknown, rows: (Buffer | undefined | null)[]): void => {
        if (--this.#reads === 0) this.#readsDone?.()
        if (error) reject(storeError('reading', this.#dir, error))
        else resolve(rows)
      }
      try {
        binding.db_get_many(this.#db, keys, NO_OPTIONS, done)
      } catch (error) {
        done(error, [])
      }
    })
  }

  scan(range: ScanRange): StoreScan {
    this.#mustBeOpen()
    const scan = ++this.#scans
    const db = this.#id
    let state: 'new' | 'open' | 'closed' = range.gte < range.lt ? 'new' : 'closed'
    return {
      next: async (limit) => {
        if (state === 'closed') return []
        this.#mustBeOpen()
        invariant(limit > 0, 'a page has room for a row')
        const request: StoreRequest =
          state === 'open'
            ? { op: 'next', db, scan, limit }
            : { op: 'scan', db, scan, gte: range.gte, lt: range.lt, reverse: range.reverse === true, limit }
        state = 'open'
        return this.#rows(await this.#call('scanning', request))
      },
      close: async () => {
        if (state === 'open' && !this.#closing) await this.#call('scanning', { op: 'closeScan', db, scan })
        state = 'closed'
      },
    }
  }

  #rows(reply: StoreReply): StoreRow[] {
    return unpackRows(Buffer.from(must(reply.rows, 'a page comes with rows')))
  }

  async write(batch: StoreBatch): Promise<void> {
    this.#mustBeOpen()
    const packed = packBatch(batch)
    const isExclusive = (batch.deletedRanges?.length ?? 0) > 0
    if (!isExclusive && !this.#queued) return this.#post(packed)
    const before = this.#queued ?? Promise.resolve()
    const written = before.then(() => (isExclusive ? this.#writeExclusively(packed) : this.#post(packed)))
    const queued = written.then(noop, noop).then(() => {
      if (this.#queued === queued) this.#queued = undefined
    })
    this.#queued = queued
    return written
  }

  async #post(packed: Buffer<ArrayBuffer>): Promise<void> {
    await this.#call('writing', { op: 'write', db: this.#id, packed: packed.buffer }, [packed.buffer])
  }

  async #writeExclusively(packed: Buffer<ArrayBuffer>): Promise<void> {
    const written = this.#noReads().then(() => this.#post(packed))
    this.#exclusive = written.then(noop, noop).then(() => {
      this.#exclusive = undefined
    })
    await written
  }

  async #noReads(): Promise<void> {
    while (this.#reads > 0) {
      await new Promise<void>((resolve) => {
        this.#readsDone = resolve
      })
    }
  }

  async sync(): Promise<void> {
    this.#mustBeOpen()
    try {
      await syncWriteAheadLogs(this.#dir)
    } catch (error) {
      throw storeError('syncing', this.#dir, error)
    }
  }

  bytes(): Promise<number> {
    return directoryBytes(this.#dir)
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    // Writes under way were posted before, so the store thread answers `detach` after them.
    while (this.#queued) await this.#queued
    try {
      await this.#call('closing', { op: 'detach', db: this.#id })
    } finally {
      await this.#noReads()
      await new Promise<void>((resolve, reject) => {
        binding.db_close(this.#db, (error) => (error ? reject(storeError('closing', this.#dir, error)) : resolve()))
      })
      await this.#thread.release()
    }
  }

  async #call(doing: string, request: StoreRequest, transfer: ArrayBuffer[] = []): Promise<StoreReply> {
    try {
      return await this.#thread.call(request, transfer)
    } catch (error) {
      throw storeError(doing, this.#dir, error)
    }
  }

  #mustBeOpen(): void {
    if (this.#closing) throw new TributaryError('store_failed', `${this.#dir} is closed`)
  }
}

/** The store thread as its host sees it: one per thread that opens databases, for as long as one is open. */
class StoreThread {
  static #shared: StoreThread | undefined
  readonly #worker = new Worker(new URL('./store-thread.ts', import.meta.url), { name: 'store' })
  readonly #waiting = new Map<number, { resolve: (reply: StoreReply) => void; reject: (error: unknown) => void }>()
  #users = 0
  #databases = 0
  #calls = 0
  #failure: Error | undefined

  static acquire(): StoreThread {
    StoreThread.#shared ??= new StoreThread()
    StoreThread.#shared.#users++
    return StoreThread.#shared
  }

  private constructor() {
    this.#worker.on('message', (reply: StoreReply) => this.#settle(reply))
    this.#worker.on('error', (error) => this.#fail(error instanceof Error ? error : new Error(String(error))))
    this.#worker.on('exit', () => this.#fail(new Error('the store thread has ended')))
  }

  newDatabase(): number {
    return ++this.#databases
  }

  call(request: StoreRequest, transfer: ArrayBuffer[]): Promise<StoreReply> {
    return new Promise((resolve, reject) => {
      if (this.#failure) throw this.#failure
      const call: StoreCall = { id: ++this.#calls, request }
      this.#waiting.set(call.id, { resolve, reject })
      this.#worker.postMessage(call, transfer)
    })
  }

  /** Ends the thread with its last user. */
  async release(): Promise<void> {
    if (--this.#users > 0) return
    if (StoreThread.#shared === this) StoreThread.#shared = undefined
    await this.#worker.terminate()
  }

  #settle(reply: StoreReply): void {
    const waiting = must(this.#waiting.get(reply.id), 'a reply answers a call')
    this.#waiting.delete(reply.id)
    if (!reply.error) waiting.resolve(reply)
    else waiting.reject(Object.assign(new Error(reply.error.message), { code: reply.error.code }))
  }

  #fail(error: Error): void {
    this.#failure ??= error
    if (StoreThread.#shared === this) StoreThread.#shared = undefined
    for (const { reject } of this.#waiting.values()) reject(this.#failure)
    this.#waiting.clear()
  }
}

function noop(): void {}
