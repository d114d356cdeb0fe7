// What both RocksDB adapters are told, and how they report what a binding throws.
import { TributaryError } from '../core/errors.ts'

export interface RocksOptions {
  /** Rows that a database collects in memory before it writes a table of them; up to three times that while the disk is behind. */
  readonly writeBufferBytes: number
  /** Block cache of one database. */
  readonly cacheBytes: number
  /** Threads that flush and compact, for all databases of the process. */
  readonly backgroundThreads: number
}

export const ROCKS_DEFAULTS: RocksOptions = { writeBufferBytes: 8 << 20, cacheBytes: 8 << 20, backgroundThreads: 2 }

/** The error to report for what a binding threw. */
export function storeError(doing: string, dir: string, cause: unknown): TributaryError {
  if (cause instanceof TributaryError) return cause
  const text = cause instanceof Error ? cause.message : String(cause)
  if (/lock hold by|LockFile|While lock file/.test(text))
    return new TributaryError('data_locked', `${dir} is open elsewhere: ${text}`, { cause })
  if (/ZSTD not supported/.test(text)) {
    return new TributaryError(
      'unsupported_platform',
      `${dir} holds compressed tables, which the RocksDB binding of this platform cannot read`,
      { cause },
    )
  }
  return new TributaryError('store_failed', `${doing} ${dir}: ${text}`, { cause })
}
