// Memberships, and how the truth of conditions changes them. Owns the step from "this accumulator has changed" to "these segments
// were entered or left"; doesn't own where states come from (segment-state.ts).
//
// 1. A profile's membership of a segment equals the segment's tree over the profile's truths, after every step.
// 2. Only segments that read a changed truth are evaluated, each once a step, in the order of their numbers.
// 3. Entries and exits alternate; seq counts them from 1. Only segments that were ever entered have a membership.
// 4. A step is synchronous and doesn't nest: `emit` must not call back into the profile's segments.
import { must } from '../core/assert.ts'
import type { Json } from '../core/event.ts'
import { NEVER, type Truth } from '../operators/operator.ts'
import type { GroupState, Slot } from './group-state.ts'
import type { PlanAccumulator, PlanGroup } from './plan-group.ts'
import type { CompiledSegment, Truths } from './segment-tree.ts'

export interface Membership {
  seq: number
  in: boolean
}

/** Called after a membership has changed. */
export type Emit = (segment: number, membership: Membership, at: number) => void

/** Truths with the memberships that follow from them. */
export interface Member extends Truths {
  readonly memberships: Map<number, Membership>
}

/** The segments whose truth may have changed in one step. */
export class Affected {
  readonly #segments: CompiledSegment[] = []
  readonly #steps: number[] = []
  #step = 0

  begin(): void {
    this.#step++
    this.#segments.length = 0
  }

  add(segments: readonly CompiledSegment[]): void {
    for (const segment of segments) {
      if (this.#steps[segment.number] === this.#step) continue
      while (this.#steps.length <= segment.number) this.#steps.push(0)
      this.#steps[segment.number] = this.#step
      this.#segments.push(segment)
    }
  }

  /** Evaluates them (1, 2). */
  settle(member: Member, at: number, emit: Emit): void {
    const segments = this.#segments
    sortByNumber(segments)
    for (const segment of segments) {
      const changed = setMembership(member, segment.number, segment.test(member))
      if (changed !== undefined) emit(segment.number, changed, at)
    }
    segments.length = 0
  }
}

/** Most steps affect a handful, nearly in order. */
function sortByNumber(segments: CompiledSegment[]): void {
  if (segments.length > 50) {
    segments.sort((a, b) => a.number - b.number)
    return
  }
  for (let i = 1; i < segments.length; i++) {
    const segment = segments[i] as CompiledSegment
    let j = i
    for (; j > 0 && (segments[j - 1] as CompiledSegment).number > segment.number; j--) segments[j] = segments[j - 1] as CompiledSegment
    segments[j] = segment
  }
}

/** Makes a profile a member or not; returns the membership if that is news (3). */
export function setMembership(member: Member, segment: number, isIn: boolean): Membership | undefined {
  const membership = member.memberships.get(segment)
  if (membership === undefined) {
    if (!isIn) return undefined
    const first = { seq: 1, in: true }
    member.memberships.set(segment, first)
    return first
  }
  if (membership.in === isIn) return undefined
  membership.seq++
  membership.in = isIn
  return membership
}

/** What readings write into. */
const truth: Truth = { holds: false, flipsAt: NEVER }

/** Reads the conditions of one accumulator anew: updates its bits and flips, notes the segments of those that changed. */
export function readConditions(slot: Slot, accumulator: PlanAccumulator, now: number, affected: Affected): void {
  let flipsAt = NEVER
  const { bits, state } = slot
  for (const { ref, reading, segments } of accumulator.conditions) {
    reading.read(state, now, truth)
    if (truth.flipsAt < flipsAt) flipsAt = truth.flipsAt
    while (bits.length <= ref.word) bits.push(0)
    const word = bits[ref.word] as number
    if (((word & ref.mask) !== 0) === truth.holds) continue
    bits[ref.word] = word ^ ref.mask
    affected.add(segments)
  }
  slot.flipsAt = flipsAt
}

/** Drops a slot: its conditions go back to what they are without state. */
export function dropSlot(group: GroupState, slot: Slot, accumulator: PlanAccumulator | undefined, affected: Affected): void {
  for (const { ref, segments } of accumulator?.conditions ?? []) if (slot.holds(ref) !== ref.whenEmpty) affected.add(segments)
  group.removeSlot(slot)
}

/** Reads the slots again whose flip is due by `now`. */
export function readDue(group: GroupState, plan: PlanGroup, now: number, affected: Affected): void {
  for (const slot of group.open()) {
    if (slot.flipsAt > now) continue
    const accumulator = must(plan.accumulator(slot.ordinal), 'a filled group holds what is in the plan')
    group.isDirty = true
    if (accumulator.operator) group.stateOf(slot, accumulator)
    readConditions(slot, accumulator, now, affected)
  }
  group.refreshFlips()
}

const matched: PlanAccumulator[] = []

/** Reads a trait's conditions anew after its value has changed (or for a fill or merge). */
export function readTrait(group: GroupState, plan: PlanGroup, value: Json | undefined, now: number, affected: Affected): void {
  matched.length = 0
  if (value !== undefined) plan.match(value, now, matched)
  const slots = group.open()
  for (let i = slots.length - 1; i >= 0; i--) {
    const slot = slots[i] as Slot
    const accumulator = plan.accumulator(slot.ordinal)
    if (accumulator === undefined || !matched.includes(accumulator)) dropSlot(group, slot, accumulator, affected)
  }
  for (const accumulator of matched) {
    const slot = group.slot(accumulator.ordinal) ?? group.addSlot(accumulator, value)
    slot.state = value
    readConditions(slot, accumulator, now, affected)
  }
  group.isDirty = true
  group.refreshFlips()
}
