// Batches, keys and rows packed into one buffer: the form in which they cross to the store thread, and from which both
// bindings take their views. Owns the layout.
//
// 1. A packed batch is complete: applying it again gives the same rows, so it can itself be stored and redone (store-thread.ts).
// 2. Keys are 1 to 65,535 bytes; the empty key is the adapters' own (REDO_KEY).
import { invariant } from '../core/assert.ts'
import { toBinary } from '../core/bytes.ts'
import { copySpan, type Span, writeKey } from './row-table.ts'
import type { StoreBatch, StoreRow } from './store.ts'
import { openValue, sealValue, VALUE_FRAME_BYTES, VALUE_PAYLOAD_AT } from './value.ts'

/** Holds a packed batch that is being applied in several steps; absent otherwise. */
export const REDO_KEY = Buffer.alloc(0)

const MAX_KEY_BYTES = 0xffff
/** Counts of ranges and of puts. */
const HEAD_BYTES = 8
/** Key length and stored length. */
const ROW_HEAD_BYTES = 6

export interface BatchVisitor {
  deleteRange(from: Buffer, to: Buffer): void
  put(key: Buffer, stored: Buffer): void
  delete(key: Buffer): void
}

/** A batch that is packed as its rows come, without ranges. Whoever reads it as a batch gets it unpacked. */
export class PackedBatch implements StoreBatch {
  #packed: Buffer<ArrayBuffer>
  #at = HEAD_BYTES
  #count = 0

  constructor(initialBytes: number) {
    this.#packed = Buffer.allocUnsafeSlow(HEAD_BYTES + initialBytes)
  }

  get count(): number {
    return this.#count
  }

  /** Of all rows, as they are packed. */
  get bytes(): number {
    return this.#at
  }

  put(key: string, value: Span | undefined): void {
    invariant(key.length > 0 && key.length <= MAX_KEY_BYTES, 'a key has 1 to 65,535 bytes')
    const stored = value === undefined ? 0 : value.to - value.from + VALUE_FRAME_BYTES
    const keyAt = this.#at + ROW_HEAD_BYTES
    this.#room(keyAt + key.length + stored)
    const packed = this.#packed
    packed.writeUInt16LE(key.length, this.#at)
    packed.writeUInt32LE(stored, this.#at + 2)
    writeKey(key, packed, keyAt)
    if (value !== undefined) copySpan(value, packed, keyAt + key.length + VALUE_PAYLOAD_AT)
    this.#at = keyAt + key.length + stored
    this.#count++
  }

  #room(end: number): void {
    if (end <= this.#packed.length) return
    const grown = Buffer.allocUnsafeSlow(Math.max(end, 2 * this.#packed.length))
    this.#packed.copy(grown, 0, 0, this.#at)
    this.#packed = grown
  }

  get puts(): StoreBatch['puts'] {
    const puts: [string, Buffer | undefined][] = []
    visitBatch(this.#finished(), {
      put: (key, stored) =>
        void puts.push([toBinary(key), stored.subarray(VALUE_PAYLOAD_AT, stored.length + VALUE_PAYLOAD_AT - VALUE_FRAME_BYTES)]),
      delete: (key) => void puts.push([toBinary(key), undefined]),
      deleteRange: () => undefined,
    })
    return puts
  }

  #finished(): Buffer<ArrayBuffer> {
    this.#packed.writeUInt32LE(0, 0)
    this.#packed.writeUInt32LE(this.#count, 4)
    return this.#packed
  }

  /** Its bytes, which are the taker's: it is empty from then on. */
  take(): Buffer<ArrayBuffer> {
    const taken = Buffer.from(this.#finished().buffer.transfer(this.#at))
    this.#packed = Buffer.allocUnsafeSlow(HEAD_BYTES)
    this.#at = HEAD_BYTES
    this.#count = 0
    return taken
  }
}

/** Packs a batch into a buffer of its own (it may be transferred). */
export function packBatch(batch: StoreBatch): Buffer<ArrayBuffer> {
  if (batch instanceof PackedBatch) return batch.take()
  const ranges = (batch.deletedRanges ?? []).filter(([from, to]) => from < to)
  const packed = Buffer.allocUnsafeSlow(packedBytes(batch, ranges))
  let at = packed.writeUInt32LE(ranges.length, 0)
  at = packed.writeUInt32LE(batch.puts.length, at)
  for (const [from, to] of ranges) {
    at = putKey(packed, at, from)
    at = putKey(packed, at, to)
  }
  for (const [key, value] of batch.puts) {
    packed.writeUInt16LE(key.length, at)
    packed.writeUInt32LE(value === undefined ? 0 : value.length + VALUE_FRAME_BYTES, at + 2)
    at += ROW_HEAD_BYTES
    packed.write(key, at, 'latin1')
    at += key.length
    if (value === undefined) continue
    packed.set(value, at + VALUE_PAYLOAD_AT)
    at += value.length + VALUE_FRAME_BYTES
  }
  return packed
}

function packedBytes(batch: StoreBatch, ranges: readonly (readonly [string, string])[]): number {
  let bytes = HEAD_BYTES
  for (const [from, to] of ranges) {
    invariant(from.length <= MAX_KEY_BYTES && to.length <= MAX_KEY_BYTES, 'a key has at most 65,535 bytes')
    bytes += 4 + from.length + to.length
  }
  for (const [key, value] of batch.puts) {
    invariant(key.length > 0 && key.length <= MAX_KEY_BYTES, 'a key has 1 to 65,535 bytes')
    bytes += ROW_HEAD_BYTES + key.length + (value === undefined ? 0 : value.length + VALUE_FRAME_BYTES)
  }
  return bytes
}

function putKey(packed: Buffer, at: number, key: string): number {
  packed.writeUInt16LE(key.length, at)
  packed.write(key, at + 2, 'latin1')
  return at + 2 + key.length
}

/** Visits what a packed batch says, ranges first; seals the values on the way. The views are valid as long as `packed` is. */
export function visitBatch(packed: Buffer, visitor: BatchVisitor): void {
  const ranges = packed.readUInt32LE(0)
  const puts = packed.readUInt32LE(4)
  let at = HEAD_BYTES
  const key = (): Buffer => {
    const start = at + 2
    at = start + packed.readUInt16LE(at)
    return packed.subarray(start, at)
  }
  for (let i = 0; i < ranges; i++) {
    const from = key()
    visitor.deleteRange(from, key())
  }
  for (let i = 0; i < puts; i++) {
    const keyAt = at + ROW_HEAD_BYTES
    const valueAt = keyAt + packed.readUInt16LE(at)
    const storedBytes = packed.readUInt32LE(at + 2)
    at = valueAt + storedBytes
    if (storedBytes === 0) {
      visitor.delete(packed.subarray(keyAt, valueAt))
      continue
    }
    sealValue(packed, valueAt, at)
    visitor.put(packed.subarray(keyAt, valueAt), packed.subarray(valueAt, at))
  }
}

/** The bytes of many keys as views of one buffer. */
export function keyViews(keys: readonly string[]): Buffer[] {
  return unpackKeys(packKeys(keys))
}

export function packKeys(keys: readonly string[]): Buffer<ArrayBuffer> {
  let bytes = 0
  for (const key of keys) bytes += 2 + key.length
  const packed = Buffer.allocUnsafeSlow(bytes)
  let at = 0
  for (const key of keys) at = putKey(packed, at, key)
  return packed
}

export function unpackKeys(packed: Buffer): Buffer[] {
  const keys: Buffer[] = []
  for (let at = 0; at < packed.length; ) {
    const from = at + 2
    at = from + packed.readUInt16LE(at)
    keys.push(packed.subarray(from, at))
  }
  return keys
}

/** Packs stored values, or their absence, in the order of the keys that were asked for. */
export function packValues(values: readonly (Buffer | undefined | null)[]): Buffer<ArrayBuffer> {
  let bytes = 0
  for (const value of values) bytes += 4 + (value?.length ?? 0)
  const packed = Buffer.allocUnsafeSlow(bytes)
  let at = 0
  for (const value of values) {
    // A stored value is never empty.
    at = packed.writeUInt32LE(value?.length ?? 0, at)
    if (!value) continue
    packed.set(value, at)
    at += value.length
  }
  return packed
}

/** The values of `packValues`, checked; they are views. */
export function unpackValues(packed: Buffer, keys: readonly string[]): (Buffer | undefined)[] {
  const values = new Array<Buffer | undefined>(keys.length).fill(undefined)
  let at = 0
  for (let i = 0; i < keys.length; i++) {
    const from = at + 4
    at = from + packed.readUInt32LE(at)
    if (at > from) values[i] = openValue(keys[i] as string, packed.subarray(from, at))
  }
  return values
}

/** Packs rows as a binding's iterator gives them: key, stored value, key, stored value … */
export function packRows(flat: readonly Buffer[]): Buffer<ArrayBuffer> {
  let bytes = 0
  for (const part of flat) bytes += 4 + part.length
  const packed = Buffer.allocUnsafeSlow(bytes)
  let at = 0
  for (const part of flat) {
    at = packed.writeUInt32LE(part.length, at)
    packed.set(part, at)
    at += part.length
  }
  return packed
}

/** The rows of `packRows`, values checked; they are views. */
export function unpackRows(packed: Buffer): StoreRow[] {
  const rows: StoreRow[] = []
  let at = 0
  const part = (): Buffer => {
    const start = at + 4
    at = start + packed.readUInt32LE(at)
    return packed.subarray(start, at)
  }
  while (at < packed.length) {
    const key = toBinary(part())
    rows.push([key, openValue(key, part())])
  }
  return rows
}
