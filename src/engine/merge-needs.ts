// Whether a state can take several events, or another state, as it is, or only together with the timeline. Owns nothing.
import { listOf, valueAt } from '../operators/path.ts'
import type { Plan } from './plan.ts'
import type { EventView } from './plan-group.ts'
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

/**
 * True where some accumulator may resist one of several events, the first `due` of which have waited for their instant: what it
 * has forgotten by then can't be told before they are applied one by one, so this says rather too often yes. Several are rare.
 */
export function mayNeedTimeline(plan: Plan, state: SegmentState, { due, events }: { due: number; events: readonly EventView[] }): boolean {
  if (due > 0 && state.version !== plan.version) return true
  return events.length > 1 && events.some((event) => mayResist(plan, event))
}

function mayResist(plan: Plan, event: EventView): boolean {
  for (const number of plan.groupsOfEvent(event.name)) {
    for (const { operator, path } of plan.groups[number]?.fragile ?? []) {
      if (path === undefined || operator === undefined) continue
      const values = listOf(valueAt(event.message(), path))
      if (values.some((value) => operator.counts(value) && !operator.isHarmless?.(value))) return true
    }
  }
  return false
}
