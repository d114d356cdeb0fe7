// Pieces of segment files in memory, shared by all partitions that read the same region. Owns the buffers and their limit.
//
// 1. A block has the records of one segment that *begin* in one stretch of BLOCK_BYTES, whole: each record lies in one block.
// 2. Bytes in a block are checked when they come from the disk, and never change afterwards: payloads are views into them.
//    A block of the active segment grows behind its end, in place while there is room.
import { invariant } from '../core/assert.ts'
import { TributaryError } from '../core/errors.ts'
import { readFully } from './files.ts'
import { frameEnd, frameOrdinal, isSealed } from './frame.ts'
import type { OpenFiles } from './open-files.ts'
import type { SegmentIndex } from './segment-index.ts'
import type { Segment } from './segments.ts'

const BLOCK_BYTES = 256 << 10

export interface Block {
  readonly segment: Segment
  readonly stretch: number
  /** Offset in the file of the buffer's first byte. */
  readonly start: number
  /** Offset in the file behind the last checked record. */
  end: number
  buffer: Buffer
  loading: Promise<void> | undefined
}

/** A record's place: the segment's index and the number there. */
export interface Place {
  readonly segment: Segment
  readonly index: SegmentIndex
  readonly record: number
}

const NOTHING = Buffer.alloc(0)

export class Blocks {
  readonly #openFiles: OpenFiles
  readonly #maxBytes: number
  /** Least recently used first. */
  readonly #blocks = new Map<string, Block>()
  #bytes = 0

  constructor(openFiles: OpenFiles, maxBytes: number) {
    this.#openFiles = openFiles
    this.#maxBytes = maxBytes
  }

  /** The block with a record, if that is in memory. */
  ready(place: Place): Block | undefined {
    const key = keyOf(place)
    const block = this.#blocks.get(key)
    if (!block || block.end < place.index.offset(place.record + 1)) return undefined
    this.#blocks.delete(key)
    this.#blocks.set(key, block)
    return block
  }

  /** Reads the block with a record, as far as the index knows its records. */
  async load(place: Place): Promise<Block> {
    const end = place.index.offset(place.record + 1)
    for (;;) {
      // Asked for anew each time: it may have been evicted meanwhile.
      const block = this.#touched(place)
      if (block.end >= end) return block
      block.loading ??= this.#extend(block, place.index).finally(() => {
        block.loading = undefined
      })
      await block.loading
    }
  }

  #touched(place: Place): Block {
    const { segment, index } = place
    const key = keyOf(place)
    let block = this.#blocks.get(key)
    if (block) {
      this.#blocks.delete(key)
    } else {
      const stretch = stretchOf(place)
      const start = index.offset(index.firstFrom(stretch * BLOCK_BYTES))
      block = { segment, stretch, start, end: start, buffer: NOTHING, loading: undefined }
    }
    this.#blocks.set(key, block)
    return block
  }

  async #extend(block: Block, index: SegmentIndex): Promise<void> {
    const next = index.firstFrom((block.stretch + 1) * BLOCK_BYTES)
    const end = index.offset(next)
    invariant(end > block.end, 'a block is extended only when it lacks a record')
    this.#makeRoom(block, end - block.start, next === index.records)
    const { buffer } = block
    const length = end - block.end
    const read = await this.#openFiles.use(block.segment, (file) =>
      readFully(file, buffer, block.end - block.start, { position: block.end, length }),
    )
    check(block, index, { next, readTo: block.end + read })
    block.end = end
    this.#evict(block)
  }

  #makeRoom(block: Block, needed: number, mayGrow: boolean): void {
    if (block.buffer.length >= needed) return
    const larger = Buffer.allocUnsafeSlow(mayGrow ? Math.max(BLOCK_BYTES, needed) : needed)
    block.buffer.copy(larger, 0, 0, block.end - block.start)
    this.#bytes += larger.length - block.buffer.length
    block.buffer = larger
  }

  #evict(inUse: Block): void {
    for (const [key, block] of this.#blocks) {
      if (this.#bytes <= this.#maxBytes) return
      if (block !== inUse && !block.loading) this.#remove(key, block)
    }
  }

  #remove(key: string, block: Block): void {
    this.#blocks.delete(key)
    this.#bytes -= block.buffer.length
  }

  drop(segment: Segment): void {
    for (const [key, block] of this.#blocks) if (block.segment === segment && !block.loading) this.#remove(key, block)
  }

  clear(): void {
    this.#blocks.clear()
    this.#bytes = 0
  }
}

function stretchOf(place: Place): number {
  return Math.floor(place.index.offset(place.record) / BLOCK_BYTES)
}

function keyOf(place: Place): string {
  return `${place.segment.header.base}/${stretchOf(place)}`
}

/** Checks the frames from the block's end up to the record `next` against the index (2). */
function check(block: Block, index: SegmentIndex, range: { next: number; readTo: number }): void {
  const { header } = block.segment
  for (let record = index.firstFrom(block.end); record < range.next; record++) {
    const offset = index.offset(record)
    const recordEnd = index.offset(record + 1)
    const at = offset - block.start
    const end = recordEnd - block.start
    const isGood =
      recordEnd <= range.readTo &&
      frameEnd(block.buffer, at, end) === end &&
      frameOrdinal(block.buffer, at) === header.base + record &&
      isSealed(block.buffer, at, end, header.salt)
    if (!isGood) {
      throw new TributaryError(
        'data_corrupt',
        `the record with ordinal ${header.base + record} is damaged, at byte ${offset} of its segment`,
      )
    }
  }
}
