// Memberships, and how the truth of conditions changes them. Owns the step from "this accumulator has changed" to "these segments
// were entered or left"; doesn't own where states come from (segment-state.ts).
//
// 1. A profile's membership of a segment equals the segment's tree over the profile's truths, after every step.
// 2. Only segments that read a changed truth are evaluated, each once a step, in the order of their numbers.
// 3. Entries and exits alternate; seq counts them from 1. Only segments that were ever entered have a membership.
// 4. A step is synchronous and doesn't nest: `emit` must not call back into the profile's segments.
import type { Json } from '../core/event.ts'
import { NEVER, type Truth } from '../operators/operator.ts'
import { type GroupState, type Slot, stateOf } from './group-state.ts'
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
    if (segments.length > 1) segments.sort((a, b) => a.number - b.number)
    for (const segment of segments) {
      setMembership(member, segment.number, segment.test(member), (m) => emit(segment.number, m, at))
    }
    segments.length = 0
  }
}

/** Makes a profile a member or not; calls `changed` if that is news (3). */
export function setMembership(member: Member, segment: number, isIn: boolean, changed: (membership: Membership) => void): void {
  const membership = member.memberships.get(segment)
  if (membership === undefined) {
    if (!isIn) return
    const first = { seq: 1, in: true }
    member.memberships.set(segment, first)
    changed(first)
  } else if (membership.in !== isIn) {
    membership.seq++
    membership.in = isIn
    changed(membership)
  }
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

/** Reads the slots again whose flip is due by `now`. A slot whose accumulator is no longer in the plan goes. */
export function readDue(group: GroupState, plan: PlanGroup, now: number, affected: Affected): void {
  for (const slot of [...group.open()]) {
    if (slot.flipsAt > now) continue
    const accumulator = plan.accumulator(slot.ordinal)
    group.isDirty = true
    if (accumulator === undefined) {
      group.removeSlot(slot)
      continue
    }
    if (accumulator.operator) stateOf(slot, accumulator)
    readConditions(slot, accumulator, now, affected)
  }
  group.refreshFlips()
}

const matched: PlanAccumulator[] = []

/** Reads a trait's conditions anew after its value has changed (or for a fill or merge). */
export function readTrait(group: GroupState, plan: PlanGroup, value: Json | undefined, now: number, affected: Affected): void {
  matched.length = 0
  if (value !== undefined) plan.match(value, now, matched)
  for (const slot of [...group.open()]) {
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
