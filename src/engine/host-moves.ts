// Partitions that come to a host and go while it runs. Owns the order of opening and closing of each; which partitions a host is to
// run, others say (assign, revoke), and who owns one, its journal.
//
//   absent ──assigned──▶ opening ──▶ running ──revoked, fenced──▶ closing ──▶ absent     (and again, while it is assigned)
//                           │           └───a broken invariant──▶ stopped  (stays to be seen, until it is revoked)
//                           └──revoked──▶ closing
//
// 1. A partition is opened, or closed, by one at a time: its store is never open twice.
// 2. The others go on: nothing here waits for more than one partition.
// 3. A task whose partition another process has taken over is dropped quietly, and so is one that the journal has left behind
//    (journal_cut). If the partition is still assigned here, it is opened again, with another owner's name, after AGAIN_MS: time for
//    whoever hands partitions out to say that it isn't.
import { type Clock, sleep } from '../core/clock.ts'
import { TributaryError } from '../core/errors.ts'
import { isCut } from './journal-port.ts'
import type { Task } from './task.ts'

/** A task and what was opened for it. */
export interface Held {
  readonly task: Task
  /** Closes what it worked on; the task is closed. */
  release(): Promise<void>
}

export interface MovesPorts {
  readonly clock: Clock
  /** Opens a partition's store and makes its task. */
  create(partition: number): Promise<Held>
  /** The task is open, and may be seen: lets it run, unless it is no longer wanted. Resolves once it does. */
  run(task: Task, isWanted: () => boolean): Promise<void>
  /** The task is not to be seen any more; what is being read of it may be read to the end. */
  hide(task: Task): Promise<void>
  /** A partition can't be opened at all. */
  failed(partition: number, error: Error): void
}

const AGAIN_MS = 500

/** The task has ended, for no fault of the partition's. */
export const isFenced = (error: Error | undefined): boolean => error instanceof TributaryError && (error.code === 'fenced' || isCut(error))

export class Moves {
  readonly #ports: MovesPorts
  readonly #wanted = new Set<number>()
  readonly #held = new Map<number, Held>()
  /** Revoked while they were opening: what is held of them is of no use, also where they are assigned anew meanwhile. */
  readonly #givenUp = new Set<number>()
  /** Under way, by partition (1). */
  readonly #moving = new Map<number, Promise<void>>()

  constructor(ports: MovesPorts) {
    this.#ports = ports
  }

  assign(partition: number): void {
    this.#wanted.add(partition)
    this.#move(partition)
  }

  revoke(partition: number): void {
    this.#wanted.delete(partition)
    const held = this.#held.get(partition)
    // Nobody waits for the rest of an opening.
    if (held?.task.phase === 'opening') {
      this.#givenUp.add(partition)
      held.task.close().catch(() => undefined)
    }
    this.#move(partition)
  }

  /** Its task has ended as fenced: true when that is all there is to say of it. */
  hasLost(partition: number): boolean {
    if (!this.#held.has(partition)) return false
    this.#move(partition)
    return true
  }

  async close(): Promise<void> {
    for (const partition of [...this.#wanted]) this.revoke(partition)
    await Promise.all(this.#moving.values())
  }

  #move(partition: number): void {
    if (this.#moving.has(partition)) return
    const moving = this.#settle(partition).catch((error: Error) => {
      // Until it is assigned anew: what can't be opened now, can't be a moment later.
      this.#wanted.delete(partition)
      this.#ports.failed(partition, error)
    })
    this.#moving.set(
      partition,
      moving.finally(() => {
        this.#moving.delete(partition)
        if (this.#isUnsettled(partition)) this.#move(partition)
      }),
    )
  }

  #isUnsettled(partition: number): boolean {
    const held = this.#held.get(partition)
    const isWanted = this.#wanted.has(partition)
    return held ? !isWanted || this.#givenUp.has(partition) || isFenced(held.task.stopReason) : isWanted
  }

  /** Opens and closes until the partition is as it is wanted. */
  async #settle(partition: number): Promise<void> {
    // Whoever calls has this noted as under way first.
    await Promise.resolve()
    for (;;) {
      const held = this.#held.get(partition)
      if (!this.#isUnsettled(partition)) return
      if (held) {
        const wasGivenUp = this.#givenUp.has(partition)
        await this.#close(partition, held)
        if (this.#wanted.has(partition) && !wasGivenUp) await sleep(this.#ports.clock, AGAIN_MS)
      } else await this.#open(partition)
    }
  }

  async #open(partition: number): Promise<void> {
    const held = await this.#ports.create(partition)
    this.#held.set(partition, held)
    const { task } = held
    const isWanted = (): boolean => this.#wanted.has(partition) && !this.#givenUp.has(partition)
    if (!isWanted()) return
    try {
      await task.open()
      if (isWanted() && task.phase !== 'stopped') await this.#ports.run(task, isWanted)
    } catch (error) {
      // It was closed while it was opening.
      if (isWanted()) task.fail(error as Error)
    }
  }

  async #close(partition: number, { task, release }: Held): Promise<void> {
    await this.#ports.hide(task)
    // What it still had to commit may not count any more, or its store be broken: the journal has the truth.
    await task.close().catch(() => undefined)
    await release()
    this.#held.delete(partition)
    this.#givenUp.delete(partition)
  }
}
