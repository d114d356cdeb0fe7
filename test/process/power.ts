// Power loss under a server: of every file what was synced is there, of the rest as much as luck would have it, file by file. The
// server is stopped, its data copied, the copy cut; the original may go on and lose its power again.
import { closeSync, cpSync, ftruncateSync, openSync, readdirSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs'
import { basename, join, relative } from 'node:path'
import { below, type Random } from '../identity/random.ts'
import { pause } from './server.ts'
import type { Synced } from './sync-trace.ts'

const PAGE = 512

interface Durable {
  readonly sizes: Map<string, number>
  readonly names: Map<string, ReadonlySet<string>>
}

function durableIn(trace: string): Durable {
  const durable: Durable = { sizes: new Map(), names: new Map() }
  for (const line of readFileSync(trace, 'utf8').split('\n')) {
    if (line === '') continue
    const [file, what] = JSON.parse(line) as Synced
    if (typeof what === 'number') durable.sizes.set(file, Math.max(what, durable.sizes.get(file) ?? 0))
    else durable.names.set(file, new Set(what))
  }
  return durable
}

/** As the trace names a file. */
function nameOf(path: string): string {
  const { ino, birthtimeNs } = statSync(path, { bigint: true })
  return `${ino}.${birthtimeNs}`
}

/** Stops a process, all of it; `process.kill(pid, 'SIGCONT')` lets it go on. */
export async function standStill(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP')
  const isRunning = (thread: string): boolean => !/^State:\s+T/m.test(readFileSync(`/proc/${pid}/task/${thread}/status`, 'latin1'))
  while (readdirSync(`/proc/${pid}/task`).some(isRunning)) await pause(2)
}

/** What the machine finds when the power is back, in `copy`; how many bytes were lost. The server stands still. */
export function powerLost(dataDir: string, copy: string, { trace, random }: { trace: string; random: Random }): number {
  const durable = durableIn(trace)
  cpSync(dataDir, copy, { recursive: true })
  let lost = 0
  for (const entry of readdirSync(dataDir, { withFileTypes: true, recursive: true })) {
    const path = join(entry.parentPath, entry.name)
    const copied = join(copy, relative(dataDir, path))
    if (!entry.isFile() || !mayLose(path)) continue
    const { size } = statSync(path)
    const safe = durable.sizes.get(nameOf(path)) ?? 0
    const isNamed = durable.names.get(nameOf(entry.parentPath))?.has(entry.name) === true
    if (!isNamed && random() < 0.5) {
      rmSync(copied)
      lost += size
    } else if (size > safe) lost += cut(copied, { safe, size }, random)
  }
  return lost
}

/** Logs of ours, their indexes, and RocksDB's write-ahead logs. It syncs other files of its own before it names them. */
function mayLose(path: string): boolean {
  return path.includes('/stores/') ? path.endsWith('.log') : /\.(log|index)(\.tmp)?$/.test(basename(path))
}

/** Ends at what is safe, or anywhere behind it, or with pages that were never written. Answers how many bytes are lost. */
function cut(path: string, { safe, size }: { safe: number; size: number }, random: Random): number {
  const draw = random()
  if (draw < 0.2) return 0
  const file = openSync(path, 'r+')
  try {
    if (draw < 0.8) {
      const left = draw < 0.5 ? safe : safe + below(random, size - safe + 1)
      ftruncateSync(file, left)
      return size - left
    }
    let lost = 0
    for (let at = safe; at < size; at += PAGE) {
      const length = Math.min(PAGE, size - at)
      if (random() < 0.5) lost += writeSync(file, Buffer.alloc(length), 0, length, at)
    }
    return lost
  } finally {
    closeSync(file)
  }
}
