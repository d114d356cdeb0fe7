// The theory of segments.
//
// A condition on events, such as "at least 3 orders over 50 within 30 days", is split in two:
//
//   accumulator   holds state, per profile: what the matching events leave behind. It is shared by all conditions that look at
//                 the same event names, filter and measured property, whatever their windows and thresholds.
//   reading       is stateless: it looks at an accumulator's state and says whether its condition holds now, and when
//                 that would next change if no further event came.
//
// So an event is added once per accumulator that it matches, and the passing of time costs nothing until a flip is due.
// The laws that every operator obeys, and that test/operators checks against brute force:
//
// 1. Order does not matter: adding the same entries in any order leads to the same readings. Entries may come late, but never
//    from the future: every entry's instant is at or before `now`, and `now` never goes back.
// 2. Merging does not matter: merge(a, b) reads as if all entries had been added to one state.
// 3. A state may forget what no reading within its Need can tell. Forgetting more (more than MAX_ENTRIES live entries) is
//    remembered in the state, and `exact` then answers false for as long as a reading could notice.
// 4. flipsAt is the first instant after `now` at which `holds` changes by time alone, or NEVER.
// 5. Windows are half-open: (now - W, now]. An entry at instant t leaves a window at t + W.
// 6. Where adding cannot be exact (a negative amount meets a sum that has forgotten entries), `cannotAdd` or `cannotMerge` says so
//    beforehand, and the state is rebuilt from the profile's timeline.
//
// A new operator is one file that implements Operator (count.ts is the plainest example) and one line in registry.ts.
import type { Reader, Writer } from '../core/bytes.ts'
import type { Json } from '../core/event.ts'
import type { AggregateCondition, CountCondition, RecencyCondition } from './definition.ts'

export type EventCondition = CountCondition | AggregateCondition | RecencyCondition

export const NEVER = Number.POSITIVE_INFINITY

/** The most entries (times, values) that one accumulator of one profile keeps. */
export const MAX_ENTRIES = 4096

/** What the readings of one accumulator ask it to keep; the parts of several readings combine by their maximum. */
export interface Need {
  /** How far back entries are kept; 0 when no reading has a window (what all time needs is a total, always kept). */
  readonly windowMs: number
  /** Only so many of the newest entries in a window can make a difference. */
  readonly newest: number
  /** Nothing is told apart above this value. */
  readonly ceiling: number
}

export const NO_NEED: Need = { windowMs: 0, newest: 0, ceiling: Number.NEGATIVE_INFINITY }

export function combineNeeds(a: Need, b: Need): Need {
  return {
    windowMs: Math.max(a.windowMs, b.windowMs),
    newest: Math.max(a.newest, b.newest),
    ceiling: Math.max(a.ceiling, b.ceiling),
  }
}

/** Whether a state kept for `old` may lack something that `fresh` asks for. */
export function isWidened(old: Need, fresh: Need): boolean {
  return fresh.windowMs > old.windowMs || fresh.newest > old.newest || fresh.ceiling > old.ceiling
}

/** The answer of a reading; the caller owns the object and reuses it. */
export interface Truth {
  holds: boolean
  /** The first instant after `now` at which `holds` changes by time alone, or NEVER. */
  flipsAt: number
}

/** A condition, compiled. */
export interface Reading<S> {
  readonly need: Need
  /** Its truth where no event has matched; constant in time. */
  readonly whenEmpty: boolean
  read(state: S, now: number, out: Truth): void
  /** What the condition compares (a count, a sum, an instant), for explanations. */
  value(state: S, now: number): Json | undefined
  /** False while the state may have forgotten something that this reading could notice (3). */
  exact(state: S, now: number): boolean
}

/** Where and when entries are added or states merged. */
export interface Keep {
  readonly need: Need
  readonly now: number
}

/** A kind of accumulator. Methods change the state in place. */
export interface Operator<S> {
  /** Its name in canonical forms; part of an accumulator's identity. */
  readonly kind: string
  takes(condition: EventCondition): boolean
  /** The path of the measured property; undefined for operators that only look at times. */
  path(condition: EventCondition): string | undefined
  reading(condition: EventCondition): Reading<S>

  empty(): S
  /** Whether a measured value counts at all; the entry is passed over otherwise. */
  counts(value: Json): boolean
  /** Adds one entry (1). `value` is null for operators without a path. */
  add(state: S, at: number, value: Json, keep: Keep): void
  /** Merges `from` into `into` (2). */
  merge(into: S, from: S, keep: Keep): void
  /** True where `add` would not be exact (6). Absent: never. */
  cannotAdd?(state: S, value: Json, keep: Keep): boolean
  /** True for values that `add` takes exactly whatever the state has forgotten. Goes with `cannotAdd`. */
  isHarmless?(value: Json): boolean
  cannotMerge?(into: S, from: S, keep: Keep): boolean
  /** After `fresh` was rebuilt from the timeline, which may not reach back to the first event: takes over the totals of `old`. */
  takeOver(fresh: S, old: S): void

  encode(state: S, w: Writer): void
  decode(r: Reader): S
}
