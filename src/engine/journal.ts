// The journal: one record per commit of a partition, in one physical log per host. Owns the encoding of a commit and the
// reading back; who appends when is the task's business.
//
// 1. A record holds whole rows (values, not changes), so replaying it any number of times gives the same rows.
// 2. Records of a partition are numbered without gaps from the claim on; a repeat or a stale owner's record is ignored by every reader alike.
import { invariant } from '../core/assert.ts'
import { Reader, type Writer } from '../core/bytes.ts'
import { TributaryError } from '../core/errors.ts'
import type { LogReader } from '../log/log.ts'
import type { RowBlock } from '../state/row-block.ts'

export type Row = readonly [key: string, value: Uint8Array | undefined]

export interface Commit {
  /** Which owner wrote it: counts up with every opening of the partition. */
  readonly claim: number
  readonly n: number
  readonly rows: readonly Row[]
  readonly deletedRanges: readonly (readonly [string, string])[]
}

const VERSION = 1

/** A commit to be written: its rows are in the journal's layout already. */
export interface CommitBlocks extends Omit<Commit, 'rows'> {
  readonly rows: RowBlock
  /** Rows as they were before it, none of which it changes (rewrite.ts): for readers that begin here, rows like any other. */
  readonly cold?: RowBlock | undefined
}

export function encodeCommit(commit: CommitBlocks, w: Writer): void {
  w.u8(VERSION).varint(commit.claim).varint(commit.n).varint(commit.deletedRanges.length)
  for (const [from, to] of commit.deletedRanges) w.varint(from.length).binary(from).varint(to.length).binary(to)
  const { rows, cold } = commit
  w.varint(rows.count + (cold?.count ?? 0)).raw(rows.bytes)
  if (cold) w.raw(cold.bytes)
}

export function decodeCommit(payload: Buffer): Commit {
  const r = new Reader(payload)
  const version = r.u8()
  if (version !== VERSION) throw new TributaryError('data_corrupt', `journal record of unknown version ${version}`)
  const claim = r.varint()
  const n = r.varint()
  const deletedRanges: [string, string][] = []
  for (let i = r.varint(); i > 0; i--) deletedRanges.push([r.binary(r.varint()), r.binary(r.varint())])
  const rows: Row[] = []
  for (let i = r.varint(); i > 0; i--) {
    const key = r.binary(r.varint())
    const size = r.varint()
    rows.push([key, size === 0 ? undefined : r.raw(size - 1)])
  }
  return { claim, n, rows, deletedRanges }
}

/** Decides which records count (2): the same for every reader. */
export class CommitCounter {
  claim: number
  n: number

  constructor(claim: number, n: number) {
    this.claim = claim
    this.n = n
  }

  /** True when this record is the next that counts. */
  counts(commit: Commit): boolean {
    if (commit.claim > this.claim) {
      // A newer owner begins: its first record continues the numbers of what it had read.
      invariant(commit.n <= this.n + 1, 'a new owner continues the numbers of the last counted commit')
      if (commit.n !== this.n + 1) return false
      this.claim = commit.claim
      this.n = commit.n
      return true
    }
    if (commit.claim < this.claim || commit.n !== this.n + 1) return false
    this.n = commit.n
    return true
  }
}

const REPLAY_LIMITS = { maxRecords: 1000, maxBytes: 8 << 20 }

/** Reads a partition's commits from `from` to the end, in order, waiting for what `visit` returns. */
export async function replayCommits(
  journal: LogReader,
  partition: number,
  from: number,
  visit: (commit: Commit, position: number) => void | Promise<void>,
): Promise<number> {
  let position = Math.max(from, journal.first(partition))
  if (from < journal.first(partition)) {
    throw new TributaryError(
      'data_corrupt',
      `partition ${partition}: the store is at journal position ${from}, but the journal begins at ${journal.first(partition)}`,
    )
  }
  for (;;) {
    const records = await journal.read(partition, position, REPLAY_LIMITS)
    if (records.length === 0) return position
    for (const record of records) {
      await visit(decodeCommit(record.payload), record.position)
      position = record.position + 1
    }
  }
}
