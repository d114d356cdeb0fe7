// One group of a plan: the accumulators over the same event names, or over one trait. Immutable.
// Owns the way from a message to the accumulators that it matches; doesn't own numbers (numbering.ts) or state (group-state.ts).
//
// 1. A group is what is decoded at once: the event names of a condition (together), or one trait.
// 2. What an event costs depends on the accumulators that it matches, not on how many there are: filters with an equality are
//    found by value. Only filters without one are tried one by one.
// 3. A condition that is new at version v lies in a group with changedAt >= v; an accumulator that was created or widened at v
//    has filledAt >= v and must be built from the timeline for states filled to an earlier version.
import { must } from '../core/assert.ts'
import type { Json, JsonObject } from '../core/event.ts'
import type { FilterTerm } from '../operators/filter.ts'
import type { Need, Operator, Reading } from '../operators/operator.ts'
import { type Path, Several, valueAt } from '../operators/path.ts'
import type { CompiledSegment, ConditionRef } from './segment-tree.ts'

/** An event as conditions see it. */
export interface EventView {
  readonly name: string
  readonly at: number
  /** Parsed when first asked for. */
  message(): JsonObject
}

export interface PlanCondition {
  readonly ref: ConditionRef
  readonly reading: Reading<unknown>
  /** The segments that read it. */
  readonly segments: readonly CompiledSegment[]
}

export interface PlanAccumulator {
  readonly ordinal: number
  /** Undefined in a trait's group: there the trait's value is the state. */
  readonly operator: Operator<unknown> | undefined
  /** The measured property. */
  readonly path: Path | undefined
  readonly terms: readonly FilterTerm[]
  readonly need: Need
  readonly filledAt: number
  readonly conditions: readonly PlanCondition[]
  /** The words of truth bits where nothing has matched. */
  readonly emptyBits: readonly number[]
}

interface Candidate {
  readonly accumulator: PlanAccumulator
  /** What is left to check once the index has found it. */
  readonly rest: readonly FilterTerm[]
}

interface ValueIndex {
  readonly path: Path
  readonly byValue: ReadonlyMap<Json, readonly Candidate[]>
}

export class PlanGroup {
  readonly number: number
  readonly trait: string | undefined
  readonly changedAt: number
  readonly accumulators: readonly PlanAccumulator[]
  /** Whether matching or measuring looks into the message. */
  readonly looksInside: boolean
  /** Accumulators that may have to be rebuilt before some values can be added. */
  readonly fragile: readonly PlanAccumulator[]
  readonly #byOrdinal = new Map<number, PlanAccumulator>()
  readonly #unfiltered: PlanAccumulator[] = []
  readonly #tried: Candidate[] = []
  readonly #indexes: ValueIndex[]

  constructor(number: number, trait: string | undefined, changedAt: number, accumulators: readonly PlanAccumulator[]) {
    this.number = number
    this.trait = trait
    this.changedAt = changedAt
    this.accumulators = accumulators
    this.looksInside = accumulators.some((a) => a.path !== undefined || a.terms.length > 0)
    this.fragile = accumulators.filter((a) => a.operator?.cannotAdd !== undefined)
    const indexed: PlanAccumulator[] = []
    for (const a of accumulators) {
      this.#byOrdinal.set(a.ordinal, a)
      if (a.terms.length === 0) this.#unfiltered.push(a)
      else if (a.terms.some((term) => term.equals)) indexed.push(a)
      else this.#tried.push({ accumulator: a, rest: a.terms })
    }
    this.#indexes = buildIndexes(indexed)
  }

  accumulator(ordinal: number): PlanAccumulator | undefined {
    return this.#byOrdinal.get(ordinal)
  }

  /** Appends the accumulators that a message (or trait value) at instant `at` matches to `found`. */
  match(root: Json | undefined, at: number, found: PlanAccumulator[]): void {
    for (const a of this.#unfiltered) found.push(a)
    for (const { path, byValue } of this.#indexes) {
      const reached = valueAt(root, path)
      if (reached instanceof Several) {
        for (const value of new Set(reached.values)) take(byValue.get(value), root, at, found)
      } else if (reached !== undefined) {
        take(byValue.get(reached), root, at, found)
      }
    }
    if (this.#tried.length > 0) take(this.#tried, root, at, found)
  }
}

function take(candidates: readonly Candidate[] | undefined, root: Json | undefined, at: number, found: PlanAccumulator[]): void {
  if (candidates === undefined) return
  for (const { accumulator, rest } of candidates) {
    if (rest.every((term) => term.matcher.any(valueAt(root, term.path), at)) && !found.includes(accumulator)) found.push(accumulator)
  }
}

/** Each filter goes under the equality whose path tells most filters apart. */
function buildIndexes(accumulators: readonly PlanAccumulator[]): ValueIndex[] {
  const variety = new Map<string, Set<Json>>()
  for (const { terms } of accumulators) {
    for (const { text, equals = [] } of terms) {
      const values = variety.get(text) ?? new Set()
      for (const value of equals) values.add(value)
      variety.set(text, values)
    }
  }
  const indexes = new Map<string, { path: Path; byValue: Map<Json, Candidate[]> }>()
  for (const accumulator of accumulators) {
    const sizeOf = (term: FilterTerm): number => (term.equals ? must(variety.get(term.text), 'every term was counted').size : -1)
    const best = accumulator.terms.reduce((a, b) => (sizeOf(b) > sizeOf(a) ? b : a))
    const index = indexes.get(best.text) ?? { path: best.path, byValue: new Map<Json, Candidate[]>() }
    indexes.set(best.text, index)
    const rest = accumulator.terms.filter((term) => term !== best)
    for (const value of new Set(best.equals)) {
      const candidates = index.byValue.get(value)
      if (candidates) candidates.push({ accumulator, rest })
      else index.byValue.set(value, [{ accumulator, rest }])
    }
  }
  return [...indexes.values()]
}
