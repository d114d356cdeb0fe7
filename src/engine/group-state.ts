// What one profile holds for one group of the plan: its accumulators' states and the truth of their conditions. Owns the
// layout of a group's bytes and when they are decoded. Knows nothing of events, of segments or of other groups.
//
// 1. A group without state is absent: all its accumulators are empty and its truths constant.
// 2. `head` and `body` are binary strings, in step with `slots` unless `isDirty`. The head (truth bits) is enough for reading
//    conditions; the body (states) is only decoded when an event, a flip or a fill touches the group, and then only the
//    accumulators concerned.
// 3. A group that was split off has its body in a row of its own and its head, like any other, with the profile.
// 4. Slots are in the order of their ordinals, so equal contents have equal bytes.
//
// head:  count · (ordinal delta, words, word…)*        body: (flips + 1 or 0, state bytes)* · states
import { invariant, must } from '../core/assert.ts'
import { Reader, toBinary, Writer } from '../core/bytes.ts'
import { NEVER } from '../operators/operator.ts'
import type { PlanAccumulator } from './plan-group.ts'
import type { ConditionRef } from './segment-tree.ts'

/** Instants beyond this (in 70,000 years) count as never. */
const LAST_INSTANT = 2 ** 51

const flipsCode = (flipsAt: number): number => (flipsAt > LAST_INSTANT ? 0 : Math.max(0, flipsAt) + 1)

const SPLIT = 1
const TRAIT = 2

/** One accumulator's state. */
export class Slot {
  readonly ordinal: number
  /** Truth bits of its conditions, in words. */
  readonly bits: number[]
  /** The earliest flip of its conditions; -Infinity: to be read again at the next touch. */
  flipsAt: number = NEVER
  /** Decoded, when touched; a trait's value in a trait's group. */
  state: unknown
  /** The accumulator that `state` was decoded or made for. */
  accumulator: PlanAccumulator | undefined
  /** The state's bytes; undefined once it has changed. */
  raw: string | undefined

  constructor(ordinal: number, bits: number[]) {
    this.ordinal = ordinal
    this.bits = bits
  }

  holds(ref: ConditionRef): boolean {
    return ((this.bits[ref.word] ?? 0) & ref.mask) !== 0
  }
}

const states = new Writer(4096)
const parts = new Writer(1024)
let scratch = Buffer.allocUnsafe(16_384)

/** A reader of a binary string, valid until the next call: what it yields must be copies. */
function readerOf(binary: string): Reader {
  if (binary.length > scratch.length) scratch = Buffer.allocUnsafe(binary.length * 2)
  scratch.latin1Write(binary, 0, binary.length)
  return new Reader(scratch, 0, binary.length)
}

export class GroupState {
  readonly number: number
  readonly isTrait: boolean
  flipsAt: number = NEVER
  isDirty = false
  isSplit = false
  #head: string | undefined
  /** Undefined: not loaded (3), or not in step (2). */
  #body: string | undefined
  #slots: Slot[] | undefined
  #isOpen = false

  private constructor(number: number, isTrait: boolean) {
    this.number = number
    this.isTrait = isTrait
  }

  static fresh(number: number, isTrait: boolean): GroupState {
    const group = new GroupState(number, isTrait)
    group.#slots = []
    group.#isOpen = true
    group.isDirty = true
    return group
  }

  /** Reads what `write` has written. Without a body it must be attached before the group is opened. */
  static read(r: Reader): GroupState {
    const number = r.varint()
    const flags = r.u8()
    const group = new GroupState(number, (flags & TRAIT) !== 0)
    group.isSplit = (flags & SPLIT) !== 0
    const flips = r.varint()
    group.flipsAt = flips === 0 ? NEVER : flips - 1
    group.#head = r.binary(r.varint())
    if (!group.isSplit) group.#body = r.binary(r.varint())
    return group
  }

  /** Writes the group into the profile's row, without its body where it is split off. */
  write(w: Writer, isSplit: boolean): void {
    const { head, body } = this.bytes()
    w.varint(this.number)
      .u8((this.isTrait ? TRAIT : 0) | (isSplit ? SPLIT : 0))
      .varint(flipsCode(this.flipsAt))
    w.varint(head.length).binary(head)
    if (isSplit) return
    invariant(body !== undefined, `the row of split-off group ${this.number} was loaded (3)`)
    w.varint(body.length).binary(body)
  }

  get isLoaded(): boolean {
    return this.#isOpen || this.#body !== undefined
  }

  attach(body: Buffer): void {
    if (!this.isLoaded) this.#body = toBinary(body)
  }

  /** The truth of a condition; decodes the head at most. */
  holds(ref: ConditionRef): boolean {
    const slot = find(this.#slots ?? this.#peek(), ref.accumulator)
    return slot === undefined ? ref.whenEmpty : slot.holds(ref)
  }

  #peek(): Slot[] {
    const r = readerOf(must(this.#head, 'a closed group has its head (2)'))
    const slots: Slot[] = []
    let ordinal = -1
    for (let n = r.varint(); n > 0; n--) {
      ordinal += r.varint() + 1
      const bits: number[] = []
      for (let words = r.varint(); words > 0; words--) bits.push(r.varint())
      slots.push(new Slot(ordinal, bits))
    }
    this.#slots = slots
    return slots
  }

  /** The slots, with their flips; states are decoded one by one (`stateOf`). */
  open(): readonly Slot[] {
    const slots = this.#slots ?? this.#peek()
    if (this.#isOpen) return slots
    invariant(this.#body !== undefined, `the row of split-off group ${this.number} was loaded (3)`)
    const r = readerOf(this.#body)
    const sizes: number[] = []
    for (const slot of slots) {
      const flips = r.varint()
      slot.flipsAt = flips === 0 ? NEVER : flips - 1
      sizes.push(r.varint())
    }
    let at = r.at
    for (const [i, slot] of slots.entries()) {
      const end = at + (sizes[i] as number)
      slot.raw = this.#body.slice(at, end)
      at = end
    }
    this.#isOpen = true
    return slots
  }

  slot(ordinal: number): Slot | undefined {
    return find(this.open(), ordinal)
  }

  /** A new slot for an accumulator that had no state. */
  addSlot(accumulator: PlanAccumulator, state: unknown): Slot {
    const slots = this.open() as Slot[]
    const slot = new Slot(accumulator.ordinal, accumulator.emptyBits.slice())
    slot.state = state
    slot.accumulator = accumulator
    let i = slots.length
    while (i > 0 && (slots[i - 1] as Slot).ordinal > slot.ordinal) i--
    slots.splice(i, 0, slot)
    this.isDirty = true
    return slot
  }

  removeSlot(slot: Slot): void {
    const slots = this.open() as Slot[]
    slots.splice(slots.indexOf(slot), 1)
    this.isDirty = true
  }

  /** Finds the group's earliest flip after slots have changed. */
  refreshFlips(): void {
    let flipsAt = NEVER
    for (const slot of this.open()) if (slot.flipsAt < flipsAt) flipsAt = slot.flipsAt
    this.flipsAt = flipsAt
  }

  /** Brings head and body in step (2) and returns them. */
  bytes(): { head: string; body: string | undefined } {
    if (this.isDirty) {
      this.#encode()
      this.isDirty = false
    }
    return { head: must(this.#head, 'it was encoded or decoded'), body: this.#body }
  }

  /** Lets go of what can be decoded again from the bytes. */
  close(): void {
    invariant(!this.isDirty, 'a group is encoded before it is closed')
    this.#slots = undefined
    this.#isOpen = false
  }

  #encode(): void {
    const slots = this.open()
    parts.reset().varint(slots.length)
    let ordinal = -1
    for (const slot of slots) {
      parts.varint(slot.ordinal - ordinal - 1).varint(slot.bits.length)
      for (const word of slot.bits) parts.varint(word)
      ordinal = slot.ordinal
    }
    this.#head = toBinary(parts.view())
    parts.reset()
    states.reset()
    const ends: number[] = []
    for (const slot of slots) {
      const start = states.length
      encodeSlot(slot)
      ends.push(states.length)
      parts.varint(flipsCode(slot.flipsAt)).varint(states.length - start)
    }
    const all = toBinary(states.view())
    let start = 0
    for (const [i, slot] of slots.entries()) {
      const end = ends[i] as number
      slot.raw ??= all.slice(start, end)
      start = end
    }
    this.#body = toBinary(parts.view()) + all
  }
}

function encodeSlot(slot: Slot): void {
  if (slot.raw !== undefined) states.binary(slot.raw)
  else slot.accumulator?.operator?.encode(slot.state, states)
}

/** A slot's state, decoded. */
export function stateOf(slot: Slot, accumulator: PlanAccumulator): unknown {
  if (slot.accumulator !== undefined) return slot.state
  const operator = must(accumulator.operator, 'a trait needs no decoding')
  slot.state = operator.decode(readerOf(must(slot.raw, 'a state that is not decoded has its bytes')))
  slot.accumulator = accumulator
  return slot.state
}

/** Groups hold a handful of slots; the ordinals are sorted. */
function find(slots: readonly Slot[], ordinal: number): Slot | undefined {
  let low = 0
  let high = slots.length
  while (high - low > 8) {
    const middle = (low + high) >>> 1
    if ((slots[middle] as Slot).ordinal <= ordinal) low = middle
    else high = middle
  }
  for (let i = low; i < high; i++) {
    const slot = slots[i] as Slot
    if (slot.ordinal === ordinal) return slot
  }
  return undefined
}
