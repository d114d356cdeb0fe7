// From an executed batch to the rows of one commit. Owns the encoding; appends nothing.
//
// 1. The task's own row goes with every commit, so positions and state can't disagree.
// 2. After encoding nothing of the batch is dirty, but its rows are pinned in memory until the commit is durable.
import { Reader, Writer } from '../core/bytes.ts'
import { encodeLeaf } from '../identity/codec.ts'
import type { RowBlock } from '../state/row-block.ts'
import type { Span } from '../state/row-table.ts'
import type { Batch } from './batch.ts'
import type { TaskLimits } from './config.ts'
import { exchangeKey, groupKey, leafKey, META_KEY, outboxKey, profileRowKey, SIZES_PER_ROW, sizesKey } from './keys.ts'
import type { Memory } from './memory.ts'
import type { Origins } from './origins.ts'
import { type Block, OUTBOX_STREAMS, type OutboxStream, STREAM_LETTER } from './outbox.ts'
import { encodeForward, encodeProfile } from './profile.ts'
import { encodeTaskState, type TaskState } from './task-state.ts'

export interface CommitRows {
  readonly rows: RowBlock
  readonly deletedRanges: readonly (readonly [string, string])[]
  readonly blocks: readonly (readonly [OutboxStream, Block])[]
}

export interface CommitSurroundings {
  readonly limits: TaskLimits
  readonly memory: Memory
  readonly origins: Origins
  readonly sizes: ReadonlyMap<number, number>
  readonly state: TaskState
  /** Called now and then between profiles: long batches let others run. */
  readonly pause: () => Promise<void> | undefined
}

const w = new Writer(4096)
const span: Span = { bytes: w.view(), from: 0, to: 0 }

/** Encodes the batch as commit number `state.n`. */
export async function encodeBatch(batch: Batch, s: CommitSurroundings): Promise<CommitRows> {
  const { rows } = batch
  await encodeProfiles(batch, s)
  for (const [key, forward] of batch.forwards) {
    const row = encodeForward(forward.to)
    rows.put(profileRowKey(key), row)
    s.memory.encoded(key, { bytes: row, from: 0, to: row.length }, s.state.n)
  }
  for (const [x, leaf] of batch.leaves) rows.put(leafKey(x), encodeLeaf(leaf))
  s.origins.write(rows)
  for (const block of batch.sizeBlocks) rows.put(sizesKey(block), encodeSizes(block, s.sizes))
  const blocks = takeBlocks(batch, s.state)
  for (const [stream, block] of blocks) rows.put(outboxKey(STREAM_LETTER[stream], block.firstSeq + block.count - 1), encodeOutboxRow(block))
  for (const sent of batch.sent) rows.put(exchangeKey(sent.target, sent.seq), sent.bytes)
  rows.put(META_KEY, encodeTaskState(s.state, w))
  batch.encoded()
  return { rows, deletedRanges: batch.deletedRanges, blocks }
}

async function encodeProfiles(batch: Batch, s: CommitSurroundings): Promise<void> {
  const { rows } = batch
  for (const p of batch.profiles) {
    if (!p.dirty) continue
    const split = {
      bytes: s.limits.splitBytes,
      putGroup: (group: number, body: Buffer) => {
        rows.put(groupKey(p.key, group), body)
        s.memory.setGroup(p.key, group, body, s.state.n)
      },
    }
    encodeProfile(p, w.reset(), split)
    rows.putWritten(profileRowKey(p.key), w)
    span.bytes = w.view()
    span.to = w.length
    s.memory.encoded(p.key, span, s.state.n)
    if (s.limits.tellsProfiles && p.publicId !== '') batch.profileChanges.changed(p.publicId, p.key)
    const pause = s.pause()
    if (pause) await pause
  }
  for (const p of batch.withTimeline) {
    p.timeline = undefined
    p.audit = undefined
  }
}

function takeBlocks(batch: Batch, state: TaskState): [OutboxStream, Block][] {
  const blocks: [OutboxStream, Block][] = []
  for (const stream of OUTBOX_STREAMS) {
    const collected = stream === 'profiles' ? batch.profileChanges : batch[stream]
    const count = collected.count
    if (count === 0) continue
    const firstSeq = state.seqs[stream] + 1
    state.seqs[stream] += count
    blocks.push([stream, { firstSeq, count, entries: collected.take() }])
  }
  return blocks
}

function encodeOutboxRow(block: Block): Buffer {
  return new Writer(block.entries.length + 8).varint(block.count).raw(block.entries).take()
}

/** The block of an outbox row, whose key has the block's last seq. */
export function decodeOutboxRow(lastSeq: number, value: Buffer): Block {
  const r = new Reader(value)
  const count = r.varint()
  return { firstSeq: lastSeq - count + 1, count, entries: value.subarray(r.at) }
}

function encodeSizes(block: number, sizes: ReadonlyMap<number, number>): Buffer {
  const out = new Writer(64)
  for (let i = 0; i < SIZES_PER_ROW; i++) out.varint(sizes.get(block * SIZES_PER_ROW + i) ?? 0)
  return out.take()
}

/** Reads a size row into `sizes`. */
export function readSizes(block: number, value: Buffer, sizes: Map<number, number>): void {
  const r = new Reader(value)
  for (let i = 0; i < SIZES_PER_ROW; i++) {
    const size = r.varint()
    if (size !== 0) sizes.set(block * SIZES_PER_ROW + i, size)
  }
}
