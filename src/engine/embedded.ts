// The engine in one process: the main thread's side. Owns the logs of events, definitions and outputs, and the routing between
// hosts; everything about partitions is asked of the hosts.
//
// 1. An ingestion is answered when its events are durable in the events log; hosts read nothing earlier.
// 2. Stamps never go back. Intake is marked busy from before a record is appended until its end is published.
// 3. A definition is in the registry and known to every host before its control records are appended.
// 4. Nothing is appended to a partition whose log lost records that were read: it would lie where nobody looks again.
import { must } from '../core/assert.ts'
import { Writer } from '../core/bytes.ts'
import { TributaryError } from '../core/errors.ts'
import { type EventRecord, encodeEvent } from '../core/event.ts'
import { homeOf } from '../core/identifier.ts'
import type { Transition } from '../core/transition.ts'
import type { Where } from '../operators/definition.ts'
import type { DefinitionChange } from './definitions.ts'
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
  ProfileRef,
  ProfileView,
  ReadOptions,
  RejectedMessage,
  SegmentView,
  TimelineEvent,
} from './engine.ts'
import { EVENTS_PER_RECORD, encodeClock, encodeDefinitions, Pack, positionOf } from './inputs.ts'
import { Lag } from './lag.ts'
import { Links } from './links.ts'
import { renderMetrics } from './metrics.ts'
import type { EmbeddedPorts } from './ports.ts'
import { endsOf, positionText } from './position.ts'
import { Profiles } from './profiles.ts'
import type { Ends, PartitionFacts } from './questions.ts'
import { Registry } from './registry.ts'

/** How often the events log is told what it may drop. */
const TEND_MS = 10_000

interface PackedRecord {
  readonly partition: number
  readonly count: number
  readonly payload: Buffer
}

export class EmbeddedEngine implements Engine {
  readonly #ports: EmbeddedPorts
  readonly #registry: Registry
  readonly #links: Links
  readonly #profiles: Profiles
  readonly #packs: Pack[]
  readonly #w = new Writer(4096)
  readonly #outstanding = new Map<number, number>()
  #nextIngest = 0
  #lastStamp = 0
  #manualNow = 0
  /** Partitions whose events log ends before what was read of it (4). */
  readonly #shortened = new Set<number>()
  /** The hosts know the newest definition. */
  #defined: Promise<void> = Promise.resolve()
  #closing = false
  #stopTending = (): void => {}
  #nextMarkMs = 0
  #lag: Lag

  constructor(ports: EmbeddedPorts) {
    this.#ports = ports
    this.#links = new Links(ports)
    this.#registry = new Registry({
      log: ports.definitions,
      clock: ports.clock,
      name: '',
      heard: (version, change) => this.#define(version, change),
    })
    this.#profiles = new Profiles(this.#links, this.#registry, ports)
    this.#packs = Array.from({ length: ports.limits.partitions }, () => new Pack())
    this.#lag = new Lag(ports.shared, ports.limits.partitions)
  }

  async open(): Promise<void> {
    const { events, shared, outputs, limits } = this.#ports
    await this.#registry.open()
    await outputs.open(this.#registry)
    for (let p = 0; p < limits.partitions; p++) shared.appended(p, events.end(p))
    await this.#links.open(this.#registry.changes)
    // A clock record may be durable and not yet executed: the manual clock stands where the log says. A partition that can't says so itself.
    if (limits.clock === 'manual') await this.#links.finished(this.#ends()).catch(() => undefined)
    const facts = await this.#links.status()
    for (const f of facts) {
      this.#manualNow = Math.max(this.#manualNow, f.now)
      if (f.input > positionOf(events.end(f.partition), 0)) this.#shortened.add(f.partition)
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
    this.#tendAgain()
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
    for (let p = 0; p < limits.partitions && !this.#closing; p++) await events.release(p, shared.committedEnd(p))
    if (!this.#closing) this.#stopTending = clock.after(TEND_MS, () => this.#tendAgain())
  }

  #tendAgain(): void {
    this.#tend().catch((error: Error) => {
      if (!this.#closing) this.#ports.fatal(error)
    })
  }

  // ---- intake

  acceptanceTime(): number {
    const now = this.#ports.limits.clock === 'manual' ? this.#manualNow : this.#ports.clock.now()
    this.#lastStamp = Math.max(this.#lastStamp, now)
    return this.#lastStamp
  }

  pressure(): { code: 'back_pressure' | 'disk_full'; retryAfterSeconds: number } | undefined {
    if (this.#ports.freeBytes() < this.#ports.minFreeBytes) return { code: 'disk_full', retryAfterSeconds: 30 }
    if (this.#lag.largest() > this.#ports.maxLagEvents) return { code: 'back_pressure', retryAfterSeconds: 1 }
    return undefined
  }

  async ingest(events: readonly EventRecord[], rejected: readonly RejectedMessage[]): Promise<{ position: string }> {
    if (this.#closing) throw new TributaryError('shutting_down', 'the server is stopping')
    const { outputs } = this.#ports
    const letters = rejected.map((r) => ({ code: r.code, reason: r.reason, at: this.acceptanceTime(), message: r.message }))
    const rejecting = letters.length > 0 ? outputs.reject(letters) : undefined
    const [ends] = await this.#logged(Promise.all([events.length > 0 ? this.#append(events) : [], rejecting]))
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

  async #append(events: readonly EventRecord[]): Promise<Ends> {
    if (this.#shortened.size > 0) this.#refuseLost(events)
    return this.#appendRecords((stamp) => this.#packed(events, stamp))
  }

  /** Events are stamped here, not when their body was read: in between, time may have followed the clock. */
  #packed(events: readonly EventRecord[], stamp: number): PackedRecord[] {
    const { limits } = this.#ports
    const touched = new Set<number>()
    const records: PackedRecord[] = []
    const close = (partition: number, pack: Pack): void => {
      records.push({ partition, count: pack.count, payload: pack.take() })
    }
    for (const e of events) {
      const partition = homeOf(e.identifiers[0]?.key ?? '', limits.partitions)
      const pack = must(this.#packs[partition], `there is a partition ${partition}`)
      // A position has no room for more events of one record.
      if (pack.count === EVENTS_PER_RECORD) close(partition, pack)
      touched.add(partition)
      encodeEvent(e, this.#w.reset(), stamp)
      pack.add(this.#w.view())
    }
    for (const partition of touched) close(partition, must(this.#packs[partition], 'it was touched'))
    return records
  }

  /** (4) */
  #refuseLost(events: readonly EventRecord[]): void {
    const homes = events.map((e) => homeOf(e.identifiers[0]?.key ?? '', this.#packs.length))
    const lost = homes.find((partition) => this.#shortened.has(partition))
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
    const partitions = [...this.#packs.keys()].filter((partition) => !this.#shortened.has(partition))
    const records = partitions.map((partition) => ({ partition, count: 1, payload }))
    return this.#appendRecords(() => records)
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
    let cancel = (): void => {}
    const late = new Promise<never>((_, reject) => {
      cancel = clock.after(readTimeoutMs, () =>
        reject(new TributaryError('position_timeout', `position ${options.minPosition} was not reached within ${readTimeoutMs} ms`)),
      )
    })
    try {
      await Promise.race([this.#links.finished(ends), late])
    } finally {
      cancel()
    }
  }

  // ---- segments

  async segments(): Promise<SegmentView[]> {
    const facts = await this.#links.status()
    return this.#registry.current().map((s) => this.#registry.view(s, facts))
  }

  async segment(id: string): Promise<SegmentView | undefined> {
    const segment = this.#registry.get(id)
    return segment && this.#registry.view(segment, await this.#links.status())
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
    await this.#links.finished(await this.#appendToAll(encodeDefinitions(version)))
  }

  async previewSegment(where: Where): Promise<{ size: number; total: number; warning?: string }> {
    const warning = this.#registry.warningFor(where)
    return { ...(await this.#links.preview(where)), ...(warning === undefined ? {} : { warning }) }
  }

  async segmentMembers(id: string, page: PageQuery): Promise<Page<{ profile: string; userId?: string }> | undefined> {
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

  async status(): Promise<EngineStatus> {
    const facts = await this.#links.status()
    const now = this.#ports.limits.clock === 'manual' ? this.#manualNow : this.#ports.clock.now()
    return {
      ready: facts.every((f) => f.phase === 'running'),
      clock: this.#ports.limits.clock,
      now: new Date(now).toISOString(),
      profiles: facts.reduce((sum, f) => sum + f.profiles, 0),
      definitionsVersion: this.#registry.version,
      deleting: this.#registry.deleting(facts),
      ...(this.#ports.guard?.isStopped ? { clockStopped: true as const } : {}),
      partitions: facts.map((f) => this.#partitionStatus(f)),
    }
  }

  #partitionStatus(f: PartitionFacts): EngineStatus['partitions'][number] {
    const end = positionOf(this.#ports.events.end(f.partition), 0)
    return {
      partition: f.partition,
      state: f.phase === 'running' ? 'running' : f.phase === 'stopped' ? 'stopped' : 'starting',
      position: f.input,
      end,
      lag: this.#lag.of(f.partition),
      now: new Date(f.now).toISOString(),
      profiles: f.profiles,
      ...(f.reason === undefined ? {} : { reason: f.reason }),
    }
  }

  #ends(): Ends {
    return this.#packs.map((_, p) => [p, positionOf(this.#ports.events.end(p), 0)] as const)
  }

  async settle(): Promise<void> {
    await this.#links.settled(this.#ends())
  }

  async setClock(nowMs: number): Promise<void> {
    if (this.#ports.limits.clock !== 'manual') throw new TributaryError('clock_not_manual', 'the engine follows the wall clock')
    if (nowMs < this.#manualNow) {
      throw new TributaryError(
        'clock_backwards',
        `the clock stands at ${new Date(this.#manualNow).toISOString()} and can't go back to ${new Date(nowMs).toISOString()}`,
      )
    }
    await this.settle()
    this.#manualNow = Math.max(this.#manualNow, nowMs)
    await this.#links.settled(await this.#appendToAll(encodeClock(nowMs)), nowMs)
    await this.settle()
  }

  async confirmClock(): Promise<void> {
    this.#ports.guard?.confirm()
    await this.#links.confirmClock()
  }

  async metrics(): Promise<string> {
    return renderMetrics(await this.#links.status(), { lag: (p) => this.#lag.of(p), segmentId: (n) => this.#registry.idOf(n) })
  }

  async close(): Promise<void> {
    if (this.#closing) return
    this.#closing = true
    this.#stopTending()
    await this.#links.close()
    const { events, outputs } = this.#ports
    await events.close()
    await outputs.close()
    await this.#registry.close()
    await this.#ports.closed()
  }
}
