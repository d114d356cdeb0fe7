// Making files of a directory durable, and measuring them. Owns no file.
import { open, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'

/** Syncs a directory's entries: that its files exist, under these names. */
export async function syncDirectory(dir: string): Promise<void> {
  const handle = await open(dir, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/**
 * Makes a RocksDB database durable: fdatasync of its write-ahead logs and its directory. All of them, for an older log
 * stays in use until its memtable is flushed. One that vanishes meanwhile was flushed to a table that RocksDB has synced.
 */
export async function syncWriteAheadLogs(dir: string): Promise<void> {
  const logs = (await readdir(dir)).filter((name) => name.endsWith('.log')).sort()
  for (const name of logs) await syncFile(join(dir, name))
  await syncDirectory(dir)
}

/** Syncs everything under a directory: for data written without syncing. */
export async function syncTree(dir: string): Promise<void> {
  const entries = await readdir(dir, { withFileTypes: true, recursive: true })
  const folders = [dir]
  for (const entry of entries) {
    const path = join(entry.parentPath, entry.name)
    if (entry.isDirectory()) folders.push(path)
    else if (entry.isFile()) await syncFile(path)
  }
  for (const folder of folders) await syncDirectory(folder)
}

/** Bytes of the files in a directory. */
export async function directoryBytes(dir: string): Promise<number> {
  let bytes = 0
  for (const name of await readdir(dir)) {
    const path = join(dir, name)
    bytes += (await ifThere(stat(path)))?.size ?? 0
  }
  return bytes
}

async function syncFile(path: string): Promise<void> {
  const handle = await ifThere(open(path, 'r'))
  if (!handle) return
  try {
    await handle.datasync()
  } finally {
    await handle.close()
  }
}

async function ifThere<T>(found: Promise<T>): Promise<T | undefined> {
  try {
    return await found
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
