// Why a profile is in a segment, or not: its tree with the truth of every condition, what was compared, and when time alone would
// change it. Owns the shape of the answer; reads a state and never changes its truths.
//
// 1. `exact` is false where the state may lack something that the condition could notice: entries dropped for lack of room, or a
//    timeline that no longer reached back when the condition was filled.
import { invariant, must } from '../core/assert.ts'
import type { Json } from '../core/event.ts'
import type { Condition } from '../operators/definition.ts'
import { NEVER, type Reading, type Truth } from '../operators/operator.ts'
import type { Plan } from './plan.ts'
import type { PlanAccumulator } from './plan-group.ts'
import type { SegmentState, TraitsView } from './segment-state.ts'
import type { ConditionRef, SegmentTree } from './segment-tree.ts'

export type Explanation =
  | { readonly holds: boolean; readonly all: readonly Explanation[] }
  | { readonly holds: boolean; readonly any: readonly Explanation[] }
  | { readonly holds: boolean; readonly not: Explanation }
  | ExplainedCondition

export interface ExplainedCondition {
  readonly holds: boolean
  readonly condition: Condition
  /** What was compared: a count, a sum, the instant of an event, a trait; absent where there is nothing. */
  readonly value?: Json
  /** When it would change by time alone, ms. */
  readonly flipsAt?: number
  readonly exact: boolean
}

export interface ExplainStep {
  readonly traits: TraitsView
  readonly now: number
}

/** Explains one segment of the plan for a profile that is filled to it and whose split-off groups are loaded. */
export function explain(plan: Plan, state: SegmentState, segment: number, step: ExplainStep): Explanation {
  invariant(state.version === plan.version, 'a state is explained by the plan that it is filled for')
  const { tree } = must(plan.segments[segment], 'the segment exists in this version')
  return explainTree({ plan, state, step }, tree)
}

interface Surroundings {
  readonly plan: Plan
  readonly state: SegmentState
  readonly step: ExplainStep
}

function explainTree(s: Surroundings, tree: SegmentTree): Explanation {
  switch (tree.kind) {
    case 'condition':
      return explainCondition(s, tree.ref, tree.condition)
    case 'not': {
      const not = explainTree(s, tree.part)
      return { holds: !not.holds, not }
    }
    case 'all': {
      const all = tree.parts.map((part) => explainTree(s, part))
      return { holds: all.every((part) => part.holds), all }
    }
    case 'any': {
      const any = tree.parts.map((part) => explainTree(s, part))
      return { holds: any.some((part) => part.holds), any }
    }
  }
}

function explainCondition(
  { plan, state, step: { traits, now } }: Surroundings,
  ref: ConditionRef,
  condition: Condition,
): ExplainedCondition {
  const group = must(plan.groups[ref.group], 'a live condition lies in a group')
  const accumulator = must(group.accumulator(ref.accumulator), 'a live condition reads an accumulator')
  const { reading } = must(
    accumulator.conditions.find((live) => live.ref.ordinal === ref.ordinal),
    'the plan has its live conditions',
  )
  const held = group.trait === undefined ? stateFor(state, ref, accumulator) : traits.get(group.trait)
  const truth: Truth = { holds: ref.whenEmpty, flipsAt: NEVER }
  if (held !== undefined) reading.read(held, now, truth)
  const value = held === undefined ? reading.value(accumulator.operator?.empty(), now) : reading.value(held, now)
  return {
    condition,
    holds: truth.holds,
    ...(value === undefined ? {} : { value }),
    ...(truth.flipsAt === NEVER ? {} : { flipsAt: truth.flipsAt }),
    exact: (held === undefined || reading.exact(held, now)) && !isInGap(state, accumulator, { reading, now }),
  }
}

function stateFor(state: SegmentState, ref: ConditionRef, accumulator: PlanAccumulator): unknown {
  const group = state.groups.get(ref.group)
  const slot = group?.slot(ref.accumulator)
  return group && slot && group.stateOf(slot, accumulator)
}

/** Whether what the accumulator was filled from may have begun too late for this reading (1). */
function isInGap(
  state: SegmentState,
  { operator, filledAt }: PlanAccumulator,
  { reading, now }: { reading: Reading<unknown>; now: number },
): boolean {
  if (operator === undefined) return false
  // Without a window a reading looks at all time.
  const from = reading.need.windowMs === 0 ? -NEVER : now - reading.need.windowMs
  return state.gaps.some((gap) => filledAt > gap.after && filledAt <= gap.upTo && gap.from > from)
}
