// Opens what a host needs whose partitions are shared with other processes: connections to the topics, and a store per partition
// that runs here. Owns the names under which journals are claimed.
//
// 1. Every claim has another owner's name: `<process>.<host>.<count>`, and no two processes have one name, ever.
// 2. A task is not open before it is known where its events end as of its claim: whoever owned the partition before may have read
//    what this process has not heard of.
// 3. Stores only save reading: one that is gone is built again from the journal.
import { mkdir, rm } from 'node:fs/promises'
import { must } from '../core/assert.ts'
import { type Clock, GuardedClock, systemClock } from '../core/clock.ts'
import { KafkaEvents } from '../log/kafka-events.ts'
import { KafkaLog } from '../log/kafka-log.ts'
import type { KafkaSettings } from '../log/kafka-settings.ts'
import type { TopicKind } from '../log/kafka-topics.ts'
import { bootId } from '../state/fingerprint.ts'
import { openStore, type StoreKind } from '../state/open-store.ts'
import { PendingRows } from '../state/pending.ts'
import type { Store } from '../state/store.ts'
import type { TaskLimits } from './config.ts'
import type { DefinitionChange } from './definitions.ts'
import type { HostPorts } from './host.ts'
import { claimedJournals } from './journal-claimed.ts'
import type { HostJournal, TaskJournal } from './journal-port.ts'
import { META_KEY } from './keys.ts'
import { mayComeTo, storeDir } from './layout.ts'
import type { Opened } from './opened.ts'
import type { ReleasedTopic } from './release.ts'
import { type Restore, tellWhile } from './restoring.ts'
import { Shared } from './shared.ts'
import { Turns } from './turns.ts'

export interface KafkaHostSetup {
  readonly host: number
  readonly hosts: number
  readonly kafka: KafkaSettings
  /** Of this run of this process (1). */
  readonly process: string
  /** A process that is silent for so long loses its partitions. */
  readonly sessionMs: number
  readonly limits: TaskLimits
  readonly definitions: readonly DefinitionChange[]
  readonly shared: SharedArrayBuffer
  readonly dataDir: string
  readonly store: StoreKind
  readonly clockStepLimitMs: number
  /** Follows the journals of partitions that others own. */
  readonly standby: boolean
  /** How often what is no longer needed is deleted of the topics; 0: never. */
  readonly deleteEveryMs: number
}

const READ_WAIT_MS = 500

/** Who is told of what goes on. */
export interface KafkaHostListener {
  /** Something is tried again. */
  troubled(error: Error): void
  /** Something does not work that nothing here depends on. */
  warning(message: string): void
  /** A journal is being read. */
  restoring(restore: Restore): void
}

/** What it opens is in `opened` too, until the host that gets it can close it. */
export async function openKafkaHost(setup: KafkaHostSetup, opened: Opened, listener: KafkaHostListener): Promise<HostPorts> {
  const { limits, kafka } = setup
  const troubled = (error: Error): void => listener.troubled(error)
  const guard = new GuardedClock(systemClock, setup.clockStepLimitMs, () => {})
  const shared = new Shared(setup.hosts, limits.partitions, setup.shared)
  const topic = (kind: TopicKind): Promise<KafkaLog> =>
    opened.keep(KafkaLog.open({ settings: kafka, clock: systemClock, kind, partitions: limits.partitions }))
  const [eventsLog, journalLog, exchangeLog] = await Promise.all([topic('events'), topic('journal'), topic('exchange')])
  const told = (partition: number, end: number): void => shared.appended(partition, end)
  const events = new KafkaEvents({ log: eventsLog, clock: guard, told, troubled })
  const stores = new Stores(setup)
  const turns = new Turns(() => guard.monotonicMs(), limits.sliceMs)
  return {
    host: setup.host,
    partitions: [],
    limits,
    clock: guard,
    guard,
    shared,
    definitions: setup.definitions,
    events,
    journal: journalsOf(setup, { log: journalLog, events, clock: guard, listener }),
    journalBytes: Number.POSITIVE_INFINITY,
    outputEnds: () => ({ transitions: undefined, merges: undefined, deadLetters: undefined }),
    openRows: (partition) => stores.open(partition),
    closeRows: async (partition) => {
      events.leave(partition)
      await stores.close(partition)
    },
    discardRows: (partition) => stores.discard(partition),
    exchange: { topic: exchangeTopic(exchangeLog), troubled },
    ...(setup.deleteEveryMs > 0
      ? { release: releaseOf(setup.deleteEveryMs, { journal: journalLog, events: eventsLog, exchange: exchangeLog }, listener) }
      : {}),
    ...(setup.standby ? { standby: standbyOf(setup, journalLog, troubled) } : {}),
    pause: (since) => turns.pause(since),
    isSpent: () => turns.isSpent(),
    closed: async () => {
      await events.close()
      await stores.closeAll()
      await Promise.all([eventsLog.close(), journalLog.close(), exchangeLog.close()])
    },
  }
}

function standbyOf(
  { host, hosts, limits }: KafkaHostSetup,
  log: KafkaLog,
  troubled: (error: Error) => void,
): NonNullable<HostPorts['standby']> {
  return { partitions: mayComeTo(host, hosts, limits.partitions), journal: (partition) => log.shared(partition), troubled }
}

function releaseOf(
  everyMs: number,
  logs: Readonly<Record<ReleasedTopic, KafkaLog>>,
  listener: KafkaHostListener,
): NonNullable<HostPorts['release']> {
  const troubled = (error: Error): void => listener.warning(`what is no longer needed could not be deleted: ${error.message}`)
  return { everyMs, release: (topic, positions) => logs[topic].releaseAll(positions), troubled }
}

interface JournalParts {
  readonly log: KafkaLog
  readonly events: KafkaEvents
  readonly clock: Clock
  readonly listener: KafkaHostListener
}

function journalsOf(setup: KafkaHostSetup, { log, events, clock, listener }: JournalParts): HostJournal {
  const troubled = (error: Error): void => listener.troubled(error)
  const freshMs = setup.sessionMs / 2
  const timing = { freshMs, waitMs: Math.min(READ_WAIT_MS, freshMs / 2) }
  let opened = 0
  const journals = claimedJournals((partition) => ({
    ...{ log: log.shared(partition), owner: `${setup.process}.${setup.host}.${opened++}`, clock, timing, troubled },
  }))
  const of = (partition: number): TaskJournal => {
    const journal = journals.of(partition)
    return {
      ...journal,
      open: async (opening) => {
        const reading = { partition, progress: () => journal.progress() }
        const claim = await tellWhile(journal.open(opening), reading, { clock, tell: (restore) => listener.restoring(restore) })
        // (2)
        await events.begin(partition)
        return claim
      },
    }
  }
  return { ...journals, of }
}

function exchangeTopic(log: KafkaLog): NonNullable<HostPorts['exchange']>['topic'] {
  return {
    partitions: log.partitions,
    append: (partition, payload) => log.append(partition, payload),
    end: async (partition) => must((await log.ends())[partition], 'each partition has an end'),
    cursor: (partition) => log.cursor(partition),
  }
}

/** The stores of partitions that run here. */
class Stores {
  readonly #setup: KafkaHostSetup
  readonly #open = new Map<number, Store>()

  constructor(setup: KafkaHostSetup) {
    this.#setup = setup
  }

  async open(partition: number): Promise<PendingRows> {
    const { dataDir, store: kind, limits } = this.#setup
    const path = storeDir(dataDir, partition)
    await mkdir(path, { recursive: true })
    const store = await openStore(kind, path)
    this.#open.set(partition, store)
    const { applyMs, applyBytes } = limits
    return PendingRows.open(store, { applyMs, applyBytes, withMark: META_KEY, bootId: await bootId() })
  }

  async close(partition: number): Promise<void> {
    const store = this.#open.get(partition)
    this.#open.delete(partition)
    await store?.close()
  }

  /** What is stored of a partition goes; it isn't open. */
  async discard(partition: number): Promise<void> {
    await rm(storeDir(this.#setup.dataDir, partition), { recursive: true, force: true })
  }

  async closeAll(): Promise<void> {
    for (const partition of [...this.#open.keys()]) await this.close(partition)
  }
}
