// Memberships, and how the truth of conditions changes them. Owns the step from "this accumulator has changed" to "these segments
// were entered or left"; doesn't own where states come from (segment-state.ts).
//
// 1. A profile's membership of a segment equals the segment's tree over the profile's truths, after every step.
// 2. Only segments that read a changed truth are evaluated, each once a step, in the order of their numbers.
// 3. Entries and exits alternate; seq counts them from 1. Only segments that were ever entered have a membership.
// 4. A step is synchronous and doesn't nest: `emit` must not call back into the profile's segments.
import { InvariantError, must } from '../core/assert.ts'
import { Reader, type Writer } from '../core/bytes.ts'
import { TributaryError } from '../core/errors.ts'
import type { Json } from '../core/event.ts'
import { NEVER, type Truth } from '../operators/operator.ts'
import { GroupState, type Groups, type Slot } from './group-state.ts'
import type { PlanAccumulator, PlanGroup } from './plan-group.ts'
import type { CompiledSegment, Truths } from './segment-tree.ts'

export interface Membership {
  readonly seq: number
  readonly in: boolean
}

/** Called after a membership has changed. */
export type Emit = (segment: number, membership: Membership, at: number) => void

/**
 * The memberships of one profile, by segment number. There may be hundreds, so two plain lists; and most events change none of
 * them, so they stay bytes until somebody asks.
 */
export class Memberships {
  /** The row that they were read from, and where they lie there; undefined once they have changed. */
  #bytes: Buffer | undefined
  #from = 0
  #to = 0
  /** Ascending. */
  #segments: number[] | undefined
  /** seq * 2, + 1 for a member. */
  #codes: number[] = []

  get size(): number {
    return this.#read().length
  }

  get(segment: number): Membership | undefined {
    const segments = this.#read()
    const i = find(segments, segment)
    return segments[i] === segment ? membershipOf(this.#codes[i] as number) : undefined
  }

  /** Makes the profile a member or not; returns the membership if that is news (3). */
  set(segment: number, isIn: boolean): Membership | undefined {
    const segments = this.#read()
    const i = find(segments, segment)
    if (segments[i] !== segment) {
      if (!isIn) return undefined
      segments.splice(i, 0, segment)
      this.#codes.splice(i, 0, 3)
      this.#bytes = undefined
      return membershipOf(3)
    }
    const code = this.#codes[i] as number
    if ((code % 2 === 1) === isIn) return undefined
    const next = code + (isIn ? 3 : 1)
    this.#codes[i] = next
    this.#bytes = undefined
    return membershipOf(next)
  }

  delete(segment: number): void {
    const segments = this.#read()
    const i = find(segments, segment)
    if (segments[i] !== segment) return
    segments.splice(i, 1)
    this.#codes.splice(i, 1)
    this.#bytes = undefined
  }

  /** All there are now, in the order of their segments' numbers. */
  *[Symbol.iterator](): Generator<[segment: number, membership: Membership]> {
    const segments = this.#read().slice()
    const codes = this.#codes.slice()
    for (const [i, segment] of segments.entries()) yield [segment, membershipOf(codes[i] as number)]
  }

  encode(w: Writer): void {
    if (this.#bytes !== undefined) {
      w.varint(this.#to - this.#from).range(this.#bytes, this.#from, this.#to)
      return
    }
    const segments = this.#read()
    if (packed.length < segments.length * 14) packed = Buffer.allocUnsafe(segments.length * 20)
    let at = 0
    let last = 0
    for (let i = 0; i < segments.length; i++) {
      const segment = segments[i] as number
      at = putVarint(putVarint(at, segment - last), this.#codes[i] as number)
      last = segment
    }
    w.varint(at).range(packed, 0, at)
  }

  /** Keeps a view of the row. */
  static decode(r: Reader): Memberships {
    const memberships = new Memberships()
    const size = r.varint()
    memberships.#bytes = r.buffer
    memberships.#from = r.at
    r.at += size
    memberships.#to = r.at
    return memberships
  }

  #read(): number[] {
    if (this.#segments !== undefined) return this.#segments
    const segments: number[] = []
    this.#segments = segments
    if (this.#bytes === undefined) return segments
    const r = new Reader(this.#bytes, this.#from, this.#to)
    let segment = 0
    while (!r.done) {
      segment += r.varint()
      segments.push(segment)
      this.#codes.push(r.varint())
    }
    return segments
  }
}

/** Where a number is or would be in an ascending list. */
function find(segments: readonly number[], segment: number): number {
  let low = 0
  let high = segments.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((segments[middle] as number) < segment) low = middle + 1
    else high = middle
  }
  return low
}

const membershipOf = (code: number): Membership => ({ seq: Math.floor(code / 2), in: code % 2 === 1 })

let packed = Buffer.allocUnsafe(8192)

function putVarint(at: number, x: number): number {
  let rest = x
  let i = at
  while (rest >= 0x80) {
    packed[i++] = (rest & 0x7f) | 0x80
    rest >>>= 7
  }
  packed[i++] = rest
  return i
}

/** Truths with the memberships that follow from them. */
export interface Member extends Truths {
  readonly memberships: Memberships
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
      const changed = member.memberships.set(segment.number, segment.test(member))
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

/** What readings write into. */
const truth: Truth = { holds: false, flipsAt: NEVER }

/** Reads the conditions of one accumulator anew: updates its bits and flips, notes the segments of those that changed. True if any did. */
export function readConditions(slot: Slot, accumulator: PlanAccumulator, now: number, affected: Affected): boolean {
  let flipsAt = NEVER
  let isNews = false
  const { bits, state } = slot
  for (const { ref, reading, segments } of accumulator.conditions) {
    reading.read(state, now, truth)
    if (truth.flipsAt < flipsAt) flipsAt = truth.flipsAt
    while (bits.length <= ref.word) bits.push(0)
    const word = bits[ref.word] as number
    if (((word & ref.mask) !== 0) === truth.holds) continue
    bits[ref.word] = word ^ ref.mask
    affected.add(segments)
    isNews = true
  }
  if (slot.flipsAt === flipsAt) return isNews
  slot.flipsAt = flipsAt
  return true
}

/** Drops a slot: its conditions go back to what they are without state. */
export function dropSlot(group: GroupState, slot: Slot, accumulator: PlanAccumulator | undefined, affected: Affected): void {
  for (const { ref, segments } of accumulator?.conditions ?? []) if (slot.holds(ref) !== ref.whenEmpty) affected.add(segments)
  group.removeSlot(slot)
}

function readSlots(group: GroupState, plan: PlanGroup, now: number, affected: Affected): void {
  for (const slot of group.open()) {
    if (slot.flipsAt > now) continue
    const accumulator = must(plan.accumulator(slot.ordinal), 'a filled group holds what is in the plan')
    group.change()
    if (accumulator.operator) group.stateOf(slot, accumulator)
    readConditions(slot, accumulator, now, affected)
  }
  group.refreshFlips()
}

/** Conditions of one group, those of these segments, can't be read where their flips are due. */
export class FlipError extends Error {
  readonly group: number
  readonly segments: readonly string[]
  constructor(group: number, due: readonly PlanAccumulator[], cause: Error) {
    super(cause.message, { cause })
    this.name = cause.name
    this.group = group
    this.segments = [...new Set(due.flatMap(({ conditions }) => conditions.flatMap(({ segments }) => segments.map(({ id }) => id))))]
  }
}

/** Reads the slots again whose flip is due by `now`; says of which segments what fails is. */
export function readDue(group: GroupState, plan: PlanGroup, now: number, affected: Affected): void {
  try {
    readSlots(group, plan, now, affected)
  } catch (error) {
    if (error instanceof InvariantError || error instanceof TributaryError) throw error
    const due = plan.accumulators.filter((accumulator) => (group.slot(accumulator.ordinal)?.flipsAt ?? NEVER) <= now)
    throw new FlipError(group.number, due, error as Error)
  }
}

const matched: PlanAccumulator[] = []

/** Reads a trait's conditions anew after its value has changed (or for a fill or merge). Where none matches there is no group. */
export function readTrait(
  groups: Groups,
  plan: PlanGroup,
  { value, now }: { value: Json | undefined; now: number },
  affected: Affected,
): void {
  matched.length = 0
  if (value !== undefined) plan.match(value, now, matched)
  let group = groups.get(plan.number)
  if (group === undefined) {
    if (matched.length === 0) return
    group = GroupState.fresh(plan.number, true)
    groups.add(group)
  }
  const slots = group.open()
  for (let i = slots.length - 1; i >= 0; i--) {
    const slot = slots[i] as Slot
    const accumulator = plan.accumulator(slot.ordinal)
    if (accumulator === undefined || !matched.includes(accumulator)) dropSlot(group, slot, accumulator, affected)
  }
  if (matched.length === 0) {
    groups.delete(plan.number)
    return
  }
  for (const accumulator of matched) {
    const slot = group.slot(accumulator.ordinal) ?? group.addSlot(accumulator, value)
    slot.state = value
    if (readConditions(slot, accumulator, now, affected)) group.change()
  }
  group.refreshFlips()
}
