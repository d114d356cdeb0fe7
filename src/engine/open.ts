// Opens the engine: on a data directory with worker threads as hosts, or wholly in memory in one thread (tests, simulations).
// Owns the layout of the data directory, its lock and its fingerprint.
import { statfsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import type { Worker } from 'node:worker_threads'
import type { Clock } from '../core/clock.ts'
import { GuardedClock, systemClock } from '../core/clock.ts'
import type { Namespaces } from '../core/namespace.ts'
import { type FileLogWriter, openFileLog } from '../log/file-log.ts'
import { openFileLogReader } from '../log/file-log-reader.ts'
import { lockDirectory } from '../log/lock.ts'
import { MemoryLog } from '../log/memory-log.ts'
import { oneWriterLog } from '../log/one-writer.ts'
import { checkFingerprint, openMarker } from '../state/fingerprint.ts'
import { MemoryStore } from '../state/memory-store.ts'
import type { StoreKind } from '../state/open-store.ts'
import { PendingRows } from '../state/pending.ts'
import type { TaskLimits } from './config.ts'
import type { DefinitionChange } from './definitions.ts'
import { EmbeddedEngine } from './embedded.ts'
import { eventsPort } from './events-port.ts'
import { type FromHost, Host, type ToHost } from './host.ts'
import { embeddedJournal } from './journal-embedded.ts'
import { META_KEY } from './keys.ts'
import { eventsDir, partitionsOf } from './layout.ts'
import type { HostSetup } from './open-host.ts'
import { Opened, together } from './opened.ts'
import type { Stream } from './outbox.ts'
import { Outputs, type StreamLog } from './outputs.ts'
import type { OutputPort } from './outputs-port.ts'
import type { EmbeddedPorts, HostLink } from './ports.ts'
import { rehost } from './rehost.ts'
import { Shared } from './shared.ts'
import { startWorker } from './start-worker.ts'

export interface EngineOptions {
  readonly limits: TaskLimits
  readonly namespaces: Namespaces
  readonly hosts: number
  readonly minFreeBytes: number
  readonly maxLagEvents: number
  readonly readTimeoutMs: number
  readonly stopped: (partition: number, reason: string) => void
  readonly fatal: (error: Error) => void
}

export interface DirectoryOptions extends EngineOptions {
  readonly dataDir: string
  readonly store: StoreKind
  readonly durability: 'fsync' | 'none'
  readonly journalBytes: number
  readonly eventsRetainMs: number
  readonly outputsRetainMs: number
  readonly clockStepLimitMs: number
  /** Something that a person must look at, such as a clock that has stepped ahead. */
  readonly alarm: (message: string) => void
  /** What is fixed for the life of the data. */
  readonly fixed: Readonly<Record<string, string | number>>
  readonly clockStandsAt?: number
  /** For the first host (start-worker.ts). */
  readonly spare?: Worker
}

const FREE_SPACE_EVERY_MS = 1000
const SHORTEST_MARK_MS = 60_000

/** An engine whose hosts are opening: it is not to be asked before they have. */
export interface OpeningEngine {
  readonly engine: EmbeddedEngine
  /** Rejects with everything closed again. */
  readonly opened: Promise<unknown>
}

/** Resolves once the hosts have begun to open, which takes threads of their own: the caller's has time for something else. */
export async function beginDirectory(options: DirectoryOptions): Promise<OpeningEngine> {
  const begun = Promise.withResolvers<EmbeddedEngine>()
  const opened = openDirectory(options, begun.resolve)
  return { engine: await Promise.race([begun.promise, opened]), opened }
}

export async function openDirectory(options: DirectoryOptions, begun?: (engine: EmbeddedEngine) => void): Promise<EmbeddedEngine> {
  const { dataDir, durability } = options
  await mkdir(dataDir, { recursive: true })
  const lock = await lockDirectory(dataDir)
  const opened = new Opened()
  try {
    await checkFingerprint(dataDir, options.fixed)
    const marker = await openMarker(dataDir, durability)
    await rehost({ dataDir, store: options.store, partitions: options.limits.partitions, hosts: options.hosts })
    const closed = async (): Promise<void> => {
      await marker.close()
      await lock.release()
    }
    return await openFiles(options, opened, { begun, closed })
  } catch (error) {
    await opened.close()
    await lock.release()
    throw error
  }
}

interface Told {
  /** The hosts have what they need to open. */
  begun: ((engine: EmbeddedEngine) => void) | undefined
  closed(): Promise<void>
}

async function openFiles(options: DirectoryOptions, opened: Opened, { begun, closed }: Told): Promise<EmbeddedEngine> {
  const { dataDir, limits, durability } = options
  const common = { durability, clock: systemClock }
  let engine: EmbeddedEngine | undefined
  const openEvents = openFileLog(eventsDir(dataDir), {
    ...common,
    partitions: limits.partitions,
    retainMs: options.eventsRetainMs,
    onSynced: (ordinal) => engine?.synced(ordinal),
  })
  const stream = (name: string): Promise<StreamLog> =>
    openStreamLog(join(dataDir, name), opened, {
      ...common,
      partitions: limits.partitions + 1,
      retainMs: options.outputsRetainMs,
      retainUnreleased: true,
    })
  const [events, transitions, merges, deadLetters, definitions] = await together([
    opened.keep(openEvents),
    stream('transitions'),
    stream('merges'),
    stream('dead-letters'),
    openStreamLog(join(dataDir, 'definitions'), opened, { ...common, partitions: 1 }),
  ])
  const outputs = new Outputs({ transitions, merges, deadLetters })
  const shared = new Shared(options.hosts, limits.partitions)
  const space = watchSpace(dataDir, options.minFreeBytes)
  opened.add({ close: async () => space.stop() })
  const guard = new GuardedClock(systemClock, options.clockStepLimitMs, options.alarm)
  const ports: EmbeddedPorts = {
    ...options,
    markEveryMs: Math.max(options.outputsRetainMs / 2, SHORTEST_MARK_MS),
    clock: guard,
    guard,
    shared,
    events: eventsPort(events, shared),
    definitions: oneWriterLog(definitions),
    outputs,
    freeBytes: () => space.freeBytes,
    startHosts: (changes, receive) => {
      const links = startWorkers(options, { shared, events, outputs, changes }, receive)
      if (engine) begun?.(engine)
      return links
    },
    closed: async () => {
      space.stop()
      await closed()
    },
  }
  engine = new EmbeddedEngine(ports)
  await engine.open()
  return engine
}

interface StreamLogOptions {
  readonly partitions: number
  readonly durability: 'fsync' | 'none'
  readonly clock: Clock
  readonly retainMs?: number
  /** Time alone decides what is dropped. */
  readonly retainUnreleased?: boolean
}

/** A log that is written and read on this thread. */
async function openStreamLog(dir: string, opened: Opened, options: StreamLogOptions): Promise<StreamLog> {
  let advance = (_: number): void => {}
  const writer: FileLogWriter = await opened.keep(openFileLog(dir, { ...options, onSynced: (ordinal) => advance(ordinal) }))
  const reader = await opened.keep(openFileLogReader(dir, { partitions: options.partitions }))
  advance = (ordinal) => reader.advance(ordinal)
  reader.advance(writer.syncedOrdinal())
  await reader.refresh()
  return { writer, reader }
}

/** Free disk space, looked at now and then. */
export function watchSpace(dir: string, minFreeBytes: number): { readonly freeBytes: number; stop(): void } {
  const watch = { freeBytes: Number.POSITIVE_INFINITY, stop: (): void => {} }
  if (minFreeBytes === 0) return watch
  const look = (): void => {
    const s = statfsSync(dir)
    watch.freeBytes = s.bavail * s.bsize
    watch.stop = systemClock.after(FREE_SPACE_EVERY_MS, look)
  }
  look()
  return watch
}

async function startWorkers(
  options: DirectoryOptions,
  known: { shared: Shared; events: FileLogWriter; outputs: Outputs; changes: readonly DefinitionChange[] },
  receive: (message: FromHost) => void,
): Promise<HostLink[]> {
  const { limits, hosts } = options
  const started = Array.from({ length: hosts }, (_, host) => {
    const setup: HostSetup = {
      host,
      hosts,
      partitions: partitionsOf(host, hosts, limits.partitions),
      limits,
      definitions: known.changes,
      shared: known.shared.buffer,
      dataDir: options.dataDir,
      store: options.store,
      durability: options.durability,
      journalBytes: options.journalBytes,
      clockStepLimitMs: options.clockStepLimitMs,
      syncedOrdinal: known.events.syncedOrdinal(),
      outputEnds: Array.from({ length: limits.partitions }, (_, p) => known.outputs.ends(p)),
      ...(options.clockStandsAt === undefined ? {} : { clockStandsAt: options.clockStandsAt }),
    }
    const worker = host === 0 ? options.spare : undefined
    return startWorker(setup, { partitions: setup.partitions, receive, fatal: options.fatal, worker })
  })
  return Promise.all(started)
}

/** Logs and stores that a memory engine works on. */
export interface MemoryDisk {
  readonly events: MemoryLog
  readonly journals: readonly MemoryLog[]
  readonly definitions: MemoryLog
  readonly streams: Readonly<Record<Stream, MemoryLog>>
  readonly stores: readonly MemoryStore[]
  /** Told of every new durable end of the events log. */
  readonly listener: { synced(ordinal: number): void }
}

export function memoryDisk(partitions: number, hosts: number): MemoryDisk {
  const listener = { synced: (_: number): void => {} }
  const log = (n: number): MemoryLog => new MemoryLog({ partitions: n })
  return {
    listener,
    events: new MemoryLog({ partitions, onSynced: (ordinal) => listener.synced(ordinal) }),
    journals: Array.from({ length: hosts }, () => log(partitions)),
    definitions: log(1),
    streams: { transitions: log(partitions + 1), merges: log(partitions + 1), deadLetters: log(partitions + 1) },
    stores: Array.from({ length: partitions }, () => new MemoryStore()),
  }
}

/** The same engine on memory logs and stores, its hosts in this thread. */
export async function openInMemory(
  options: EngineOptions & { clock: Clock; disk?: MemoryDisk; outputs?: OutputPort; pause?: () => Promise<void> },
): Promise<EmbeddedEngine> {
  const { limits, hosts, clock } = options
  const disk = options.disk ?? memoryDisk(limits.partitions, hosts)
  const shared = new Shared(hosts, limits.partitions)
  const log = ({ writer, reader }: MemoryLog): StreamLog => ({ writer, reader })
  const { transitions, merges, deadLetters } = disk.streams
  const outputs = options.outputs ?? new Outputs({ transitions: log(transitions), merges: log(merges), deadLetters: log(deadLetters) })
  const pause = options.pause ?? (() => setImmediate())
  const startHosts = async (definitions: readonly DefinitionChange[], receive: (message: FromHost) => void): Promise<HostLink[]> => {
    const links: HostLink[] = []
    for (let h = 0; h < hosts; h++) {
      const journal = disk.journals[h] as MemoryLog
      const ports = {
        host: h,
        partitions: partitionsOf(h, hosts, limits.partitions),
        limits,
        clock,
        shared,
        definitions,
        events: disk.events.reader,
        journal: embeddedJournal(journal),
        journalBytes: Number.POSITIVE_INFINITY,
        outputEnds: (p: number) => outputs.ends(p),
        openRows: (p: number) =>
          PendingRows.open(disk.stores[p] as MemoryStore, { applyMs: limits.applyMs, applyBytes: limits.applyBytes, withMark: META_KEY }),
        pause,
        closed: async () => {},
      }
      // Messages cross as copies, in turns of the loop, as between threads.
      const host: Host = new Host(ports, (message) => queueMicrotask(() => receive(message)))
      links.push({ partitions: ports.partitions, post: (message: ToHost) => queueMicrotask(() => host.receive(message)) })
      await host.open()
    }
    return links
  }
  const engine: EmbeddedEngine = new EmbeddedEngine({
    ...options,
    shared,
    events: eventsPort(disk.events.writer, shared),
    definitions: oneWriterLog(disk.definitions),
    outputs,
    startHosts,
    freeBytes: () => Number.POSITIVE_INFINITY,
    closed: async () => {},
  })
  disk.listener.synced = (ordinal) => engine.synced(ordinal)
  await engine.open()
  return engine
}
