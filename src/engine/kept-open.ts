// What one partition keeps open, over the time that a commit takes. Owns the oldest stamp among it, and what roots kept open before batches
// that are not durable yet; what is open now, messages and roots tell (causes.ts).
import type { CauseRef } from '../identity/messages.ts'
import type { Sent } from './batch.ts'
import { causesOfAll, type Openness, openness } from './causes.ts'
import type { Profile } from './profile.ts'

export class KeptOpen {
  #oldestStamp = Number.POSITIVE_INFINITY
  /** By commit number, until it is durable: what roots kept open before its batch, which may have closed it in memory only. */
  readonly #before = new Map<number, CauseRef[]>()

  /** No acceptance stamp that the partition keeps open is older; exact after `refresh`. */
  get oldestStamp(): number {
    return this.#oldestStamp
  }

  /** The batch of commit `n` is about to be executed. */
  begins(n: number, busy: ReadonlyMap<unknown, Profile>): void {
    if (busy.size > 0) this.#before.set(n, causesOfAll(busy.values()))
  }

  /** Commit `n` is durable, or there was nothing to commit. */
  ended(n: number): void {
    this.#before.delete(n)
  }

  /** Something of this age stays open. */
  stays(stamp: number): void {
    this.#oldestStamp = Math.min(this.#oldestStamp, stamp)
  }

  of(sent: Iterable<Sent>, busy: Iterable<Profile>): Openness {
    return openness(sent, busy, this.#before.values())
  }

  refresh(now: Openness): void {
    this.#oldestStamp = now.oldestStamp
  }
}
