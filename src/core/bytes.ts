// Binary rows and messages. A Writer grows one buffer and is reused; a Reader walks one.
// Binary strings (one character per byte, "latin1") serve as keys: they compare as bytes and work in a Map.
import { InvariantError } from './assert.ts'

declare global {
  /** Node's own, faster than write() and toString() for short strings, and missing from its types. */
  interface Buffer {
    latin1Write(text: string, offset: number, length: number): number
    latin1Slice(start: number, end: number): string
    utf8Slice(start: number, end: number): string
  }
}

/** Short pieces are copied byte by byte: a call into the runtime would cost more. */
const SHORT = 24
/** Keys are so short. */
const SHORT_TEXT = 64

export class Writer {
  #buffer: Buffer
  #length = 0

  constructor(initialBytes = 1024) {
    this.#buffer = Buffer.allocUnsafe(initialBytes)
  }

  get length(): number {
    return this.#length
  }

  reset(): this {
    this.#length = 0
    return this
  }

  #room(bytes: number): number {
    const at = this.#length
    const end = at + bytes
    if (end > this.#buffer.length) {
      const grown = Buffer.allocUnsafe(Math.max(end, this.#buffer.length * 2))
      this.#buffer.copy(grown, 0, 0, at)
      this.#buffer = grown
    }
    this.#length = end
    return at
  }

  u8(x: number): this {
    const at = this.#room(1)
    this.#buffer[at] = x
    return this
  }

  u32(x: number): this {
    const at = this.#room(4)
    this.#buffer.writeUInt32BE(x >>> 0, at)
    return this
  }

  f64(x: number): this {
    const at = this.#room(8)
    this.#buffer.writeDoubleLE(x, at)
    return this
  }

  /** An unsigned integer below 2^53, 7 bits a byte. */
  varint(x: number): this {
    if (!(x >= 0)) throw new InvariantError(`varint of ${x}`)
    while (x >= 0x80) {
      this.u8((x % 0x80) | 0x80)
      x = Math.floor(x / 0x80)
    }
    return this.u8(x)
  }

  /** A signed integer of magnitude below 2^52. */
  zigzag(x: number): this {
    return this.varint(x < 0 ? -2 * x - 1 : 2 * x)
  }

  /** Length-prefixed bytes. */
  bytes(b: Uint8Array): this {
    this.varint(b.length)
    return this.raw(b)
  }

  /** Bytes without a length. */
  raw(b: Uint8Array): this {
    const at = this.#room(b.length)
    this.#buffer.set(b, at)
    return this
  }

  /** Some bytes of a larger buffer. */
  range(b: Buffer, from: number, to: number): this {
    const at = this.#room(to - from)
    if (to - from > SHORT) b.copy(this.#buffer, at, from, to)
    else for (let i = from; i < to; i++) this.#buffer[at + i - from] = b[i] as number
    return this
  }

  /** What another writer has written. */
  writer(other: Writer): this {
    return this.range(other.#buffer, 0, other.#length)
  }

  /** Forgets what was written behind the first `length` bytes. */
  truncate(length: number): this {
    this.#length = Math.min(this.#length, length)
    return this
  }

  /** Length-prefixed UTF-8. */
  text(s: string): this {
    if (s.length <= 40) {
      // Short and mostly ASCII: write in place, without asking for the byte length first.
      const start = this.#room(1 + s.length * 3)
      const wrote = this.#buffer.write(s, start + 1, 'utf8')
      if (wrote < 0x80) {
        this.#buffer[start] = wrote
        this.#length = start + 1 + wrote
        return this
      }
      this.#length = start
    }
    const size = Buffer.byteLength(s)
    this.varint(size)
    const at = this.#room(size)
    this.#buffer.write(s, at, 'utf8')
    return this
  }

  /** A binary string of known length, without a length prefix. */
  binary(s: string): this {
    const { length } = s
    const at = this.#room(length)
    if (length > SHORT_TEXT) this.#buffer.latin1Write(s, at, length)
    else for (let i = 0; i < length; i++) this.#buffer[at + i] = s.charCodeAt(i)
    return this
  }

  /** A copy of what was written. */
  take(): Buffer {
    const copy = Buffer.allocUnsafe(this.#length)
    this.#buffer.copy(copy, 0, 0, this.#length)
    return copy
  }

  /** What was written, valid until the next write or reset. */
  view(): Buffer {
    return this.#buffer.subarray(0, this.#length)
  }
}

export class Reader {
  readonly buffer: Buffer
  at: number
  readonly end: number

  constructor(buffer: Buffer, from = 0, end = buffer.length) {
    this.buffer = buffer
    this.at = from
    this.end = end
  }

  get done(): boolean {
    return this.at >= this.end
  }

  #take(bytes: number): number {
    const at = this.at
    if (at + bytes > this.end) throw new InvariantError('row shorter than its contents')
    this.at = at + bytes
    return at
  }

  u8(): number {
    return this.buffer[this.#take(1)] as number
  }

  u32(): number {
    return this.buffer.readUInt32BE(this.#take(4))
  }

  f64(): number {
    return this.buffer.readDoubleLE(this.#take(8))
  }

  varint(): number {
    let b = this.u8()
    if (b < 0x80) return b
    let x = b & 0x7f
    let scale = 0x80
    do {
      b = this.u8()
      x += (b & 0x7f) * scale
      scale *= 0x80
    } while (b >= 0x80)
    return x
  }

  zigzag(): number {
    const x = this.varint()
    return x % 2 === 1 ? -(x + 1) / 2 : x / 2
  }

  /** A view of length-prefixed bytes. */
  bytes(): Buffer {
    const size = this.varint()
    return this.raw(size)
  }

  /** A view of the next `size` bytes. */
  raw(size: number): Buffer {
    const at = this.#take(size)
    return this.buffer.subarray(at, at + size)
  }

  text(): string {
    const size = this.varint()
    const at = this.#take(size)
    return this.buffer.utf8Slice(at, at + size)
  }

  /** Passes over a text, or length-prefixed bytes. */
  skip(): void {
    this.#take(this.varint())
  }

  binary(size: number): string {
    const at = this.#take(size)
    return this.buffer.latin1Slice(at, at + size)
  }
}

/** The bytes of a binary string. */
export function fromBinary(s: string): Buffer {
  return Buffer.from(s, 'latin1')
}

/** The binary string of some bytes. */
export function toBinary(b: Uint8Array): string {
  return Buffer.from(b.buffer, b.byteOffset, b.length).latin1Slice(0, b.length)
}

/** A non-negative integer as a big-endian binary string of `size` bytes, so that texts sort as numbers. */
export function sortable(x: number, size: number): string {
  let s = ''
  let rest = x
  for (let i = 0; i < size; i++) {
    s = String.fromCharCode(rest % 256) + s
    rest = Math.floor(rest / 256)
  }
  return s
}

/** The number written by `sortable`. */
export function unsortable(s: string, from = 0, size = s.length - from): number {
  let x = 0
  for (let i = from; i < from + size; i++) x = x * 256 + s.charCodeAt(i)
  return x
}
