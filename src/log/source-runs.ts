// What a member of a group can say of what it reads: since when all came one after the other. Owns a run for each partition; nothing of it
// outlives the process, which can vouch only for itself.
//
//   run: under one topic id and leader, from the first record on; `next` is one past what was done
//
// 1. Within a session (from one joining to the next) the client goes on where it was; what it jumps over isn't there any more.
// 2. In a later session a run goes on where reading begins within it: others may have read on, or positions been moved.
// 3. Where the client goes back within a session, the partition is not what it was: cut off, or another topic of the same name.
import type { BatchOrigin } from './record-group.ts'

export interface Run {
  readonly origin: BatchOrigin
  next: number
}

/** Records of one leader that came in answer to a request. */
export interface Answered {
  readonly topicId: string
  readonly leader: number
  /** The offset that was asked for, and that of the first record. */
  readonly asked: number
  readonly first: number
}

export class Runs {
  readonly #runs = new Map<string, { run: Run; session: number }>()
  #session = 0

  /** The group has a new session. */
  joined(): void {
    this.#session++
  }

  /** (3) */
  isBack(place: string, asked: number): boolean {
    const known = this.#runs.get(place)
    return known !== undefined && known.session === this.#session && asked < known.run.next
  }

  /** The run that these records belong to. */
  of(place: string, answered: Answered): Run {
    const known = this.#runs.get(place)
    const goesOn = known !== undefined && this.#goesOn(known, answered)
    const { topicId, leader, first } = answered
    const run = goesOn ? known.run : { origin: { topicId, leader, from: first }, next: first }
    this.#runs.set(place, { run, session: this.#session })
    return run
  }

  #goesOn({ run, session }: { run: Run; session: number }, { topicId, leader, asked }: Answered): boolean {
    const { origin, next } = run
    if (origin.topicId !== topicId || origin.leader !== leader || asked < origin.from) return false
    // (1), (2)
    return session === this.#session ? asked >= next : asked <= next
  }
}
