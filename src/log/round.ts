// The records that one round writes and syncs together. Owns their bytes until they are durable; two rounds take turns,
// one collecting while the other is on its way to the disk.
import { invariant } from '../core/assert.ts'
import { FRAME_BYTES, type FrameFields, MAX_PAYLOAD_BYTES, sealFrame, writeFrame } from './frame.ts'

const INITIAL_BYTES = 64 << 10
/** A buffer that one large round has left behind is not kept. */
const KEPT_BYTES = 8 << 20
/** Appended and not yet written, at most: far more than any batch; reaching it means that nobody syncs. */
const MAX_ROUND_BYTES = 1 << 30

export class Round {
  #buffer = Buffer.allocUnsafeSlow(INITIAL_BYTES)
  #bytes = 0
  #count = 0
  #ends = new Uint32Array(256)
  #partitions = new Uint32Array(256)

  get count(): number {
    return this.#count
  }

  get bytes(): number {
    return this.#bytes
  }

  /** The buffer, of which `bytes` count. */
  get buffer(): Buffer {
    return this.#buffer
  }

  partitionOf(i: number): number {
    return this.#partitions[i] as number
  }

  /** Where the i-th record ends, counted from the round's beginning. */
  endOf(i: number): number {
    return this.#ends[i] as number
  }

  add(fields: FrameFields, payload: Uint8Array): void {
    invariant(payload.length <= MAX_PAYLOAD_BYTES, `a record has at most ${MAX_PAYLOAD_BYTES} bytes`)
    const at = this.#bytes
    const end = at + FRAME_BYTES + payload.length
    if (end > this.#buffer.length) this.#growBuffer(end)
    if (this.#count === this.#ends.length) this.#growLists()
    writeFrame(this.#buffer, at, fields, payload)
    this.#ends[this.#count] = end
    this.#partitions[this.#count] = fields.partition
    this.#count++
    this.#bytes = end
  }

  #growBuffer(least: number): void {
    invariant(least <= MAX_ROUND_BYTES, `at most ${MAX_ROUND_BYTES} bytes wait for a sync`)
    const grown = Buffer.allocUnsafeSlow(Math.max(least, this.#buffer.length * 2))
    this.#buffer.copy(grown, 0, 0, this.#bytes)
    this.#buffer = grown
  }

  #growLists(): void {
    const ends = new Uint32Array(this.#ends.length * 2)
    const partitions = new Uint32Array(this.#ends.length * 2)
    ends.set(this.#ends)
    partitions.set(this.#partitions)
    this.#ends = ends
    this.#partitions = partitions
  }

  /** Completes all frames: everything below `synced` is known durable now. */
  seal(synced: number, salt: number): void {
    let at = 0
    for (let i = 0; i < this.#count; i++) {
      const end = this.endOf(i)
      sealFrame(this.#buffer, { at, end }, synced, salt)
      at = end
    }
  }

  clear(): void {
    this.#bytes = 0
    this.#count = 0
    if (this.#buffer.length > KEPT_BYTES) this.#buffer = Buffer.allocUnsafeSlow(INITIAL_BYTES)
  }
}
