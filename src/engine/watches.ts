// Who waits for something to be finished in several hosts, and whether what it waits for has moved since its last look. Owns that
// count, for one host.
//
// 1. What was caused before the ends of a watch can only come to lie open in a host by a commit that took in a message caused by it.
//    So where two looks at all hosts found nothing open, and no such commit lay between them anywhere, nothing was open in between.
// 2. Messages that are caused by something else don't count: in a cluster that is never at rest, what is waited for is.
// 3. Counts only grow, also when a watch was forgotten and begins anew: equal counts are those of one watch.
import { causesIn, type IdentityMessage } from '../identity/messages.ts'
import type { Ends } from './questions.ts'

interface Watch {
  readonly ends: ReadonlyMap<number, number>
  moved: number
  askedMs: number
}

/** Who has not asked for so long has its answer, or begins anew. */
const FORGET_MS = 1000

export class Watches {
  readonly #watches = new Map<string, Watch>()
  #ticks = 0

  /** For whoever has just found nothing open here: what has moved until now. */
  count(name: string, ends: Ends, nowMs: number): number {
    for (const [other, watch] of this.#watches) {
      if (nowMs - watch.askedMs < FORGET_MS) break
      this.#watches.delete(other)
    }
    const watch = this.#watches.get(name) ?? { ends: new Map(ends), moved: ++this.#ticks, askedMs: nowMs }
    watch.askedMs = nowMs
    // The oldest first.
    this.#watches.delete(name)
    this.#watches.set(name, watch)
    return watch.moved
  }

  /** Messages of a commit that is durable now (1). */
  committed(messages: readonly IdentityMessage[]): void {
    if (this.#watches.size === 0) return
    for (const message of messages) {
      const causes = causesIn(message)
      for (const watch of this.#watches.values())
        if (causes.some(({ partition, position }) => position < (watch.ends.get(partition) ?? 0))) watch.moved = ++this.#ticks
    }
  }
}
