// The segment files that one reader has open. Owns their descriptors: a few stay open between uses.
//
// 1. A file is closed only when nobody uses it; more than MAX_OPEN stay open only while all of them are in use.
// 2. A file that retention has deleted stays readable for those who use it.
import type { LogFile, LogFiles } from './files.ts'
import { segmentPath } from './segment-file.ts'
import type { Segment } from './segments.ts'

const MAX_OPEN = 8

interface Entry {
  readonly file: Promise<LogFile>
  users: number
  isDropped: boolean
}

export class OpenFiles {
  readonly #directory: string
  readonly #files: LogFiles
  /** Least recently used first. */
  readonly #open = new Map<Segment, Entry>()

  constructor(directory: string, files: LogFiles) {
    this.#directory = directory
    this.#files = files
  }

  async use<T>(segment: Segment, run: (file: LogFile) => Promise<T>): Promise<T> {
    const entry = this.#open.get(segment) ?? this.#opened(segment)
    this.#open.delete(segment)
    this.#open.set(segment, entry)
    entry.users++
    try {
      return await run(await entry.file)
    } finally {
      entry.users--
      await this.#closeUnused()
    }
  }

  #opened(segment: Segment): Entry {
    const entry = { file: this.#files.open(segmentPath(this.#directory, segment.header.base), 'read'), users: 0, isDropped: false }
    // A file that can't be opened is tried again by the next user.
    entry.file.catch(() => this.#open.delete(segment))
    return entry
  }

  /** The segment is no longer kept: closes its file as soon as nobody uses it (2). */
  drop(segment: Segment): Promise<void> {
    const entry = this.#open.get(segment)
    if (entry) entry.isDropped = true
    return this.#closeUnused()
  }

  async #closeUnused(): Promise<void> {
    let surplus = this.#open.size - MAX_OPEN
    for (const [segment, entry] of this.#open) {
      if (entry.users > 0 || !(entry.isDropped || surplus > 0)) continue
      surplus--
      this.#open.delete(segment)
      await entry.file.then((file) => file.close())
    }
  }

  async close(): Promise<void> {
    for (const entry of this.#open.values()) entry.isDropped = true
    await this.#closeUnused()
  }
}
