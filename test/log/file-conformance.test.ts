import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../src/core/clock.ts'
import { openFileLog } from '../../src/log/file-log.ts'
import { openFileLogReader, openMainLog } from '../../src/log/file-log-reader.ts'
import { type LogKind, logConformance, type OpenLog } from './conformance.ts'
import { PARTITIONS } from './partition-conformance.ts'
import { TracedFiles } from './traced-files.ts'

const SEGMENT_BYTES = 4096

async function kindOf(open: (directory: string, files: TracedFiles) => Promise<OpenLog>): Promise<LogKind> {
  const directory = await mkdtemp(join(tmpdir(), 'log-'))
  const files = new TracedFiles()
  return {
    open: () => open(directory, files),
    reopen: () => open(directory, files),
    failNextSync: () => void files.failing.push('datasync'),
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
