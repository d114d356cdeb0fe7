import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { must } from '../../src/core/assert.ts'
import { systemClock } from '../../src/core/clock.ts'
import { type FileLogWriter, openFileLog } from '../../src/log/file-log.ts'
import { openFileLogReader, openMainLog } from '../../src/log/file-log-reader.ts'
import { FRAME_BYTES, frameEnd } from '../../src/log/frame.ts'
import { segmentPath } from '../../src/log/segment-file.ts'
import { logConformance } from './conformance.ts'
import type { Left, LogKind, OpenLog } from './fault-conformance.ts'
import { PARTITIONS } from './partition-conformance.ts'
import { TracedFiles } from './traced-files.ts'

const SEGMENT_BYTES = 4096

/** Has everything written and nothing synced, and cuts the file behind what is left. */
async function cutShort(writer: FileLogWriter, files: TracedFiles, { kept, torn }: Left): Promise<void> {
  // The sync under way never returns: its process is gone.
  files.gate = new Promise(() => {})
  const before = files.waiting
  void writer.sync()
  while (files.waiting === before) await new Promise((resolve) => setImmediate(resolve))
  files.gate = undefined
  const path = segmentPath(writer.directory, writer.segments.active.header.base)
  const bytes = await readFile(path)
  let end = writer.segments.activeIndex.endOffset
  for (let i = 0; i < kept; i++) end = frameEnd(bytes, end, bytes.length)
  await truncate(path, end + torn)
}

async function flipIn(directory: string, random: (below: number) => number): Promise<{ where: string; undo(): Promise<void> }> {
  const names = (await readdir(directory)).sort()
  const before = new Map(await Promise.all(names.map(async (name) => [name, await readFile(join(directory, name))] as const)))
  const name = must(names[random(names.length)], 'a log has files')
  const bytes = Buffer.from(must(before.get(name), 'just read'))
  const at = random(bytes.length)
  bytes[at] = must(bytes[at], 'within the file') ^ (1 << random(8))
  await writeFile(join(directory, name), bytes)
  const undo = async (): Promise<void> => {
    for (const left of await readdir(directory)) if (!before.has(left)) await rm(join(directory, left))
    for (const [kept, content] of before) await writeFile(join(directory, kept), content)
  }
  return { where: `bit in byte ${at} of ${name}`, undo }
}

async function kindOf(open: (directory: string, files: TracedFiles) => Promise<OpenLog>): Promise<LogKind> {
  const directory = await mkdtemp(join(tmpdir(), 'log-'))
  const files = new TracedFiles()
  return {
    open: () => open(directory, files),
    reopen: () => open(directory, files),
    failNextSync: () => void files.failing.push('datasync'),
    faults: {
      crash: async (log, left) => {
        await cutShort(log.writer as FileLogWriter, files, left)
        return open(directory, files)
      },
      storedBytes: (payloadBytes) => FRAME_BYTES + payloadBytes,
      failNext: (call) => void files.failing.push(call === 'sync' ? 'datasync' : 'write'),
      flip: (random) => flipIn(directory, random),
    },
    dispose: async () => {
      await files.closeAll()
      await rm(directory, { recursive: true })
    },
  }
}

const options = (files: TracedFiles) =>
  ({ partitions: PARTITIONS, segmentBytes: SEGMENT_BYTES, durability: 'fsync', clock: systemClock, files }) as const

logConformance('files, reader in the same thread', () =>
  kindOf(async (directory, files) => {
    const log = await openMainLog(directory, options(files))
    return { ...log, refresh: async () => undefined }
  }),
)

logConformance('files, reader that follows', () =>
  kindOf(async (directory, files) => {
    const writer = await openFileLog(directory, options(files))
    const reader = await openFileLogReader(directory, { partitions: PARTITIONS, files, cacheBytes: 600_000, indexBytes: 4000 })
    const refresh = (): Promise<void> => {
      reader.advance(writer.syncedOrdinal())
      return reader.refresh()
    }
    return { writer, reader, refresh }
  }),
)
