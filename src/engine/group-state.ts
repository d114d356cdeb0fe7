// What one profile holds for one group of the plan: its accumulators' states and the truth of their conditions. Owns the
// layout of a group's bytes and when they are decoded. Knows nothing of events, of segments or of other groups.
//
// 1. A group without state is absent: all its accumulators are empty and its truths constant.
// 2. `piece` is the group's part of the profile's row, in step with `slots` unless `isDirty`. Its head (truth bits) is read where it
//    lies; the body (states) is only decoded when an event, a flip or a fill touches the group, and then only the accumulators
//    concerned. What is not decoded is a text: by far the smallest way to keep many bytes in many pieces.
// 3. A group that was split off has its body in a row of its own and its head, like any other, with the profile.
// 4. Slots are in the order of their ordinals, so equal contents have equal bytes.
//
// piece: number · flags · flips · head size · head · (unless split off) body size · body
// head:  count · (ordinal delta, words, word…)*        body: (flips, state size)* · states
import { invariant, must } from '../core/assert.ts'
import { Reader, toBinary, Writer } from '../core/bytes.ts'
import { NEVER } from '../operators/operator.ts'
import type { PlanAccumulator } from './plan-group.ts'
import type { ConditionRef } from './segment-tree.ts'

/** Instants beyond this (in 70,000 years) count as never. */
const LAST_INSTANT = 2 ** 51

const flipsCode = (flipsAt: number): number => (flipsAt > LAST_INSTANT ? 0 : Math.max(0, flipsAt) + 1)
const flipsOf = (code: number): number => (code === 0 ? NEVER : code - 1)

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
  /** The accumulator that `state` was decoded or made for; undefined: not decoded yet. */
  accumulator: PlanAccumulator | undefined
  /** Where the state lies in the body, while it is not decoded. */
  from = 0
  to = 0

  constructor(ordinal: number, bits: number[]) {
    this.ordinal = ordinal
    this.bits = bits
  }

  holds(ref: ConditionRef): boolean {
    return ((this.bits[ref.word] ?? 0) & ref.mask) !== 0
  }
}

const pieces = new Writer(8192)
const heads = new Writer(1024)
const indexes = new Writer(1024)
const states = new Writer(4096)
let scratch = Buffer.allocUnsafe(16_384)

/** A reader of part of a binary string, valid until the next call: what it yields must be copies. */
function readerOf(binary: string, from: number, to = binary.length): Reader {
  const size = to - from
  if (size > scratch.length) scratch = Buffer.allocUnsafe(size * 2)
  scratch.write(from === 0 && to === binary.length ? binary : binary.slice(from, to), 0, 'latin1')
  return new Reader(scratch, 0, size)
}

export class GroupState {
  readonly number: number
  readonly isTrait: boolean
  flipsAt: number = NEVER
  isDirty = false
  isSplit = false
  /** The body has changed since it was last taken by `takeBody`. */
  isFresh = false
  #piece = ''
  #headAt = 0
  /** In `piece`; 0 where the body is split off. */
  #bodyAt = 0
  /** The body of a split-off group; undefined: not loaded (3). */
  #splitBody: string | undefined
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

  /** Reads what `write` has written. A split-off body must be attached before the group is opened. */
  static read(r: Reader): GroupState {
    const start = r.at
    const number = r.varint()
    const flags = r.u8()
    const group = new GroupState(number, (flags & TRAIT) !== 0)
    group.isSplit = (flags & SPLIT) !== 0
    group.flipsAt = flipsOf(r.varint())
    const headSize = r.varint()
    group.#headAt = r.at - start
    r.at += headSize
    if (!group.isSplit) {
      const bodySize = r.varint()
      group.#bodyAt = r.at - start
      r.at += bodySize
    }
    invariant(r.at <= r.end, 'a group lies within its row')
    group.#piece = r.buffer.toString('latin1', start, r.at)
    return group
  }

  /** The bytes that it adds to the profile's row. */
  get inlineBytes(): number {
    return this.#piece.length
  }

  /** Writes the group into the profile's row; `whole`: with its body, also where that is split off. */
  write(w: Writer, whole: boolean): void {
    if (!this.isSplit || !whole) {
      w.binary(this.#piece)
      return
    }
    const body = must(this.#splitBody, 'a group that is handed over was loaded (3)')
    w.varint(this.number)
      .u8(this.isTrait ? TRAIT : 0)
      .varint(flipsCode(this.flipsAt))
    const head = this.#piece.slice(this.#headAt)
    w.varint(head.length).binary(head).varint(body.length).binary(body)
  }

  get isLoaded(): boolean {
    return this.#isOpen || !this.isSplit || this.#splitBody !== undefined
  }

  attach(body: Buffer): void {
    if (!this.isLoaded) this.#splitBody = toBinary(body)
  }

  /** The truth of a condition. */
  holds(ref: ConditionRef): boolean {
    if (this.#slots === undefined) return holdsInHead(this.#piece, this.#headAt, ref)
    const slot = find(this.#slots, ref.accumulator)
    return slot === undefined ? ref.whenEmpty : slot.holds(ref)
  }

  /** The slots, with their flips; states are decoded one by one (`stateOf`). */
  open(): readonly Slot[] {
    if (this.#slots !== undefined) return this.#slots
    invariant(this.isLoaded, `the row of split-off group ${this.number} was loaded (3)`)
    const slots: Slot[] = []
    const r = readerOf(this.#piece, this.#headAt)
    let ordinal = -1
    for (let n = r.varint(); n > 0; n--) {
      ordinal += r.varint() + 1
      const bits: number[] = []
      for (let words = r.varint(); words > 0; words--) bits.push(r.varint())
      slots.push(new Slot(ordinal, bits))
    }
    this.#openBody(slots)
    this.#slots = slots
    this.#isOpen = true
    return slots
  }

  #openBody(slots: readonly Slot[]): void {
    const r = readerOf(this.#splitBody ?? this.#piece, this.#bodyAt)
    let at = 0
    for (const slot of slots) {
      slot.flipsAt = flipsOf(r.varint())
      slot.from = at
      at += r.varint()
      slot.to = at
    }
    for (const slot of slots) {
      slot.from += r.at
      slot.to += r.at
    }
  }

  /** A slot's state, decoded. */
  stateOf(slot: Slot, accumulator: PlanAccumulator): unknown {
    if (slot.accumulator !== undefined) return slot.state
    const operator = must(accumulator.operator, 'a trait needs no decoding')
    slot.state = operator.decode(readerOf(this.#splitBody ?? this.#piece, this.#bodyAt + slot.from, this.#bodyAt + slot.to))
    slot.accumulator = accumulator
    return slot.state
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

  /** Brings the bytes in step (2). */
  encode(): void {
    const slots = this.open()
    const old = this.#splitBody ?? this.#piece
    const oldAt = this.#bodyAt
    heads.reset().varint(slots.length)
    indexes.reset()
    states.reset()
    let ordinal = -1
    for (const slot of slots) {
      heads.varint(slot.ordinal - ordinal - 1).varint(slot.bits.length)
      for (const word of slot.bits) heads.varint(word)
      ordinal = slot.ordinal
      const from = states.length
      if (slot.accumulator !== undefined) slot.accumulator.operator?.encode(slot.state, states)
      else states.binary(old.slice(oldAt + slot.from, oldAt + slot.to))
      slot.from = from
      slot.to = states.length
      indexes.varint(flipsCode(slot.flipsAt)).varint(slot.to - from)
    }
    for (const slot of slots) {
      slot.from += indexes.length
      slot.to += indexes.length
    }
    pieces
      .reset()
      .varint(this.number)
      .u8((this.isTrait ? TRAIT : 0) | (this.isSplit ? SPLIT : 0))
      .varint(flipsCode(this.flipsAt))
      .varint(heads.length)
    this.#headAt = pieces.length
    pieces.raw(heads.view())
    if (this.isSplit) {
      this.#splitBody = indexes.view().toString('latin1') + states.view().toString('latin1')
      this.#bodyAt = 0
    } else {
      pieces.varint(indexes.length + states.length)
      this.#bodyAt = pieces.length
      pieces.raw(indexes.view()).raw(states.view())
    }
    this.#piece = pieces.view().toString('latin1')
    this.isDirty = false
    this.isFresh = true
  }

  /** Moves the body out of the profile's row (3). */
  splitOff(): void {
    this.open()
    this.isSplit = true
    this.encode()
  }

  /** The body of a split-off group, if it has changed. */
  takeBody(): string | undefined {
    if (!this.isSplit || !this.isFresh) return undefined
    return must(this.#splitBody, 'what has changed is loaded')
  }

  /** Lets go of what can be decoded again from the bytes. */
  close(): void {
    invariant(!this.isDirty, 'a group is encoded before it is closed')
    this.#slots = undefined
    this.#isOpen = false
  }
}

/** Where `readVarint` is. */
let cursor = 0

function readVarint(text: string): number {
  let code = text.charCodeAt(cursor++)
  if (code < 0x80) return code
  let x = code & 0x7f
  for (let shift = 7; ; shift += 7) {
    code = text.charCodeAt(cursor++)
    x |= (code & 0x7f) << shift
    if (code < 0x80) return x
  }
}

/** Reads one truth where it lies. */
function holdsInHead(piece: string, headAt: number, ref: ConditionRef): boolean {
  cursor = headAt
  let ordinal = -1
  for (let n = readVarint(piece); n > 0; n--) {
    ordinal += readVarint(piece) + 1
    if (ordinal > ref.accumulator) break
    let word = 0
    const words = readVarint(piece)
    for (let i = 0; i < words; i++) {
      const bits = readVarint(piece)
      if (i === ref.word) word = bits
    }
    if (ordinal === ref.accumulator) return (word & ref.mask) !== 0
  }
  return ref.whenEmpty
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
