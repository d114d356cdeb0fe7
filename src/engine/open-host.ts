// Opens what a host needs in a worker thread, from plain data: the events log read-only, the host's journal, a store per
// partition.
import { mkdir } from 'node:fs/promises'
import { must } from '../core/assert.ts'
import { type Clock, GuardedClock, systemClock } from '../core/clock.ts'
import { type FileLogWriter, openFileLog } from '../log/file-log.ts'
import { type FileLogReader, openFileLogReader } from '../log/file-log-reader.ts'
import { bootId } from '../state/fingerprint.ts'
import { openStore, type StoreKind } from '../state/open-store.ts'
import { PendingRows } from '../state/pending.ts'
import type { Store } from '../state/store.ts'
import type { OutputEnds } from './agreement.ts'
import type { TaskLimits } from './config.ts'
import type { DefinitionChange } from './definitions.ts'
import type { HostPorts } from './host.ts'
import { embeddedJournal } from './journal-embedded.ts'
import { META_KEY } from './keys.ts'
import { eventsDir, journalDir, storeDir } from './layout.ts'
import { type Opened, together } from './opened.ts'
import { Shared } from './shared.ts'
import { Turns } from './turns.ts'

export interface HostSetup {
  readonly host: number
  readonly hosts: number
  readonly partitions: readonly number[]
  readonly limits: TaskLimits
  readonly definitions: readonly DefinitionChange[]
  readonly shared: SharedArrayBuffer
  readonly dataDir: string
  readonly store: StoreKind
  readonly durability: 'fsync' | 'none'
  readonly journalBytes: number
  /** Where the events log is known durable. */
  readonly syncedOrdinal: number
  /** Where the logs of outputs end, by partition. */
  readonly outputEnds: readonly OutputEnds[]
  readonly clockStepLimitMs: number
  /** A clock that stands still, for benchmarks that replay the past. */
  readonly clockStandsAt?: number
}

/** What it opens is in `opened` too, until the host that gets it can close it. */
export async function openHostPorts(setup: HostSetup, opened: Opened): Promise<HostPorts> {
  const { limits } = setup
  const stands = setup.clockStandsAt
  // The main thread, whose clock is guarded alike, sounds the alarm.
  const guard = new GuardedClock(systemClock, setup.clockStepLimitMs, () => {})
  const clock: Clock = stands === undefined ? guard : { ...systemClock, now: () => stands }
  // Stores take longest to open: their thread has yet to start.
  const [stores, events, journal] = await together([
    together(setup.partitions.map((partition) => openPartition(partition, setup, opened))),
    openEvents(setup, opened),
    openJournal(setup, clock, opened),
  ])
  const rows = new Map(stores.map(({ partition, rows }) => [partition, rows]))
  const turns = new Turns(() => clock.monotonicMs(), limits.sliceMs)
  return {
    host: setup.host,
    partitions: setup.partitions,
    limits,
    clock,
    guard,
    shared: new Shared(setup.hosts, limits.partitions, setup.shared),
    definitions: setup.definitions,
    events,
    journal: embeddedJournal(journal),
    journalBytes: setup.journalBytes,
    outputEnds: (partition) => must(setup.outputEnds[partition], `partition ${partition}`),
    openRows: async (partition) => must(rows.get(partition), `partition ${partition} is one of this host`),
    pause: (since) => turns.pause(since),
    isSpent: () => turns.isSpent(),
    closed: async () => {
      for (const { store } of stores) await store.close()
      await journal.reader.close()
      await events.close()
    },
  }
}

interface OpenPartition {
  readonly partition: number
  readonly store: Store
  readonly rows: PendingRows
}

async function openPartition(partition: number, { dataDir, store: kind, limits }: HostSetup, opened: Opened): Promise<OpenPartition> {
  const path = storeDir(dataDir, partition)
  await mkdir(path, { recursive: true })
  const store = await opened.keep(openStore(kind, path))
  const { applyMs, applyBytes } = limits
  const rows = await PendingRows.open(store, { applyMs, applyBytes, withMark: META_KEY, bootId: await bootId() })
  return { partition, store, rows }
}

async function openEvents({ dataDir, limits, syncedOrdinal }: HostSetup, opened: Opened): Promise<FileLogReader> {
  const events = await opened.keep(openFileLogReader(eventsDir(dataDir), { partitions: limits.partitions }))
  events.advance(syncedOrdinal)
  await events.refresh()
  return events
}

async function openJournal(
  { dataDir, host, limits, durability, journalBytes }: HostSetup,
  clock: Clock,
  opened: Opened,
): Promise<{ writer: FileLogWriter; reader: FileLogReader }> {
  const dir = journalDir(dataDir, host)
  await mkdir(dir, { recursive: true })
  const segmentBytes = Math.max(1 << 20, Math.floor(journalBytes / 8))
  const writer = await opened.keep(openFileLog(dir, { partitions: limits.partitions, durability, clock, segmentBytes }))
  const reader = await opened.keep(openFileLogReader(dir, { partitions: limits.partitions }))
  reader.advance(writer.syncedOrdinal())
  await reader.refresh()
  return { writer, reader }
}
