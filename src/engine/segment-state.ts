// The segments of one profile: its memberships and what the groups of the plan hold for it. Owns what happens to them: events,
// flips, fills, merges; and their part of the profile's row. Doesn't own traits, the timeline or when any of this is called.
//
// 1. A state is filled to `version`: all conditions of that plan, and no others, have their states and truths.
// 2. Flips happen in the order of their instants, each before anything later: what is applied at `now` finds no flip due.
// 3. After every call the memberships are those of the plan's segments on the present truths.
// 4. A state that lacks events (the timeline no longer reaches back) says so in `gaps`.
//
// row:  size of memberships · memberships (segment delta, seq * 2 + in)* · version · gaps · groups
import { invariant, must } from '../core/assert.ts'
import type { Reader, Writer } from '../core/bytes.ts'
import type { Json, JsonObject } from '../core/event.ts'
import type { Where } from '../operators/definition.ts'
import { noteInexact } from '../operators/inexact.ts'
import { NEVER } from '../operators/operator.ts'
import { listOf, Several, valueAt } from '../operators/path.ts'
import { previewPlan } from './definitions.ts'
import { GroupState, Groups, type Slot } from './group-state.ts'
import { Affected, type Emit, type Member, Memberships, readConditions, readDue, readTrait } from './membership.ts'
import type { Plan } from './plan.ts'
import type { EventView, PlanAccumulator, PlanGroup } from './plan-group.ts'
import { looksBefore, NO_STATES, rebuildSlots, replaceState, type States, statesFrom } from './refill.ts'
import type { ConditionRef } from './segment-tree.ts'

export interface TraitsView {
  get(name: string): Json | undefined
}

/** Accumulators filled at the versions (after, upTo] lack what happened before `from`. */
export interface Gap {
  readonly after: number
  readonly upTo: number
  readonly from: number
}

const GAPS = 8

export class SegmentState implements Member {
  /** The definitions version up to which it is filled; 0: not at all. */
  version = 0
  /** The earliest flip of any condition. */
  flipsAt: number = NEVER
  memberships = new Memberships()
  readonly groups = new Groups()
  gaps: Gap[] = []

  /** That of a profile without events and traits. */
  static empty(plan: Plan, emit: Emit, now = 0): SegmentState {
    const state = new SegmentState()
    state.version = plan.version
    for (const { number } of plan.holdsForEmpty) emit(number, must(state.memberships.set(number, true), 'it had none'), now)
    return state
  }

  holds(ref: ConditionRef): boolean {
    const group = this.groups.get(ref.group)
    return group === undefined ? ref.whenEmpty : group.holds(ref)
  }

  /** An event group's state; a trait's comes and goes with what matches (membership.ts). */
  groupFor(plan: PlanGroup): GroupState {
    let group = this.groups.get(plan.number)
    if (group === undefined) {
      group = GroupState.fresh(plan.number, false)
      this.groups.add(group)
    }
    return group
  }

  refreshFlips(): void {
    let flipsAt = NEVER
    for (const group of this.groups.values()) if (group.flipsAt < flipsAt) flipsAt = group.flipsAt
    this.flipsAt = flipsAt
  }

  addGap(gap: Gap): void {
    this.gaps.push(gap)
    // Rather too much is called inexact than too little.
    const [a, b] = this.gaps
    if (a && b && this.gaps.length > GAPS) {
      this.gaps.splice(0, 2, { after: Math.min(a.after, b.after), upTo: Math.max(a.upTo, b.upTo), from: Math.max(a.from, b.from) })
    }
  }
}

const affected = new Affected()
const keep = { need: { windowMs: 0, newest: 0, ceiling: 0 }, now: 0 }
const found: PlanAccumulator[] = []
const NOTHING: JsonObject = {}

function assertFilled(plan: Plan, state: SegmentState): void {
  invariant(state.version === plan.version, `a state filled to version ${state.version} is used with that plan, not ${plan.version} (1)`)
}

export interface EventStep {
  readonly event: EventView
  /** After the event's own traits were set. */
  readonly traits: TraitsView
  readonly changedTraits: readonly string[]
  readonly now: number
  readonly emit: Emit
}

/** Applies an event whose instant is at or before `now`; flips due by `now` have happened (2). */
export function applyEvent(plan: Plan, state: SegmentState, step: EventStep): void {
  const { event, traits, changedTraits, now, emit } = step
  assertFilled(plan, state)
  affected.begin()
  if (state.flipsAt === -NEVER) readStale(plan, state, now)
  for (const number of plan.groupsOfEvent(event.name)) {
    const group = plan.groups[number]
    if (group !== undefined && group.accumulators.length > 0) addEvent(state, group, event, now)
  }
  for (const name of changedTraits) {
    const group = plan.groupOfTrait(name)
    if (group !== undefined) readTrait(state.groups, group, { value: traits.get(name), now }, affected)
  }
  state.refreshFlips()
  affected.settle(state, now, emit)
}

function addEvent(state: SegmentState, plan: PlanGroup, event: EventView, now: number): void {
  found.length = 0
  const message = plan.looksInside ? event.message() : NOTHING
  plan.match(message, event.at, found)
  if (found.length === 0) return
  let group: GroupState | undefined
  for (const accumulator of found) {
    const reached = accumulator.path === undefined ? null : valueAt(message, accumulator.path)
    if (reached === undefined || !counts(accumulator, reached)) continue
    group ??= state.groupFor(plan)
    const slot = slotFor(group, accumulator)
    addReached(slot, accumulator, { at: event.at, reached, now })
    readConditions(slot, accumulator, now, affected)
  }
  if (group === undefined) return
  group.change()
  group.refreshFlips()
}

function counts({ operator }: PlanAccumulator, reached: Json | Several): boolean {
  if (operator === undefined) return false
  return reached instanceof Several ? reached.values.some((value) => operator.counts(value)) : operator.counts(reached)
}

function slotFor(group: GroupState, accumulator: PlanAccumulator): Slot {
  const operator = must(accumulator.operator, 'events go to accumulators')
  const slot = group.slot(accumulator.ordinal) ?? group.addSlot(accumulator, operator.empty())
  group.stateOf(slot, accumulator)
  return slot
}

function addReached(slot: Slot, { operator, need }: PlanAccumulator, entry: { at: number; reached: Json | Several; now: number }): void {
  if (operator === undefined) return
  keep.need = need
  keep.now = entry.now
  const { reached, at } = entry
  if (!(reached instanceof Several)) operator.add(slot.state, at, reached, keep)
  else for (const value of reached.values) if (operator.counts(value)) operator.add(slot.state, at, value, keep)
}

/** Reads again what `rebuild` has replaced. */
function readStale(plan: Plan, state: SegmentState, now: number): void {
  for (const group of state.groups.values()) {
    if (group.flipsAt === -NEVER) readDue(group, must(plan.groups[group.number], 'a filled group is in the plan (1)'), now, affected)
  }
}

export type FlipStep = Pick<EventStep, 'traits' | 'now' | 'emit'>

/** Lets all flips due by `now` happen, one by one, at their own instants. */
export function flipsDue(plan: Plan, state: SegmentState, { traits, now, emit }: FlipStep): void {
  if (state.flipsAt > now) return
  assertFilled(plan, state)
  while (state.flipsAt <= now) {
    const at = state.flipsAt === -NEVER ? now : state.flipsAt
    affected.begin()
    for (const group of state.groups.values()) {
      if (group.flipsAt > at) continue
      const planned = must(plan.groups[group.number], 'a filled group is in the plan (1)')
      if (planned.trait !== undefined) for (const slot of group.open()) slot.state = traits.get(planned.trait)
      readDue(group, planned, at, affected)
    }
    state.refreshFlips()
    affected.settle(state, at, emit)
  }
}

// ---- filling

export interface FillStep {
  readonly traits: TraitsView
  /** The events applied so far, in any order; needed where `needs` has said so. */
  readonly timeline: readonly EventView[] | undefined
  /** Events before this instant may be missing in the timeline; 0: none. */
  readonly timelineFrom?: number
  readonly now: number
  readonly emit: Emit
}

/** Brings a state to the plan's version: what it then holds is what it would hold had the plan always been there. */
export function fill(plan: Plan, state: SegmentState, step: FillStep): void {
  if (state.version === plan.version) return
  invariant(state.version < plan.version, 'a state is not ahead of the plan that fills it')
  invariant(state.flipsAt > step.now, 'flips due come before a fill (2)')
  const since = state.version
  const changes = plan.changesSince(since)
  const fresh = changes.needsTimeline ? statesSince(plan, since, step) : NO_STATES
  affected.begin()
  for (const group of changes.groups) {
    if (group.trait !== undefined) readTrait(state.groups, group, { value: step.traits.get(group.trait), now: step.now }, affected)
    else refillGroup(state, group, { fresh, since, now: step.now })
  }
  const from = step.timelineFrom ?? 0
  if (changes.needsTimeline && from > 0) {
    state.addGap({ after: since, upTo: plan.version, from })
    const filled = changes.groups.flatMap(({ accumulators }) => accumulators.filter((a) => a.filledAt > since))
    if (filled.some((a) => looksBefore(a, from, step.now))) noteInexact()
  }
  state.version = plan.version
  state.refreshFlips()
  for (const [number] of state.memberships) {
    const left = plan.segments[number] === undefined ? state.memberships.set(number, false) : undefined
    if (left !== undefined) step.emit(number, left, step.now)
  }
  affected.add(changes.segments)
  affected.settle(state, step.now, step.emit)
}

/** The states of all accumulators created or widened since a version. */
function statesSince(plan: Plan, since: number, step: FillStep): States {
  const timeline = must(step.timeline, 'a fill that needs the timeline gets it')
  const wanted = new Set<PlanAccumulator>()
  for (const group of plan.changesSince(since).groups)
    for (const a of group.accumulators) if (a.operator && a.filledAt > since) wanted.add(a)
  return statesFrom(plan, timeline, wanted, { now: step.now, forgets: true })
}

function refillGroup(state: SegmentState, plan: PlanGroup, { fresh, since, now }: { fresh: States; since: number; now: number }): void {
  let group = state.groups.get(plan.number)
  for (const slot of [...(group?.open() ?? [])]) if (plan.accumulator(slot.ordinal) === undefined) group?.removeSlot(slot)
  for (const accumulator of plan.accumulators) {
    let slot = group?.slot(accumulator.ordinal)
    if (accumulator.filledAt > since) {
      const built = fresh.get(accumulator) ?? (slot && accumulator.operator?.empty())
      if (built === undefined) continue
      group ??= state.groupFor(plan)
      slot = replaceState(group, slot, accumulator, built)
    }
    if (slot === undefined) continue
    group?.stateOf(slot, accumulator)
    readConditions(slot, accumulator, now, affected)
  }
  if (group === undefined) return
  group.change()
  group.refreshFlips()
  // The row of a split-off group stays, so its group does.
  if (group.open().length === 0 && !group.isSplit) state.groups.delete(plan.number)
}

// ---- what must be loaded beforehand

/** True when these events can be applied at `now` with what is loaded: the usual case, told cheaply. */
export function isReady(plan: Plan, state: SegmentState, events: readonly EventView[]): boolean {
  if (state.version !== plan.version) return false
  for (const group of state.groups.values()) if (!group.isLoaded) return false
  for (const event of events) {
    for (const number of plan.groupsOfEvent(event.name)) {
      const group = plan.groups[number]
      if (group === undefined || group.fragile.length === 0) continue
      const held = state.groups.get(number)
      if (held !== undefined && group.fragile.some((accumulator) => resists(held, accumulator, event))) return false
    }
  }
  return true
}

/** Split-off groups whose rows are not loaded. */
export function missingGroups(state: SegmentState): number[] {
  return state.groups
    .values()
    .filter((group) => !group.isLoaded)
    .map((group) => group.number)
}

/** What must be loaded before these events (those that will count by `now`) can be applied: rows of split-off groups, the timeline. */
export function needs(
  plan: Plan,
  state: SegmentState,
  { events, now }: { events: readonly EventView[]; now: number },
): { groups: number[]; timeline: boolean } {
  const isOld = state.version < plan.version
  let groups = missingGroups(state)
  if (!isOld && groups.length > 0) {
    const touched = new Set(events.flatMap((event) => plan.groupsOfEvent(event.name)))
    groups = groups.filter((number) => touched.has(number) || must(state.groups.get(number), 'it is missing only its body').flipsAt <= now)
  }
  if (groups.length > 0) return { groups, timeline: false }
  const needsTimeline = isOld && plan.changesSince(state.version).needsTimeline
  return { groups, timeline: needsTimeline || events.some((event) => groupsToRebuild(plan, state, event).length > 0) }
}

/** The groups that cannot take an event exactly before they are rebuilt from the timeline. */
export function groupsToRebuild(plan: Plan, state: SegmentState, event: EventView): number[] {
  const numbers = plan.groupsOfEvent(event.name)
  return numbers.filter((number) => {
    const group = plan.groups[number]
    const held = state.groups.get(number)
    return group !== undefined && held?.isLoaded === true && group.fragile.some((accumulator) => resists(held, accumulator, event))
  })
}

function resists(group: GroupState, accumulator: PlanAccumulator, event: EventView): boolean {
  const slot = group.slot(accumulator.ordinal)
  if (slot === undefined) return false
  const values = listOf(valueAt(event.message(), must(accumulator.path, 'what resists a value measures one')))
  const { operator, need } = accumulator
  return values.some(
    (value) => operator?.counts(value) && operator.cannotAdd?.(group.stateOf(slot, accumulator), value, { need, now: event.at }),
  )
}

export interface RebuildStep {
  /** The events applied so far, without the one that made this necessary. */
  readonly timeline: readonly EventView[]
  readonly timelineFrom?: number
  readonly now: number
}

/** Rebuilds some groups so that they have forgotten nothing; for applyEvent, which follows at once and reads them again. */
export function rebuild(plan: Plan, state: SegmentState, groups: readonly number[], step: RebuildStep): void {
  for (const number of groups) {
    const group = must(state.groups.get(number), 'what is rebuilt exists')
    const accumulators = must(plan.groups[number], 'a filled group is in the plan (1)').fragile.filter((a) => group.slot(a.ordinal))
    rebuildSlots(plan, group, accumulators, step)
    state.flipsAt = -NEVER
    const upTo = Math.max(...accumulators.map((a) => a.filledAt))
    const from = step.timelineFrom ?? 0
    if (from <= 0) continue
    state.addGap({ after: 0, upTo, from })
    if (accumulators.some((a) => looksBefore(a, from, step.now))) noteInexact()
  }
}

// ---- merging

export interface MergeStep extends FillStep {
  /** Whose public id, and so whose memberships, survive. */
  readonly keep: 'into' | 'from'
}

/**
 * Merges `from` into `into`, both filled to the plan's version; traits and timeline are the merged ones. Emits the changes of
 * the memberships that survive; the others are the caller's to end.
 */
export function merge(plan: Plan, into: SegmentState, from: SegmentState, step: MergeStep): void {
  invariant(into.version === plan.version && from.version === plan.version, 'profiles are filled before they merge (1)')
  affected.begin()
  for (const group of from.groups.values()) if (!group.isTrait) mergeGroup(plan, into, group, step)
  if (step.keep === 'from') into.memberships = from.memberships
  for (const gap of from.gaps) into.addGap(gap)
  for (const number of new Set([...into.groups.values(), ...from.groups.values()].map((group) => group.number))) {
    const group = must(plan.groups[number], 'a filled group is in the plan (1)')
    if (group.trait !== undefined) readTrait(into.groups, group, { value: step.traits.get(group.trait), now: step.now }, affected)
    // All that read a state of either are evaluated: the memberships may be those of the other profile, whose trait was overwritten.
    for (const { groups } of [into, from]) {
      for (const slot of groups.get(number)?.open() ?? []) {
        for (const condition of group.accumulator(slot.ordinal)?.conditions ?? []) affected.add(condition.segments)
      }
    }
  }
  for (const [number] of into.memberships) {
    const segment = plan.segments[number]
    if (segment) affected.add([segment])
  }
  into.refreshFlips()
  affected.settle(into, step.now, step.emit)
}

function mergeGroup(plan: Plan, into: SegmentState, theirs: GroupState, { timeline, now }: MergeStep): void {
  const group = must(plan.groups[theirs.number], 'a filled group is in the plan (1)')
  const mine = into.groupFor(group)
  const merged: PlanAccumulator[] = []
  const resisting: PlanAccumulator[] = []
  for (const slot of theirs.open()) {
    const accumulator = must(group.accumulator(slot.ordinal), 'a filled group holds what is in the plan (1)')
    const operator = must(accumulator.operator, 'an event group has accumulators')
    const state = theirs.stateOf(slot, accumulator)
    const own = mine.slot(accumulator.ordinal)
    merged.push(accumulator)
    if (own === undefined) mine.addSlot(accumulator, state)
    else {
      const kept = { need: accumulator.need, now }
      if (operator.cannotMerge?.(mine.stateOf(own, accumulator), state, kept)) resisting.push(accumulator)
      operator.merge(mine.stateOf(own, accumulator), state, kept)
    }
  }
  if (resisting.length > 0 && timeline !== undefined) rebuildSlots(plan, mine, resisting, { timeline, now })
  for (const accumulator of merged) readConditions(must(mine.slot(accumulator.ordinal), 'it was just merged'), accumulator, now, affected)
  mine.change()
  mine.refreshFlips()
}

// ---- previews

export interface Preview {
  /** Whether `holds` needs the timeline. */
  readonly readsEvents: boolean
  holds(profile: { traits: TraitsView; timeline: readonly EventView[]; now: number }): boolean
}

/** An unsaved definition, to be asked profile by profile. */
export function previewOf(where: Where): Preview {
  const plan = previewPlan(where)
  return {
    readsEvents: plan.changesSince(0).needsTimeline,
    holds(profile) {
      const state = new SegmentState()
      fill(plan, state, { ...profile, emit: () => {} })
      return state.memberships.size > 0
    },
  }
}

// ---- the row

export interface SplitRows {
  /** Above so many bytes of states in the profile's row, groups get rows of their own; NEVER: all are written whole. */
  readonly bytes: number
  /** Takes the row of a split-off group that is new or has changed. */
  putGroup(group: number, row: Buffer): void
}

/** Groups smaller than this stay with the profile. */
const SMALLEST_SPLIT_BYTES = 64

export function encodeState(state: SegmentState, w: Writer, split: SplitRows): void {
  state.memberships.encode(w)
  w.varint(state.version).varint(state.gaps.length)
  for (const gap of state.gaps) w.varint(gap.after).varint(gap.upTo).varint(gap.from)
  const start = w.length
  // Of both rounds: a body that the first has handed out, the second does not.
  const bodies = new Map<number, Buffer>()
  if (!writeGroups(state, w, { atMostBytes: split.bytes, bodies })) {
    w.truncate(start)
    invariant(writeGroups(state, w, { atMostBytes: Number.MAX_SAFE_INTEGER, bodies }), 'what was split off stays so')
  }
  for (const [group, body] of bodies) split.putGroup(group, body)
}

type Room = { readonly atMostBytes: number; readonly bodies: Map<number, Buffer> }

/** Writes the groups; false if that took too much room: then some were split off, and it is to be done again. */
function writeGroups(state: SegmentState, w: Writer, { atMostBytes, bodies }: Room): boolean {
  const groups = state.groups.values()
  const ends: number[] = []
  w.varint(groups.length)
  const start = w.length
  for (const group of groups) {
    const body = group.write(w, atMostBytes === NEVER)
    if (body !== undefined) bodies.set(group.number, body)
    ends.push(w.length)
  }
  if (w.length - start <= atMostBytes) return true
  let didSplit = false
  for (const [i, group] of groups.entries()) {
    const size = (ends[i] as number) - (i === 0 ? start : (ends[i - 1] as number))
    if (group.isSplit || group.isTrait || size < SMALLEST_SPLIT_BYTES) continue
    group.splitOff()
    didSplit = true
  }
  return !didSplit
}

/** The start of what `encodeState` has written. */
export function readMemberships(r: Reader): Memberships {
  return Memberships.decode(r)
}

export function decodeState(r: Reader): SegmentState {
  const state = new SegmentState()
  state.memberships = readMemberships(r)
  state.version = r.varint()
  for (let n = r.varint(); n > 0; n--) state.gaps.push({ after: r.varint(), upTo: r.varint(), from: r.varint() })
  let flipsAt = NEVER
  for (let n = r.varint(); n > 0; n--) {
    const group = GroupState.read(r)
    state.groups.append(group)
    if (group.flipsAt < flipsAt) flipsAt = group.flipsAt
  }
  state.flipsAt = flipsAt
  return state
}

/** Brings in the row of a split-off group. */
export function attachGroup(state: SegmentState, group: number, row: Buffer): void {
  must(state.groups.get(group), 'a split-off group is known to its profile').attach(row)
}
