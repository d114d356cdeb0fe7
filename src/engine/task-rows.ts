// What a task reads back from its rows when it opens, and after a batch that failed. Owns no row and remembers nothing.
import type { ProfileKey } from '../core/identifier.ts'
import { decodeMessage } from '../identity/codec.ts'
import { causesIn } from '../identity/messages.ts'
import type { PendingRows } from '../state/pending.ts'
import type { Sent } from './batch.ts'
import { decodeOutboxRow, readSizes } from './commit.ts'
import { type DeadRows, exchangePlaceOf, outboxSeqOf } from './dead-rows.ts'
import { META_KEY, prefixRange, profileKeyOf } from './keys.ts'
import type { Origins } from './origins.ts'
import { type Block, OUTBOX_STREAMS, type OutboxStream, STREAM_LETTER } from './outbox.ts'
import { decodeTaskState, emptyTaskState, type TaskState } from './task-state.ts'

async function scan(rows: PendingRows, prefix: string, visit: (key: string, value: Buffer) => void): Promise<void> {
  const found = rows.scan(prefixRange(prefix))
  for (;;) {
    const page = await found.next(1000)
    if (page.length === 0) break
    for (const [key, value] of page) visit(key, value)
  }
  await found.close()
}

export async function readState(rows: PendingRows, partitions: number): Promise<TaskState> {
  const [row] = await rows.getMany([META_KEY])
  return row ? decodeTaskState(row, partitions) : emptyTaskState(partitions)
}

/** Reads the sizes of all segments into `sizes`, in place of what is there. */
export async function readAllSizes(rows: PendingRows, sizes: Map<number, number>): Promise<void> {
  sizes.clear()
  await scan(rows, 'z', (key, value) => {
    readSizes((key.charCodeAt(1) << 16) | (key.charCodeAt(2) << 8) | key.charCodeAt(3), value, sizes)
  })
}

/** Reads what was taken in of sources, in place of what is there. */
export async function readOrigins(rows: PendingRows, origins: Origins): Promise<void> {
  origins.clear()
  await scan(rows, 'k', (key, value) => origins.load(key, value))
}

/** The roots with protocol work under way. */
export async function busyRoots(rows: PendingRows): Promise<ProfileKey[]> {
  const keys: ProfileKey[] = []
  await scan(rows, 's', (key) => void keys.push(profileKeyOf(key)))
  return keys
}

/** Outbox blocks that are not known to have arrived; all that the store has are noted. */
export async function unrelayedOf(rows: PendingRows, state: TaskState, deadRows: DeadRows): Promise<[OutboxStream, Block][]> {
  const blocks: [OutboxStream, Block][] = []
  for (const stream of OUTBOX_STREAMS) {
    // Nobody has wanted them yet.
    if (stream === 'profiles' && state.seqs[stream] === 0) continue
    await scan(rows, `o${STREAM_LETTER[stream]}`, (key, value) => {
      const lastSeq = outboxSeqOf(key)
      if (lastSeq > state.relayed[stream]) blocks.push([stream, decodeOutboxRow(lastSeq, value)])
      deadRows.hasBlock(stream, lastSeq)
    })
  }
  return blocks
}

/** Messages that were not confirmed; all that the store has are noted. */
export async function unconfirmedOf(rows: PendingRows, state: TaskState, deadRows: DeadRows): Promise<Sent[]> {
  const sent: Sent[] = []
  await scan(rows, 'x', (key, value) => {
    const { target, seq } = exchangePlaceOf(key)
    deadRows.hasMessage(target, seq)
    const isKnown = seq <= (state.acked[target] ?? 0)
    if (!isKnown) sent.push({ target, seq, bytes: value, causes: causesIn(decodeMessage(value)) })
  })
  return sent
}
