// The Store on rocksdb-native, whose calls all run on threads of their own: for platforms that nxt has no binary for.
//
// 1. The binding keeps pointers into key and value buffers until a flush resolves: batches are packed copies, never changed after.
// 2. Hence the thread that opened a database must close it before it ends. If it is terminated, or dies of an error, while a write
//    is under way, the binding goes on with memory that was freed, and rows nobody wrote end up in the database. (The death of the
//    whole process, also by kill -9, does no harm.)
// 3. Writes are carried out in the order of the calls: each begins when the one before has ended.
// 4. The database is closed only once its scans are; an open one would wait for ever.
import RocksDB, { type RowStream } from 'rocksdb-native'
import { invariant } from '../core/assert.ts'
import { toBinary } from '../core/bytes.ts'
import { TributaryError } from '../core/errors.ts'
import { directoryBytes, syncWriteAheadLogs } from './files.ts'
import { keyViews, packBatch, REDO_KEY, visitBatch } from './packed.ts'
import { type RocksOptions, storeError } from './rocksdb-options.ts'
import type { ScanRange, Store, StoreBatch, StoreRow, StoreScan } from './store.ts'
import { openValue } from './value.ts'

/** Rows that a scan fetches in one call. */
const ROWS_PER_FETCH = 128
/** The binding's block cache: its size can't be set, but it can be left out; blocks then come from the page cache. */
const NATIVE_CACHE_BYTES = 32 << 20

export async function openNative(dir: string, options: RocksOptions): Promise<Store> {
  const hasCache = options.cacheBytes >= NATIVE_CACHE_BYTES
  const db = new RocksDB(dir, {
    createIfMissing: true,
    writeBufferSize: options.writeBufferBytes,
    maxWriteBufferNumber: 2,
    maxBackgroundJobs: options.backgroundThreads,
    blockCache: hasCache,
    tableCacheIndexAndFilterBlocks: hasCache,
  })
  try {
    await db.ready()
  } catch (error) {
    throw storeError('opening', dir, error)
  }
  const store = new NativeStore(dir, db)
  try {
    await store.redo()
  } catch (error) {
    await store.close()
    throw error
  }
  return store
}

class NativeStore implements Store {
  readonly #dir: string
  readonly #db: RocksDB
  readonly #scans = new Set<NativeScan>()
  #lastWrite: Promise<void> = Promise.resolve()
  #reads = new Set<Promise<unknown>>()
  #closing: Promise<void> | undefined

  constructor(dir: string, db: RocksDB) {
    this.#dir = dir
    this.#db = db
  }

  /** Completes a batch that the other adapter was carrying out step by step when it was interrupted. */
  async redo(): Promise<void> {
    const [interrupted] = await this.#read([REDO_KEY])
    if (interrupted) await this.#flush(Buffer.from(openValue('', interrupted)), true)
  }

  async getMany(keys: readonly string[]): Promise<(Buffer | undefined)[]> {
    this.#mustBeOpen()
    if (keys.length === 0) return []
    const reading = this.#read(keyViews(keys))
    this.#reads.add(reading)
    try {
      const stored = await reading
      return stored.map((value, i) => (value ? openValue(keys[i] as string, value) : undefined))
    } finally {
      this.#reads.delete(reading)
    }
  }

  async #read(keys: Buffer[]): Promise<(Buffer | null)[]> {
    try {
      const batch = this.#db.read({ capacity: keys.length, autoDestroy: true })
      const values = Promise.all(keys.map((key) => batch.get(key)))
      const [found] = await Promise.all([values, batch.flush()])
      return found
    } catch (error) {
      throw storeError('reading', this.#dir, error)
    }
  }

  scan(range: ScanRange): StoreScan {
    this.#mustBeOpen()
    const scan = new NativeScan(this.#dir, this.#db, range, () => this.#scans.delete(scan))
    this.#scans.add(scan)
    return scan
  }

  write(batch: StoreBatch): Promise<void> {
    try {
      this.#mustBeOpen()
      const packed = packBatch(batch)
      const written = this.#lastWrite.then(() => this.#flush(packed, false))
      this.#lastWrite = written.then(noop, noop)
      return written
    } catch (error) {
      return Promise.reject(error)
    }
  }

  async #flush(packed: Buffer, isRedo: boolean): Promise<void> {
    try {
      const batch = this.#db.write({ capacity: packed.readUInt32LE(0) + packed.readUInt32LE(4) + 1, autoDestroy: true })
      visitBatch(packed, {
        deleteRange: (from, to) => batch.tryDeleteRange(from, to),
        put: (key, stored) => batch.tryPut(key, stored),
        delete: (key) => batch.tryDelete(key),
      })
      if (isRedo) batch.tryDelete(REDO_KEY)
      await batch.flush()
    } catch (error) {
      throw storeError('writing', this.#dir, error)
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
    await this.#lastWrite
    await Promise.allSettled([...this.#reads])
    await Promise.all([...this.#scans].map((scan) => scan.close()))
    try {
      await this.#db.close()
    } catch (error) {
      throw storeError('closing', this.#dir, error)
    }
  }

  #mustBeOpen(): void {
    if (this.#closing) throw new TributaryError('store_failed', `${this.#dir} is closed`)
  }
}

class NativeScan implements StoreScan {
  readonly #dir: string
  readonly #db: RocksDB
  readonly #range: ScanRange
  readonly #closed: () => void
  #stream: RowStream | undefined
  #rows: AsyncIterator<{ key: Buffer; value: Buffer }> | undefined
  #isOver: boolean

  constructor(dir: string, db: RocksDB, range: ScanRange, closed: () => void) {
    this.#dir = dir
    this.#db = db
    this.#range = range
    this.#closed = closed
    this.#isOver = range.gte >= range.lt
  }

  async next(limit: number): Promise<StoreRow[]> {
    invariant(limit > 0, 'a page has room for a row')
    const page: StoreRow[] = []
    try {
      while (!this.#isOver && page.length < limit) {
        const { value: row, done } = await this.#opened().next()
        if (done) {
          this.#isOver = true
        } else if (row.key.length > 0) {
          const key = toBinary(row.key)
          page.push([key, openValue(key, row.value)])
        }
      }
    } catch (error) {
      throw storeError('scanning', this.#dir, error)
    }
    return page
  }

  #opened(): AsyncIterator<{ key: Buffer; value: Buffer }> {
    if (!this.#rows) {
      const { gte, lt, reverse } = this.#range
      const range = { gte: Buffer.from(gte, 'latin1'), lt: Buffer.from(lt, 'latin1') }
      this.#stream = this.#db.iterator(range, { reverse: reverse === true, capacity: ROWS_PER_FETCH })
      this.#rows = this.#stream[Symbol.asyncIterator]()
    }
    return this.#rows
  }

  async close(): Promise<void> {
    this.#isOver = true
    this.#closed()
    await this.#rows?.return?.()
  }
}

function noop(): void {}
