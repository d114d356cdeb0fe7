// Following a log whose writer lives in another thread: learns by `advance` how far it is durable, and reads the new records'
// places from the files. Owns the reader's own copy of the segment list; the records themselves are read through blocks.ts.
//
// 1. Nothing is indexed beyond the ordinal that the writer has named: what lies behind may still be half written.
// 2. When the active file ends before that ordinal, the log goes on in the file named by the next ordinal, because a segment
//    is begun only when the one before it is complete.
// 3. Segments at the head may vanish at any time (retention); a reader that was overtaken by it starts over at the new head.
import { TributaryError } from '../core/errors.ts'
import { isMissing, type LogFile, type LogFiles, readFully } from './files.ts'
import { FRAME_BAD, FRAME_SHORT, frameEnd, frameOrdinal, framePartition, framePosition } from './frame.ts'
import type { OpenFiles } from './open-files.ts'
import { readSegments } from './recover.ts'
import { basesIn } from './segment-file.ts'
import { type Segment, Segments } from './segments.ts'

const CHUNK_BYTES = 1 << 20
/** How often a listing is repeated because a segment went between the listing and the reading. */
const MAX_LISTINGS = 100

export interface FollowOptions {
  readonly directory: string
  readonly files: LogFiles
  readonly partitions: number
}

/** The headers of all segments from `least` on. */
async function listSegments(options: FollowOptions, least: number): Promise<{ first: number; segments: Segment[] }> {
  for (let n = 0; n < MAX_LISTINGS; n++) {
    const bases = basesIn(await options.files.list(options.directory))
    const first = bases[0]
    if (first === undefined) break
    try {
      return {
        first,
        segments: await readSegments(
          options.directory,
          bases.filter((base) => base >= least),
          options,
        ),
      }
    } catch (error) {
      if (!isMissing(error)) throw error
    }
  }
  throw new TributaryError('data_corrupt', `there is no log in ${options.directory}`)
}

export async function followedSegments(options: FollowOptions): Promise<Segments> {
  return new Segments((await listSegments(options, 0)).segments)
}

export class Follower {
  readonly #options: FollowOptions
  readonly #segments: Segments
  readonly #openFiles: OpenFiles
  #target: number
  #running: Promise<void> | undefined
  #chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES)

  constructor(options: FollowOptions, segments: Segments, openFiles: OpenFiles) {
    this.#options = options
    this.#segments = segments
    this.#openFiles = openFiles
    this.#target = segments.endOrdinal
  }

  advance(syncedOrdinal: number): void {
    if (syncedOrdinal > this.#target) this.#target = syncedOrdinal
  }

  get isBehind(): boolean {
    return this.#segments.endOrdinal < this.#target
  }

  /** Indexes everything that was durable when this was called. */
  async catchUp(): Promise<void> {
    const target = this.#target
    while (this.#segments.endOrdinal < target) await this.#shared(() => this.#run())
  }

  /** Drops the segments that retention has deleted. */
  async relist(): Promise<void> {
    while (this.#running) await this.#running
    await this.#shared(() => this.#dropDeleted())
  }

  /** One at a time: who comes meanwhile waits for what runs. */
  #shared(run: () => Promise<void>): Promise<void> {
    this.#running ??= run().finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  async #run(): Promise<void> {
    while (this.isBehind) {
      const { active } = this.#segments
      const added = await this.#openFiles.use(active, (file) => this.#indexMore(file))
      if (!added && this.isBehind) await this.#nextSegment()
    }
  }

  /** Indexes a chunk of the active segment; false when no record below the target is left in it. */
  async #indexMore(file: LogFile): Promise<boolean> {
    const start = this.#segments.activeIndex.endOffset
    const length = await readFully(file, this.#chunk, 0, { position: start, length: this.#chunk.length })
    const needed = this.#add(start, length)
    if (this.#segments.activeIndex.endOffset > start) return true
    if (needed <= length) return false
    if (length < this.#chunk.length) return false
    this.#chunk = Buffer.allocUnsafeSlow(needed)
    return true
  }

  /** Adds the whole frames in the chunk up to the target. Answers how many bytes the first one takes, 0 when there is none. */
  #add(start: number, length: number): number {
    const chunk = this.#chunk
    for (let at = 0; this.isBehind; ) {
      const end = frameEnd(chunk, at, length)
      if (end === FRAME_SHORT) return 0
      if (end === FRAME_BAD) throw this.#damaged(start + at)
      if (end > length) return end - at
      const partition = framePartition(chunk, at)
      const isNext =
        frameOrdinal(chunk, at) === this.#segments.endOrdinal &&
        partition < this.#segments.partitions &&
        framePosition(chunk, at) === this.#segments.end(partition)
      if (!isNext) throw this.#damaged(start + at)
      this.#segments.add(partition, start + end)
      at = end
    }
    return 0
  }

  /** Goes on in the next file (2), or at the new head when retention was faster (3). */
  async #nextSegment(): Promise<void> {
    const { endOrdinal } = this.#segments
    const { first, segments } = await listSegments(this.#options, endOrdinal)
    const next = segments[0]
    if (next?.header.base === endOrdinal && next.header.base > this.#segments.active.header.base) {
      this.#segments.roll(next)
      this.#dropBelow(first)
    } else if (next && first > endOrdinal) {
      this.#segments.restart(segments)
    } else {
      throw new TributaryError(
        'data_corrupt',
        `the log in ${this.#options.directory} ends at ordinal ${endOrdinal}, but was durable up to ${this.#target}`,
      )
    }
  }

  async #dropDeleted(): Promise<void> {
    const { first } = await listSegments(this.#options, Number.POSITIVE_INFINITY)
    this.#dropBelow(first)
  }

  #dropBelow(first: number): void {
    while (this.#segments.firstOrdinal < first && this.#segments.count > 1) this.#segments.dropHead()
  }

  #damaged(offset: number): TributaryError {
    return new TributaryError(
      'data_corrupt',
      `the record with ordinal ${this.#segments.endOrdinal} is damaged, at byte ${offset} of its segment`,
    )
  }
}
