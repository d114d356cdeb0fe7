// What we use of the two bindings; neither brings types.

declare module '@nxtedition/rocksdb/binding.js' {
  /** A database: usable in every thread that has made one from its handle. */
  export interface Database {
    readonly kind: 'database'
  }
  export interface Batch {
    readonly kind: 'batch'
  }
  export interface Iterator {
    readonly kind: 'iterator'
  }
  type Done<T> = (error: Error | null, result: T) => void

  export interface OpenOptions {
    readonly createIfMissing: boolean
    readonly compression: boolean
    readonly walCompression: boolean
    readonly compaction: 'level' | 'universal'
    readonly memtableMemoryBudget: number
    readonly optimize: 'point-lookup'
    readonly parallelism: number
    readonly cacheSize: number
    readonly infoLogLevel: 'warn'
  }

  export interface IteratorOptions {
    readonly gte: Buffer
    readonly lt: Buffer
    readonly reverse: boolean
    readonly values: boolean
    readonly highWaterMarkBytes: number
    /** Undefined behaviour without. */
    readonly keyEncoding: 'buffer'
    readonly valueEncoding: 'buffer'
  }

  interface Binding {
    db_init(locationOrHandle: string | bigint): Database
    db_get_handle(db: Database): bigint
    db_open(db: Database, options: OpenOptions, done: Done<unknown>): void
    db_close(db: Database, done: Done<undefined>): void
    db_get_many(db: Database, keys: readonly Buffer[], options: object, done: Done<(Buffer | undefined | null)[]>): void
    db_get_many_sync(db: Database, keys: readonly Buffer[], options: object): (Buffer | undefined | null)[]
    db_clear(db: Database, range: { readonly gte: Buffer; readonly lt: Buffer }): void
    iterator_init(db: Database, options: IteratorOptions): Iterator
    iterator_nextv_sync(iterator: Iterator, count: number): { readonly rows: readonly Buffer[]; readonly finished: boolean }
    iterator_close(iterator: Iterator): void
    batch_init(): Batch
    batch_clear(batch: Batch): void
    batch_put(batch: Batch, key: Buffer, value: Buffer, options: object): void
    batch_del(batch: Batch, key: Buffer, options: object): void
    batch_write(db: Database, batch: Batch, options: object): void
  }
  const binding: Binding
  export default binding
}

declare module 'rocksdb-native' {
  export interface Options {
    readonly createIfMissing?: boolean
    readonly writeBufferSize?: number
    readonly maxWriteBufferNumber?: number
    readonly maxBackgroundJobs?: number
    readonly blockCache?: boolean
    /** Must be false without a block cache. */
    readonly tableCacheIndexAndFilterBlocks?: boolean
  }

  export interface ReadBatch {
    get(key: Buffer): Promise<Buffer | null>
    flush(): Promise<void>
  }

  export interface WriteBatch {
    tryPut(key: Buffer, value: Buffer): void
    tryDelete(key: Buffer): void
    tryDeleteRange(from: Buffer, to: Buffer): void
    flush(): Promise<void>
  }

  export interface Row {
    readonly key: Buffer
    readonly value: Buffer
  }

  export interface RowStream extends AsyncIterable<Row> {
    destroy(): void
    readonly destroyed: boolean
    once(event: 'close', listener: () => void): void
  }

  export default class RocksDB {
    constructor(path: string, options: Options)
    ready(): Promise<void>
    close(): Promise<void>
    read(options: { readonly capacity: number; readonly autoDestroy: boolean }): ReadBatch
    write(options: { readonly capacity: number; readonly autoDestroy: boolean }): WriteBatch
    iterator(
      range: { readonly gte: Buffer; readonly lt: Buffer },
      options: { readonly reverse: boolean; readonly capacity: number },
    ): RowStream
  }
}
