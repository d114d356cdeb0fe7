// What a task wants of its journal, whichever log is under it: journal-embedded.ts (one process, one writer) and
// journal-claimed.ts (several processes, of which one owns). Owns the gate that holds back what leaves a task.
//
// 1. A commit is told done only when it counts: for good, for every reader.
// 2. When ownership has ended, nothing more is told done, and nothing leaves through the gate.
// 3. What waits at the gate leaves in the order in which it came.
import { TributaryError } from '../core/errors.ts'
import type { ReadProgress, Start } from '../log/claimed.ts'
import type { Commit } from './journal.ts'

export interface JournalOpening {
  /** The position behind the last commit that the store has, or 0; claim and number of that commit. */
  readonly from: number
  readonly claim: number
  readonly n: number
  /** The store has nothing: where the journal has lost its head, it is read from the first place that it can be read from. */
  readonly isBlank: boolean
  /** Is given each commit that counts, in order; what it returns is waited for. */
  readonly visit: (commit: Commit, position: number) => void | Promise<void>
  /** Told once when ownership ends by itself. */
  readonly lost: (error: Error) => void
}

/** One partition's journal, for one owner. */
export interface TaskJournal {
  /** Commits are to carry cold rows, so that it may lose its head (rewrite.ts). */
  readonly isRewritten: boolean
  /** Becomes the owner, having read everything that counts; returns the owner's claim, which its commits carry. */
  open(opening: JournalOpening): Promise<number>
  /**
   * Appends an encoded commit, at once; resolves with its position once it counts (1). One at a time. Its bytes stay as they are until
   * then. `start`, where it is rewritten: from where it can be read by those who know nothing of it.
   */
  commit(payload: Uint8Array, start?: Start): Promise<number>
  /** Undefined while ownership is known to be fresh; else resolves when it is, and rejects when it has ended. */
  owned(): Promise<void> | undefined
  /** Resolves when it is known that ownership had not ended at the time of the call; rejects when it has. */
  verify(): Promise<void>
  /** How far the reading is; undefined where that is not told. */
  progress(): ReadProgress | undefined
  /** One past the last position known. */
  end(): number
  close(): Promise<void>
}

/** The journals of a host's partitions. */
export interface HostJournal {
  of(partition: number): TaskJournal
  /** Bytes kept, as far as they are to be cut. */
  bytes(): number
  /** Nobody needs records of `partition` before `position` any more. */
  release(partition: number, position: number): Promise<void>
  close(): Promise<void>
}

/** The journal has lost what was to be read: there is no way to it from here but to build the rows anew. */
export const isCut = (error: Error | undefined): boolean => error instanceof TributaryError && error.code === 'journal_cut'

/** Lets pass what may leave a task: at once while its ownership is fresh, else once that is known again (2, 3). */
export class OwnedGate {
  readonly #journal: Pick<TaskJournal, 'owned'>
  readonly #held: (() => void)[] = []

  constructor(journal: Pick<TaskJournal, 'owned'>) {
    this.#journal = journal
  }

  pass(leave: () => void): void {
    if (this.#held.length > 0) {
      this.#held.push(leave)
      return
    }
    const owned = this.#journal.owned()
    if (!owned) {
      leave()
      return
    }
    this.#held.push(leave)
    this.#openAfter(owned)
  }

  #openAfter(owned: Promise<void>): void {
    // Whose ownership has ended is told by `lost`; what waits here stays.
    owned.then(
      () => this.#open(),
      () => undefined,
    )
  }

  #open(): void {
    while (this.#held.length > 0) {
      // Again for each: what leaves takes time.
      const owned = this.#journal.owned()
      if (owned) {
        this.#openAfter(owned)
        return
      }
      this.#held.shift()?.()
    }
  }
}
