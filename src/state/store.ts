// The Store port: an ordered map of binary keys to values, one per partition, behind the journal.
//
// 1. `write` is atomic: all of a batch or none, also under kill -9.
// 2. `write` never blocks the calling thread for the disk; a read that starts after a write has resolved sees it.
// 3. A scan sees one consistent moment: that of its first page.
// 4. Values come back exactly as written, or the call fails (store_failed / data_corrupt): adapters add a version and a checksum.
// Keys are binary strings (core/bytes.ts) and sort as bytes. Values handed out must not be changed.

export interface StoreBatch {
  /** Later entries win over earlier ones; `undefined` deletes. */
  readonly puts: readonly (readonly [key: string, value: Uint8Array | undefined])[]
  /** Half-open ranges [from, to) that are deleted before the puts. */
  readonly deletedRanges?: readonly (readonly [from: string, to: string])[]
}

export interface ScanRange {
  readonly gte: string
  readonly lt: string
  readonly reverse?: boolean
}

export type StoreRow = readonly [key: string, value: Buffer]

export interface StoreScan {
  /** The next rows in order, at most `limit`; an empty array at the end. */
  next(limit: number): Promise<StoreRow[]>
  close(): Promise<void>
}

export interface Store {
  /** Values in the order of `keys`; undefined where absent. */
  getMany(keys: readonly string[]): Promise<(Buffer | undefined)[]>
  scan(range: ScanRange): StoreScan
  write(batch: StoreBatch): Promise<void>
  /** Resolves when all that was written before the call survives power loss. */
  sync(): Promise<void>
  /** Bytes on disk, roughly. */
  bytes(): Promise<number>
  close(): Promise<void>
}
