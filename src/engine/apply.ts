// Applying to profiles: events, the passing of time, fills, merges. Synchronous and pure over what is in memory; owns the
// order in which these happen to one profile.
//
// 1. Before anything is applied to a profile, its flips and future events due by then happen, in the order of their instants,
//    under the definitions that it is filled for; then it is filled; then the thing itself is applied.
// 2. A profile's time never runs backwards: it is max(the partition's now, its own asOf).
// 3. Founding counts as evaluated once the first event is applied: no entry is seen that this event undoes.
// 4. Every membership change goes through `emit`, which counts sizes and writes the transition.
// 5. An event counts at its acceptance at the earliest (wall clock): one that came by way of a partition that is a little further on in
//    time (`skewLimitMs`) moves its profile's time there, and no other's. From further ahead it waits for its instant: then this
//    partition has a backlog, which may hold what prevents an exit that is due on the way there.
import { InvariantError, must } from '../core/assert.ts'
import { TributaryError } from '../core/errors.ts'
import type { EventRecord, Json } from '../core/event.ts'
import type { ProfileKey } from '../core/identifier.ts'
import type { Cause } from '../core/transition.ts'
import type { CarriedEvent, CauseRef } from '../identity/messages.ts'
import type { Batch } from './batch.ts'
import { FUTURE_EVENTS_PER_PROFILE, type TaskLimits, TIMELINE_SLACK, TRIMS_PER_RETENTION } from './config.ts'
import type { Definitions } from './definitions.ts'
import { auditKey, SIZES_PER_ROW, timelineKey, timerKey } from './keys.ts'
import { type Emit, FlipError } from './membership.ts'
import type { TransitionRun } from './outbox.ts'
import type { Plan } from './plan.ts'
import {
  AppliedEvent,
  addFuture,
  applyTraits,
  decodeTimelineRow,
  encodeTimelineRow,
  type HandedOver,
  mergeTraits,
  NEVER,
  type Profile,
  viewOf,
} from './profile.ts'
import { publicIdText } from './public-id.ts'
import * as segmentState from './segment-state.ts'
import type { TaskState } from './task-state.ts'
import type { Timers } from './timers.ts'

const EMPTY = Buffer.alloc(0)

/** An event that waited for its instant can't be applied: not the fault of the input that found it due. */
export class WaitingEventError extends Error {
  readonly record: EventRecord
  constructor(record: EventRecord, cause: Error) {
    super(`${cause.name}: ${cause.message}`, { cause })
    this.record = record
  }
}

/** A flip or a fill can't be done: not the fault of the input that found it due either. */
export class StuckError extends Error {
  readonly key: ProfileKey
  /** The group whose flips are due; undefined: a fill. */
  readonly group: number | undefined
  readonly segments: readonly string[]
  constructor(key: ProfileKey, { group, segments }: { group?: number; segments: readonly string[] }, cause: Error) {
    super(`${cause.name}: ${cause.message}`, { cause })
    this.key = key
    this.group = group
    this.segments = segments
  }
}

/** What applying works on; the task replaces `batch` and `state` as it goes. */
export interface Surroundings {
  readonly limits: TaskLimits
  readonly definitions: Definitions
  readonly timers: Timers
  /** Members per segment number, of this partition. */
  readonly sizes: Map<number, number>
  batch: Batch
  state: TaskState
  /** Profiles whose timeline has outgrown its limit. */
  readonly overgrown: Set<string>
}

export class Apply {
  readonly #s: Surroundings
  /** Whose transitions are emitted, and why; `#run` follows when the first one is. */
  readonly #about: { profile: Profile | undefined; userId: string | undefined; cause: Cause; causeId: string; plan: Plan | undefined } = {
    profile: undefined,
    userId: undefined,
    cause: 'event',
    causeId: '',
    plan: undefined,
  }
  #run: TransitionRun | undefined
  /** Waiting events to set aside when they are due, by message hash. */
  readonly #refused = new Map<string, WaitingEventError>()
  /** Flips and fills to set aside likewise, by profile and group. */
  readonly #stuck = new Map<string, StuckError>()

  constructor(surroundings: Surroundings) {
    this.#s = surroundings
  }

  get plan(): Plan {
    return this.#s.definitions.planAt(this.#s.state.activeVersion)
  }

  nowFor(p: Profile): number {
    return Math.max(this.#s.state.now, p.asOf)
  }

  /** When an event of this stamp counts for a profile, unless it waits for its instant (5). */
  nowAt(p: Profile, stamp: number): number {
    const { limits, state } = this.#s
    const isNear = limits.clock === 'wall' && stamp <= state.now + limits.skewLimitMs
    return isNear ? Math.max(this.nowFor(p), stamp) : this.nowFor(p)
  }

  touch(p: Profile): void {
    if (p.dirty) return
    p.dirty = true
    this.#s.batch.profiles.push(p)
  }

  /** From here on, transitions are this profile's, for this reason, decided by the definitions of this plan (the present one if absent). */
  #because(p: Profile, cause: Cause, causeId: string, plan?: Plan): void {
    const about = this.#about
    about.plan = plan
    about.profile = p
    about.userId = undefined
    about.cause = cause
    about.causeId = causeId
    this.#run = undefined
  }

  readonly #emit: Emit = (segment, membership, at) => {
    const { batch, sizes } = this.#s
    sizes.set(segment, (sizes.get(segment) ?? 0) + (membership.in ? 1 : -1))
    batch.sizeBlocks.add(Math.floor(segment / SIZES_PER_ROW))
    batch.transitionsEmitted++
    batch.transitions.add(this.#run ?? this.#beginRun(), segment, (this.#about.plan ?? this.plan).versionOf(segment), {
      seq: membership.seq,
      in: membership.in,
      at,
    })
  }

  #beginRun(): TransitionRun {
    const { profile, userId, cause, causeId } = this.#about
    const p = must(profile, 'transitions are emitted about a profile')
    this.#run = { publicId: p.publicId, userId: userId ?? p.userId, cause, causeId, decidedAt: this.nowFor(p) }
    return this.#run
  }

  /** Applies an event to a born profile. */
  event(p: Profile, event: CarriedEvent, cause: CauseRef): void {
    const { record, bytes } = event
    const now = this.nowAt(p, cause.stamp)
    const founding = p.segments === undefined
    p.asOf = now
    this.touch(p)
    if (!founding) {
      this.bringUp(p, now)
      this.#ageTimeline(p, now)
      if (record.at > now && this.#hasTooManyWaiting(p, record)) return
      if (record.at <= now) this.#rebuildFor(this.plan, p, viewOf(event), now)
    }
    p.updatedAt = Math.max(p.updatedAt, now)
    p.appliedSeq++
    if (founding) p.timeline = []
    if (now - record.at <= this.#s.limits.timelineRetentionMs) {
      const row = encodeTimelineRow(now, p.appliedSeq, bytes)
      const key = timelineKey(p.key, record.at, record.messageHash)
      this.#s.batch.rows.put(key, row)
      p.timeline?.push([key.slice(1 + p.key.length), row])
      p.timelineCount++
      p.timelineOldest = Math.min(p.timelineOldest, record.at)
      if (p.timelineCount > this.#s.limits.timelineEvents + TIMELINE_SLACK) this.#s.overgrown.add(p.key)
    } else p.timelineFrom = Math.max(p.timelineFrom, record.at + 1)
    if (founding) this.#found(p, event, now, cause)
    else if (record.at > now) addFuture(p, { record, bytes: Buffer.from(bytes) })
    else {
      this.#because(p, 'event', cause.messageId)
      this.#count(p, { record, view: viewOf(event) }, now, this.#emit)
    }
    this.#s.state.applied++
    this.rearm(p)
  }

  /** A timeline that gets events is looked at once its oldest are beyond the retention by a part of it. */
  #ageTimeline(p: Profile, now: number): void {
    const { timelineRetentionMs } = this.#s.limits
    if (now - p.timelineOldest >= timelineRetentionMs + timelineRetentionMs / TRIMS_PER_RETENTION) this.#s.overgrown.add(p.key)
  }

  /** Such an event is set aside whole: it must not be in the timeline either. */
  #hasTooManyWaiting(p: Profile, record: EventRecord): boolean {
    if (p.future.length < FUTURE_EVENTS_PER_PROFILE) return false
    this.#s.batch.deadLetters.add({
      code: 'too_many_future_events',
      reason: `profile ${publicIdText(p.publicId)} already waits for ${FUTURE_EVENTS_PER_PROFILE} events`,
      at: this.nowFor(p),
      message: { messageId: record.messageId, event: record.name },
    })
    return true
  }

  /** (3): evaluates the new profile as it stands after its first event. */
  #found(p: Profile, event: CarriedEvent, now: number, cause: CauseRef): void {
    const { record, bytes } = event
    const quiet: Emit = () => {}
    p.createdAt = now
    this.#s.batch.withTimeline.add(p)
    p.segments = segmentState.SegmentState.empty(this.plan, quiet)
    this.#s.state.profiles++
    if (record.at > now) addFuture(p, { record, bytes: Buffer.from(bytes) })
    else this.#count(p, { record, view: viewOf(event) }, now, quiet)
    this.#because(p, 'event', cause.messageId)
    const memberships = p.segments.memberships
    for (const [segment, m] of memberships) {
      if (!m.in) {
        memberships.delete(segment)
        continue
      }
      this.#emit(segment, m, now)
    }
  }

  #count(p: Profile, { record, view }: { record: EventRecord; view: AppliedEvent }, now: number, emit: Emit): void {
    const changedTraits = record.hasTraits ? applyTraits(p, record, view.message()) : NO_TRAITS
    segmentState.applyEvent(this.plan, segmentsOf(p), { event: view, traits: traitsOf(p), changedTraits, now, emit })
  }

  /** Waiting events, flips and fills that can't be done are no longer refused. */
  refuseNone(): void {
    this.#refused.clear()
    this.#stuck.clear()
  }

  /** (1): what time and new definitions owe to the profile by `now`. */
  bringUp(p: Profile, now: number): void {
    this.pass(p, now)
    this.#fill(p, now)
  }

  /** Flips and future events due by `now`, in the order of their instants. */
  pass(p: Profile, now: number): void {
    const state = segmentsOf(p)
    const plan = this.#s.definitions.planAt(state.version)
    for (;;) {
      const next = p.future[0]
      const until = next === undefined ? now : Math.min(now, next.record.at)
      if (state.flipsAt <= until) {
        this.#because(p, 'timer', '', plan)
        this.#flip(p, plan, until)
        this.touch(p)
      }
      if (next === undefined || next.record.at > now) return
      const refused = this.#refused.get(next.record.messageHash)
      if (refused) this.#dropWaiting(p, refused)
      else this.#mature(p, plan, next.record)
      this.touch(p)
    }
  }

  #flip(p: Profile, plan: Plan, until: number): void {
    const state = segmentsOf(p)
    for (const stuck of this.#stuck.values()) {
      const group = stuck.key === p.key && stuck.group !== undefined ? state.groups.get(stuck.group) : undefined
      if (group === undefined || group.flipsAt > until) continue
      group.skipFlips(until)
      state.refreshFlips()
      this.#tellStuck(p, stuck)
    }
    try {
      segmentState.flipsDue(plan, state, { traits: traitsOf(p), now: until, emit: this.#emit })
    } catch (error) {
      throw error instanceof FlipError ? new StuckError(p.key, error, error) : error
    }
  }

  #tellStuck(p: Profile, { group, segments, message: reason }: StuckError): void {
    const what = group === undefined ? 'fill' : 'flip'
    const message = { profile: publicIdText(p.publicId), segments }
    this.#s.batch.deadLetters.add({ code: 'execution_failed', reason: `${what} of a profile: ${reason}`, at: this.nowFor(p), message })
  }

  /** The instant of a waiting event has come. */
  #mature(p: Profile, plan: Plan, record: EventRecord): void {
    try {
      const event = new AppliedEvent(record)
      this.#rebuildFor(plan, p, event, record.at)
      p.future.shift()
      this.#because(p, 'timer', record.messageId, plan)
      const changedTraits = record.hasTraits ? applyTraits(p, record, event.message()) : NO_TRAITS
      segmentState.applyEvent(plan, segmentsOf(p), { event, traits: traitsOf(p), changedTraits, now: record.at, emit: this.#emit })
    } catch (error) {
      if (error instanceof InvariantError || error instanceof TributaryError) throw error
      throw new WaitingEventError(record, error as Error)
    }
  }

  /** Sets this aside where it is due: it, and not the input, fails. False for anything else, and if that was said before. */
  refuse(failure: Error): boolean {
    if (failure instanceof StuckError) {
      const place = stuckAt(failure.key, failure.group)
      if (this.#stuck.has(place)) return false
      this.#stuck.set(place, failure)
      return true
    }
    if (!(failure instanceof WaitingEventError)) return false
    const { messageHash } = failure.record
    if (this.#refused.has(messageHash)) return false
    this.#refused.set(messageHash, failure)
    return true
  }

  #dropWaiting(p: Profile, { record, message: reason }: WaitingEventError): void {
    const key = timelineKey(p.key, record.at, record.messageHash)
    const suffix = key.slice(1 + p.key.length)
    p.future.shift()
    this.#s.batch.rows.put(key, undefined)
    if (p.timeline) p.timeline = p.timeline.filter(([other]) => other !== suffix)
    p.timelineCount = Math.max(0, p.timelineCount - 1)
    const message = { profile: publicIdText(p.publicId), messageId: record.messageId, event: record.name }
    this.#s.batch.deadLetters.add({ code: 'execution_failed', reason, at: this.nowFor(p), message })
  }

  #fill(p: Profile, now: number): void {
    const state = segmentsOf(p)
    const plan = this.plan
    if (state.version >= plan.version) return
    this.#because(p, 'definition', '')
    const stuck = this.#stuck.size > 0 ? this.#stuck.get(stuckAt(p.key, undefined)) : undefined
    if (stuck) this.#tellStuck(p, stuck)
    try {
      segmentState.fill(plan, state, {
        traits: traitsOf(p),
        // Without its past, and called inexact: then it counts what comes from now on.
        timeline: stuck ? [] : this.#countedTimeline(p, now),
        timelineFrom: stuck ? now + 1 : p.timelineFrom,
        now,
        emit: this.#emit,
      })
    } catch (error) {
      if (error instanceof InvariantError || error instanceof TributaryError) throw error
      throw new StuckError(p.key, { segments: plan.changesSince(state.version).segments.map(({ id }) => id) }, error as Error)
    }
    this.touch(p)
    this.rearm(p)
  }

  /** The loaded timeline as events that count by `now`. What is beyond the retention is as good as deleted, wherever a trim stands. */
  #countedTimeline(p: Profile, now: number): AppliedEvent[] | undefined {
    if (p.timeline === undefined) return undefined
    const waiting = new Set(p.future.map((f) => f.record.messageHash))
    const events: AppliedEvent[] = []
    const oldest = now - this.#s.limits.timelineRetentionMs
    for (const [, value] of p.timeline) {
      const { record } = decodeTimelineRow(value)
      if (record.at < oldest) {
        p.timelineFrom = Math.max(p.timelineFrom, record.at + 1)
        this.#s.overgrown.add(p.key)
      } else if (record.at <= now && !waiting.has(record.messageHash)) events.push(new AppliedEvent(record))
    }
    return events
  }

  /** Rebuilds the groups that can't take this event as they are (say, a negative amount behind a pruned sum). */
  #rebuildFor(plan: Plan, p: Profile, event: AppliedEvent, now: number): void {
    const groups = segmentState.groupsToRebuild(plan, segmentsOf(p), event)
    if (groups.length === 0) return
    const timeline = must(this.#countedTimeline(p, now), 'the timeline was loaded for this event')
    segmentState.rebuild(plan, segmentsOf(p), groups, { timeline, timelineFrom: p.timelineFrom, now })
  }

  /** A timer of the profile fired. */
  timer(p: Profile): void {
    const now = this.nowFor(p)
    p.armedAt = NEVER
    this.bringUp(p, now)
    p.asOf = now
    this.rearm(p)
    this.touch(p)
  }

  /** Arms the profile's one timer if its earliest flip is earlier than what is armed. */
  rearm(p: Profile): void {
    const flips = Math.min(segmentsOf(p).flipsAt, p.future[0]?.record.at ?? NEVER)
    if (flips >= p.armedAt) return
    p.armedAt = flips
    this.#s.timers.arm({ due: flips, key: p.key }, this.#s.state.n + 1)
    this.#s.batch.rows.put(timerKey(flips, p.key), EMPTY)
  }

  /** Takes in what an absorbed profile handed over. Sets the surviving public id; returns it and the absorbed one if both were born. */
  absorb(p: Profile, handed: HandedOver, cause: CauseRef): { survivor: string; absorbed: string } | undefined {
    const other = handed.contents
    let merged: { survivor: string; absorbed: string } | undefined
    if (other) {
      const version = segmentsOf(other).version
      if (version > this.#s.state.activeVersion) this.#s.state.activeVersion = version
      other.timeline = handed.timeline
      if (p.segments === undefined) this.#adopt(p, other)
      else merged = this.#merge(p, other, cause)
      this.rearm(p)
    }
    for (const [suffix, value] of other?.timeline ?? handed.timeline) this.#s.batch.rows.put(`t${p.key}${suffix}`, value)
    for (const [, value] of handed.audit) {
      const key = auditKey(p.key, ++p.auditSeq)
      this.#s.batch.rows.put(key, value)
      p.audit?.push([key.slice(1 + p.key.length), value])
    }
    this.touch(p)
    return merged
  }

  /** An unborn root takes the place of a born one. */
  #adopt(p: Profile, other: Profile): void {
    p.publicId = other.publicId
    p.segments = other.segments
    p.createdAt = other.createdAt
    p.updatedAt = other.updatedAt
    p.asOf = Math.max(p.asOf, other.asOf)
    p.appliedSeq = other.appliedSeq
    p.timelineCount = other.timelineCount
    p.timelineFrom = other.timelineFrom
    p.timelineOldest = other.timelineOldest
    p.traits = other.traits
    p.future = other.future
    p.timeline = other.timeline
    this.#s.batch.withTimeline.add(p)
    this.#s.state.profiles++
    this.#countIn(p)
    this.bringUp(p, this.nowFor(p))
  }

  /** The partition's sizes gain or lose the memberships of a profile that moves between partitions. */
  #countIn(p: Profile, by: 1 | -1 = 1): void {
    const { sizes, batch } = this.#s
    for (const [segment, m] of segmentsOf(p).memberships) {
      if (!m.in) continue
      sizes.set(segment, (sizes.get(segment) ?? 0) + by)
      batch.sizeBlocks.add(Math.floor(segment / SIZES_PER_ROW))
    }
  }

  /** A born root is about to be handed over. */
  leave(p: Profile): void {
    this.bringUp(p, this.nowFor(p))
    p.asOf = this.nowFor(p)
    this.#s.state.profiles--
    this.#countIn(p, -1)
  }

  #merge(p: Profile, other: Profile, cause: CauseRef): { survivor: string; absorbed: string } {
    const now = Math.max(this.nowFor(p), other.asOf)
    p.asOf = now
    other.asOf = now
    this.#countIn(other)
    this.bringUp(p, now)
    this.bringUp(other, now)
    // It has no row: what it owes is told, and that is all.
    other.dirty = false
    const [mine, theirs] = [p.publicId, other.publicId]
    const keep = mine <= theirs ? 'into' : 'from'
    const [survivor, absorbed] = keep === 'into' ? [mine, theirs] : [theirs, mine]
    const leaving = keep === 'into' ? other : p
    this.#because(leaving, 'merge', cause.messageId)
    // An identifier belongs to one of them: what both seem to have is the other's.
    if (leaving === p && p.userId === other.userId) this.#about.userId = ''
    for (const [segment, m] of segmentsOf(leaving).memberships) {
      if (m.in) this.#emit(segment, { seq: m.seq + 1, in: false }, now)
    }
    p.publicId = survivor
    mergeTraits(p, other.traits)
    for (const f of other.future) addFuture(p, f)
    p.createdAt = Math.min(p.createdAt, other.createdAt)
    p.updatedAt = now
    p.timelineCount += other.timelineCount
    p.timelineFrom = Math.max(p.timelineFrom, other.timelineFrom)
    p.timelineOldest = Math.min(p.timelineOldest, other.timelineOldest)
    p.appliedSeq = Math.max(p.appliedSeq, other.appliedSeq)
    if (p.timeline) p.timeline = [...p.timeline, ...must(other.timeline, 'a hand-over brings its timeline')]
    this.#because(p, 'merge', cause.messageId)
    segmentState.merge(this.plan, segmentsOf(p), segmentsOf(other), {
      traits: traitsOf(p),
      timeline: this.#countedTimeline(p, now),
      timelineFrom: p.timelineFrom,
      now,
      keep,
      emit: this.#emit,
    })
    return { survivor, absorbed }
  }
}

const NO_TRAITS: readonly string[] = []

const stuckAt = (key: ProfileKey, group: number | undefined): string => `${key} ${group ?? 'fill'}`

export function segmentsOf(p: Profile): segmentState.SegmentState {
  return must(p.segments, 'a born root has segments')
}

function traitsOf(p: Profile): { get(name: string): Json | undefined } {
  return { get: (name) => p.trait(name) }
}
