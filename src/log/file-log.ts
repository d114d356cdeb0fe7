// The writing end of a file log: all partitions' records in one total order, in a sequence of segment files. Owns the directory's
// files and the rounds of group commit; reading is file-log-reader.ts, opening recover.ts. One writer per directory (lock.ts).
//
//   append ─▶ collecting round ──┐ one round at a time: roll if full · one write · one fdatasync
//                                └─▶ written round ─▶ segments (what readers may see) ─▶ onSynced ─▶ sync() resolves
//
// 1. `sync` resolves after the round with the last record appended before it is durable; all callers of a round share its fsync.
// 2. A segment is begun only when all records before it are durable, so a bad record before the last segment is corruption.
// 3. A failed write or fsync is final: no second attempt, and everything that waits or comes later is refused with log_failed.
// 4. Retention deletes whole segments, oldest first and each deletion durable before the next, never the active one: what is
//    kept has no gaps.
import { invariant, must } from '../core/assert.ts'
import type { Clock } from '../core/clock.ts'
import { TributaryError } from '../core/errors.ts'
import { type LogFile, type LogFiles, systemFiles, writeAll } from './files.ts'
import type { LogWriter } from './log.ts'
import { type Recovered, recover, writeSidecar } from './recover.ts'
import { Round } from './round.ts'
import { createSegment, headerBytes, indexPath, newHeader, segmentPath } from './segment-file.ts'
import { type Segment, type Segments, segmentWith } from './segments.ts'

export interface FileLogOptions {
  readonly partitions: number
  /** A segment is closed before it would grow beyond this; one round may make it larger. */
  readonly segmentBytes?: number
  readonly durability: 'fsync' | 'none'
  readonly clock: Clock
  /** Released segments stay until their youngest record is at least this old. */
  readonly retainMs?: number
  /** Released segments stay while the log has no more than this. With `retainMs` too, either limit lets a segment go. */
  readonly retainBytes?: number
  /** Time and bytes alone decide, nobody has to release. With neither of them set, everything is kept. */
  readonly retainUnreleased?: boolean
  /** Called with `syncedOrdinal()` whenever it has grown, before the syncs resolve. */
  readonly onSynced?: (syncedOrdinal: number) => void
  readonly files?: LogFiles
}

/** The last one is copied and scanned by every opening (recover.ts 1). */
const SEGMENT_BYTES = 32 << 20
const MAX_SEGMENT_BYTES = 1 << 30
/** So much waiting starts a round without anybody asking for a sync. */
const WRITE_AHEAD_BYTES = 4 << 20

interface Waiting {
  readonly promise: Promise<void>
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

function waiting(): Waiting {
  const w = Promise.withResolvers<void>()
  // A round may have no caller that waits for it; its failure is kept in the log.
  w.promise.catch(() => undefined)
  return w
}

export async function openFileLog(directory: string, options: FileLogOptions): Promise<FileLogWriter> {
  const { segmentBytes = SEGMENT_BYTES, files = systemFiles, partitions, durability, clock } = options
  invariant(
    segmentBytes > headerBytes(partitions) && segmentBytes <= MAX_SEGMENT_BYTES,
    `segmentBytes lies above the header's size and is at most ${MAX_SEGMENT_BYTES}`,
  )
  const recovered = await recover(directory, { files, partitions, durable: durability === 'fsync', now: clock.now() })
  return new FileLogWriter(directory, recovered, { ...options, segmentBytes, files })
}

type Settings = FileLogOptions & { readonly segmentBytes: number; readonly files: LogFiles }

export class FileLogWriter implements LogWriter {
  readonly partitions: number
  readonly directory: string
  /** What is durable; a reader in the same thread shares it. */
  readonly segments: Segments
  readonly #settings: Settings
  #file: LogFile
  #collecting = new Round()
  #collected = waiting()
  #written = new Round()
  #inFlight: Waiting | undefined
  #isRunning = false
  #isWanted = false
  readonly #ends: Float64Array
  #endOrdinal: number
  readonly #released: Float64Array
  #trimming: Promise<void> = Promise.resolve()
  #failed: TributaryError | undefined
  #isClosed = false

  constructor(directory: string, recovered: Recovered, settings: Settings) {
    this.directory = directory
    this.partitions = settings.partitions
    this.segments = recovered.segments
    this.#file = recovered.file
    this.#settings = settings
    this.#ends = recovered.segments.ends()
    this.#endOrdinal = recovered.segments.endOrdinal
    this.#released = new Float64Array(settings.partitions)
  }

  append(partition: number, payload: Uint8Array): number {
    if (this.#failed) throw this.#failed
    invariant(!this.#isClosed, 'nothing is appended to a closed log')
    const position = this.end(partition)
    this.#collecting.add({ partition, position, ordinal: this.#endOrdinal }, payload)
    this.#ends[partition] = position + 1
    this.#endOrdinal++
    if (this.#collecting.bytes >= WRITE_AHEAD_BYTES) this.#start()
    return position
  }

  sync(): Promise<void> {
    if (this.#failed) return Promise.reject(this.#failed)
    if (this.#collecting.count > 0) {
      this.#start()
      return this.#collected.promise
    }
    return this.#inFlight?.promise ?? Promise.resolve()
  }

  end(partition: number): number {
    return must(this.#ends[partition], `partition ${partition} of ${this.partitions}`)
  }

  /** All records with a smaller ordinal are durable. */
  syncedOrdinal(): number {
    return this.segments.endOrdinal
  }

  bytes(): number {
    return this.segments.bytes
  }

  release(partition: number, position: number): Promise<void> {
    const released = must(this.#released[partition], `partition ${partition} of ${this.partitions}`)
    this.#released[partition] = Math.max(released, Math.min(position, this.end(partition)))
    return this.trim()
  }

  #start(): void {
    this.#isWanted = true
    if (this.#isRunning) return
    this.#isRunning = true
    // Those who append in this turn share the first round too.
    queueMicrotask(() => void this.#run())
  }

  async #run(): Promise<void> {
    try {
      while (this.#isWanted && this.#collecting.count > 0 && !this.#failed) {
        this.#isWanted = false
        await this.#round()
      }
    } catch (error) {
      this.#fail(error)
    } finally {
      this.#isRunning = false
    }
  }

  async #round(): Promise<void> {
    const round = this.#collecting
    const done = this.#collected
    this.#collecting = this.#written
    this.#collected = waiting()
    this.#written = round
    this.#inFlight = done
    const { segmentBytes, durability, onSynced } = this.#settings
    const { activeIndex } = this.segments
    const isFull = activeIndex.records > 0 && activeIndex.endOffset + round.bytes > segmentBytes
    if (isFull) await this.#roll()
    const start = this.segments.activeIndex.endOffset
    round.seal(this.segments.endOrdinal, this.segments.active.header.salt)
    await writeAll(this.#file, round.buffer, round.bytes, start)
    if (durability === 'fsync') await this.#file.datasync()
    for (let i = 0; i < round.count; i++) this.segments.add(round.partitionOf(i), start + round.endOf(i))
    round.clear()
    this.#inFlight = undefined
    onSynced?.(this.segments.endOrdinal)
    done.resolve()
    if (isFull) await this.trim()
  }

  /** Closes the active segment, all of it durable by now (2), and begins the next. */
  async #roll(): Promise<void> {
    const { files, durability, clock } = this.#settings
    const { segments, directory } = this
    await writeSidecar(directory, segments.active, { files, index: segments.activeIndex })
    const header = newHeader(segments.endOrdinal, clock.now(), segments.ends())
    const file = await createSegment(directory, header, { files, durable: durability === 'fsync' })
    const previous = this.#file
    this.#file = file
    segments.roll(segmentWith(header))
    await previous.close()
  }

  #fail(error: unknown): void {
    this.#failed ??= new TributaryError(
      'log_failed',
      `the log in ${this.directory} failed: ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    )
    this.#inFlight?.reject(this.#failed)
    this.#inFlight = undefined
    this.#collected.reject(this.#failed)
  }

  /** Deletes the segments that retention lets go. Runs by itself after a release and whenever a segment is closed. */
  trim(): Promise<void> {
    if (this.#failed) return Promise.reject(this.#failed)
    // Behind the one under way, which may already have looked at what this call is about.
    this.#trimming = this.#trimming.then(() => this.#dropSegments())
    this.#trimming.catch(() => undefined)
    return this.#trimming
  }

  async #dropSegments(): Promise<void> {
    const { files, durability } = this.#settings
    try {
      for (let next = this.segments.second; next && this.#mayGo(next); next = this.segments.second) {
        const { base } = this.segments.dropHead().header
        await files.remove(segmentPath(this.directory, base))
        if (durability === 'fsync') await files.syncDirectory(this.directory)
        await files.remove(indexPath(this.directory, base))
      }
    } catch (error) {
      this.#fail(error)
      throw must(this.#failed, 'just failed')
    }
  }

  /** True when the head segment may be deleted; it ends where `next` begins. */
  #mayGo(next: Segment): boolean {
    const { retainMs, retainBytes, retainUnreleased = false, clock } = this.#settings
    if (!retainUnreleased && next.header.starts.some((start, p) => start > (this.#released[p] as number) && start > this.segments.first(p)))
      return false
    if (retainMs === undefined && retainBytes === undefined) return !retainUnreleased
    const isOld = retainMs !== undefined && clock.now() - next.header.createdAt >= retainMs
    const isOver = retainBytes !== undefined && this.bytes() - this.segments.head.bytes >= retainBytes
    return isOld || isOver
  }

  /** Makes durable what was appended, and closes the files. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    try {
      if (!this.#failed) {
        await this.sync()
        await this.#trimming
      }
    } finally {
      await this.#file.close()
    }
  }
}
