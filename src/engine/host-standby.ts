// Partitions that others run and this host follows, so that it can take one over from where it stands. Owns their standbys
// (journal-standby.ts) and the rows that these fill, until a task takes the rows.
//
// 1. The rows of a partition are open once: with its standby, or with its task.
// 2. A standby that has failed is given up: whoever takes the partition over opens its store anew, and says what is wrong with it.
// 3. But one that the journal has left behind, since it has lost its head, discards its store and begins anew (claimed.ts 5).
import type { Clock } from '../core/clock.ts'
import type { SharedLog } from '../log/claimed.ts'
import type { PendingRows } from '../state/pending.ts'
import { isCut } from './journal-port.ts'
import { Standby } from './journal-standby.ts'
import { META_KEY } from './keys.ts'
import { decodeTaskState } from './task-state.ts'

export interface FollowersPorts {
  readonly partitions: number
  readonly clock: Clock
  /** A connection to the journal of a partition. */
  journal(partition: number): SharedLog
  openRows(partition: number): Promise<PendingRows>
  closeRows(partition: number): Promise<void>
  /** What the closed rows of a partition are stored in is to be empty. */
  discardRows(partition: number): Promise<void>
  troubled(error: Error): void
}

interface Following {
  readonly rows: PendingRows
  readonly standby: Standby
}

export class Followers {
  readonly #ports: FollowersPorts
  readonly #following = new Map<number, Promise<Following | undefined>>()
  #isClosed = false

  constructor(ports: FollowersPorts) {
    this.#ports = ports
  }

  /** Follows a partition whose rows nobody has open (1). */
  begin(partition: number): void {
    if (this.#isClosed) return
    const following = this.#begin(partition).catch((error: Error) => {
      this.#ports.troubled(error)
      return undefined
    })
    this.#following.set(partition, following)
  }

  async #begin(partition: number): Promise<Following> {
    const { clock, troubled, partitions } = this.#ports
    const rows = await this.#ports.openRows(partition)
    const [row] = await rows.getMany([META_KEY])
    const { claim, n } = row ? decodeTaskState(row, partitions) : { claim: 0, n: 0 }
    const failed = (error: Error): void => {
      troubled(error)
      if (isCut(error)) void this.#again(partition)
    }
    const standby = new Standby({ log: this.#ports.journal(partition), rows, clock, troubled, failed })
    standby.begin(rows.isBlank ? undefined : { claim, n })
    return { rows, standby }
  }

  /** It was too slow: follows anew, with rows that are built from what the journal has. */
  async #again(partition: number): Promise<void> {
    const lost = this.#following.get(partition)
    await (await lost)?.standby.stop().catch(() => undefined)
    // Whoever has taken it, before or meanwhile, finds out by itself.
    if (!lost || this.#following.get(partition) !== lost) return
    const anew = this.#discard(partition)
      .then(() => (this.#isClosed ? undefined : this.#begin(partition)))
      .catch((error: Error) => {
        this.#ports.troubled(error)
        return undefined
      })
    this.#following.set(partition, anew)
  }

  async #discard(partition: number): Promise<void> {
    const { closeRows, discardRows } = this.#ports
    await closeRows(partition)
    await discardRows(partition)
  }

  /** Follows it no more; the rows, as far as they came. Undefined: they are to be opened (2). */
  async take(partition: number): Promise<PendingRows | undefined> {
    let begun: Promise<Following | undefined> | undefined
    let following: Following | undefined
    // It may have begun anew meanwhile (3): then that is what is to be taken.
    do {
      begun = this.#following.get(partition)
      following = await begun
    } while (this.#following.get(partition) !== begun)
    if (!this.#following.delete(partition)) return undefined
    try {
      await following?.standby.stop()
      if (following) return following.rows
    } catch (error) {
      this.#ports.troubled(error as Error)
    }
    await this.#ports.closeRows(partition)
    return undefined
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.all(
      [...this.#following.keys()].map(async (partition) => {
        if (await this.take(partition)) await this.#ports.closeRows(partition)
      }),
    )
  }
}
