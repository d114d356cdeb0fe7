// Entries sorted by time, oldest first: what windowed operators keep. Plain arrays, as most hold a handful.
import type { Reader, Writer } from '../core/bytes.ts'
import { noteInexact } from './inexact.ts'

/** Where an entry at `at` goes: behind all that are not newer. */
export function placeOf(times: readonly number[], at: number): number {
  let i = times.length
  while (i > 0 && (times[i - 1] as number) > at) i--
  return i
}

/** The index of the first entry newer than `edge`; times.length when there is none. */
export function firstNewer(times: readonly number[], edge: number): number {
  if (times.length === 0 || (times[0] as number) > edge) return 0
  let low = 0
  let high = times.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((times[middle] as number) > edge) high = middle
    else low = middle + 1
  }
  return low
}

/** Sorts two sorted lists into one; returns for each place of the result whether it comes from `b`, and rewrites `a`. */
export function interleave(a: number[], b: readonly number[]): boolean[] {
  const merged: number[] = []
  const fromB: boolean[] = []
  let i = 0
  for (const at of b) {
    while (i < a.length && (a[i] as number) <= at) {
      merged.push(a[i++] as number)
      fromB.push(false)
    }
    merged.push(at)
    fromB.push(true)
  }
  while (i < a.length) {
    merged.push(a[i++] as number)
    fromB.push(false)
  }
  a.length = 0
  for (const at of merged) a.push(at)
  return fromB
}

export function encodeTimes(times: readonly number[], w: Writer): void {
  w.varint(times.length)
  let last = 0
  for (const at of times) {
    w.zigzag(at - last)
    last = at
  }
}

export function decodeTimes(r: Reader): number[] {
  const times: number[] = []
  let last = 0
  for (let n = r.varint(); n > 0; n--) {
    last += r.zigzag()
    times.push(last)
  }
  return times
}

/** Entries of this state up to `at` are missing from now on, and a reading may notice. */
export function loseUpTo(state: { lostAt: number }, at: number): void {
  state.lostAt = Math.max(state.lostAt, at)
  noteInexact()
}

/** An instant at or before which entries may be missing; 0 stands for none. */
export function encodeLostAt(lostAt: number, w: Writer): void {
  w.varint(lostAt < 0 ? 0 : lostAt + 1)
}

export function decodeLostAt(r: Reader): number {
  const x = r.varint()
  return x === 0 ? Number.NEGATIVE_INFINITY : x - 1
}
