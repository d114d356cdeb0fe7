// Places in a topic of outputs: an offset per partition, behind which reading goes on. Owns their text.
import { Reader, Writer } from '../core/bytes.ts'
import { TributaryError } from '../core/errors.ts'

export type Vector = readonly number[]

const TEXT = /^k([A-Za-z0-9_-]{1,8000})$/

export function vectorText(vector: Vector): string {
  const w = new Writer(vector.length * 4)
  for (const offset of vector) w.varint(offset)
  return `k${w.take().toString('base64url')}`
}

/** Undefined when it is no such text. Partitions that a topic has been given since are read from their beginning. */
export function parseVector(text: string, partitions: number): Vector | undefined {
  const m = TEXT.exec(text)
  if (!m) return undefined
  const vector: number[] = []
  try {
    for (const r = new Reader(Buffer.from(m[1] ?? '', 'base64url')); !r.done; ) vector.push(r.varint())
  } catch {
    return undefined
  }
  if (vector.length > partitions || !vector.every(Number.isSafeInteger)) return undefined
  return [...vector, ...new Array(partitions - vector.length).fill(0)]
}

/** An id: the partition or process that an entry comes from, and its number there. */
export function parseId(text: string): { origin: number; seq: number } | undefined {
  const m = /^(\d{1,15})-(\d{1,15})$/.exec(text)
  return m ? { origin: Number(m[1]), seq: Number(m[2]) } : undefined
}

export const notAPlace = (text: string): TributaryError =>
  new TributaryError('invalid_request', `after: "${text}" is neither a cursor of this list nor an id in it`)
