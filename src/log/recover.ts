// Opening a log's directory: which segments there are, and what of the last one can be trusted. Owns the decision between a
// torn tail (cut off) and corruption (stop).
//
// 1. The last segment is copied, and the copy synced, before a record of it is trusted: after a failed sync the page cache may
//    show what the disk never got.
// 2. The earlier segments were durable before the last one was begun; they are not scanned.
// 3. A bad record that a later one vouches for is corruption. Otherwise it was never acknowledged, and the file ends before it.
import { join } from 'node:path'
import { TributaryError } from '../core/errors.ts'
import { isMissing, type LogFile, type LogFiles, readFully, writeAll } from './files.ts'
import { highestMark, scanSegment } from './scan.ts'
import { basesIn, createSegment, indexPath, newHeader, readHeader, segmentPath, TEMPORARY, type WriteOptions } from './segment-file.ts'
import { INDEX_HEADER_BYTES, indexFileBytes, isIndexHeader, type SegmentIndex } from './segment-index.ts'
import { type Segment, Segments, segmentWith } from './segments.ts'

const COPY_BYTES = 1 << 20
const FILES_AT_ONCE = 64

export interface RecoverOptions extends WriteOptions {
  readonly partitions: number
  readonly now: number
}

/** A log that may be appended to: `file` is the active segment's. */
export interface Recovered {
  readonly segments: Segments
  readonly file: LogFile
}

/** Calls `run` with an open file and closes it. */
export async function withFile<T>(files: LogFiles, path: string, run: (file: LogFile) => Promise<T>): Promise<T> {
  const file = await files.open(path, 'read')
  try {
    return await run(file)
  } finally {
    await file.close()
  }
}

/** The segments in a directory by their headers, ascending, none of them scanned. */
export function readSegments(
  directory: string,
  bases: readonly number[],
  options: { files: LogFiles; partitions: number },
): Promise<Segment[]> {
  const { files, partitions } = options
  return inGroups(bases, (base) =>
    withFile(files, segmentPath(directory, base), async (file) => segmentWith(await readHeader(file, base, partitions))),
  )
}

/** Some at a time: one by one takes long where there are thousands, and all at once takes too many descriptors. */
async function inGroups<T, R>(list: readonly T[], work: (one: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  for (let i = 0; i < list.length; i += FILES_AT_ONCE) results.push(...(await Promise.all(list.slice(i, i + FILES_AT_ONCE).map(work))))
  return results
}

export async function recover(directory: string, options: RecoverOptions): Promise<Recovered> {
  const { files, partitions } = options
  await files.makeDirectory(directory)
  const names = await files.list(directory)
  for (const name of names) if (name.endsWith(TEMPORARY)) await files.remove(join(directory, name))
  const bases = basesIn(names)
  if (bases.length === 0) {
    const header = newHeader(0, options.now, new Float64Array(partitions))
    const file = await createSegment(directory, header, options)
    return { segments: new Segments([segmentWith(header)]), file }
  }
  const list = await readSegments(directory, bases, options)
  const segments = new Segments(list)
  await dropOrphans(directory, names, { files, bases })
  await inGroups(list.slice(0, -1), (segment) => checkClosed(directory, segment, options))
  return { segments, file: await recoverLast(directory, segments, options) }
}

/** Sidecars outlive their segment when a crash comes between the two deletions. */
async function dropOrphans(
  directory: string,
  names: readonly string[],
  kept: { files: LogFiles; bases: readonly number[] },
): Promise<void> {
  const last = kept.bases[kept.bases.length - 1]
  const wanted = new Set(kept.bases.filter((base) => base !== last).map((base) => indexPath(directory, base)))
  for (const name of names) {
    const path = join(directory, name)
    if (name.endsWith('.index') && !wanted.has(path)) await kept.files.remove(path)
  }
}

/** Notes the segment's size and makes sure that it has a sidecar (2). */
async function checkClosed(directory: string, segment: Segment, options: RecoverOptions): Promise<void> {
  const { files, partitions } = options
  const { base } = segment.header
  const indexed = { partitions, records: segment.records, base }
  await withFile(files, segmentPath(directory, base), async (file) => {
    segment.bytes = await file.size()
    if (await hasSidecar(indexPath(directory, base), files, indexed)) return
    await writeSidecar(directory, segment, { files, index: await scanClosed(file, segment) })
  })
}

async function hasSidecar(path: string, files: LogFiles, indexed: { partitions: number; records: number; base: number }): Promise<boolean> {
  try {
    return await withFile(files, path, async (file) => {
      const head = Buffer.alloc(INDEX_HEADER_BYTES)
      await readFully(file, head, 0, { position: 0, length: head.length })
      return isIndexHeader(head, indexed) && (await file.size()) === indexFileBytes(indexed)
    })
  } catch (error) {
    if (isMissing(error)) return false
    throw error
  }
}

/** The index of a segment that must be whole. */
export async function scanClosed(file: LogFile, segment: Segment): Promise<SegmentIndex> {
  const index = await scanSegment(file, segment.header)
  if (index.records !== segment.records) {
    throw new TributaryError(
      'data_corrupt',
      `the record with ordinal ${segment.header.base + index.records} is damaged, at byte ${index.endOffset} of its segment`,
    )
  }
  return index
}

/** Not synced: a sidecar is a cache, and its checksum tells when it isn't whole. */
export async function writeSidecar(directory: string, segment: Segment, content: { files: LogFiles; index: SegmentIndex }): Promise<void> {
  const { files, index } = content
  const path = indexPath(directory, segment.header.base)
  const bytes = index.encode(segment.header.base)
  const file = await files.open(path + TEMPORARY, 'create')
  try {
    await writeAll(file, bytes, bytes.length, 0)
  } finally {
    await file.close()
  }
  await files.rename(path + TEMPORARY, path)
}

async function recoverLast(directory: string, segments: Segments, options: RecoverOptions): Promise<LogFile> {
  const { files, durable } = options
  const { header } = segments.active
  const path = segmentPath(directory, header.base)
  const copy = await files.open(path + TEMPORARY, 'create')
  try {
    await withFile(files, path, (file) => copyAll(file, copy))
    if (durable) await copy.sync()
    const index = await scanSegment(copy, header)
    await cutTail(copy, { segments, index, durable })
    await files.rename(path + TEMPORARY, path)
    if (durable) await files.syncDirectory(directory)
    segments.adopt(index)
  } catch (error) {
    await copy.close()
    throw error
  }
  return copy
}

async function copyAll(from: LogFile, to: LogFile): Promise<void> {
  const chunk = Buffer.allocUnsafeSlow(COPY_BYTES)
  for (let at = 0; ; ) {
    const length = await readFully(from, chunk, 0, { position: at, length: chunk.length })
    if (length === 0) return
    await writeAll(to, chunk, length, at)
    at += length
  }
}

/** Cuts off what lies behind the last good record, unless it vouches for a bad one (3). */
async function cutTail(copy: LogFile, found: { segments: Segments; index: SegmentIndex; durable: boolean }): Promise<void> {
  const { index } = found
  const end = index.endOffset
  if ((await copy.size()) === end) return
  const { header } = found.segments.active
  const bad = header.base + index.records
  const mark = await highestMark(copy, header, end)
  if (mark > bad) {
    throw new TributaryError(
      'data_corrupt',
      `the record with ordinal ${bad} is damaged at byte ${end} of its segment, and a later one says that all below ${mark} were durable`,
    )
  }
  await copy.truncate(end)
  if (found.durable) await copy.sync()
}
