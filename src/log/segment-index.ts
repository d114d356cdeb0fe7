// Where the records of one segment lie: by place in the total order, and by partition and position. Owns the index in memory
// and the bytes of its sidecar file; who keeps which index in memory is indexes.ts's business.
//
//   "TRBIDX01" · crc u32 · partitions u32 · records u32 · 0 u32 · base f64
//   · offsets u32 × (records + 1) · counts u32 × partitions · record numbers by partition u32 × records      (little-endian)
//
// 1. A record number counts from the segment's base; offsets ascend, and the last one is the end of the last record.
// 2. The sidecar is a cache: whatever is wrong with it, the segment file tells the same. Its arrays lie as memory has them,
//    so reading one is one checksum.
import { crc32 } from 'node:zlib'
import { invariant } from '../core/assert.ts'

const MAGIC = Buffer.from('TRBIDX01', 'latin1')
export const INDEX_HEADER_BYTES = 32
const CRC_AT = 8
const EMPTY = new Uint32Array(0)

/** What the sidecar of a segment must say about it. */
export interface IndexedSegment {
  readonly partitions: number
  readonly records: number
  readonly base: number
}

function grown(array: Uint32Array, least: number): Uint32Array {
  const larger = new Uint32Array(Math.max(least, array.length * 2))
  larger.set(array)
  return larger
}

export function indexFileBytes(segment: IndexedSegment): number {
  return INDEX_HEADER_BYTES + 4 * (2 * segment.records + 1 + segment.partitions)
}

export class SegmentIndex {
  #records = 0
  #offsets: Uint32Array = new Uint32Array(256)
  readonly #counts: Uint32Array
  readonly #numbers: Uint32Array[]

  constructor(partitions: number, firstOffset: number) {
    this.#offsets[0] = firstOffset
    this.#counts = new Uint32Array(partitions)
    this.#numbers = new Array<Uint32Array>(partitions).fill(EMPTY)
  }

  get records(): number {
    return this.#records
  }

  /** Where the last record ends. */
  get endOffset(): number {
    return this.offset(this.#records)
  }

  /** Bytes in memory, roughly. */
  get memoryBytes(): number {
    return 4 * (2 * this.#records + 10 * this.#counts.length)
  }

  /** Where a record begins; for the number behind the last one, where that ends. */
  offset(record: number): number {
    return this.#offsets[record] as number
  }

  /** The number of the n-th record of a partition in this segment. */
  recordOf(partition: number, n: number): number {
    return this.#numbers[partition]?.[n] as number
  }

  countOf(partition: number): number {
    return this.#counts[partition] as number
  }

  /** The first record that begins at or behind `offset`. */
  firstFrom(offset: number): number {
    let low = 0
    let high = this.#records
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.offset(middle) < offset) low = middle + 1
      else high = middle
    }
    return low
  }

  /** Adds the next record, which ends at `end`. */
  add(partition: number, end: number): void {
    invariant(end > this.endOffset && end < 2 ** 32, 'offsets of a segment ascend and fit 32 bits (1)')
    const record = this.#records++
    if (this.#records === this.#offsets.length) this.#offsets = grown(this.#offsets, 256)
    this.#offsets[this.#records] = end
    const n = this.#counts[partition] as number
    let numbers = this.#numbers[partition] as Uint32Array
    if (n === numbers.length) {
      numbers = grown(numbers, 16)
      this.#numbers[partition] = numbers
    }
    numbers[n] = record
    this.#counts[partition] = n + 1
  }

  encode(base: number): Buffer {
    const partitions = this.#counts.length
    const bytes = indexFileBytes({ partitions, records: this.#records, base })
    const b = Buffer.from(new ArrayBuffer(bytes))
    MAGIC.copy(b)
    b.writeUInt32LE(partitions, 12)
    b.writeUInt32LE(this.#records, 16)
    b.writeDoubleLE(base, 24)
    const body = new Uint32Array(b.buffer, INDEX_HEADER_BYTES)
    body.set(this.#offsets.subarray(0, this.#records + 1))
    body.set(this.#counts, this.#records + 1)
    let at = this.#records + 1 + partitions
    for (let p = 0; p < partitions; p++) {
      const count = this.countOf(p)
      body.set((this.#numbers[p] as Uint32Array).subarray(0, count), at)
      at += count
    }
    b.writeUInt32LE(crc32(b.subarray(CRC_AT + 4)), CRC_AT)
    return b
  }

  /** The index in a sidecar's bytes, or undefined when they are not those of this segment, whole and undamaged (2). */
  static decode(bytes: Uint8Array, segment: IndexedSegment): SegmentIndex | undefined {
    if (!isIndexHeader(bytes, segment) || bytes.length !== indexFileBytes(segment)) return undefined
    const b = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
    if (crc32(b.subarray(CRC_AT + 4)) !== b.readUInt32LE(CRC_AT)) return undefined
    const aligned = b.byteOffset % 4 === 0 ? b : Buffer.from(Uint8Array.from(b).buffer)
    const body = new Uint32Array(aligned.buffer, aligned.byteOffset + INDEX_HEADER_BYTES, (bytes.length - INDEX_HEADER_BYTES) / 4)
    const index = new SegmentIndex(segment.partitions, 0)
    index.#records = segment.records
    index.#offsets = body.subarray(0, segment.records + 1)
    index.#counts.set(body.subarray(segment.records + 1, segment.records + 1 + segment.partitions))
    let at = segment.records + 1 + segment.partitions
    for (let p = 0; p < segment.partitions; p++) {
      const count = index.countOf(p)
      index.#numbers[p] = body.subarray(at, at + count)
      at += count
    }
    return index
  }
}

/** True when the first INDEX_HEADER_BYTES of a sidecar are those of this segment. */
export function isIndexHeader(bytes: Uint8Array, segment: IndexedSegment): boolean {
  if (bytes.length < INDEX_HEADER_BYTES) return false
  const b = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  return (
    b.subarray(0, MAGIC.length).equals(MAGIC) &&
    b.readUInt32LE(12) === segment.partitions &&
    b.readUInt32LE(16) === segment.records &&
    b.readDoubleLE(24) === segment.base
  )
}
