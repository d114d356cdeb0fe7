// Two small files in a data directory. `fingerprint.json`: the settings that its rows were written under and that can't change.
// `open.json`: who has it open, how durably, since which boot of the machine. Owns these files only.
//
// 1. Both are replaced whole and synced, so a crash leaves the old or the new one.
// 2. Data written without fsync is trusted only while the machine that holds its unsynced pages has not stopped: until it is
//    closed cleanly, which syncs it, the same boot id is asked for at every opening.
import { randomUUID } from 'node:crypto'
import { mkdir, open, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { TributaryError } from '../core/errors.ts'
import { syncDirectory, syncTree } from './files.ts'

/** Flat: compared value by value. */
export type Fingerprint = Readonly<Record<string, string | number | boolean>>

const FINGERPRINT_FILE = 'fingerprint.json'
const MARKER_FILE = 'open.json'
const BOOT_ID_FILE = '/proc/sys/kernel/random/boot_id'

/** Writes the fingerprint into a new directory; throws fingerprint_mismatch if it has another one. */
export async function checkFingerprint(dir: string, fingerprint: Fingerprint): Promise<void> {
  await mkdir(dir, { recursive: true })
  const before = (await readJson(join(dir, FINGERPRINT_FILE))) as Fingerprint | undefined
  if (before === undefined) {
    await writeJson(dir, FINGERPRINT_FILE, fingerprint)
    return
  }
  const names = [...new Set([...Object.keys(before), ...Object.keys(fingerprint)])].sort()
  const differences = names
    .filter((name) => before[name] !== fingerprint[name])
    .map((name) => `${name}: was ${show(before[name])}, is ${show(fingerprint[name])}`)
  if (differences.length > 0)
    throw new TributaryError('fingerprint_mismatch', `${dir} was written under other settings: ${differences.join('; ')}`)
}

function show(value: string | number | boolean | undefined): string {
  return value === undefined ? 'not set' : JSON.stringify(value)
}

export interface OpenMarker {
  /** To be called last, when everything in the directory is closed. */
  close(): Promise<void>
}

interface Marker {
  readonly durability: 'fsync' | 'none'
  readonly bootId: string
  readonly clean: boolean
}

/** Notes that the directory is open; throws unclean_without_fsync if what it holds can't be trusted (2). */
export async function openMarker(
  dir: string,
  durability: 'fsync' | 'none',
  readBootId: () => Promise<string> = bootId,
): Promise<OpenMarker> {
  await mkdir(dir, { recursive: true })
  const before = (await readJson(join(dir, MARKER_FILE))) as Marker | undefined
  const boot = await readBootId()
  const isUnsynced = before !== undefined && before.durability === 'none' && !before.clean
  if (isUnsynced && before.bootId !== boot) {
    throw new TributaryError(
      'unclean_without_fsync',
      `${dir} was written with durability none, not closed, and the machine has restarted since`,
    )
  }
  if (isUnsynced) await syncTree(dir)
  await writeJson(dir, MARKER_FILE, { durability, bootId: boot, clean: false } satisfies Marker)
  return {
    async close() {
      if (durability === 'none') await syncTree(dir)
      await writeJson(dir, MARKER_FILE, { durability, bootId: boot, clean: true } satisfies Marker)
    },
  }
}

/** Where the kernel names no boot, every opening counts as another one. */
export async function bootId(): Promise<string> {
  try {
    return (await readFile(BOOT_ID_FILE, 'latin1')).trim()
  } catch {
    return randomUUID()
  }
}

async function readJson(path: string): Promise<unknown> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new TributaryError('data_corrupt', `${path} is not readable`, { cause })
  }
}

async function writeJson(dir: string, name: string, content: object): Promise<void> {
  const path = join(dir, name)
  const draft = `${path}.new`
  await writeFile(draft, `${JSON.stringify(content, null, 2)}\n`)
  const handle = await open(draft, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(draft, path)
  await syncDirectory(dir)
}
