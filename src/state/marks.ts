// The rows that say how far a store has come, and which of them can be believed. Owns their keys and bytes; pending.ts writes them.
//
// 1. Power loss may leave a write and lose one before it: RocksDB begins another write-ahead log without syncing the last one. So a
//    mark that was written under another boot of the machine vouches for nothing. The last barrier does, for it was synced.
// 2. The barrier's row has its journal position and the row `withMark` as of then: replaying the journal from there repairs the store.
// 3. The boot's row is written with every mark, so with the first one after that replay. Until then the barrier is what counts,
//    after a kill too.
import { invariant } from '../core/assert.ts'
import { fromBinary, sortable, toBinary, unsortable } from '../core/bytes.ts'
import type { Store, StoreBatch } from './store.ts'

/** Row of the last journal position whose rows are all in the store. */
export const APPLIED_KEY = 'mapplied'
/** Row of the journal position that the last apply of several slices aimed at. */
export const APPLYING_KEY = 'mapplying'
/** Row of the last barrier (2). */
export const BARRIER_KEY = 'mbarrier'
/** Row of the boot id under which the store was written to since its last barrier (1). */
export const BOOT_KEY = 'mboot'
const POSITION_BYTES = 7

export interface Marks {
  /** What the store is good for, -1 for nothing. */
  readonly applied: number
  /** What it says itself. */
  readonly claimed: number
  /** Rows up to here may be in the store, though it is good for less. */
  readonly tornThrough: number
  /** False when the barrier counts and not the mark. */
  readonly isTrusted: boolean
  /** The row `withMark` as of the barrier; absent when the store's own is right. */
  readonly restored?: { readonly value: Buffer | undefined }
}

/** Without a boot id every mark is trusted: nothing is lost in memory. */
export async function readMarks(store: Store, boot: string | undefined): Promise<Marks> {
  const [applied, applying, barrier, written] = await store.getMany([APPLIED_KEY, APPLYING_KEY, BARRIER_KEY, BOOT_KEY])
  const claimed = decodePosition(applied)
  const aimed = decodePosition(applying)
  // Stores from before there was a row of the boot have neither of the two.
  const isUnknown = written === undefined && barrier === undefined
  if (boot === undefined || isUnknown || written?.toString() === boot) {
    return { applied: claimed, claimed, tornThrough: aimed > claimed ? aimed : -1, isTrusted: true }
  }
  const safe = barrier ? decodeBarrier(barrier) : { position: -1, value: undefined }
  return {
    applied: safe.position,
    claimed,
    tornThrough: Math.max(claimed, aimed),
    isTrusted: false,
    restored: { value: safe.value },
  }
}

/** The barrier's row for the store as it is; what it says is safe once the store is synced. */
export async function barrierOf(store: Store, withMark: string | undefined): Promise<{ position: number; row: Buffer }> {
  const [applied, value] = await store.getMany(withMark === undefined ? [APPLIED_KEY] : [APPLIED_KEY, withMark])
  const position = decodePosition(applied)
  return { position, row: encodeBarrier(position, value) }
}

/** Turns the store's marks to the beginning of another journal. */
export async function journalBeginsAnew(store: Store, withMark: string): Promise<StoreBatch> {
  const [value] = await store.getMany([withMark])
  return {
    puts: [
      [APPLIED_KEY, undefined],
      [APPLYING_KEY, undefined],
      [BARRIER_KEY, encodeBarrier(-1, value)],
    ],
  }
}

function encodeBarrier(position: number, value: Buffer | undefined): Buffer {
  // Positions are written shifted by one, so that -1 has bytes, too.
  return Buffer.concat([encodePosition(position + 1), value ?? Buffer.alloc(0)])
}

function decodeBarrier(row: Buffer): { position: number; value: Buffer | undefined } {
  const value = row.subarray(POSITION_BYTES)
  return { position: decodePosition(row.subarray(0, POSITION_BYTES)) - 1, value: value.length === 0 ? undefined : value }
}

/** The row of a mark: there is none for "nothing", -1. */
export function markOf(position: number): Buffer | undefined {
  return position < 0 ? undefined : encodePosition(position)
}

function encodePosition(position: number): Buffer {
  invariant(position >= 0, 'a position that is written is one of the journal')
  return fromBinary(sortable(position, POSITION_BYTES))
}

function decodePosition(row: Buffer | undefined): number {
  return row ? unsortable(toBinary(row)) : -1
}
