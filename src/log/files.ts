// The file system as the file log sees it: a port, so that tests can record its calls and let them fail.
// Owns no state. Everything is asynchronous: no call blocks the calling thread for the disk.
//
// 1. `write` and `read` may do less than asked, as the system calls may; writeAll and readFully ask again.
// 2. No call is repeated after an error: what a failed write or sync left behind is unknown.
import { type FileHandle, mkdir, open, readdir, rename, unlink } from 'node:fs/promises'

export interface LogFile {
  /** Reads into `into` at `offset`; returns the number of bytes read, 0 at the end of the file. */
  read(into: Buffer, offset: number, length: number, position: number): Promise<number>
  write(from: Buffer, offset: number, length: number, position: number): Promise<number>
  /** Contents and size become durable. */
  datasync(): Promise<void>
  sync(): Promise<void>
  truncate(bytes: number): Promise<void>
  size(): Promise<number>
  close(): Promise<void>
}

/** `create` makes the file or empties it; `update` writes to one that exists. */
export type OpenMode = 'read' | 'update' | 'create'

export interface LogFiles {
  open(path: string, mode: OpenMode): Promise<LogFile>
  /** Names in a directory, sorted. */
  list(directory: string): Promise<string[]>
  rename(from: string, to: string): Promise<void>
  remove(path: string): Promise<void>
  makeDirectory(directory: string): Promise<void>
  /** The directory's entries become durable. */
  syncDirectory(directory: string): Promise<void>
}

const FLAGS: Record<OpenMode, string> = { read: 'r', update: 'r+', create: 'w+' }

function logFile(handle: FileHandle): LogFile {
  return {
    read: async (into, offset, length, position) => (await handle.read(into, offset, length, position)).bytesRead,
    write: async (from, offset, length, position) => (await handle.write(from, offset, length, position)).bytesWritten,
    datasync: () => handle.datasync(),
    sync: () => handle.sync(),
    truncate: (bytes) => handle.truncate(bytes),
    size: async () => (await handle.stat()).size,
    close: () => handle.close(),
  }
}

export const systemFiles: LogFiles = {
  open: async (path, mode) => logFile(await open(path, FLAGS[mode])),
  list: async (directory) => (await readdir(directory)).sort(),
  rename,
  remove: unlink,
  makeDirectory: async (directory) => void (await mkdir(directory, { recursive: true })),
  async syncDirectory(directory) {
    const handle = await open(directory, 'r')
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  },
}

/** Writes all of `from[offset, offset + length)` at `position` (1). */
export async function writeAll(file: LogFile, from: Buffer, length: number, position: number): Promise<void> {
  for (let done = 0; done < length; ) done += await file.write(from, done, length - done, position + done)
}

/** Reads `length` bytes, or as many as the file has from `position` on (1). */
export async function readFully(file: LogFile, into: Buffer, offset: number, range: { position: number; length: number }): Promise<number> {
  let done = 0
  while (done < range.length) {
    const read = await file.read(into, offset + done, range.length - done, range.position + done)
    if (read === 0) break
    done += read
  }
  return done
}

/** True when the error says that a file isn't there. */
export function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}
