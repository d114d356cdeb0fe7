// The store behind the journal: brings it to the last commit that counts, in stretches, and makes the journal's head unnecessary. Owns
// how far the journal has come here and the apply under way; rows that wait are state/pending.ts's.
//
// 1. One apply at a time; commits go on meanwhile.
// 2. What fails is told once, and nothing is applied any more.
import type { PendingRows } from '../state/pending.ts'

export interface StoreBehindOptions {
  readonly rows: PendingRows
  readonly monotonicMs: () => number
  /** A row that need not reach the store (dead-rows.ts). */
  readonly isDead: (key: string) => boolean
  /** An apply is about to begin. */
  readonly begins: () => void
  readonly applied: () => void
  readonly failed: (error: Error) => void
}

export class StoreBehind {
  readonly #options: StoreBehindOptions
  /** Of the last commit that counts: where the next replay may begin once the store has caught up. */
  #position = -1
  #applying: Promise<void> | undefined

  constructor(options: StoreBehindOptions) {
    this.#options = options
  }

  /** The position of the last commit that counts, -1 before the first. */
  get position(): number {
    return this.#position
  }

  /** A commit counts, at this position. */
  reached(position: number): void {
    this.#position = position
  }

  applyIfDue(): void {
    if (!this.#applying && this.#options.rows.shouldApply(this.#options.monotonicMs())) this.#apply()
  }

  /** Undefined while more may be committed; else resolves when an apply is done. */
  room(): Promise<void> | undefined {
    if (!this.#options.rows.isFull) return undefined
    return this.#applying ?? this.#apply()
  }

  #apply(): Promise<void> {
    const { rows, isDead, begins, applied, failed } = this.#options
    begins()
    this.#applying = rows.apply(this.#position, isDead).then(() => {
      this.#applying = undefined
      applied()
    }, failed)
    return this.#applying
  }

  /** Resolves when no apply is under way. */
  async settled(): Promise<void> {
    await this.#applying
  }

  /** Brings it to the last commit, nothing else being under way. */
  catchUp(): Promise<void> {
    return this.#options.rows.apply(this.#position, this.#options.isDead)
  }
}
