// Follows a journal without owning it, so that its rows are at hand when its owner is gone. Owns the following; the rows are those
// that a task of this process will run on.
//
//   const standby = new Standby({ log, rows, clock, … }); await standby.begin(base); … await standby.stop()
//   new Task({ …, rows, journal: claimedJournal(…) })      goes on from where the standby stood
//
// 1. Rows are given what counts and nothing else, by the same rule as everybody's (log/claimed.ts).
// 2. After `stop`, everything that was read is in the store, with a commit's position as its mark: the task reads on behind it.
import { invariant, must } from '../core/assert.ts'
import type { Clock } from '../core/clock.ts'
import { type Base, ClaimedReader, type SharedLog } from '../log/claimed.ts'
import { CLAIM_TIMING, type ClaimTiming } from '../log/claimed-log.ts'
import type { PendingRows } from '../state/pending.ts'
import { countedCommit } from './journal-claimed.ts'

export interface StandbyOptions {
  readonly log: SharedLog
  readonly rows: PendingRows
  readonly clock: Clock
  readonly timing?: Pick<ClaimTiming, 'waitMs' | 'retryMs'>
  /** The log can't be read: it is tried again. */
  readonly troubled?: (error: Error) => void
  /** The following has ended for good. */
  readonly failed: (error: Error) => void
}

export class Standby {
  readonly #options: StandbyOptions
  readonly #timing: Pick<ClaimTiming, 'waitMs' | 'retryMs'>
  #reader: ClaimedReader | undefined
  #following: Promise<void> | undefined
  #isStopping = false
  #error: Error | undefined
  /** Position of the last commit that counted. */
  #last = -1

  constructor(options: StandbyOptions) {
    this.#options = options
    this.#timing = options.timing ?? CLAIM_TIMING
  }

  /** Begins to follow behind the store's mark; `base` is what the task's row there says; without one, the store has nothing. */
  begin(base: Base | undefined): void {
    invariant(this.#following === undefined, 'a standby begins once')
    const { rows, log, failed } = this.#options
    this.#last = rows.appliedPosition()
    const { clock, troubled = () => {} } = this.#options
    const options = { log, clock, retryMs: this.#timing.retryMs, troubled, isStopped: () => this.#isStopping }
    this.#reader = new ClaimedReader(options, this.#last + 1, base)
    this.#following = this.#follow(this.#reader).catch((error: Error) => {
      this.#isStopping = true
      this.#error = error
      failed(error)
    })
  }

  /** The next position to read, and whether that was the end. */
  get progress(): { readonly position: number; readonly isCaughtUp: boolean } {
    const reader = must(this.#reader, 'a standby that has begun has a reader')
    return { position: reader.position, isCaughtUp: reader.isCaughtUp }
  }

  /** Reads no further, and brings the store to where it has read (2). The connection is closed. */
  async stop(): Promise<void> {
    this.#isStopping = true
    await this.#options.log.close()
    await this.#following
    if (this.#error) throw this.#error
    await this.#options.rows.apply(this.#last)
  }

  async #follow(reader: ClaimedReader): Promise<void> {
    const { rows, clock } = this.#options
    while (!this.#isStopping) {
      for (const counted of await reader.next(this.#timing.waitMs)) {
        if (counted.t !== 'commit') continue
        const commit = countedCommit(counted.n, counted.payload)
        rows.commit(counted.position, commit.rows, commit.deletedRanges)
        this.#last = counted.position
        if (rows.isFull) await rows.apply(this.#last)
      }
      if (rows.shouldApply(clock.monotonicMs())) await rows.apply(this.#last)
    }
  }
}
