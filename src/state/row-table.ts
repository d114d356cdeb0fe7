// Rows as bytes in few large buffers, found by key through an index of plain integers: a million of them are nothing to garbage
// collection. Owns bytes and index; what a row means, which ones are kept and for how long is its user's business (row-cache.ts, row-map.ts).
//
// 1. A place names one version of a row. The index knows the newest version of a key; older ones lie in their chunks until these go.
// 2. Bytes that were handed out stay as they are as long as somebody holds them: a chunk is written once and then given up whole.
// 3. A row larger than a chunk has a chunk of its own.
//
// record: key size u16 · flags u8 · tag u32 · value size u32 · key · value
import { invariant } from '../core/assert.ts'

const CHUNK_BITS = 17
const CHUNK_BYTES = 1 << CHUNK_BITS
/** Records lie at multiples of this, so that a place fits into 32 bits. */
const ALIGN_BITS = 3
const ALIGN = 1 << ALIGN_BITS
const CHUNK_PLACES = CHUNK_BYTES >> ALIGN_BITS
const MOST_CHUNKS = Math.floor(0xffff_fffe / CHUNK_PLACES) - 1
const FIRST_SLOTS = 1 << 10
const FIRST_CHUNK_BYTES = 1 << 13
const FLAGS_AT = 2
const TAG_AT = 3
const SIZE_AT = 7
const HEAD_BYTES = 11
const LONGEST_KEY = 0xffff

/** Where a value lies. `bytes` is shared with other rows. */
export interface Span {
  bytes: Buffer
  from: number
  to: number
}

export const NO_PLACE = -1
const NO_CHUNK = -1

export class RowTable {
  /** By chunk number; a number that was given up is taken again. */
  readonly #chunks: (Buffer | undefined)[] = []
  readonly #free: number[] = []
  #chunk: Buffer = Buffer.alloc(0)
  #number = NO_CHUNK
  #used = 0
  /** Open addressing: place + 1, 0 where there is none. */
  #slots = new Uint32Array(FIRST_SLOTS)
  #count = 0
  #chunkBytes = 0

  /** Keys. */
  get size(): number {
    return this.#count
  }

  get bytes(): number {
    return this.#chunkBytes + this.#slots.byteLength
  }

  /** The chunk that is written; none is -1. */
  get chunk(): number {
    return this.#number
  }

  /** Puts the newest version of a row, `bytes[from, to)`; returns its place. */
  put(key: string, value: Span, flags: number, tag: number): number {
    const keySize = key.length
    const size = value.to - value.from
    invariant(keySize > 0 && keySize <= LONGEST_KEY, 'a key has 1 to 65,535 bytes')
    const need = HEAD_BYTES + keySize + size
    if (this.#used + need > this.#chunk.length) this.#begin(need)
    const chunk = this.#chunk
    const at = this.#used
    this.#used = (at + need + ALIGN - 1) & ~(ALIGN - 1)
    chunk[at] = keySize & 255
    chunk[at + 1] = keySize >>> 8
    chunk[at + FLAGS_AT] = flags
    putU32(chunk, at + TAG_AT, tag)
    putU32(chunk, at + SIZE_AT, size)
    writeKey(key, chunk, at + HEAD_BYTES)
    copySpan(value, chunk, at + HEAD_BYTES + keySize)
    const place = this.#number * CHUNK_PLACES + (at >> ALIGN_BITS)
    this.#index(key, place)
    return place
  }

  /** The newest version of a row, or NO_PLACE. */
  find(key: string): number {
    return (this.#slots[this.#slotOf(key)] as number) - 1
  }

  isNewest(place: number): boolean {
    return this.#slots[this.#slotAt(place)] === place + 1
  }

  remove(key: string): void {
    const slot = this.#slotOf(key)
    if (this.#slots[slot] !== 0) this.#remove(slot)
  }

  // ---- what lies at a place

  flags(place: number): number {
    return this.#chunkOf(place)[offsetOf(place) + FLAGS_AT] as number
  }

  setFlags(place: number, flags: number): void {
    this.#chunkOf(place)[offsetOf(place) + FLAGS_AT] = flags
  }

  tag(place: number): number {
    return getU32(this.#chunkOf(place), offsetOf(place) + TAG_AT)
  }

  key(place: number): string {
    const chunk = this.#chunkOf(place)
    const at = offsetOf(place)
    return chunk.latin1Slice(at + HEAD_BYTES, at + HEAD_BYTES + keySizeAt(chunk, at))
  }

  value(place: number, out: Span): Span {
    const chunk = this.#chunkOf(place)
    const at = offsetOf(place)
    out.bytes = chunk
    out.from = at + HEAD_BYTES + keySizeAt(chunk, at)
    out.to = out.from + getU32(chunk, at + SIZE_AT)
    return out
  }

  /** A view of the value. */
  view(place: number): Buffer {
    const chunk = this.#chunkOf(place)
    const at = offsetOf(place)
    const from = at + HEAD_BYTES + keySizeAt(chunk, at)
    return chunk.subarray(from, from + getU32(chunk, at + SIZE_AT))
  }

  /** True if gte <= key < lt, by the bytes. */
  isBetween(place: number, gte: string, lt: string): boolean {
    const chunk = this.#chunkOf(place)
    const at = offsetOf(place)
    const keySize = keySizeAt(chunk, at)
    return compare(chunk, at + HEAD_BYTES, keySize, gte) >= 0 && compare(chunk, at + HEAD_BYTES, keySize, lt) < 0
  }

  // ---- chunks

  /** What was put first into a chunk, or NO_PLACE. */
  firstIn(number: number): number {
    return this.#placeIn(number, 0)
  }

  /** What was put next into the same chunk, or NO_PLACE. */
  after(place: number): number {
    const at = offsetOf(place)
    const number = Math.floor(place / CHUNK_PLACES)
    const chunk = this.#chunks[number] as Buffer
    return this.#placeIn(number, (at + HEAD_BYTES + keySizeAt(chunk, at) + getU32(chunk, at + SIZE_AT) + ALIGN - 1) & ~(ALIGN - 1))
  }

  #placeIn(number: number, at: number): number {
    const chunk = this.#chunks[number]
    if (chunk === undefined) return NO_PLACE
    const end = number === this.#number ? this.#used : chunk.length
    // A chunk ends where no key begins.
    return at + HEAD_BYTES > end || keySizeAt(chunk, at) === 0 ? NO_PLACE : number * CHUNK_PLACES + (at >> ALIGN_BITS)
  }

  /** What is put next goes into another chunk. */
  closeChunk(): void {
    this.#chunk = Buffer.alloc(0)
    this.#number = NO_CHUNK
    this.#used = 0
  }

  /** Gives up a chunk, of which nothing is the newest version of a key any more. */
  giveUp(number: number): void {
    invariant(number !== this.#number, 'the chunk that is written is not given up')
    this.#chunkBytes -= this.#chunks[number]?.length ?? 0
    this.#chunks[number] = undefined
    this.#free.push(number)
  }

  #begin(need: number): void {
    // Small tables stay small.
    const usual = this.#chunkBytes === 0 ? FIRST_CHUNK_BYTES : Math.min(CHUNK_BYTES, this.#chunkBytes * 2)
    const size = Math.max(usual, (need + ALIGN - 1) & ~(ALIGN - 1))
    const number = this.#free.pop() ?? this.#chunks.length
    invariant(number < MOST_CHUNKS, 'places fit into 32 bits')
    // Zeroed, so that it can be told where its rows end.
    this.#chunk = Buffer.alloc(size)
    this.#chunks[number] = this.#chunk
    this.#chunkBytes += size
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

  /** The slot of the key that lies at a place. */
  #slotAt(place: number): number {
    const slots = this.#slots
    const mask = slots.length - 1
    for (let slot = this.#hashAt(place) & mask; ; slot = (slot + 1) & mask) {
      const other = slots[slot] as number
      if (other === 0 || other === place + 1 || this.#isSameKey(other - 1, place)) return slot
    }
  }

  #isAt(place: number, key: string): boolean {
    const chunk = this.#chunkOf(place)
    const at = offsetOf(place)
    const { length } = key
    if (keySizeAt(chunk, at) !== length) return false
    // Keys end in hashes or numbers: where they differ, they differ there.
    for (let i = length - 1; i >= 0; i--) if (chunk[at + HEAD_BYTES + i] !== key.charCodeAt(i)) return false
    return true
  }

  #isSameKey(a: number, b: number): boolean {
    const [x, y] = [this.#chunkOf(a), this.#chunkOf(b)]
    const [i, j] = [offsetOf(a), offsetOf(b)]
    const size = keySizeAt(x, i)
    if (size !== keySizeAt(y, j)) return false
    for (let k = HEAD_BYTES + size - 1; k >= HEAD_BYTES; k--) if (x[i + k] !== y[j + k]) return false
    return true
  }

  #index(key: string, place: number): void {
    const slot = this.#slotOf(key)
    const isNew = this.#slots[slot] === 0
    this.#slots[slot] = place + 1
    if (isNew && ++this.#count * 2 > this.#slots.length) this.#grow()
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
    const size = keySizeAt(chunk, at)
    let h = 0
    for (let i = Math.max(0, size - HASHED_BYTES); i < size; i++) h = (Math.imul(h, 31) + (chunk[at + HEAD_BYTES + i] as number)) | 0
    return spread(h)
  }
}

const offsetOf = (place: number): number => (place % CHUNK_PLACES) << ALIGN_BITS

const keySizeAt = (chunk: Buffer, at: number): number => (chunk[at] as number) | ((chunk[at + 1] as number) << 8)

/** Keys hold hashes, so a few of their bytes tell them apart. */
const HASHED_BYTES = 12

function hashOf(key: string): number {
  let h = 0
  for (let i = Math.max(0, key.length - HASHED_BYTES); i < key.length; i++) h = (Math.imul(h, 31) + key.charCodeAt(i)) | 0
  return spread(h)
}

function spread(h: number): number {
  const x = Math.imul(h ^ (h >>> 16), 0x45d9f3b)
  return (x ^ (x >>> 15)) >>> 0
}

/** How the key at `at` compares with a text. */
function compare(chunk: Buffer, at: number, size: number, text: string): number {
  const shared = Math.min(size, text.length)
  for (let i = 0; i < shared; i++) {
    const difference = (chunk[at + i] as number) - text.charCodeAt(i)
    if (difference !== 0) return difference
  }
  return size - text.length
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

/** Short ones are copied byte by byte: a call into the runtime would cost more. */
const SHORT = 64

export function writeKey(key: string, into: Buffer, at: number): void {
  if (key.length > SHORT) into.latin1Write(key, at, key.length)
  else for (let i = 0; i < key.length; i++) into[at + i] = key.charCodeAt(i)
}

export function copySpan({ bytes, from, to }: Span, into: Buffer, at: number): void {
  if (to - from > SHORT) bytes.copy(into, at, from, to)
  else for (let i = from; i < to; i++) into[at + i - from] = bytes[i] as number
}
