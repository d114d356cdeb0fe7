// The newest records of an output stream in memory: whoever follows near its end costs no reads. Owns copies, nothing else.
//
// 1. Ordinals in here are contiguous and end with the last record appended; the oldest leave first, when there are too many bytes.
import { invariant } from '../core/assert.ts'
import type { LogRecord } from '../log/log.ts'
import { type Cursor, type Decode, entriesOf, type Numbered } from './cursor.ts'
import { decodeBlock } from './outbox.ts'

/** Of payloads: some thousand transitions. Once somebody has read them, they take about ten times as much. */
const RECENT_BYTES = 512 << 10

interface Held<T> {
  readonly partition: number
  readonly payload: Buffer
  /** Decoded when first asked for. */
  entries?: readonly Numbered<T>[]
}

export class Recent<T> {
  readonly #decode: Decode<T>
  readonly #held = new Map<number, Held<T>>()
  /** Of the oldest one, and behind the newest. */
  #first: number
  #next: number
  #bytes = 0

  constructor(next: number, decode: Decode<T>) {
    this.#decode = decode
    this.#first = next
    this.#next = next
  }

  add({ ordinal, partition, payload }: Omit<LogRecord, 'position'>): void {
    invariant(ordinal === this.#next, 'records are added in the order of the log (1)')
    this.#held.set(this.#next++, { partition, payload })
    this.#bytes += payload.length
    while (this.#bytes > RECENT_BYTES) this.#drop()
  }

  #drop(): void {
    this.#bytes -= this.#held.get(this.#first)?.payload.length ?? 0
    this.#held.delete(this.#first++)
  }

  /** The entries of the record with this ordinal; undefined when it isn't here. */
  entries(ordinal: number): readonly Numbered<T>[] | undefined {
    const held = this.#held.get(ordinal)
    if (held === undefined) return undefined
    held.entries ??= entriesOf({ ordinal, partition: held.partition, payload: held.payload }, this.#decode)
    return held.entries
  }

  /** The place behind an entry, if that is here. */
  find(partition: number, seq: number): Cursor | undefined {
    for (let ordinal = this.#next - 1; ordinal >= this.#first; ordinal--) {
      const held = this.#held.get(ordinal)
      if (held?.partition !== partition) continue
      const { firstSeq, count } = decodeBlock(held.payload)
      if (seq >= firstSeq + count) return undefined
      if (seq >= firstSeq) return { ordinal, place: seq - firstSeq + 1 }
    }
    return undefined
  }
}
