// Rows that die by watermark, not one by one: outbox blocks once relayed, messages once confirmed, timers once fired. Owns which of
// them an apply has written to the store, and their end; the watermarks are the task's.
//
// 1. A row is left out of an apply only by a watermark that is durable: one under way may be lost yet.
// 2. What reached the store is noted, and goes with one range delete once the watermark has passed all of it.
import { unsortable } from '../core/bytes.ts'
import { exchangeKey, outboxKey, timerKey } from './keys.ts'
import { OUTBOX_STREAMS, type OutboxStream, STREAM_LETTER } from './outbox.ts'
import type { TaskState } from './task-state.ts'

export type Watermarks = Pick<TaskState, 'relayed' | 'firedThrough'>

const SEQ_BYTES = 7
const DUE_BYTES = 6
const OUTBOX = 111 /* o */
const EXCHANGE = 120 /* x */
const TIMER = 105 /* i */

export const outboxSeqOf = (key: string): number => unsortable(key, 2, SEQ_BYTES)

export const exchangePlaceOf = (key: string): { target: number; seq: number } => ({
  target: unsortable(key, 1, 2),
  seq: unsortable(key, 3, SEQ_BYTES),
})

export class DeadRows {
  /** As of the last durable commit (1). */
  durable: Watermarks = { relayed: { transitions: 0, merges: 0, deadLetters: 0, profiles: 0 }, firedThrough: -1 }
  /** The highest seqs and the latest due time in the store; none: 0, 0, -1. */
  readonly #outbox: Record<OutboxStream, number> = { transitions: 0, merges: 0, deadLetters: 0, profiles: 0 }
  readonly #exchange: number[]
  #timers = -1

  constructor(partitions: number) {
    this.#exchange = new Array(partitions).fill(0)
  }

  /** The store has, or is about to get, this outbox block. */
  hasBlock(stream: OutboxStream, lastSeq: number): void {
    this.#outbox[stream] = Math.max(this.#outbox[stream], lastSeq)
  }

  hasMessage(target: number, seq: number): void {
    this.#exchange[target] = Math.max(this.#exchange[target] ?? 0, seq)
  }

  /** True for rows that need not reach the store (1); notes those that do. */
  isDead(key: string, acked: readonly number[]): boolean {
    switch (key.charCodeAt(0)) {
      case OUTBOX:
        return this.#isRelayed(key)
      case EXCHANGE: {
        const { target, seq } = exchangePlaceOf(key)
        if (seq <= (acked[target] ?? 0)) return true
        this.hasMessage(target, seq)
        return false
      }
      case TIMER: {
        const due = unsortable(key, 1, DUE_BYTES)
        if (due <= this.durable.firedThrough) return true
        this.#timers = Math.max(this.#timers, due)
        return false
      }
      default:
        return false
    }
  }

  #isRelayed(key: string): boolean {
    const seq = outboxSeqOf(key)
    for (const stream of OUTBOX_STREAMS) {
      if (STREAM_LETTER[stream] !== key[1]) continue
      if (seq <= this.durable.relayed[stream]) return true
      this.hasBlock(stream, seq)
    }
    return false
  }

  /** The ranges of the store that have died by the watermarks of the commit that deletes them (2). */
  takeRanges({ relayed, acked, firedThrough }: Pick<TaskState, 'relayed' | 'acked' | 'firedThrough'>): [string, string][] {
    const ranges: [string, string][] = []
    for (const stream of OUTBOX_STREAMS) {
      const stored = this.#outbox[stream]
      if (stored === 0 || relayed[stream] < stored) continue
      const letter = STREAM_LETTER[stream]
      ranges.push([outboxKey(letter, 0), outboxKey(letter, stored + 1)])
      this.#outbox[stream] = 0
    }
    for (const [target, stored] of this.#exchange.entries()) {
      if (stored === 0 || (acked[target] ?? 0) < stored) continue
      ranges.push([exchangeKey(target, 0), exchangeKey(target, stored + 1)])
      this.#exchange[target] = 0
    }
    if (this.#timers >= 0 && firedThrough >= this.#timers) {
      ranges.push([timerKey(0, ''), timerKey(this.#timers + 1, '')])
      this.#timers = -1
    }
    return ranges
  }
}
