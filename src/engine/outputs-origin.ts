// What one partition says to one topic: blocks of entries, until all replicas have them. Owns those that are not confirmed, and saying
// them again.
//
//   flowing ──a write is in doubt──▶ settling ──nothing is under way──▶ again ──all is confirmed──▶ flowing
//      ▲                                ▲                                │
//      └────────────────────────────────┴──────a write is in doubt───────┘
//
// 1. Blocks are confirmed in the order in which they were taken, whatever partitions of the topic their entries lie in.
// 2. After a write in doubt nothing new is said before all that is not confirmed has been said again, from its first block on, in order.
//    So in each partition of the topic the seqs of an origin grow, repeats aside: a reader that remembers the highest misses nothing.
import { type Clock, sleep } from '../core/clock.ts'
import { TributaryError } from '../core/errors.ts'

const RETRY_MS = 250

export interface OriginOptions<E> {
  readonly clock: Clock
  /** Rejects where it is in doubt whether all entries are there. */
  write(entries: readonly E[]): Promise<void>
  /** A write was in doubt; it is said again. */
  troubled(error: Error): void
}

interface Held<E> {
  readonly entries: readonly E[]
  readonly done: PromiseWithResolvers<void>
  isThere: boolean
}

export class OriginBlocks<E> {
  readonly #options: OriginOptions<E>
  readonly #held: Held<E>[] = []
  readonly #underWay = new Set<Promise<void>>()
  #isFlowing = true
  #isClosed = false

  constructor(options: OriginOptions<E>) {
    this.#options = options
  }

  /** Resolves when these and all earlier ones are there (1). */
  take(entries: readonly E[]): Promise<void> {
    if (this.#isClosed) return Promise.reject(closed())
    const held = { entries, done: Promise.withResolvers<void>(), isThere: false }
    this.#held.push(held)
    if (this.#isFlowing) this.#send(held)
    return held.done.promise
  }

  #send(held: Held<E>): void {
    const sent = this.#options
      .write(held.entries)
      .then(() => this.#arrived([held]))
      .catch((error: Error) => this.#failed(error))
      .finally(() => this.#underWay.delete(sent))
    this.#underWay.add(sent)
  }

  #arrived(list: readonly Held<E>[]): void {
    for (const held of list) held.isThere = true
    while (this.#held[0]?.isThere) this.#held.shift()?.done.resolve()
  }

  #failed(error: Error): void {
    if (this.#isClosed) return
    if (isFinal(error)) {
      this.#giveUp(error)
      return
    }
    this.#options.troubled(error)
    if (!this.#isFlowing) return
    this.#isFlowing = false
    void this.#sayAgain()
  }

  /** (2) */
  async #sayAgain(): Promise<void> {
    for (let isThere = false; !isThere; ) {
      await sleep(this.#options.clock, RETRY_MS)
      await Promise.allSettled([...this.#underWay])
      if (this.#isClosed) return
      const all = [...this.#held]
      try {
        await this.#options.write(all.flatMap((held) => held.entries))
        this.#arrived(all)
        isThere = true
      } catch (error) {
        this.#failed(error as Error)
      }
    }
    this.#isFlowing = true
    for (const held of [...this.#held]) this.#send(held)
  }

  #giveUp(error: Error): void {
    this.#isClosed = true
    for (const { done } of this.#held.splice(0)) done.reject(error)
  }

  /** What is not confirmed stays so: whoever gave it says it again after the next start. */
  close(): void {
    if (!this.#isClosed) this.#giveUp(closed())
  }
}

/** Saying it again would not help: the engine has a fault, or is closing. */
const isFinal = (error: Error): boolean => !(error instanceof TributaryError) || error.code !== 'append_in_doubt'

const closed = (): TributaryError => new TributaryError('shutting_down', 'the outputs are closed')
