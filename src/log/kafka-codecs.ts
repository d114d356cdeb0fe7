// The compressions of records that the client lacks, for topics that others write: snappy, LZ4 and zstd. Owns their reading; nothing
// here compresses, and the engine's own topics don't use them.
//
// 1. Damaged or hostile bytes end in an error, never beyond the output's bounds, and never in more than MAX_BYTES.
import { promisify } from 'node:util'
import { zstdDecompress } from 'node:zlib'
import kafkajs from 'kafkajs'

/** Of one batch, unpacked: brokers take batches of 1 MB packed, by their default. */
const MAX_BYTES = 128 << 20

const zstd = promisify(zstdDecompress)

/** Makes the client able to read them. May be called often. */
export function addCodecs(): void {
  const codecs = kafkajs.CompressionCodecs as { [type: number]: unknown }
  const compress = async (): Promise<never> => {
    throw new Error('nothing is compressed here')
  }
  const types = kafkajs.CompressionTypes
  codecs[types.Snappy] = () => ({ compress, decompress: async (bytes: Buffer) => unsnappy(bytes) })
  codecs[types.LZ4] = () => ({ compress, decompress: async (bytes: Buffer) => unlz4(bytes) })
  codecs[types.ZSTD] = () => ({ compress, decompress: (bytes: Buffer) => zstd(bytes, { maxOutputLength: MAX_BYTES }) })
}

const damaged = (what: string): Error => new Error(`the records are packed by ${what} and damaged`)

// ---- snappy

/** What Java's clients put around snappy: this, two versions, then chunks with their length. */
const XERIAL = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00])
const XERIAL_HEADER_BYTES = 16

/** Snappy, plain or in Java's frame. */
export function unsnappy(bytes: Buffer): Buffer {
  if (bytes.length < XERIAL_HEADER_BYTES || !bytes.subarray(0, XERIAL.length).equals(XERIAL)) return plainSnappy(bytes)
  const chunks: Buffer[] = []
  let total = 0
  for (let at = XERIAL_HEADER_BYTES; at < bytes.length; ) {
    if (at + 4 > bytes.length) throw damaged('snappy')
    const length = bytes.readUInt32BE(at)
    at += 4
    if (at + length > bytes.length) throw damaged('snappy')
    const chunk = plainSnappy(bytes.subarray(at, at + length))
    total += chunk.length
    if (total > MAX_BYTES) throw damaged('snappy')
    chunks.push(chunk)
    at += length
  }
  return Buffer.concat(chunks)
}

function plainSnappy(bytes: Buffer): Buffer {
  const [length, begin] = lengthOf(bytes)
  const out = new Output(length, 'snappy')
  for (let at = begin; at < bytes.length; ) {
    const tag = bytes[at++] ?? 0
    const kind = tag & 3
    if (kind === 0) {
      let count = tag >> 2
      if (count >= 60) {
        const width = count - 59
        if (at + width > bytes.length) throw damaged('snappy')
        count = bytes.readUIntLE(at, width)
        at += width
      }
      at = out.literal(bytes, at, count + 1)
      continue
    }
    const width = kind === 1 ? 1 : kind === 2 ? 2 : 4
    if (at + width > bytes.length) throw damaged('snappy')
    const low = bytes.readUIntLE(at, width)
    at += width
    if (kind === 1) out.copy(((tag >> 5) << 8) | low, ((tag >> 2) & 7) + 4)
    else out.copy(low, (tag >> 2) + 1)
  }
  return out.whole()
}

/** The unpacked length in front, and where what follows begins. */
function lengthOf(bytes: Buffer): [length: number, begin: number] {
  let length = 0
  for (let at = 0; at < 5; at++) {
    const byte = bytes[at]
    if (byte === undefined) break
    length += (byte & 0x7f) * 2 ** (7 * at)
    if (byte < 0x80) return [length, at + 1]
  }
  throw damaged('snappy')
}

// ---- LZ4

const LZ4_MAGIC = 0x184d2204
/** By the number in the frame's descriptor. */
const LZ4_BLOCK_BYTES: Readonly<Record<number, number>> = { 4: 64 << 10, 5: 256 << 10, 6: 1 << 20, 7: 4 << 20 }

/** An LZ4 frame. Its checksums are not looked at. */
export function unlz4(bytes: Buffer): Buffer {
  if (bytes.length < 7 || bytes.readUInt32LE(0) !== LZ4_MAGIC) throw damaged('LZ4')
  const flags = bytes[4] ?? 0
  const blockBytes = LZ4_BLOCK_BYTES[((bytes[5] ?? 0) >> 4) & 7]
  const hasChecksums = (flags & 0x10) !== 0
  const hasSize = (flags & 0x08) !== 0
  if (flags >> 6 !== 1 || blockBytes === undefined || (flags & 0x01) !== 0) throw damaged('LZ4')
  const out = new GrowingOutput(blockBytes)
  for (let at = hasSize ? 15 : 7; ; ) {
    if (at + 4 > bytes.length) throw damaged('LZ4')
    const word = bytes.readUInt32LE(at)
    at += 4
    if (word === 0) return out.whole()
    const length = word & 0x7fffffff
    if (length > blockBytes || at + length > bytes.length) throw damaged('LZ4')
    out.room()
    if (word >>> 31 === 1) out.literal(bytes, at, length)
    else lz4Block(bytes.subarray(at, at + length), out)
    at += length + (hasChecksums ? 4 : 0)
  }
}

function lz4Block(bytes: Buffer, out: Output): void {
  let at = 0
  /** A length that goes on in further bytes. */
  const longer = (length: number): number => {
    if (length < 15) return length
    let sum = length
    for (;;) {
      const byte = bytes[at++]
      if (byte === undefined) throw damaged('LZ4')
      sum += byte
      if (byte < 255) return sum
    }
  }
  while (at < bytes.length) {
    const token = bytes[at++] ?? 0
    const literals = longer(token >> 4)
    at = out.literal(bytes, at, literals)
    // The last sequence of a block has no match.
    if (at === bytes.length) return
    if (at + 2 > bytes.length) throw damaged('LZ4')
    const distance = bytes.readUInt16LE(at)
    at += 2
    out.copy(distance, longer(token & 15) + 4)
  }
}

// ---- what both write to

/** Bytes that grow by literals and by copies of what is there (1). */
class Output {
  protected bytes: Buffer
  protected length = 0
  readonly #name: string

  constructor(size: number, name: string) {
    if (size > MAX_BYTES) throw damaged(name)
    this.bytes = Buffer.allocUnsafe(size)
    this.#name = name
  }

  /** Gives where the source goes on. */
  literal(from: Buffer, at: number, count: number): number {
    if (at + count > from.length || this.length + count > this.bytes.length) throw damaged(this.#name)
    from.copy(this.bytes, this.length, at, at + count)
    this.length += count
    return at + count
  }

  copy(distance: number, count: number): void {
    const { bytes, length } = this
    if (distance === 0 || distance > length || length + count > bytes.length) throw damaged(this.#name)
    // They may overlap: then what was just written is read again.
    if (distance >= count) bytes.copyWithin(length, length - distance, length - distance + count)
    else for (let i = length; i < length + count; i++) bytes[i] = bytes[i - distance] ?? 0
    this.length += count
  }

  /** As many bytes as were announced. */
  whole(): Buffer {
    if (this.length !== this.bytes.length) throw damaged(this.#name)
    return this.bytes
  }
}

class GrowingOutput extends Output {
  readonly #blockBytes: number

  constructor(blockBytes: number) {
    super(blockBytes, 'LZ4')
    this.#blockBytes = blockBytes
  }

  /** Makes room for one more block. */
  room(): void {
    if (this.length + this.#blockBytes <= this.bytes.length) return
    const size = this.length + this.#blockBytes
    if (size > MAX_BYTES) throw damaged('LZ4')
    const larger = Buffer.allocUnsafe(Math.min(Math.max(size, 2 * this.bytes.length), MAX_BYTES))
    this.bytes.copy(larger, 0, 0, this.length)
    this.bytes = larger
  }

  override whole(): Buffer {
    return this.bytes.subarray(0, this.length)
  }
}
