// What one profile's transitions must be, step by step, by the rules of DESIGN section 4:
//
//   before anything is applied, what is due by `now` happens, one by one, each at its own instant: flips of definitions by time,
//   and events dated in the future, which count from their instant on; at one instant flips come first;
//   then the thing itself, and every segment is evaluated at `now`.
//
// Everything is recomputed from scratch at every step; nothing is incremental.
import type { Json, JsonObject } from '../../src/core/event.ts'
import type { Where } from '../../src/operators/definition.ts'
import { type CountedEvent, type Facts, holds, timelineOfTruth } from './evaluate.ts'

export interface OracleEvent extends CountedEvent {
  readonly messageId: string
  /** Breaks ties between events of one instant; the same for every reader. */
  readonly messageHash: string
  /** Smaller wins where two sources set a trait at one instant. */
  readonly sourcePriority: number
}

export interface ExpectedTransition {
  readonly segment: string
  readonly transition: 'entered' | 'exited'
  readonly seq: number
  readonly at: number
  readonly cause: 'event' | 'timer' | 'merge' | 'definition'
  readonly causeId?: string
}

type Because = Pick<ExpectedTransition, 'cause' | 'causeId'>
type Memberships = Map<string, { in: boolean; seq: number }>

export class SegmentOracle {
  now = Number.NEGATIVE_INFINITY
  /** Whether the profile exists; the first event founds it. */
  founded = false
  /** Counted: at or before `now`. */
  #events: OracleEvent[] = []
  #waiting: OracleEvent[] = []
  readonly #definitions = new Map<string, Where>()
  #memberships: Memberships = new Map()

  apply(event: OracleEvent, now: number): ExpectedTransition[] {
    const out = this.#pass(now)
    this.founded = true
    if (event.at > this.now) this.#waiting.push(event)
    else this.#events.push(event)
    return [...out, ...this.#evaluate(this.now, { cause: 'event', causeId: event.messageId })]
  }

  advance(now: number): ExpectedTransition[] {
    return this.#pass(now)
  }

  /** Saves a definition, or deletes it where `where` is undefined; `now` is when the profile is filled for it. */
  define(id: string, where: Where | undefined, now: number): ExpectedTransition[] {
    const out = this.#pass(now)
    if (where === undefined) this.#definitions.delete(id)
    else this.#definitions.set(id, where)
    return [...out, ...this.#evaluate(this.now, { cause: 'definition' })]
  }

  /** Takes in another profile under the same definitions; `keep` says whose public id, and so whose memberships, survive. */
  merge(
    other: SegmentOracle,
    now: number,
    keep: 'mine' | 'theirs',
    causeId?: string,
  ): { survivor: ExpectedTransition[]; absorbed: ExpectedTransition[] } {
    const both = Math.max(now, this.now, other.now)
    const mine = this.#pass(both)
    const theirs = other.#pass(both)
    const because: Because = causeId === undefined ? { cause: 'merge' } : { cause: 'merge', causeId }
    const [kept, dropped] = keep === 'mine' ? [this, other] : [other, this]
    const [before, leaving] = keep === 'mine' ? [mine, theirs] : [theirs, mine]
    for (const [segment, membership] of dropped.#memberships) {
      if (membership.in) leaving.push({ segment, transition: 'exited', seq: membership.seq + 1, at: both, ...because })
    }
    this.#memberships = kept.#memberships
    this.#events = [...this.#events, ...other.#events]
    this.#waiting = [...this.#waiting, ...other.#waiting]
    return { survivor: [...before, ...this.#evaluate(both, because)], absorbed: leaving }
  }

  get facts(): Facts {
    return { events: this.#events, traits: this.traits }
  }

  /** Its events, those that wait for their instant too. */
  get all(): readonly OracleEvent[] {
    return [...this.#events, ...this.#waiting]
  }

  /** The segments that it is in. */
  get segments(): string[] {
    return [...this.#memberships].filter(([, membership]) => membership.in).map(([id]) => id)
  }

  get memberships(): ReadonlyMap<string, { readonly in: boolean; readonly seq: number }> {
    return this.#memberships
  }

  /** Last write wins per top-level trait by (event time, source priority, message hash); null removes. */
  get traits(): Map<string, Json> {
    const writes = this.#events.flatMap((event) => Object.entries(traitsIn(event.message)).map(([name, value]) => ({ name, value, event })))
    writes.sort((a, b) => {
      const [x, y] = [a.event, b.event]
      return (
        x.at - y.at || y.sourcePriority - x.sourcePriority || (x.messageHash < y.messageHash ? -1 : x.messageHash > y.messageHash ? 1 : 0)
      )
    })
    const traits = new Map<string, Json>()
    for (const { name, value } of writes) {
      if (value === null) traits.delete(name)
      else traits.set(name, value)
    }
    return traits
  }

  /** What time brings until `now`. */
  #pass(now: number): ExpectedTransition[] {
    const out: ExpectedTransition[] = []
    const end = Math.max(now, this.now)
    this.#waiting.sort((a, b) => a.at - b.at || (a.messageHash < b.messageHash ? -1 : 1))
    for (;;) {
      const next = this.#waiting[0]
      const until = next === undefined ? end : Math.min(end, next.at)
      out.push(...this.#flip(until))
      if (next === undefined || next.at > end) return out
      this.#waiting.shift()
      this.#events.push(next)
      out.push(...this.#evaluate(this.now, { cause: 'timer', causeId: next.messageId }))
    }
  }

  #flip(until: number): ExpectedTransition[] {
    const from = this.now
    this.now = until
    if (!this.founded || until <= from) return []
    const flips = [...this.#definitions].flatMap(([segment, where]) =>
      timelineOfTruth(where, this.facts, from, until).flips.map((flip) => ({ segment, ...flip })),
    )
    flips.sort((a, b) => a.at - b.at)
    return flips.flatMap(({ segment, at, holds: isIn }) => this.#set(segment, isIn, at, { cause: 'timer' }))
  }

  #evaluate(at: number, because: Because): ExpectedTransition[] {
    if (!this.founded) return []
    const facts = this.facts
    const ids = new Set([...this.#definitions.keys(), ...this.#memberships.keys()])
    return [...ids].flatMap((segment) => {
      const where = this.#definitions.get(segment)
      return this.#set(segment, where !== undefined && holds(where, facts, at), at, because)
    })
  }

  #set(segment: string, isIn: boolean, at: number, because: Because): ExpectedTransition[] {
    const old = this.#memberships.get(segment) ?? { in: false, seq: 0 }
    if (old.in === isIn) return []
    const seq = old.seq + 1
    this.#memberships.set(segment, { in: isIn, seq })
    return [{ segment, transition: isIn ? 'entered' : 'exited', seq, at, ...because }]
  }
}

/** The traits that a message sets: identify's own, and context.traits of any call; of one name identify's. */
export function traitsIn(message: JsonObject): JsonObject {
  const context = message.context
  const inContext = isObject(context) && isObject(context.traits) ? context.traits : {}
  return { ...inContext, ...(message.type === 'identify' && isObject(message.traits) ? message.traits : {}) }
}

const isObject = (x: Json | undefined): x is JsonObject => typeof x === 'object' && x !== null && !Array.isArray(x)
