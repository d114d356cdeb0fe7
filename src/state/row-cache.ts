// Rows as bytes in memory, newest version each, under a byte budget. Owns the bytes; knows nothing of what they mean, and the store
// (with the pending rows before it) owns the truth.
//
// 1. A row is found under its key until it is evicted; a row put later under the same key takes its place.
// 2. A row whose commit isn't durable yet (its pin) is never evicted: nobody else has it.
// 3. Eviction goes round in the order in which rows were put (CLOCK): what was found since the hand last passed moves to the end.
// 4. Bytes that were handed out stay as they are as long as somebody holds them: a chunk is written once and then given up whole.
// 5. Rows lie in few large buffers behind an index of plain integers, so a million of them are nothing to garbage collection.
import { invariant } from '../core/assert.ts'

const CHUNK_BITS = 17
const CHUNK_BYTES = 1 << CHUNK_BITS
/** Rows are placed at multiples of this, so that a place fits into 32 bits. */
const ALIGN_BITS = 3
const ALIGN = 1 << ALIGN_BITS
const CHUNK_PLACES = CHUNK_BYTES >> ALIGN_BITS
const FIRST_SLOTS = 1 << 10
/** Key size u8 · flags u8 · pin u32 · value size u32, then the key, then the value. */
const HEAD_BYTES = 10
const LONGEST_KEY = 255
/** Larger rows are not kept: they would not share a chunk with others. */
export const LARGEST_CACHED_BYTES = CHUNK_BYTES >> 2

const USED = 1
const ABSENT = 2

/** A row that was found: where its value lies. `bytes` is shared with other rows (4). */
export interface Place {
  bytes: Buffer
  from: number
  to: number
}

export class RowCache {
  /** By chunk number; a number that was given up is taken again. */
  readonly #chunks: (Buffer | undefined)[] = []
  readonly #free: number[] = []
  /** Chunk numbers in the order in which they were begun. */
  readonly #order: number[] = []
  #chunk: Buffer | undefined
  #number = -1
  #used = CHUNK_BYTES
  /** Open addressing: place + 1, 0 where there is none. */
  #slots = new Uint32Array(FIRST_SLOTS)
  #count = 0

  /** Rows, absent ones included. */
  get size(): number {
    return this.#count
  }

  get bytes(): number {
    return this.#order.length * CHUNK_BYTES + this.#slots.byteLength
  }

  /** True if the row fits; one that doesn't must not be here in an older version either, and is dropped. */
  put(key: string, value: Place | undefined, pin: number): boolean {
    const size = value === undefined ? 0 : value.to - value.from
    const need = HEAD_BYTES + key.length + size
    if (need > LARGEST_CACHED_BYTES || key.length > LONGEST_KEY) {
      this.drop(key)
      return false
    }
    if (this.#used + need > CHUNK_BYTES) this.#begin()
    const chunk = this.#chunk as Buffer
    const at = this.#used
    this.#used = (at + need + ALIGN - 1) & ~(ALIGN - 1)
    chunk[at] = key.length
    chunk[at + 1] = value === undefined ? USED | ABSENT : USED
    putU32(chunk, at + 2, pin)
    putU32(chunk, at + 6, size)
    chunk.latin1Write(key, at + HEAD_BYTES, key.length)
    if (value !== undefined) copy(value, chunk, at + HEAD_BYTES + key.length)
    this.#index(key, this.#number * CHUNK_PLACES + (at >> ALIGN_BITS))
    return true
  }

  has(key: string): boolean {
    return this.#slots[this.#slotOf(key)] !== 0
  }

  /** Where a row's value lies, undefined if the row is known to be absent, null if nothing is known. */
  find(key: string, out: Place): Place | undefined | null {
    const place = this.#slots[this.#slotOf(key)] as number
    if (place === 0) return null
    const chunk = this.#chunkOf(place - 1)
    const at = offsetOf(place - 1)
    const flags = chunk[at + 1] as number
    chunk[at + 1] = flags | USED
    if ((flags & ABSENT) !== 0) return undefined
    out.bytes = chunk
    out.from = at + HEAD_BYTES + (chunk[at] as number)
    out.to = out.from + getU32(chunk, at + 6)
    return out
  }

  /** Whether what is kept is durable, commits up to `durableN` being so; true where nothing is kept. */
  isAtRest(key: string, durableN: number): boolean {
    const place = this.#slots[this.#slotOf(key)] as number
    return place === 0 || isDurable(getU32(this.#chunkOf(place - 1), offsetOf(place - 1) + 2), durableN)
  }

  drop(key: string): void {
    const slot = this.#slotOf(key)
    if (this.#slots[slot] !== 0) this.#remove(slot)
  }

  clear(): void {
    this.#chunks.length = 0
    this.#free.length = 0
    this.#order.length = 0
    this.#chunk = undefined
    this.#number = -1
    this.#used = CHUNK_BYTES
    this.#slots = new Uint32Array(FIRST_SLOTS)
    this.#count = 0
  }

  /** Evicts down to `budgetBytes`, as far as commits up to `durableN` allow (2, 3). */
  evict(budgetBytes: number, durableN: number): void {
    // What is used or pinned moves on once; a second round finds the marks of use gone.
    for (let left = 2 * this.#order.length; left > 0 && this.#order.length > 1 && this.bytes > budgetBytes; left--) {
      const number = this.#order.shift() as number
      invariant(number !== this.#number, 'the chunk that is written is the last to go')
      this.#giveUp(number, durableN)
    }
  }

  #giveUp(number: number, durableN: number): void {
    const chunk = this.#chunks[number] as Buffer
    for (let at = 0; at + HEAD_BYTES <= CHUNK_BYTES; ) {
      const keySize = chunk[at] as number
      // A chunk ends where no key begins.
      if (keySize === 0) break
      const size = getU32(chunk, at + 6)
      const place = number * CHUNK_PLACES + (at >> ALIGN_BITS)
      const key = chunk.latin1Slice(at + HEAD_BYTES, at + HEAD_BYTES + keySize)
      const slot = this.#slotOf(key)
      if (this.#slots[slot] === place + 1) {
        const pin = getU32(chunk, at + 2)
        const flags = chunk[at + 1] as number
        if ((flags & USED) === 0 && isDurable(pin, durableN)) this.#remove(slot)
        else this.#move(key, chunk, { at, size, flags, pin })
      }
      at = (at + HEAD_BYTES + keySize + size + ALIGN - 1) & ~(ALIGN - 1)
    }
    this.#chunks[number] = undefined
    this.#free.push(number)
  }

  #move(key: string, chunk: Buffer, row: { at: number; size: number; flags: number; pin: number }): void {
    const from = row.at + HEAD_BYTES + key.length
    this.put(key, (row.flags & ABSENT) !== 0 ? undefined : { bytes: chunk, from, to: from + row.size }, row.pin)
    // As if it had not been found since.
    const place = (this.#slots[this.#slotOf(key)] as number) - 1
    const moved = this.#chunkOf(place)
    moved[offsetOf(place) + 1] = row.flags & ~USED
  }

  #begin(): void {
    // Zeroed, so that it can be told where its rows end.
    const chunk = Buffer.alloc(CHUNK_BYTES)
    const number = this.#free.pop() ?? this.#chunks.length
    invariant(number * CHUNK_PLACES < 0xffff_ffff - CHUNK_PLACES, 'places fit into 32 bits')
    this.#chunks[number] = chunk
    this.#order.push(number)
    this.#chunk = chunk
    this.#number = number
    this.#used = 0
  }

  #chunkOf(place: number): Buffer {
    return this.#chunks[Math.floor(place / CHUNK_PLACES)] as Buffer
  }

  // ---- the index

  /** The slot that holds the key, or the empty one where it belongs. */
  #slotOf(key: string): number {
    const slots = this.#slots
    const mask = slots.length - 1
    for (let slot = hashOf(key) & mask; ; slot = (slot + 1) & mask) {
      const place = slots[slot] as number
      if (place === 0 || this.#isAt(place - 1, key)) return slot
    }
  }

  #isAt(place: number, key: string): boolean {
    const chunk = this.#chunkOf(place)
    const at = offsetOf(place)
    const { length } = key
    if (chunk[at] !== length) return false
    // Keys end in hashes or numbers: where they differ, they differ there.
    for (let i = length - 1; i >= 0; i--) if (chunk[at + HEAD_BYTES + i] !== key.charCodeAt(i)) return false
    return true
  }

  #index(key: string, place: number): void {
    const slot = this.#slotOf(key)
    if (this.#slots[slot] === 0) this.#count++
    this.#slots[slot] = place + 1
    if (this.#count * 2 > this.#slots.length) this.#grow()
  }

  #grow(): void {
    const old = this.#slots
    const slots = new Uint32Array(old.length * 2)
    const mask = slots.length - 1
    for (const place of old) {
      if (place === 0) continue
      let slot = this.#hashAt(place - 1) & mask
      while (slots[slot] !== 0) slot = (slot + 1) & mask
      slots[slot] = place
    }
    this.#slots = slots
  }

  /** Closes the gap, so that no search ends at it too early. */
  #remove(slot: number): void {
    const slots = this.#slots
    const mask = slots.length - 1
    let gap = slot
    for (let next = (gap + 1) & mask; slots[next] !== 0; next = (next + 1) & mask) {
      const home = this.#hashAt((slots[next] as number) - 1) & mask
      // It stays if its home lies cyclically behind the gap.
      if (((next - home) & mask) < ((next - gap) & mask)) continue
      slots[gap] = slots[next] as number
      gap = next
    }
    slots[gap] = 0
    this.#count--
  }

  #hashAt(place: number): number {
    const chunk = this.#chunkOf(place)
    const at = offsetOf(place)
    return hashOfBytes(chunk, at + HEAD_BYTES, chunk[at] as number)
  }
}

const offsetOf = (place: number): number => (place % CHUNK_PLACES) << ALIGN_BITS

/** Pins are the low 32 bits of a commit's number; only a few commits are ever under way. */
const isDurable = (pin: number, durableN: number): boolean => ((pin - durableN) | 0) <= 0

/** Keys hold hashes, so a few of their bytes tell them apart. */
const HASHED_BYTES = 12

function hashOf(key: string): number {
  let h = 0
  for (let i = Math.max(0, key.length - HASHED_BYTES); i < key.length; i++) h = (Math.imul(h, 31) + key.charCodeAt(i)) | 0
  return spread(h)
}

function hashOfBytes(bytes: Buffer, from: number, size: number): number {
  let h = 0
  for (let i = from + Math.max(0, size - HASHED_BYTES); i < from + size; i++) h = (Math.imul(h, 31) + (bytes[i] as number)) | 0
  return spread(h)
}

function spread(h: number): number {
  const x = Math.imul(h ^ (h >>> 16), 0x45d9f3b)
  return (x ^ (x >>> 15)) >>> 0
}

function putU32(bytes: Buffer, at: number, x: number): void {
  bytes[at] = x & 255
  bytes[at + 1] = (x >>> 8) & 255
  bytes[at + 2] = (x >>> 16) & 255
  bytes[at + 3] = (x >>> 24) & 255
}

function getU32(bytes: Buffer, at: number): number {
  return (
    ((bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16) | ((bytes[at + 3] as number) << 24)) >>> 0
  )
}

/** Short values are copied byte by byte: a call into the runtime would cost more. */
const SHORT = 32

function copy({ bytes, from, to }: Place, into: Buffer, at: number): void {
  if (to - from > SHORT) {
    bytes.copy(into, at, from, to)
    return
  }
  for (let i = from; i < to; i++) into[at + i - from] = bytes[i] as number
}
