// Opens a Store of the kind asked for; `rocksdb` takes the binding that suits this machine. Owns that choice.
import { readFileSync } from 'node:fs'
import { TributaryError } from '../core/errors.ts'
import { MemoryStore } from './memory-store.ts'
import { ROCKS_DEFAULTS, type RocksOptions } from './rocksdb-options.ts'
import type { Store } from './store.ts'

export type Binding = 'nxt' | 'native'
export type StoreKind = 'rocksdb' | Binding | 'memory'

/** In order of preference, by CPU per event (bench/store.ts). */
const PREFERENCE: readonly Binding[] = ['nxt', 'native']

type Opener = (dir: string, options: RocksOptions) => Promise<Store>

export async function openStore(kind: StoreKind, dir: string, options: Partial<RocksOptions> = {}): Promise<Store> {
  if (kind === 'memory') return new MemoryStore()
  const open = await loadBinding(kind === 'rocksdb' ? PREFERENCE : [kind])
  return open(dir, { ...ROCKS_DEFAULTS, ...options })
}

/** The first binding that loads; throws unsupported_platform when none does. */
export async function loadBinding(
  candidates: readonly Binding[],
  load: (binding: Binding) => Promise<Opener> = importBinding,
): Promise<Opener> {
  const reasons: string[] = []
  for (const binding of candidates) {
    try {
      return await load(binding)
    } catch (error) {
      reasons.push(`${binding}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  const advice =
    'Use glibc 2.34 or later and install libatomic1 (apt-get install libatomic1, dnf install libatomic), then run npm install again.'
  throw new TributaryError('unsupported_platform', `no RocksDB binding loads on ${process.platform} ${process.arch}. ${advice}`, {
    detail: reasons.join('\n'),
  })
}

async function importBinding(binding: Binding): Promise<Opener> {
  if (binding === 'native') return (await import('./rocksdb-native.ts')).openNative
  mustRunNxt(process.arch, readCpuInfo())
  return (await import('./rocksdb-nxt.ts')).openNxt
}

/** The nxt binary is built for newer processors, and would die of an illegal instruction on others. */
export function mustRunNxt(arch: string, cpuInfo: string | undefined): void {
  if (arch !== 'x64' || cpuInfo === undefined) return
  for (const flag of ['avx2', 'bmi2']) {
    if (!new RegExp(`\\b${flag}\\b`).test(cpuInfo)) throw new Error(`this processor lacks ${flag}`)
  }
}

function readCpuInfo(): string | undefined {
  try {
    return readFileSync('/proc/cpuinfo', 'latin1')
  } catch {
    return undefined
  }
}
