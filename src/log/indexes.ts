// The indexes of closed segments that one reader has in memory. Owns which are kept, under a byte limit.
import { isMissing, type LogFiles, readFully } from './files.ts'
import type { OpenFiles } from './open-files.ts'
import { scanClosed, withFile } from './recover.ts'
import { indexPath } from './segment-file.ts'
import { indexFileBytes, SegmentIndex } from './segment-index.ts'
import type { Segment, Segments } from './segments.ts'

export interface IndexesOptions {
  readonly directory: string
  readonly files: LogFiles
  readonly segments: Segments
  readonly openFiles: OpenFiles
  readonly maxBytes: number
}

export class Indexes {
  readonly #options: IndexesOptions
  /** Least recently used first. */
  readonly #loaded = new Map<Segment, SegmentIndex>()
  readonly #loading = new Map<Segment, Promise<SegmentIndex>>()
  #bytes = 0

  constructor(options: IndexesOptions) {
    this.#options = options
  }

  /** A segment's index if it is in memory. */
  ready(segment: Segment): SegmentIndex | undefined {
    const { segments } = this.#options
    return segment === segments.active ? segments.activeIndex : this.#loaded.get(segment)
  }

  /** A closed segment's index from its sidecar, or from the segment itself where that is of no use. */
  async load(segment: Segment): Promise<SegmentIndex> {
    let loading = this.#loading.get(segment)
    if (!loading) {
      loading = this.#read(segment).finally(() => this.#loading.delete(segment))
      this.#loading.set(segment, loading)
    }
    const index = await loading
    if (!this.#loaded.has(segment)) this.#bytes += index.memoryBytes
    else this.#loaded.delete(segment)
    this.#loaded.set(segment, index)
    for (const oldest of this.#loaded.keys()) {
      if (this.#bytes <= this.#options.maxBytes || oldest === segment) break
      this.drop(oldest)
    }
    return index
  }

  drop(segment: Segment): void {
    const index = this.#loaded.get(segment)
    if (!index) return
    this.#loaded.delete(segment)
    this.#bytes -= index.memoryBytes
  }

  async #read(segment: Segment): Promise<SegmentIndex> {
    const { segments, openFiles } = this.#options
    const { base } = segment.header
    const indexed = { partitions: segments.partitions, records: segment.records, base }
    const bytes = await this.#sidecar(base, indexFileBytes(indexed))
    const index = bytes && SegmentIndex.decode(bytes, indexed)
    if (index) return index
    return openFiles.use(segment, (file) => scanClosed(file, segment))
  }

  async #sidecar(base: number, length: number): Promise<Uint8Array | undefined> {
    const { directory, files } = this.#options
    try {
      return await withFile(files, indexPath(directory, base), async (file) => {
        if ((await file.size()) !== length) return undefined
        const bytes = Buffer.from(new ArrayBuffer(length))
        const read = await readFully(file, bytes, 0, { position: 0, length })
        return read === length ? bytes : undefined
      })
    } catch (error) {
      if (isMissing(error)) return undefined
      throw error
    }
  }
}
