// What leaves a partition, after its commit is durable: outbox blocks to their streams, messages to other partitions.
// Owns the order of leaving and what is still to be confirmed; the outbox rows belong to the commits.
//
// 1. Blocks of a stream leave in the order of their seqs; a repeat after a crash is equal to the byte.
// 2. Exchange messages of a commit leave only after all user-visible blocks of it and of earlier commits are in their logs.
// 3. A message stays until the receiver's commit with it is durable; until then it can be said again, in order, once it has left.
import { invariant } from '../core/assert.ts'
import type { Sent } from './batch.ts'
import { type Block, encodeBlock, OUTBOX_STREAMS, type OutboxStream } from './outbox.ts'
import type { TaskState } from './task-state.ts'

export interface RelayPort {
  /** Hands a block to its stream's log; `Relay.relayed` is called when it is durable there. */
  relay(stream: OutboxStream, payload: Buffer, lastSeq: number): void
  exchange(sent: Sent): void
}

interface Held {
  /** Seqs that must have been relayed first (2). */
  readonly after: Readonly<Record<OutboxStream, number>>
  readonly sent: readonly Sent[]
}

export class Relay {
  readonly #port: RelayPort
  readonly #relayed: Record<OutboxStream, number>
  readonly #given: Record<OutboxStream, number>
  readonly #held: Held[] = []
  readonly #unconfirmed: Sent[][]
  /** Per target, the last message that has left (2). */
  readonly #left: number[]

  constructor(port: RelayPort, state: TaskState) {
    this.#port = port
    this.#relayed = { ...state.relayed }
    this.#given = { ...state.relayed }
    this.#unconfirmed = state.sent.map(() => [])
    this.#left = state.sent.map(() => 0)
  }

  /** Sends what a durable commit holds. */
  commit(blocks: readonly (readonly [OutboxStream, Block])[], sent: readonly Sent[], seqs: Readonly<Record<OutboxStream, number>>): void {
    for (const [stream, block] of blocks) {
      invariant(block.firstSeq === this.#given[stream] + 1, 'blocks of a stream leave without gaps (1)')
      this.#given[stream] = block.firstSeq + block.count - 1
      this.#port.relay(stream, encodeBlock(block), this.#given[stream])
    }
    if (sent.length > 0) {
      for (const s of sent) this.#unconfirmed[s.target]?.push(s)
      this.#held.push({ after: { ...seqs }, sent })
      this.#release()
    }
  }

  #release(): void {
    for (;;) {
      const first = this.#held[0]
      if (!first || OUTBOX_STREAMS.some((s) => this.#relayed[s] < first.after[s])) return
      this.#held.shift()
      for (const s of first.sent) {
        this.#left[s.target] = s.seq
        this.#port.exchange(s)
      }
    }
  }

  /** Says again what has left for a target and is not confirmed (3). */
  again(target: number): void {
    const left = this.#left[target] ?? 0
    // A copy: what a task of this host is told again, it may confirm at once.
    for (const s of [...(this.#unconfirmed[target] ?? [])]) if (s.seq <= left) this.#port.exchange(s)
  }

  /** Per target, the oldest message that has left and is not confirmed. */
  *oldest(): Iterable<Sent> {
    for (const [first] of this.#unconfirmed) if (first && first.seq <= (this.#left[first.target] ?? 0)) yield first
  }

  /** A stream's log has everything up to `seq`. */
  relayed(stream: OutboxStream, seq: number): void {
    if (seq <= this.#relayed[stream]) return
    this.#relayed[stream] = seq
    this.#release()
  }

  /** The receiver's commit with everything up to `seq` is durable. */
  confirmed(target: number, seq: number): void {
    const waiting = this.#unconfirmed[target]
    while (waiting?.[0] && waiting[0].seq <= seq) waiting.shift()
  }

  watermark(stream: OutboxStream): number {
    return this.#relayed[stream]
  }

  /** True when nothing waits to be relayed or confirmed. */
  get isIdle(): boolean {
    return OUTBOX_STREAMS.every((s) => this.#relayed[s] === this.#given[s]) && this.#unconfirmed.every((list) => list.length === 0)
  }

  /** The messages not yet confirmed, for the causes that they keep open. */
  *unconfirmed(): Iterable<Sent> {
    for (const list of this.#unconfirmed) yield* list
  }
}
