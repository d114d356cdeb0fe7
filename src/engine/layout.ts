// Where things lie in the data directory, and which host runs which partitions.
import { join } from 'node:path'

export const eventsDir = (dataDir: string): string => join(dataDir, 'events')
export const journalDir = (dataDir: string, host: number): string => join(dataDir, 'journal', String(host))
export const storeDir = (dataDir: string, partition: number): string => join(dataDir, 'stores', String(partition).padStart(5, '0'))

/** How partitions are dealt out to hosts: runs of neighbours. */
export function partitionsOf(host: number, hosts: number, partitions: number): number[] {
  const from = Math.floor((host * partitions) / hosts)
  const to = Math.floor(((host + 1) * partitions) / hosts)
  return Array.from({ length: to - from }, (_, i) => from + i)
}

/** Where they come and go: a process is given runs of neighbours, which are to be spread over its hosts. */
export function mayComeTo(host: number, hosts: number, partitions: number): number[] {
  return Array.from({ length: partitions }, (_, p) => p).filter((p) => p % hosts === host)
}
