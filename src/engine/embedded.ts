// The engine in one process: the main thread's side. Owns the logs of events, definitions and outputs, and the routing between
// hosts; everything about partitions is asked of the hosts.
//
// 1. An ingestion is answered when its events are durable in the events log; hosts read nothing earlier.
// 2. Stamps never go back. Intake is marked busy from before a record is appended until its end is published.
// 3. A definition is in the registry and known to every host before its control records are appended.
// 4. Nothing is appended to a partition whose log lost records that were read: it would lie where nobody looks again.
import { must } from '../core/assert.ts'
import { TributaryError } from '../core/errors.ts'
import type { EventRecord } from '../core/event.ts'
import type { Read } from '../core/origin.ts'
import type { Transition } from '../core/transition.ts'
import type { Where } from '../operators/definition.ts'
import { Asker } from './asker.ts'
import type { DefinitionChange } from './definitions.ts'
import type { Cluster } from './directory.ts'
import type {
  AuditEntry,
  DeadLetter,
  DeliverTransitions,
  Engine,
  EngineStatus,
  MembershipView,
  MergeRecord,
  Page,
  PageQuery,
  PartitionStatus,
  ProfileRef,
  ProfileView,
  ReadOptions,
  RejectedMessage,
  SegmentView,
  TimelineEvent,
} from './engine.ts'
import { Following } from './following.ts'
import { encodeClock, encodeDefinitions, positionOf } from './inputs.ts'
import { Lag } from './lag.ts'
import { Links } from './links.ts'
import { renderMetrics } from './metrics.ts'
import { Overview, type Told } from './overview.ts'
import { type PackedRecord, Packs } from './packs.ts'
import type { EmbeddedPorts } from './ports.ts'
import { endsOf, positionText } from './position.ts'
import { Profiles } from './profiles.ts'
import type { Answer, Ends, PartitionFacts, Question } from './questions.ts'
import { Registry } from './registry.ts'

/** How often the events log is told what it may drop. */
const TEND_MS = 10_000

export class EmbeddedEngine implements Engine {
  readonly #ports: EmbeddedPorts
  readonly #registry: Registry
  readonly #links: Links
  readonly #asker: Asker
  readonly #overview: Overview
  readonly #profiles: Profiles
  readonly #packs: Packs
  readonly #outstanding = new Map<number, number>()
  #nextIngest = 0
  #lastStamp = 0
  #manualNow = 0
  /** Partitions whose events log ends before what was read of it (4). */
  readonly #shortened = new Set<number>()
  /** In a cluster: everything that was given to this process has run at one time. */
  #hasRun = false
  /** The hosts know the newest definition. */
  #defined: Promise<void> = Promise.resolve()
  #closing = false
  #stopTending = (): void => {}
  /** In a cluster. */
  #following: Following | undefined
  #nextMarkMs = 0
  #lag: Lag

  constructor(ports: EmbeddedPorts) {
    this.#ports = ports
    const { clock, cluster, shared, readTimeoutMs } = ports
    const { partitions } = ports.limits
    this.#links = new Links(ports)
    this.#asker = new Asker({ links: this.#links, clock, cluster, partitions, readTimeoutMs })
    const heard = (version: number, change: DefinitionChange): void => this.#define(version, change)
    this.#registry = new Registry({ log: ports.definitions, clock, name: cluster?.name ?? '', heard })
    this.#profiles = new Profiles(this.#asker, this.#registry, ports)
    this.#packs = new Packs(partitions, ports.events.maxRecordBytes)
    this.#lag = new Lag(shared, partitions)
    this.#overview = new Overview({ asker: this.#asker, lag: this.#lag, partitions, cluster })
  }

  async open(): Promise<void> {
    const { outputs, cluster } = this.#ports
    await this.#registry.open()
    await outputs.open(this.#registry, (partition, key) => this.#profileAt(partition, key))
    await this.#links.open(this.#registry.changes)
    if (cluster) this.#follow(cluster)
    else await this.#goOn()
    this.#tendAgain()
  }

  /** All partitions are here: what a crash has cut short is done now. */
  async #goOn(): Promise<void> {
    const { limits } = this.#ports
    // A clock record may be durable and not yet executed: the manual clock stands where the log says. A partition that can't says so itself.
    if (limits.clock === 'manual') await this.#asker.finished(await this.#ends()).catch(() => undefined)
    const facts = await this.#asker.status()
    const ends = new Map(await this.#ends())
    for (const f of facts) {
      this.#manualNow = Math.max(this.#manualNow, f.now)
      if (f.input > (ends.get(f.partition) ?? 0)) this.#shortened.add(f.partition)
    }
    for (const { partition, activeVersion } of facts) {
      if (activeVersion <= this.#registry.version) continue
      throw new TributaryError(
        'data_corrupt',
        `partition ${partition} runs definitions version ${activeVersion}, but their log ends at ${this.#registry.version}`,
      )
    }
    // A crash may have cut the activation of the newest definitions short: say it again, which does no harm.
    if (facts.some((f) => f.activeVersion < this.#registry.version)) await this.#appendToAll(encodeDefinitions(this.#registry.version))
    if (limits.clock === 'manual' && facts.some((f) => f.now < this.#manualNow)) await this.#appendToAll(encodeClock(this.#manualNow))
  }

  /** The events log is durable up to here. */
  synced(ordinal: number): void {
    this.#links.synced(ordinal)
  }

  /** Lets the events log drop what every partition has committed; marks the outputs now and then. */
  async #tend(): Promise<void> {
    const { events, shared, limits, clock, outputs, markEveryMs = Number.POSITIVE_INFINITY } = this.#ports
    if (clock.monotonicMs() >= this.#nextMarkMs) {
      this.#nextMarkMs = clock.monotonicMs() + markEveryMs
      await outputs.mark()
    }
    for (let p = 0; p < limits.partitions && !this.#closing; p++) {
      const end = shared.committedEnd(p)
      // It has none where the partition isn't here.
      if (Number.isFinite(end)) await events.release(p, end)
    }
    if (!this.#closing) this.#stopTending = clock.after(TEND_MS, () => this.#tendAgain())
  }

  #tendAgain(): void {
    this.#tend().catch((error: Error) => {
      if (!this.#closing) this.#ports.fatal(error)
    })
  }

  // ---- other processes

  #follow({ directory }: Cluster): void {
    const { clock, fatal } = this.#ports
    this.#following = new Following({
      clock,
      registry: this.#registry,
      overview: this.#overview,
      self: () => directory.self,
      seen: (partitions) => this.#seen(partitions),
      append: (partitions, payload) => this.#appendTo(partitions, payload),
      failed: fatal,
    })
    this.#following.begin()
  }

  #seen(partitions: readonly PartitionFacts[]): number | undefined {
    for (const f of partitions) if (f.input > f.end) this.#shortened.add(f.partition)
    this.#manualNow = Math.max(this.#manualNow, this.#overview.now)
    return this.#ports.limits.clock === 'manual' ? this.#manualNow : undefined
  }

  /** Answers another process, about the partitions that are here. */
  async answer(question: Question): Promise<Answer> {
    if (question.kind === 'clock') {
      this.#manualNow = Math.max(this.#manualNow, question.now)
      return { kind: 'done' }
    }
    return this.#links.answer(question, 'partition' in question ? question.partition : undefined)
  }

  // ---- intake

  acceptanceTime(): number {
    const now = this.#ports.limits.clock === 'manual' ? this.#manualNow : this.#ports.clock.now()
    this.#lastStamp = Math.max(this.#lastStamp, now)
    return this.#lastStamp
  }

  /** The manual clock of a cluster stands where partitions say: before that is heard, today's events would seem to lie far ahead. */
  get #isTimeUnknown(): boolean {
    return this.#following !== undefined && this.#ports.limits.clock === 'manual' && !this.#overview.hasHeard
  }

  pressure(): { code: 'back_pressure' | 'disk_full'; retryAfterSeconds: number } | undefined {
    if (this.#ports.freeBytes() < this.#ports.minFreeBytes) return { code: 'disk_full', retryAfterSeconds: 30 }
    if (this.#lag.largest() > this.#ports.maxLagEvents || this.#isTimeUnknown) return { code: 'back_pressure', retryAfterSeconds: 1 }
    return undefined
  }

  async ingest(events: readonly EventRecord[], rejected: readonly RejectedMessage[], read?: Read): Promise<{ position: string }> {
    if (this.#closing) throw new TributaryError('shutting_down', 'the server is stopping')
    const { outputs } = this.#ports
    const letters = rejected.map((r) => ({ code: r.code, reason: r.reason, at: this.acceptanceTime(), message: r.message }))
    const rejecting = letters.length > 0 ? outputs.reject(letters) : undefined
    const [ends] = await this.#logged(Promise.all([events.length > 0 ? this.#append(events, read) : [], rejecting]))
    return { position: positionText(ends) }
  }

  /** A log that has failed takes nothing any more: the process can't go on. */
  async #logged<T>(work: Promise<T>): Promise<T> {
    try {
      return await work
    } catch (error) {
      if (error instanceof TributaryError && error.code === 'log_failed') this.#ports.fatal(error)
      throw error
    }
  }

  async #append(events: readonly EventRecord[], read: Read | undefined): Promise<Ends> {
    if (this.#shortened.size > 0) this.#refuseLost(events)
    // Events are stamped here, not when their body was read: in between, time may have followed the clock.
    return this.#appendRecords((stamp) => this.#packs.records(events, stamp, read))
  }

  /** (4) */
  #refuseLost(events: readonly EventRecord[]): void {
    const lost = events.map((event) => this.#packs.homeOf(event)).find((partition) => this.#shortened.has(partition))
    if (lost !== undefined) throw new TributaryError('partition_stopped', `partition ${lost} takes no events: its log has lost some`)
  }

  /** Appends the records of a new stamp; returns their ends once they are durable and these published (2). */
  async #appendRecords(recordsAt: (stamp: number) => readonly PackedRecord[]): Promise<Ends> {
    const id = this.#nextIngest++
    // First busy, then the clock is read (shared.ts 1).
    this.#outstanding.set(id, this.#lastStamp)
    this.#publishBusy()
    try {
      const stamp = this.acceptanceTime()
      this.#outstanding.set(id, stamp)
      this.#publishBusy()
      const records = recordsAt(stamp)
      const positions = await this.#appendCounted(records)
      return records.map(({ partition }, i) => [partition, positionOf(must(positions[i], 'each record has a position') + 1, 0)] as const)
    } finally {
      this.#outstanding.delete(id)
      this.#publishBusy()
    }
  }

  async #appendCounted(records: readonly PackedRecord[]): Promise<readonly number[]> {
    let positions: readonly number[] = []
    for (const { partition, count } of records) this.#lag.appending(partition, count)
    try {
      positions = await this.#ports.events.append(records)
    } finally {
      for (const [i, { partition, count }] of records.entries()) this.#lag.appended(partition, count, positions[i])
    }
    return positions
  }

  #publishBusy(): void {
    let oldest = Number.POSITIVE_INFINITY
    for (const stamp of this.#outstanding.values()) {
      oldest = stamp
      break
    }
    this.#ports.shared.intakeBusy(oldest)
  }

  async #appendToAll(payload: Buffer): Promise<Ends> {
    // What a partition isn't told now, the next opening tells it.
    return this.#appendTo(
      Array.from({ length: this.#ports.limits.partitions }, (_, p) => p),
      payload,
    )
  }

  async #appendTo(partitions: readonly number[], payload: Buffer): Promise<Ends> {
    const open = partitions.filter((partition) => !this.#shortened.has(partition))
    return this.#appendRecords(() => open.map((partition) => ({ partition, count: 1, payload })))
  }

  // ---- profiles

  async profile(ref: ProfileRef, options: ReadOptions = {}): Promise<ProfileView | undefined> {
    await this.#reached(options)
    return this.#profiles.view(ref)
  }

  async profileEvents(ref: ProfileRef, page: PageQuery, options: ReadOptions = {}): Promise<Page<TimelineEvent> | undefined> {
    await this.#reached(options)
    return this.#profiles.events(ref, page)
  }

  async profileMemberships(ref: ProfileRef, page: PageQuery, options: ReadOptions = {}): Promise<Page<MembershipView> | undefined> {
    await this.#reached(options)
    return this.#profiles.memberships(ref, page)
  }

  async profileAudit(ref: ProfileRef, page: PageQuery, options: ReadOptions = {}): Promise<Page<AuditEntry> | undefined> {
    await this.#reached(options)
    return this.#profiles.audit(ref, page)
  }

  async #reached(options: ReadOptions): Promise<void> {
    if (options.minPosition === undefined) return
    const ends = endsOf(options.minPosition, this.#ports.limits.partitions)
    const { clock, readTimeoutMs } = this.#ports
    const aborting = new AbortController()
    let cancel = (): void => {}
    const late = new Promise<never>((_, reject) => {
      cancel = clock.after(readTimeoutMs, () =>
        reject(new TributaryError('position_timeout', `position ${options.minPosition} was not reached within ${readTimeoutMs} ms`)),
      )
    })
    try {
      await Promise.race([this.#asker.finished(ends, aborting.signal), late])
    } finally {
      aborting.abort()
      cancel()
    }
  }

  /** Asked here alone: where the root is elsewhere, others tell of it (outputs-profiles.ts 2). */
  async #profileAt(partition: number, key: string): Promise<ProfileView | undefined> {
    const answer = await this.#links.answer({ kind: 'find', partition, by: { key } }, partition)
    return answer.kind === 'found' && answer.root?.key === key ? this.#profiles.shown(answer.root.facts) : undefined
  }

  // ---- segments

  /** What other processes have been told is done, is known here. */
  async #current(): Promise<void> {
    if (this.#ports.cluster) await this.#registry.refresh()
  }

  async segments(): Promise<SegmentView[]> {
    await this.#current()
    const facts = await this.#asker.status()
    return this.#registry.current().map((s) => this.#registry.view(s, facts))
  }

  async segment(id: string): Promise<SegmentView | undefined> {
    await this.#current()
    const segment = this.#registry.get(id)
    return segment && this.#registry.view(segment, await this.#asker.status())
  }

  async putSegment(id: string, definition: { name?: string; where: Where }): Promise<SegmentView> {
    const version = await this.#logged(this.#registry.put(id, definition))
    if (version !== undefined) await this.#logged(this.#activate(version))
    const view = await this.segment(id)
    if (!view) throw new TributaryError('not_found', `segment ${id} was deleted meanwhile`)
    return view
  }

  async deleteSegment(id: string): Promise<boolean> {
    const version = await this.#logged(this.#registry.remove(id))
    if (version !== undefined) await this.#logged(this.#activate(version))
    return version !== undefined
  }

  /** Makes a change known to the hosts, each after the one before it. */
  #define(version: number, change: DefinitionChange): void {
    this.#defined = this.#links.define(version, change)
    this.#defined.catch(() => undefined)
  }

  /** Control records to every partition, once the hosts know the definition (3). */
  async #activate(version: number): Promise<void> {
    await this.#defined
    await this.#asker.finished(await this.#appendToAll(encodeDefinitions(version)))
  }

  async previewSegment(where: Where): Promise<{ size: number; total: number; warning?: string }> {
    const warning = this.#registry.warningFor(where)
    return { ...(await this.#asker.preview(where)), ...(warning === undefined ? {} : { warning }) }
  }

  async segmentMembers(id: string, page: PageQuery): Promise<Page<{ profile: string; userId?: string }> | undefined> {
    await this.#current()
    const segment = this.#registry.get(id)
    return segment && this.#profiles.members(segment.number, page)
  }

  // ---- outputs

  transitions(query: PageQuery & { segment?: string }): Promise<Page<Transition>> {
    return this.#ports.outputs.transitionsPage(query)
  }

  followTransitions(query: { after?: string; segment?: string }, deliver: DeliverTransitions): Promise<() => void> {
    return this.#ports.outputs.followTransitions({ ...query, deliver, failed: (error) => this.#ports.fatal(error) })
  }

  transitionsEnd(): Promise<string> {
    return this.#ports.outputs.transitionsEnd()
  }

  merges(page: PageQuery): Promise<Page<MergeRecord>> {
    return this.#ports.outputs.mergesPage(page)
  }

  deadLetters(page: PageQuery): Promise<Page<DeadLetter>> {
    return this.#ports.outputs.deadLettersPage(page)
  }

  // ---- steering

  /** Of this process: others' troubles are theirs. */
  /** In a cluster a process takes events for any partition: once it has run all that it was given, what opens later is no reason to pass it by. */
  async isReady(): Promise<boolean> {
    const { cluster } = this.#ports
    const facts = await this.#asker.here()
    if (!cluster) return facts.every((f) => f.phase === 'running')
    const own = cluster.directory.members().find(({ name }) => name === cluster.directory.self)
    if (!own || facts.some((f) => f.phase === 'stopped')) return false
    const running = new Set(facts.filter((f) => f.phase === 'running').map((f) => f.partition))
    this.#hasRun ||= !this.#isTimeUnknown && own.partitions.every((p) => running.has(p))
    return this.#hasRun
  }

  async status(): Promise<EngineStatus> {
    const { limits, clock, cluster, guard } = this.#ports
    const facts = await this.#overview.look()
    const ends = cluster ? new Map(facts.map((f) => [f.partition, f.end])) : new Map(await this.#ends())
    const now = limits.clock === 'manual' ? this.#manualNow : clock.now()
    return {
      ready: await this.isReady(),
      clock: limits.clock,
      now: new Date(now).toISOString(),
      profiles: facts.reduce((sum, f) => sum + f.profiles, 0),
      definitionsVersion: this.#registry.version,
      deleting: this.#registry.deleting(facts),
      ...(guard?.isStopped ? { clockStopped: true as const } : {}),
      ...(cluster ? { process: cluster.directory.self ?? '', processes: this.#overview.members() } : {}),
      partitions: facts.map((f) => this.#partitionStatus(f, ends.get(f.partition) ?? f.end)),
    }
  }

  #partitionStatus(f: Told, end: number): PartitionStatus {
    return {
      partition: f.partition,
      state: f.phase === 'running' || f.phase === 'stopped' || f.phase === 'moving' ? f.phase : 'starting',
      ...(f.owner === undefined ? {} : { owner: f.owner }),
      position: f.input,
      end,
      lag: this.#lag.of(f.partition),
      now: new Date(f.now).toISOString(),
      profiles: f.profiles,
      ...(f.reason === undefined ? {} : { reason: f.reason }),
    }
  }

  async #ends(): Promise<Ends> {
    return (await this.#ports.events.ends()).map((end, p) => [p, positionOf(end, 0)] as const)
  }

  async settle(): Promise<void> {
    await this.#asker.settled(await this.#ends())
  }

  async setClock(nowMs: number): Promise<void> {
    if (this.#ports.limits.clock !== 'manual') throw new TributaryError('clock_not_manual', 'the engine follows the wall clock')
    if (this.#ports.cluster) await this.#learnClock()
    if (nowMs < this.#manualNow) {
      throw new TributaryError(
        'clock_backwards',
        `the clock stands at ${new Date(this.#manualNow).toISOString()} and can't go back to ${new Date(nowMs).toISOString()}`,
      )
    }
    await this.settle()
    this.#manualNow = Math.max(this.#manualNow, nowMs)
    await this.#asker.settled(await this.#appendToAll(encodeClock(nowMs)), nowMs)
    await this.settle()
    if (this.#ports.cluster) await this.#asker.tell({ kind: 'clock', now: nowMs })
  }

  /** Any process may have moved it. */
  async #learnClock(): Promise<void> {
    for (const { now } of await this.#asker.status()) this.#manualNow = Math.max(this.#manualNow, now)
  }

  async confirmClock(): Promise<void> {
    this.#ports.guard?.confirm()
    await this.#links.confirmClock()
  }

  async metrics(): Promise<string> {
    const restores = this.#ports.restores?.() ?? []
    return renderMetrics(await this.#asker.here(), { lag: (p) => this.#lag.of(p), segmentId: (n) => this.#registry.idOf(n), restores })
  }

  async close(): Promise<void> {
    if (this.#closing) return
    this.#closing = true
    this.#stopTending()
    this.#following?.close()
    this.#asker.close()
    await this.#links.close()
    const { events, outputs } = this.#ports
    await events.close()
    await outputs.close()
    await this.#registry.close()
    await this.#ports.closed()
  }
}
