// Walking through a segment file without an index: for the index itself, and to find where the good part of a last segment ends.
// Owns the judgement of what a good record is; decides nothing about the log.
//
// 1. A record is good when its frame is whole, its checksum holds, and its ordinal and position are the next ones.
// 2. A bad record was lost in a crash only if nothing behind it says that it had been durable.

import { type LogFile, readFully } from './files.ts'
import {
  FRAME_BAD,
  FRAME_BYTES,
  FRAME_SHORT,
  frameEnd,
  frameOrdinal,
  framePartition,
  framePosition,
  frameSynced,
  isSealed,
  MAGIC_BYTES,
} from './frame.ts'
import { headerBytes, type SegmentHeader } from './segment-file.ts'
import { SegmentIndex } from './segment-index.ts'

const CHUNK_BYTES = 1 << 20

/** Indexes the good records (1) of a segment from its beginning on. The first bad byte, if any, is the index's end. */
export async function scanSegment(file: LogFile, header: SegmentHeader): Promise<SegmentIndex> {
  const partitions = header.starts.length
  const index = new SegmentIndex(partitions, headerBytes(partitions))
  const fileBytes = await file.size()
  let chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES)
  for (;;) {
    const start = index.endOffset
    const length = await readFully(file, chunk, 0, { position: start, length: Math.min(chunk.length, fileBytes - start) })
    const needed = addGood(chunk.subarray(0, length), header, index)
    if (index.endOffset > start) continue
    if (needed <= chunk.length || start + needed > fileBytes) return index
    chunk = Buffer.allocUnsafeSlow(needed)
  }
}

/** Adds the good records at the chunk's beginning. Answers how many bytes from there the first record needs, 0 when it is bad. */
function addGood(chunk: Buffer, header: SegmentHeader, index: SegmentIndex): number {
  const start = index.endOffset
  for (let at = 0; ; ) {
    const end = frameEnd(chunk, at, chunk.length)
    if (end === FRAME_SHORT || end === FRAME_BAD) return 0
    if (end > chunk.length) return end
    const partition = framePartition(chunk, at)
    const isNext =
      frameOrdinal(chunk, at) === header.base + index.records &&
      partition < header.starts.length &&
      framePosition(chunk, at) === (header.starts[partition] as number) + index.countOf(partition)
    if (!isNext || !isSealed(chunk, at, end, header.salt)) return 0
    index.add(partition, start + end)
    at = end
  }
}

/** The highest `synced` mark of any whole frame at or behind `from`; 0 if there is none. */
export async function highestMark(file: LogFile, header: SegmentHeader, from: number): Promise<number> {
  const fileBytes = await file.size()
  const chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES)
  let mark = 0
  for (let start = from; start + FRAME_BYTES <= fileBytes; ) {
    const length = await readFully(file, chunk, 0, { position: start, length: Math.min(chunk.length, fileBytes - start) })
    const seen = chunk.subarray(0, length)
    for (let at = seen.indexOf(MAGIC_BYTES); at >= 0; at = seen.indexOf(MAGIC_BYTES, at + 1)) {
      mark = Math.max(mark, await markAt(file, header, start + at, fileBytes))
    }
    // Chunks overlap by less than a magic, so none is seen twice or cut.
    start += Math.max(1, length - MAGIC_BYTES.length + 1)
  }
  return mark
}

async function markAt(file: LogFile, header: SegmentHeader, at: number, fileBytes: number): Promise<number> {
  const head = Buffer.allocUnsafe(FRAME_BYTES)
  if ((await readFully(file, head, 0, { position: at, length: FRAME_BYTES })) < FRAME_BYTES) return 0
  const size = frameEnd(head, 0, FRAME_BYTES)
  if (size < 0 || at + size > fileBytes) return 0
  const frame = Buffer.allocUnsafe(size)
  if ((await readFully(file, frame, 0, { position: at, length: size })) < size) return 0
  return isSealed(frame, 0, size, header.salt) ? frameSynced(frame, 0) : 0
}
