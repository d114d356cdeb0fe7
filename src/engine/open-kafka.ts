// Opens the engine of one process of a deployment on Kafka: the same engine as of one process alone, on topics in place of files, with
// the partitions that the group gives it. Owns the joining and leaving, and what the group says of the other processes.
//
// 1. Topics are made or checked before anything is written to them.
// 2. A process joins once it can be asked by the others, and leaves the group before its host closes: so others take over at once.
// 3. What all processes are to have alike is compared before anything is done (alike.ts).
// 4. What the group says is a proposal: a partition is owned by whoever claims its journal.
import { randomUUID } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import type { Worker } from 'node:worker_threads'
import { GuardedClock, systemClock } from '../core/clock.ts'
import type { TributaryError } from '../core/errors.ts'
import { KafkaLog } from '../log/kafka-log.ts'
import { KafkaMembership } from '../log/kafka-membership.ts'
import type { KafkaSettings } from '../log/kafka-settings.ts'
import { ensureTopics, TOPICS } from '../log/kafka-topics.ts'
import { lockDirectory } from '../log/lock.ts'
import { checkFingerprint } from '../state/fingerprint.ts'
import type { StoreKind } from '../state/open-store.ts'
import { type Alike, compareAlike } from './alike.ts'
import type { DefinitionChange } from './definitions.ts'
import { type Cluster, ToldDirectory } from './directory.ts'
import { EmbeddedEngine } from './embedded.ts'
import type { EventsPort } from './events-port.ts'
import type { FromHost, ToHost } from './host.ts'
import { mayComeTo } from './layout.ts'
import { errorOf } from './links.ts'
import { type EngineOptions, watchSpace } from './open.ts'
import type { KafkaHostSetup } from './open-kafka-host.ts'
import { Opened } from './opened.ts'
import { openTopicOutputs, type TopicOutputsOptions } from './outputs-kafka.ts'
import type { EmbeddedPorts, HostLink } from './ports.ts'
import { Restores } from './restoring.ts'
import { Shared } from './shared.ts'
import { startWorker } from './start-worker.ts'

export interface KafkaOptions extends EngineOptions {
  readonly kafka: KafkaSettings
  /** Copies of each record in topics that are made; -1: the cluster's default. */
  readonly replicas: number
  readonly sessionMs: number
  /** Follows the journals of partitions that others own, to take over faster. */
  readonly standby: boolean
  /** How often what is no longer needed is deleted of the engine's topics; 0: never. */
  readonly deleteEveryMs: number
  /** How another process is asked. */
  readonly connect: Cluster['connect']
  readonly dataDir: string
  readonly store: StoreKind
  readonly outputsRetainMs: number
  readonly outputs: Pick<TopicOutputsOptions, 'formats' | 'registry'>
  readonly clockStepLimitMs: number
  /** Something that a person must look at. */
  readonly alarm: (message: string) => void
  /** Something that a person may want to know. */
  readonly notice: (level: 'info' | 'warn', message: string) => void
  /** Of a local directory. */
  readonly fixed: Readonly<Record<string, string | number>>
  /** Of the deployment. */
  readonly alike: Alike
  /** For the first host (start-worker.ts). */
  readonly spare?: Worker
}

export interface KafkaEngine {
  readonly engine: EmbeddedEngine
  /** Takes part from now on; `address` is where the others reach this process (2). */
  join(address: string): Promise<void>
}

/** What a record costs is paid once for some hundred events; above, a batch of records would be taken up by few. */
const RECORD_BYTES = 200_000
/** How often the group is asked who owns what. */
const LOOK_MS = 1000
/** A trouble that goes on is told so often. */
const TROUBLE_EVERY_MS = 10_000

export async function openKafka(options: KafkaOptions): Promise<KafkaEngine> {
  const { dataDir, kafka } = options
  await mkdir(dataDir, { recursive: true })
  const opened = new Opened()
  try {
    const lock = await lockDirectory(dataDir)
    opened.add({ close: () => lock.release() })
    await checkFingerprint(dataDir, { ...options.fixed, kafka: kafka.prefix })
    // (1)
    const { limits, replicas, outputsRetainMs } = options
    await ensureTopics({ settings: kafka, clock: systemClock, kinds: TOPICS, partitions: limits.partitions, outputsRetainMs, replicas })
    return await openTopics(options, opened, () => lock.release())
  } catch (error) {
    await opened.close()
    throw error
  }
}

async function openTopics(options: KafkaOptions, opened: Opened, closed: () => Promise<void>): Promise<KafkaEngine> {
  const { kafka, limits, alarm } = options
  const log = (kind: 'events' | 'definitions', partitions: number): Promise<KafkaLog> =>
    opened.keep(KafkaLog.open({ settings: kafka, clock: systemClock, kind, partitions }))
  const [eventsLog, definitionsLog] = await Promise.all([log('events', limits.partitions), log('definitions', 1)])
  const definitions = definitionsLog.shared(0)
  await compareAlike(options.alike, { log: definitions, clock: systemClock, alarm })
  const freshMs = options.sessionMs / 2
  const outputs = await opened.keep(openTopicOutputs({ ...options.outputs, settings: kafka, clock: systemClock, freshMs, alarm }))
  const shared = new Shared(options.hosts, limits.partitions)
  // Until a partition runs here it holds nothing back.
  for (let p = 0; p < limits.partitions; p++) shared.committed(p, Number.POSITIVE_INFINITY)
  const space = watchSpace(options.dataDir, options.minFreeBytes)
  opened.add({ close: async () => space.stop() })
  const guard = new GuardedClock(systemClock, options.clockStepLimitMs, alarm)
  const name = randomUUID()
  const group = new Group(options)
  const restores = new Restores((message) => options.notice('info', message))
  const ports: EmbeddedPorts = {
    ...options,
    clock: guard,
    guard,
    shared,
    events: eventsPort(eventsLog, shared),
    definitions,
    outputs,
    cluster: { name, directory: group.directory, connect: options.connect },
    freeBytes: () => space.freeBytes,
    restores: () => restores.underWay,
    startHosts: (definitions, receive) => startHosts(options, { name, shared, definitions, group, restores, receive }),
    closed: async () => {
      space.stop()
      await definitionsLog.close()
      await closed()
    },
  }
  const engine = new EmbeddedEngine(ports)
  await engine.open()
  return { engine, join: (address) => group.join(address) }
}

/** Positions are offsets; any process may append. */
function eventsPort(log: KafkaLog, shared: Shared): EventsPort {
  return {
    maxRecordBytes: RECORD_BYTES,
    append: async (records) => {
      const positions = await Promise.all(records.map(({ partition, payload }) => log.append(partition, payload)))
      // What is on its way to a partition that runs here holds its time back from now on.
      for (const [i, { partition }] of records.entries()) shared.appended(partition, (positions[i] ?? 0) + 1)
      return positions
    },
    ends: () => log.ends(),
    // Owners delete (release.ts).
    release: async () => undefined,
    close: () => log.close(),
  }
}

interface HostParts {
  readonly name: string
  readonly shared: Shared
  readonly definitions: readonly DefinitionChange[]
  readonly group: Group
  readonly restores: Restores
  readonly receive: (message: FromHost) => void
}

function startHosts(options: KafkaOptions, { name, shared, definitions, group, restores, receive }: HostParts): Promise<HostLink[]> {
  const { kafka, limits, hosts, sessionMs, dataDir, store, clockStepLimitMs, standby, deleteEveryMs, fatal } = options
  const troubles = new Troubles(options.alarm)
  const heard = (message: FromHost): void => {
    if (message.t === 'troubled') troubles.tell(errorOf(message.error).message)
    else if (message.t === 'restoring') restores.take(message.restore)
    else if (message.t === 'warning') options.notice('warn', message.message)
    else receive(message)
  }
  const started = Array.from({ length: hosts }, async (_, host) => {
    const own = { host, hosts, process: name, definitions, shared: shared.buffer }
    const setup: KafkaHostSetup = { ...own, kafka, sessionMs, limits, dataDir, store, clockStepLimitMs, standby, deleteEveryMs }
    const partitions = mayComeTo(host, hosts, limits.partitions)
    const link = await startWorker(setup, { partitions, receive: heard, fatal, worker: host === 0 ? options.spare : undefined })
    group.runOn(link)
    const post = (message: ToHost): void => {
      // (2)
      if (message.t === 'close') group.leave().finally(() => link.post(message))
      else link.post(message)
    }
    return { partitions, post }
  })
  return Promise.all(started)
}

/** Tells a trouble that goes on now and then only. */
class Troubles {
  readonly #alarm: (message: string) => void
  #nextMs = Number.NEGATIVE_INFINITY

  constructor(alarm: (message: string) => void) {
    this.#alarm = alarm
  }

  tell(message: string): void {
    const now = systemClock.monotonicMs()
    if (now < this.#nextMs) return
    this.#nextMs = now + TROUBLE_EVERY_MS
    this.#alarm(message)
  }
}

/** This process's part in the group. */
class Group {
  readonly directory = new ToldDirectory()
  readonly #options: KafkaOptions
  /** By partition, the host to which it comes. */
  readonly #links = new Map<number, HostLink>()
  readonly #troubles: Troubles
  #leaving: Promise<void> | undefined
  #membership: KafkaMembership | undefined
  #isLooking = false
  #cancelLook: () => void = () => {}

  constructor(options: KafkaOptions) {
    this.#options = options
    this.#troubles = new Troubles(options.alarm)
  }

  runOn(link: HostLink): void {
    for (const partition of link.partitions) this.#links.set(partition, link)
  }

  async join(address: string): Promise<void> {
    const { kafka, limits, sessionMs, fatal } = this.#options
    const revoked = (partitions: readonly number[]): void => this.#tell('revoke', partitions)
    const membership = new KafkaMembership({
      settings: kafka,
      clock: systemClock,
      partitions: limits.partitions,
      sessionMs,
      heartbeatMs: Math.min(500, sessionMs / 6),
      address,
      listener: {
        assigned: (partitions) => this.#tell('assign', partitions),
        revoked,
        lost: revoked,
        failed: (error: TributaryError) => fatal(error),
        troubled: ({ message }) => this.#troubles.tell(message),
      },
    })
    this.#membership = membership
    await membership.open()
    this.#look()
  }

  leave(): Promise<void> {
    this.#leaving ??= this.#leave()
    return this.#leaving
  }

  async #leave(): Promise<void> {
    const membership = this.#membership
    this.#membership = undefined
    this.#cancelLook()
    await membership?.close()
  }

  #tell(t: 'assign' | 'revoke', partitions: readonly number[]): void {
    for (const partition of partitions) this.#links.get(partition)?.post({ t, partition })
    this.#look()
  }

  /** Asks the group who owns what, now and every LOOK_MS. */
  #look(): void {
    const membership = this.#membership
    if (this.#isLooking || !membership) return
    this.#cancelLook()
    this.#isLooking = true
    membership
      .members()
      .then(
        (members) => {
          if (!members || this.#membership !== membership) return
          this.directory.tell(
            membership.memberId === '' ? undefined : membership.memberId,
            members.map(({ id, address, partitions }) => ({ name: id, address, partitions })),
          )
        },
        // The brokers are away: what was known stays, and whoever is asked in vain says so.
        () => undefined,
      )
      .finally(() => {
        this.#isLooking = false
        if (this.#membership) this.#cancelLook = systemClock.after(LOOK_MS, () => this.#look())
      })
  }
}
