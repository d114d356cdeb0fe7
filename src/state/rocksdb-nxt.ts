// The Store on @nxtedition/rocksdb, whose writes and scans block the thread that calls: a store thread owns the databases of this
// thread and makes all calls (store-thread.ts). Owns the packing and the conversation with that thread.
//
// 1. A call's rows cross in one buffer that is handed over, not copied; values of one answer share its memory.
// 2. A database is closed only once every call is answered; later calls are refused.
import { mkdir } from 'node:fs/promises'
import { Worker } from 'node:worker_threads'
import type { OpenOptions } from '@nxtedition/rocksdb/binding.js'
// Fails here, where it can be caught, if the binding has no binary for this platform.
import '@nxtedition/rocksdb/binding.js'
import { invariant, must } from '../core/assert.ts'
import { TributaryError } from '../core/errors.ts'
import { Mail } from '../core/mail.ts'
import { directoryBytes, syncWriteAheadLogs } from './files.ts'
import { packBatch, packKeys, unpackRows, unpackValues } from './packed.ts'
import { type RocksOptions, storeError } from './rocksdb-options.ts'
import type { ScanRange, Store, StoreBatch, StoreRow, StoreScan } from './store.ts'
import type { StoreCall, StoreReply, StoreRequest } from './store-thread.ts'

export async function openNxt(dir: string, options: RocksOptions): Promise<Store> {
  await mkdir(dir, { recursive: true })
  const store = new NxtStore(dir, StoreThread.acquire())
  await store.open(openOptions(options))
  return store
}

function openOptions(options: RocksOptions): OpenOptions {
  return {
    createIfMissing: true,
    // Compressing everything costs 2.4 times the CPU. `level` compresses from its third level on, where rows are cold.
    compression: false,
    walCompression: false,
    // The only way to tell this binding the size of a memtable: a quarter of the budget, and two are written together.
    compaction: 'level',
    memtableMemoryBudget: options.writeBufferBytes * 2,
    optimize: 'point-lookup',
    parallelism: options.backgroundThreads,
    cacheSize: options.cacheBytes,
    infoLogLevel: 'warn',
  }
}

class NxtStore implements Store {
  readonly #dir: string
  readonly #thread: StoreThread
  readonly #database: number
  #scans = 0
  #calls = 0
  #whenAnswered: (() => void) | undefined
  #closing: Promise<void> | undefined

  constructor(dir: string, thread: StoreThread) {
    this.#dir = dir
    this.#thread = thread
    this.#database = thread.newDatabase()
  }

  async open(options: OpenOptions): Promise<void> {
    try {
      await this.#call('opening', { op: 'open', dir: this.#dir, options })
    } catch (error) {
      await this.#thread.release()
      throw error
    }
  }

  async getMany(keys: readonly string[]): Promise<(Buffer | undefined)[]> {
    this.#mustBeOpen()
    if (keys.length === 0) return []
    const packed = packKeys(keys).buffer
    const reply = await this.#call('reading', { op: 'get', packed }, packed)
    return unpackValues(bytesOf(reply), keys)
  }

  scan(range: ScanRange): StoreScan {
    this.#mustBeOpen()
    const scan = ++this.#scans
    let state: 'new' | 'open' | 'closed' = range.gte < range.lt ? 'new' : 'closed'
    return {
      next: async (limit): Promise<StoreRow[]> => {
        if (state === 'closed') return []
        this.#mustBeOpen()
        invariant(limit > 0, 'a page has room for a row')
        const request: StoreRequest =
          state === 'open'
            ? { op: 'next', scan, limit }
            : { op: 'scan', scan, gte: range.gte, lt: range.lt, reverse: range.reverse === true, limit }
        state = 'open'
        const reply = await this.#call('scanning', request)
        if (reply.isLast) state = 'closed'
        return unpackRows(bytesOf(reply))
      },
      close: async () => {
        if (state === 'open' && !this.#closing) await this.#call('scanning', { op: 'closeScan', scan })
        state = 'closed'
      },
    }
  }

  async write(batch: StoreBatch): Promise<void> {
    this.#mustBeOpen()
    const packed = packBatch(batch).buffer
    await this.#call('writing', { op: 'write', packed }, packed)
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
    while (this.#calls > 0) {
      await new Promise<void>((resolve) => {
        this.#whenAnswered = resolve
      })
    }
    try {
      await this.#call('closing', { op: 'close' })
    } finally {
      await this.#thread.release()
    }
  }

  async #call(doing: string, request: StoreRequest, transfer?: ArrayBuffer): Promise<StoreReply> {
    this.#calls++
    try {
      return await this.#thread.call(this.#database, request, transfer)
    } catch (error) {
      throw storeError(doing, this.#dir, error)
    } finally {
      if (--this.#calls === 0) this.#whenAnswered?.()
    }
  }

  #mustBeOpen(): void {
    if (this.#closing) throw new TributaryError('store_failed', `${this.#dir} is closed`)
  }
}

function bytesOf(reply: StoreReply): Buffer {
  return Buffer.from(must(reply.packed, 'the answer to a read has rows'))
}

/** The store thread as its host sees it: one per thread that opens databases, for as long as one is open. */
class StoreThread {
  static #shared: StoreThread | undefined
  readonly #worker = new Worker(new URL('./store-thread.ts', import.meta.url), { name: 'store' })
  readonly #mail = new Mail<StoreCall>((calls, transfer) => this.#worker.postMessage(calls, transfer))
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
    this.#worker.on('message', (replies: readonly StoreReply[]) => {
      for (const reply of replies) this.#settle(reply)
    })
    this.#worker.on('error', (error) => this.#fail(error instanceof Error ? error : new Error(String(error))))
    this.#worker.on('exit', () => this.#fail(new Error('the store thread has ended')))
  }

  newDatabase(): number {
    return ++this.#databases
  }

  call(database: number, request: StoreRequest, transfer?: ArrayBuffer): Promise<StoreReply> {
    return new Promise((resolve, reject) => {
      if (this.#failure) throw this.#failure
      const call: StoreCall = { id: ++this.#calls, database, request }
      this.#waiting.set(call.id, { resolve, reject })
      this.#mail.post(call, transfer)
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
