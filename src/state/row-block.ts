// The rows of one commit, in the order in which they were written and as the journal has them: so they are encoded once. Owns that
// layout; knows nothing of what rows mean.
//
// 1. A later row of the same key wins.
// 2. Bytes and spans are valid until the next `put` or `reset`: whoever takes them in copies them.
//
// row: key size · key · (0 deleted, else value size + 1) · value
import { Writer } from '../core/bytes.ts'
import type { Span } from './row-table.ts'

const FIRST_BYTES = 1 << 14

export class RowBlock {
  readonly #w = new Writer(FIRST_BYTES)
  readonly #keys: string[] = []
  /** Where each value begins (-1: deleted) and ends. */
  readonly #froms: number[] = []
  readonly #ends: number[] = []

  static of(rows: Iterable<readonly [key: string, value: Uint8Array | undefined]>): RowBlock {
    const block = new RowBlock()
    for (const [key, value] of rows) block.put(key, value)
    return block
  }

  get count(): number {
    return this.#keys.length
  }

  /** All rows. */
  get bytes(): Buffer {
    return this.#w.view()
  }

  put(key: string, value: Uint8Array | undefined): void {
    this.#begin(key)
    if (value === undefined) this.#w.u8(0)
    else this.#w.varint(value.length + 1)
    this.#froms.push(value === undefined ? -1 : this.#w.length)
    if (value !== undefined) this.#w.raw(value)
    this.#ends.push(this.#w.length)
  }

  /** Puts what a writer holds. */
  putWritten(key: string, value: Writer): void {
    this.#begin(key)
    this.#w.varint(value.length + 1)
    this.#froms.push(this.#w.length)
    this.#w.writer(value)
    this.#ends.push(this.#w.length)
  }

  #begin(key: string): void {
    this.#keys.push(key)
    this.#w.varint(key.length).binary(key)
  }

  key(i: number): string {
    return this.#keys[i] as string
  }

  /** Where a row's value lies; undefined if it is deleted. */
  span(i: number, out: Span): Span | undefined {
    const from = this.#froms[i] as number
    if (from < 0) return undefined
    out.bytes = this.#w.view()
    out.from = from
    out.to = this.#ends[i] as number
    return out
  }

  *[Symbol.iterator](): Generator<readonly [key: string, value: Buffer | undefined]> {
    const span: Span = { bytes: this.bytes, from: 0, to: 0 }
    for (let i = 0; i < this.count; i++) {
      const found = this.span(i, span)
      yield [this.key(i), found?.bytes.subarray(found.from, found.to)]
    }
  }

  /** Takes out the rows whose keys lie in one of these ranges. */
  drop(ranges: readonly { readonly gte: string; readonly lt: string }[]): void {
    const isDropped = (key: string): boolean => ranges.some(({ gte, lt }) => key >= gte && key < lt)
    if (!this.#keys.some(isDropped)) return
    const kept = [...this].filter(([key]) => !isDropped(key)).map(([key, value]) => [key, value && Buffer.from(value)] as const)
    this.reset()
    for (const [key, value] of kept) this.put(key, value)
  }

  reset(): void {
    this.#w.reset()
    for (const list of [this.#keys, this.#froms, this.#ends]) list.length = 0
  }
}
