// Another number of hosts: partitions find their journals anew. Each host has one journal for all its partitions, so when the
// number changes, what the old journals hold goes to the stores first, and new journals begin. Owns `journal/hosts.json`.
//
//   same ──▶ open                    (nothing to do)
//   changed ──▶ applied ──▶ marked ──▶ open
//
// 1. Until everything is in the stores and durable, nothing is removed: a crash finds the old journals and starts over.
// 2. From the mark on, the old journals count for nothing: a crash finds the mark and goes on from there.
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { systemClock } from '../core/clock.ts'
import { openFileLog } from '../log/file-log.ts'
import { openFileLogReader } from '../log/file-log-reader.ts'
import { bootId } from '../state/fingerprint.ts'
import { journalBeginsAnew } from '../state/marks.ts'
import { openStore, type StoreKind } from '../state/open-store.ts'
import { PendingRows } from '../state/pending.ts'
import { CommitCounter, replayCommits } from './journal.ts'
import { META_KEY } from './keys.ts'
import { journalDir, partitionsOf, storeDir } from './layout.ts'
import { decodeTaskState } from './task-state.ts'

export interface Rehosting {
  readonly dataDir: string
  readonly store: StoreKind
  readonly partitions: number
  readonly hosts: number
}

interface Hosts {
  readonly hosts: number
  /** The old journals are in the stores: only their removal is left. */
  readonly isApplied?: boolean
}

const hostsFile = (dataDir: string): string => join(dataDir, 'journal', 'hosts.json')

/** Makes the data directory fit for this number of hosts. To be called before any of them opens it. */
export async function rehost(r: Rehosting): Promise<void> {
  const known = await readHosts(r.dataDir)
  if (known === undefined) return writeHosts(r.dataDir, { hosts: r.hosts })
  if (known.hosts === r.hosts && !known.isApplied) return
  if (!known.isApplied) {
    for (let host = 0; host < known.hosts; host++) await applyJournal(r, host, known.hosts)
    await writeHosts(r.dataDir, { hosts: known.hosts, isApplied: true })
  }
  for (let host = 0; host < known.hosts; host++) await rm(journalDir(r.dataDir, host), { recursive: true, force: true })
  for (let p = 0; p < r.partitions; p++) await forgetMark(r, p)
  await writeHosts(r.dataDir, { hosts: r.hosts })
}

async function readHosts(dataDir: string): Promise<Hosts | undefined> {
  try {
    return JSON.parse(await readFile(hostsFile(dataDir), 'utf8')) as Hosts
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** Durable before it counts: written aside, synced, renamed, and the directory synced. */
async function writeHosts(dataDir: string, hosts: Hosts): Promise<void> {
  const path = hostsFile(dataDir)
  await mkdir(dirname(path), { recursive: true })
  const draft = await open(`${path}.new`, 'w')
  await draft.writeFile(JSON.stringify(hosts))
  await draft.sync()
  await draft.close()
  await rename(`${path}.new`, path)
  const directory = await open(dirname(path), 'r')
  await directory.sync()
  await directory.close()
}

/** Brings the stores of one old host's partitions up to the end of its journal. */
async function applyJournal(r: Rehosting, host: number, hosts: number): Promise<void> {
  const dir = journalDir(r.dataDir, host)
  await mkdir(dir, { recursive: true })
  const writer = await openFileLog(dir, { partitions: r.partitions, durability: 'fsync', clock: systemClock })
  const reader = await openFileLogReader(dir, { partitions: r.partitions })
  reader.advance(writer.syncedOrdinal())
  await reader.refresh()
  for (const p of partitionsOf(host, hosts, r.partitions)) {
    await withStore(r, p, async (rows) => {
      const [row] = await rows.getMany([META_KEY])
      const stored = row ? decodeTaskState(row, r.partitions) : { claim: 0, n: 0 }
      const counter = new CommitCounter(stored.claim, stored.n)
      const end = await replayCommits(reader, p, rows.appliedPosition() + 1, (commit, position) => {
        if (counter.counts(commit)) rows.commit(position, commit.rows, commit.deletedRanges)
      })
      if (end > 0) await rows.apply(end - 1)
    })
  }
  await reader.close()
  await writer.close()
}

async function withStore(r: Rehosting, partition: number, work: (rows: PendingRows) => Promise<void>): Promise<void> {
  const path = storeDir(r.dataDir, partition)
  await mkdir(path, { recursive: true })
  const store = await openStore(r.store, path)
  await work(await PendingRows.open(store, { applyBytes: Number.POSITIVE_INFINITY, withMark: META_KEY, bootId: await bootId() }))
  await store.sync()
  await store.close()
}

/** The store counts from the beginning of a journal again. */
async function forgetMark(r: Rehosting, partition: number): Promise<void> {
  const path = storeDir(r.dataDir, partition)
  await mkdir(path, { recursive: true })
  const store = await openStore(r.store, path)
  await store.write(await journalBeginsAnew(store, META_KEY))
  await store.sync()
  await store.close()
}
