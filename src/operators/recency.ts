// How long ago: {"event": E, "first" | "last": {"within": W}} (age < W) or {"before": W} (age >= W).
// Where no event matched, neither holds.
import type { Reader, Writer } from '../core/bytes.ts'
import type { Recency, RecencyCondition } from './definition.ts'
import { durationMs } from './duration.ts'
import { type EventCondition, NEVER, NO_NEED, type Operator, type Reading, type Truth } from './operator.ts'

export interface RecencyState {
  first: number
  last: number
}

class AgeReading implements Reading<RecencyState> {
  readonly need = NO_NEED
  readonly whenEmpty = false
  readonly #end: 'first' | 'last'
  readonly #ageMs: number
  readonly #young: boolean

  constructor(end: 'first' | 'last', recency: Recency) {
    this.#end = end
    this.#young = 'within' in recency
    this.#ageMs = durationMs('within' in recency ? recency.within : recency.before)
  }

  read(state: RecencyState, now: number, out: Truth): void {
    const grownAt = state[this.#end] + this.#ageMs
    const isYoung = now < grownAt
    out.holds = isYoung === this.#young
    out.flipsAt = isYoung ? grownAt : NEVER
  }

  value(state: RecencyState): string | undefined {
    const at = state[this.#end]
    return Number.isFinite(at) ? new Date(at).toISOString() : undefined
  }

  exact(): boolean {
    return true
  }
}

export const recency: Operator<RecencyState> = {
  kind: 'recency',
  takes: (condition) => 'first' in condition || 'last' in condition,
  path: () => undefined,
  reading(condition: EventCondition) {
    const { first, last } = condition as RecencyCondition
    if (first) return new AgeReading('first', first)
    return new AgeReading('last', last as Recency)
  },

  // An empty state is never read: the entry that creates it is added at once.
  empty: () => ({ first: NEVER, last: -NEVER }),
  counts: () => true,
  add(state, at) {
    if (at < state.first) state.first = at
    if (at > state.last) state.last = at
  },
  merge(into, from) {
    into.first = Math.min(into.first, from.first)
    into.last = Math.max(into.last, from.last)
  },
  takeOver(fresh, old) {
    recency.merge(fresh, old, { need: NO_NEED, now: 0 })
  },

  encode(state, w: Writer) {
    w.zigzag(state.first).varint(state.last - state.first)
  },
  decode(r: Reader) {
    const first = r.zigzag()
    return { first, last: first + r.varint() }
  },
}
