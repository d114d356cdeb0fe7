// One process per directory. Owns the lock files in it; what they protect is others' business.
//
//   LOCK-<pid>-<start>-<boot id>      `start` is the process's start time in clock ticks since boot: pid and start name a process
//
// 1. First raise your own flag, then look for others: of two processes that come at once at least one sees the other and
//    gives way, so never do two hold the lock. Both may give way; whoever tries again gets it.
// 2. A flag of another boot, or of a process that no longer runs, is stale: left by kill -9 or a power cut, even when its pid
//    is in use again. It is removed by whoever holds the lock.
// Processes that don't see each other's pids (containers that share a volume) don't see each other's flags as alive either:
// one directory belongs to one container.
import { open, readdir, readFile, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { invariant } from '../core/assert.ts'
import { TributaryError } from '../core/errors.ts'

/** How the last process left: `clean`, or without releasing, under this boot of the machine or an earlier one. */
export type LastExit = 'clean' | 'killed' | 'rebooted'

export interface DirectoryLock {
  readonly lastExit: LastExit
  release(): Promise<void>
}

const NAME = /^LOCK-(\d+)-(\d+)-([0-9a-f-]+)$/

async function bootId(): Promise<string> {
  try {
    return (await readFile('/proc/sys/kernel/random/boot_id', 'latin1')).trim()
  } catch (cause) {
    throw new TributaryError('unsupported_platform', 'this machine has no /proc/sys/kernel/random/boot_id', { cause })
  }
}

/** Start time of a running process in ticks since boot, as a text; undefined when there is none. A zombie holds no files: it doesn't run. */
async function processStart(pid: number): Promise<string | undefined> {
  let stat: string
  try {
    stat = await readFile(`/proc/${pid}/stat`, 'latin1')
  } catch {
    return undefined
  }
  // The command's name is in parentheses and may hold anything, spaces and parentheses too; state is field 3, start field 22.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19]
}

/** The lock file's name for a process of this boot. */
export async function lockName(pid: number): Promise<string> {
  const start = await processStart(pid)
  invariant(start !== undefined, 'a lock file names a running process')
  return `LOCK-${pid}-${start}-${await bootId()}`
}

/** Locks a directory, which must exist, for this process; throws data_locked when a running process has it. */
export async function lockDirectory(directory: string): Promise<DirectoryLock> {
  const mine = await lockName(process.pid)
  const path = join(directory, mine)
  await raise(path, directory)
  try {
    const stale = await staleFlags(directory, mine)
    for (const name of stale) await unlink(join(directory, name))
    const boot = await bootId()
    const lastExit = stale.length === 0 ? 'clean' : stale.some((name) => NAME.exec(name)?.[3] !== boot) ? 'rebooted' : 'killed'
    return { lastExit, release: () => lower(path) }
  } catch (error) {
    await lower(path)
    throw error
  }
}

async function raise(path: string, directory: string): Promise<void> {
  try {
    const file = await open(path, 'wx')
    await file.close()
    const entries = await open(directory, 'r')
    // Durable, so that after a power cut the next process learns how this one ended.
    await entries.sync().finally(() => entries.close())
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') throw locked(directory, process.pid)
    throw error
  }
}

async function lower(path: string): Promise<void> {
  try {
    await unlink(path)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
  }
}

/** The flags of processes that no longer run (2); throws when one does. */
async function staleFlags(directory: string, mine: string): Promise<string[]> {
  const boot = await bootId()
  const stale: string[] = []
  for (const name of await readdir(directory)) {
    const flag = NAME.exec(name)
    if (!flag || name === mine) continue
    const pid = Number(flag[1])
    if (flag[3] === boot && (await processStart(pid)) === flag[2]) throw locked(directory, pid)
    stale.push(name)
  }
  return stale
}

function locked(directory: string, pid: number): TributaryError {
  return new TributaryError('data_locked', `${directory} is in use by the process with pid ${pid}`)
}
