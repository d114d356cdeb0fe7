// The reading end of a file log, read-only, in the writer's thread or in another one. Owns what it keeps in memory: indexes of
// closed segments, blocks, open files, each under a limit. Which records there are is known by Segments: shared with a writer in
// the same thread, kept up to date by a Follower otherwise.
//
// 1. A record is handed out only when it is durable and its checksum has been checked.
// 2. Payloads are views into blocks: a payload that is kept keeps its block in memory.
import { invariant, must } from '../core/assert.ts'
import { TributaryError } from '../core/errors.ts'
import { type Block, Blocks } from './blocks.ts'
import { type FileLogOptions, type FileLogWriter, openFileLog } from './file-log.ts'
import { isMissing, type LogFiles, systemFiles } from './files.ts'
import { Follower, followedSegments } from './follower.ts'
import { FRAME_BYTES, framePartition, framePosition } from './frame.ts'
import { Indexes } from './indexes.ts'
import type { LogReader, LogRecord, ReadLimits } from './log.ts'
import { OpenFiles } from './open-files.ts'
import type { SegmentIndex } from './segment-index.ts'
import type { Segment, Segments } from './segments.ts'

export interface FileLogReaderOptions {
  readonly partitions: number
  /** Blocks in memory. */
  readonly cacheBytes?: number
  /** Indexes of closed segments in memory. */
  readonly indexBytes?: number
  readonly files?: LogFiles
}

const CACHE_BYTES = 16 << 20
const INDEX_BYTES = 32 << 20

/** Opens a log for reading whose writer is open in another thread. The last segment's records show after `advance`. */
export async function openFileLogReader(directory: string, options: FileLogReaderOptions): Promise<FileLogReader> {
  const { files = systemFiles, partitions } = options
  const following = { directory, files, partitions }
  const segments = await followedSegments(following)
  const openFiles = new OpenFiles(directory, files)
  return new FileLogReader({ ...options, files, directory, segments, openFiles, follower: new Follower(following, segments, openFiles) })
}

/** A writer and a reader of it in one thread: a record can be read as soon as its sync has resolved. */
export async function openMainLog(
  directory: string,
  options: FileLogOptions & { readonly cacheBytes?: number; readonly indexBytes?: number },
): Promise<{ writer: FileLogWriter; reader: FileLogReader }> {
  const { files = systemFiles } = options
  const writer = await openFileLog(directory, options)
  const openFiles = new OpenFiles(directory, files)
  const reader = new FileLogReader({ ...options, files, directory, segments: writer.segments, openFiles, follower: undefined })
  return { writer, reader }
}

type Parts = FileLogReaderOptions & {
  readonly directory: string
  readonly files: LogFiles
  readonly segments: Segments
  readonly openFiles: OpenFiles
  readonly follower: Follower | undefined
}

/** Consecutive records of interest within one segment: the i-th has the number `numberOf(i)`. */
interface Run {
  readonly segment: Segment
  readonly index: SegmentIndex
  readonly from: number
  readonly to: number
  readonly numberOf: (i: number) => number
}

class Page {
  readonly records: LogRecord[] = []
  readonly #limits: ReadLimits
  #bytes = 0

  constructor(limits: ReadLimits) {
    invariant(limits.maxRecords >= 1, 'a read asks for at least one record')
    this.#limits = limits
  }

  /** True when a record of this size still fits; the first always does. */
  fits(payloadBytes: number): boolean {
    const count = this.records.length
    return count === 0 || (count < this.#limits.maxRecords && this.#bytes + payloadBytes <= this.#limits.maxBytes)
  }

  add(record: LogRecord): void {
    this.records.push(record)
    this.#bytes += record.payload.length
  }
}

export class FileLogReader implements LogReader {
  readonly partitions: number
  readonly #segments: Segments
  readonly #follower: Follower | undefined
  readonly #openFiles: OpenFiles
  readonly #indexes: Indexes
  readonly #blocks: Blocks
  #isClosed = false

  constructor(parts: Parts) {
    const { directory, files, segments, openFiles } = parts
    this.partitions = parts.partitions
    this.#segments = segments
    this.#follower = parts.follower
    this.#openFiles = openFiles
    this.#indexes = new Indexes({ directory, files, segments, openFiles, maxBytes: parts.indexBytes ?? INDEX_BYTES })
    this.#blocks = new Blocks(openFiles, parts.cacheBytes ?? CACHE_BYTES)
    segments.onDrop = (segment) => {
      this.#indexes.drop(segment)
      this.#blocks.drop(segment)
      // Only a descriptor that was read from: nothing to report when closing it fails.
      openFiles.drop(segment).catch(() => undefined)
    }
  }

  /** The writer's `syncedOrdinal()`: all records below it are durable. Cheap; they are indexed by the next read or refresh. */
  advance(syncedOrdinal: number): void {
    this.#follower?.advance(syncedOrdinal)
  }

  /** Brings `first`, `end`, `firstOrdinal` and `endOrdinal` up to date. */
  async refresh(): Promise<void> {
    await this.#follower?.catchUp()
    await this.#follower?.relist()
  }

  first(partition: number): number {
    return must(this.#segments.first(partition), `partition ${partition} of ${this.partitions}`)
  }

  end(partition: number): number {
    return must(this.#segments.end(partition), `partition ${partition} of ${this.partitions}`)
  }

  firstOrdinal(): number {
    return this.#segments.firstOrdinal
  }

  endOrdinal(): number {
    return this.#segments.endOrdinal
  }

  read(partition: number, from: number, limits: ReadLimits): Promise<LogRecord[]> {
    const page = new Page(limits)
    return this.#readPage(page, () => {
      const at = from + page.records.length
      if (at < this.first(partition)) throw noLongerKept(`position ${at} of partition ${partition}`, this.first(partition))
      if (at >= this.end(partition)) return undefined
      const segment = this.#segments.withPosition(partition, at)
      const start = segment.header.starts[partition] as number
      return {
        segment,
        run: (index) => ({ segment, index, from: at - start, to: index.countOf(partition), numberOf: (i) => index.recordOf(partition, i) }),
      }
    })
  }

  readAll(ordinal: number, limits: ReadLimits): Promise<LogRecord[]> {
    const page = new Page(limits)
    return this.#readPage(page, () => {
      const at = ordinal + page.records.length
      if (at < this.firstOrdinal()) throw noLongerKept(`ordinal ${at}`, this.firstOrdinal())
      if (at >= this.endOrdinal()) return undefined
      const segment = this.#segments.withOrdinal(at)
      return { segment, run: (index) => ({ segment, index, from: at - segment.header.base, to: index.records, numberOf: (i) => i }) }
    })
  }

  async last(partition: number): Promise<LogRecord | undefined> {
    if (this.#follower?.isBehind) await this.#follower.catchUp()
    const end = this.end(partition)
    if (end === this.first(partition)) return undefined
    return (await this.read(partition, end - 1, { maxRecords: 1, maxBytes: 1 }))[0]
  }

  /** Fills the page with what `next` finds, segment by segment. */
  async #readPage(page: Page, next: () => { segment: Segment; run: (index: SegmentIndex) => Run } | undefined): Promise<LogRecord[]> {
    invariant(!this.#isClosed, 'nothing is read from a closed log')
    if (this.#follower?.isBehind) await this.#follower.catchUp()
    for (let hasLooked = false; ; ) {
      try {
        for (;;) {
          const found = next()
          if (!found) return page.records
          const index = this.#indexes.ready(found.segment) ?? (await this.#indexes.load(found.segment))
          const isFull = await this.#fill(page, found.run(index))
          if (isFull) return page.records
        }
      } catch (error) {
        // Retention was faster: what was read before is still whole, and a segment that has gone shows on a second look.
        if (page.records.length > 0 && (isMissing(error) || isNoLongerKept(error))) return page.records
        if (!isMissing(error) || hasLooked) throw error
        hasLooked = true
        await this.#follower?.relist()
      }
    }
  }

  /** Adds the records of a run; true when the page is full. */
  async #fill(page: Page, run: Run): Promise<boolean> {
    const { segment, index } = run
    let block: Block | undefined
    for (let i = run.from; i < run.to; i++) {
      const record = run.numberOf(i)
      const offset = index.offset(record)
      const end = index.offset(record + 1)
      if (!page.fits(end - offset - FRAME_BYTES)) return true
      if (!block || end > block.end || offset < block.start) {
        const place = { segment, index, record }
        block = this.#blocks.ready(place) ?? (await this.#blocks.load(place))
      }
      const { buffer } = block
      const at = offset - block.start
      page.add({
        partition: framePartition(buffer, at),
        position: framePosition(buffer, at),
        ordinal: segment.header.base + record,
        payload: buffer.subarray(at + FRAME_BYTES, end - block.start),
      })
    }
    return false
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#blocks.clear()
    await this.#openFiles.close()
  }
}

class NoLongerKept extends TributaryError {}

function noLongerKept(what: string, first: number): TributaryError {
  return new NoLongerKept('data_corrupt', `${what} is no longer kept: the log begins at ${first}`)
}

function isNoLongerKept(error: unknown): boolean {
  return error instanceof NoLongerKept
}
