// What one profile holds for one group of the plan: its accumulators' states and the truth of their conditions. Owns the
// layout of a group's bytes and when they are decoded. Knows nothing of events, of segments or of other groups.
//
// 1. A group without state is absent: all its accumulators are empty and its truths constant.
// 2. A group read from a row stays there as bytes, which `write` copies unless it has changed. Its head (truth bits) is read where it
//    lies; the body (states) is only decoded when an event, a flip or a fill touches the group, and then only the accumulators
//    concerned.
// 3. A group that was split off has its body in a row of its own and its head, like any other, with the profile.
// 4. Slots are in the order of their ordinals, so equal contents have equal bytes.
//
// piece: number · flags · flips · head size · head · (unless split off) body size · body
// head:  count · (ordinal delta, words, word…)*        body: (flips, state size)* · states
import { invariant, must } from '../core/assert.ts'
import { Reader, Writer } from '../core/bytes.ts'
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

const heads = new Writer(1024)
const indexes = new Writer(1024)
const states = new Writer(4096)
const NO_BYTES = Buffer.alloc(0)

export class GroupState {
  readonly number: number
  readonly isTrait: boolean
  flipsAt: number = NEVER
  /** The slots are newer than the bytes. */
  #isDirty = false
  /** The body has changed since it was last handed out. */
  #isFresh = false
  isSplit = false
  /** The row that it was read from, and where it lies there. */
  readonly #bytes: Buffer
  #at = 0
  #end = 0
  #headAt = 0
  #headEnd = 0
  #bodyAt = 0
  /** The body of a split-off group; undefined: not loaded (3). */
  #splitBody: Buffer | undefined
  #slots: Slot[] | undefined

  private constructor(number: number, isTrait: boolean, bytes: Buffer) {
    this.number = number
    this.isTrait = isTrait
    this.#bytes = bytes
  }

  static fresh(number: number, isTrait: boolean): GroupState {
    const group = new GroupState(number, isTrait, NO_BYTES)
    group.#slots = []
    group.change()
    return group
  }

  /** What it holds has changed, or is about to. */
  change(): void {
    this.#isDirty = true
    this.#isFresh = true
  }

  /** Reads what `write` has written; keeps a view. A split-off body must be attached before the group is opened. */
  static read(r: Reader): GroupState {
    const at = r.at
    const number = r.varint()
    const flags = r.u8()
    const group = new GroupState(number, (flags & TRAIT) !== 0, r.buffer)
    group.#at = at
    group.isSplit = (flags & SPLIT) !== 0
    group.flipsAt = flipsOf(r.varint())
    const headSize = r.varint()
    group.#headAt = r.at
    r.at += headSize
    group.#headEnd = r.at
    if (!group.isSplit) {
      const bodySize = r.varint()
      group.#bodyAt = r.at
      r.at += bodySize
    }
    group.#end = r.at
    invariant(r.at <= r.end, 'a group lies within its row')
    return group
  }

  /**
   * Writes the group into the profile's row; `whole`: with its body, also where that is split off. Returns the body for a row of
   * its own, if there is one and it has changed.
   */
  write(w: Writer, whole: boolean): Buffer | undefined {
    const isWithBody = whole || !this.isSplit
    if (!this.#isDirty && (!this.isSplit || !isWithBody)) {
      w.range(this.#bytes, this.#at, this.#end)
      return undefined
    }
    w.varint(this.number)
      .u8((this.isTrait ? TRAIT : 0) | (isWithBody ? 0 : SPLIT))
      .varint(flipsCode(this.flipsAt))
    if (!this.#isDirty) {
      w.varint(this.#headEnd - this.#headAt).range(this.#bytes, this.#headAt, this.#headEnd)
      w.bytes(must(this.#splitBody, 'a group that is handed over was loaded (3)'))
      return undefined
    }
    this.#encodeSlots()
    w.varint(heads.length).writer(heads)
    if (isWithBody) {
      w.varint(indexes.length + states.length)
        .writer(indexes)
        .writer(states)
      return undefined
    }
    if (!this.#isFresh) return undefined
    this.#isFresh = false
    return Buffer.concat([indexes.view(), states.view()])
  }

  #encodeSlots(): void {
    const slots = this.open()
    const old = this.#splitBody ?? this.#bytes
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
      else states.range(old, slot.from, slot.to)
      indexes.varint(flipsCode(slot.flipsAt)).varint(states.length - from)
    }
  }

  get isLoaded(): boolean {
    return this.#slots !== undefined || !this.isSplit || this.#splitBody !== undefined
  }

  attach(body: Buffer): void {
    if (!this.isLoaded) this.#splitBody = body
  }

  /** The truth of a condition. */
  holds(ref: ConditionRef): boolean {
    if (this.#slots === undefined) return holdsInHead(this.#bytes, this.#headAt, ref)
    const slot = find(this.#slots, ref.accumulator)
    return slot === undefined ? ref.whenEmpty : slot.holds(ref)
  }

  /** The slots, with their flips; states are decoded one by one (`stateOf`). */
  open(): readonly Slot[] {
    if (this.#slots !== undefined) return this.#slots
    invariant(this.isLoaded, `the row of split-off group ${this.number} was loaded (3)`)
    const slots: Slot[] = []
    const r = new Reader(this.#bytes, this.#headAt, this.#headEnd)
    let ordinal = -1
    for (let n = r.varint(); n > 0; n--) {
      ordinal += r.varint() + 1
      const bits: number[] = []
      for (let words = r.varint(); words > 0; words--) bits.push(r.varint())
      slots.push(new Slot(ordinal, bits))
    }
    this.#openBody(slots)
    this.#slots = slots
    return slots
  }

  #openBody(slots: readonly Slot[]): void {
    const r = this.#splitBody === undefined ? new Reader(this.#bytes, this.#bodyAt, this.#end) : new Reader(this.#splitBody)
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
    slot.state = operator.decode(new Reader(this.#splitBody ?? this.#bytes, slot.from, slot.to))
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
    this.change()
    return slot
  }

  removeSlot(slot: Slot): void {
    const slots = this.open() as Slot[]
    slots.splice(slots.indexOf(slot), 1)
    this.change()
  }

  /** Finds the group's earliest flip after slots have changed. */
  refreshFlips(): void {
    let flipsAt = NEVER
    for (const slot of this.open()) if (slot.flipsAt < flipsAt) flipsAt = slot.flipsAt
    this.flipsAt = flipsAt
  }

  /** Flips that are due by `now` don't happen: whatever touches their accumulators next reads them anew. */
  skipFlips(now: number): void {
    for (const slot of this.open()) if (slot.flipsAt <= now) slot.flipsAt = NEVER
    this.change()
    this.refreshFlips()
  }

  /** Moves the body out of the profile's row (3): the next `write` hands it out. */
  splitOff(): void {
    this.open()
    this.isSplit = true
    this.change()
  }
}

/** The groups of one profile, in the order of their numbers. */
export class Groups {
  readonly #list: GroupState[] = []

  get size(): number {
    return this.#list.length
  }

  get(number: number): GroupState | undefined {
    const group = this.#list[this.#find(number)]
    return group !== undefined && group.number === number ? group : undefined
  }

  add(group: GroupState): void {
    this.#list.splice(this.#find(group.number), 0, group)
  }

  /** Adds one that comes after all others. */
  append(group: GroupState): void {
    this.#list.push(group)
  }

  delete(number: number): void {
    const i = this.#find(number)
    if (this.#list[i]?.number === number) this.#list.splice(i, 1)
  }

  /** Valid until one is added or deleted. */
  values(): readonly GroupState[] {
    return this.#list
  }

  /** Where a group is or would be. */
  #find(number: number): number {
    const list = this.#list
    let low = 0
    let high = list.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((list[middle] as GroupState).number < number) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** Where `readVarint` is. */
let cursor = 0

function readVarint(bytes: Buffer): number {
  let byte = bytes[cursor++] as number
  if (byte < 0x80) return byte
  let x = byte & 0x7f
  for (let shift = 7; ; shift += 7) {
    byte = bytes[cursor++] as number
    x |= (byte & 0x7f) << shift
    if (byte < 0x80) return x
  }
}

/** Reads one truth where it lies. */
function holdsInHead(bytes: Buffer, headAt: number, ref: ConditionRef): boolean {
  cursor = headAt
  let ordinal = -1
  for (let n = readVarint(bytes); n > 0; n--) {
    ordinal += readVarint(bytes) + 1
    if (ordinal > ref.accumulator) break
    let word = 0
    const words = readVarint(bytes)
    for (let i = 0; i < words; i++) {
      const bits = readVarint(bytes)
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
