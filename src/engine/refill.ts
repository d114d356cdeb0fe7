// Accumulators from the timeline: for fills, and where an entry cannot be added to what a state has kept. Owns how events become
// fresh states; doesn't own which accumulators need it or what follows from it (segment-state.ts).
//
// 1. A fresh state holds exactly the events of the timeline up to `now`; totals that reach further back are taken over.
// 2. A timeline can hold the entry that makes a state need what it has just forgotten: that state is built again without forgetting.
import type { JsonObject } from '../core/event.ts'
import { NEVER } from '../operators/operator.ts'
import { listOf, valueAt } from '../operators/path.ts'
import type { GroupState, Slot } from './group-state.ts'
import type { Plan } from './plan.ts'
import type { EventView, PlanAccumulator } from './plan-group.ts'

export type States = ReadonlyMap<PlanAccumulator, unknown>
export const NO_STATES: States = new Map()

const NOTHING: JsonObject = {}

interface Until {
  readonly now: number
  /** Whether states keep only as much as readings need. */
  readonly forgets: boolean
}

/** Whether a condition of this accumulator asks for what happened before `from`. Without a window it asks for all time. */
export function looksBefore({ operator, conditions }: PlanAccumulator, from: number, now: number): boolean {
  return operator !== undefined && conditions.some(({ reading: { need } }) => need.windowMs === 0 || now - need.windowMs < from)
}

/** Adds the timeline to some accumulators, each from empty; those that nothing matches are left out. */
export function statesFrom(plan: Plan, timeline: readonly EventView[], wanted: ReadonlySet<PlanAccumulator>, until: Until): States {
  const states = new Map<PlanAccumulator, unknown>()
  const resisting = new Set<PlanAccumulator>()
  const matched: PlanAccumulator[] = []
  for (const event of timeline) {
    if (event.at > until.now) continue
    for (const number of plan.groupsOfEvent(event.name)) {
      const group = plan.groups[number]
      if (!group?.accumulators.some((a) => wanted.has(a))) continue
      matched.length = 0
      group.match(group.looksInside ? event.message() : NOTHING, event.at, matched)
      for (const accumulator of matched) {
        if (wanted.has(accumulator) && !addTo(states, accumulator, event, until)) resisting.add(accumulator)
      }
    }
  }
  if (resisting.size === 0 || !until.forgets) return states
  return new Map([...states, ...statesFrom(plan, timeline, resisting, { ...until, forgets: false })])
}

/** False when something couldn't be added exactly (2). */
function addTo(states: Map<PlanAccumulator, unknown>, accumulator: PlanAccumulator, event: EventView, { now, forgets }: Until): boolean {
  const { operator, path, need } = accumulator
  if (operator === undefined) return true
  const values = listOf(path === undefined ? null : valueAt(event.message(), path)).filter((value) => operator.counts(value))
  if (values.length === 0) return true
  const state = states.get(accumulator) ?? operator.empty()
  states.set(accumulator, state)
  const keep = { need: forgets ? need : { ...need, ceiling: NEVER }, now }
  let isExact = true
  for (const value of values) {
    if (operator.cannotAdd?.(state, value, keep)) isExact = false
    operator.add(state, event.at, value, keep)
  }
  return isExact
}

/** Puts a fresh state in the place of the old one, if there was one (1). */
export function replaceState(group: GroupState, slot: Slot | undefined, accumulator: PlanAccumulator, fresh: unknown): Slot {
  if (slot === undefined) return group.addSlot(accumulator, fresh)
  accumulator.operator?.takeOver(fresh, group.stateOf(slot, accumulator))
  slot.state = fresh
  group.change()
  return slot
}

/** Rebuilds accumulators of one group so that they have forgotten nothing; they are to be read again. */
export function rebuildSlots(
  plan: Plan,
  group: GroupState,
  accumulators: readonly PlanAccumulator[],
  { timeline, now }: { timeline: readonly EventView[]; now: number },
): void {
  const states = statesFrom(plan, timeline, new Set(accumulators), { now, forgets: false })
  for (const accumulator of accumulators) {
    const fresh = states.get(accumulator) ?? accumulator.operator?.empty()
    replaceState(group, group.slot(accumulator.ordinal), accumulator, fresh).flipsAt = -NEVER
  }
  group.flipsAt = -NEVER
}
