// Whether two states of segments can be merged as they are, or only together with the timeline of both. Owns nothing.
import type { Plan } from './plan.ts'
import type { SegmentState } from './segment-state.ts'

/** True where some accumulator of the two resists (operator.ts, 6). All groups are loaded, both states filled to the plan. */
export function mergeNeedsTimeline(plan: Plan, into: SegmentState, from: SegmentState, now: number): boolean {
  if (into.version !== plan.version || from.version !== plan.version) return true
  for (const theirs of from.groups.values()) {
    const group = plan.groups[theirs.number]
    const mine = into.groups.get(theirs.number)
    if (!group || !mine) continue
    for (const accumulator of group.fragile) {
      const [a, b] = [mine.slot(accumulator.ordinal), theirs.slot(accumulator.ordinal)]
      const { operator, need } = accumulator
      if (a && b && operator?.cannotMerge?.(mine.stateOf(a, accumulator), theirs.stateOf(b, accumulator), { need, now })) return true
    }
  }
  return false
}
