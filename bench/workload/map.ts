// The workload brought to this engine: its segments in our grammar, its events as messages.
//
// Three differences are ours to answer for, and check.ts can tell each apart:
// - the workload sums over 60 buckets of a window, we sum exactly over (now - W, now];
// - its "last-seen value of a property" is a trait here, so each message carries those properties in context.traits too;
// - of two values seen at one instant it keeps the greater one, we keep that of the message with the greater hash.
import type { Json, JsonObject } from '../../src/core/event.ts'
import type { Condition, DurationText, SegmentDefinition } from '../../src/operators/definition.ts'
import type { SegmentFile, WorkloadCondition } from './segments.ts'
import { TRAITS } from './vocabulary.ts'

/** An event of the workload, parsed. */
export interface WorkloadEvent {
  readonly messageId: string
  readonly type: 'track'
  readonly event: string
  readonly userId?: string
  readonly anonymousId?: string
  readonly timestamp: string
  readonly properties: { readonly [name: string]: string | number }
}

const UNITS_MS = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000 } as const

export function durationText(ms: number): DurationText {
  for (const [unit, unitMs] of Object.entries(UNITS_MS)) if (ms % unitMs === 0) return `${ms / unitMs}${unit}`
  return `${ms}ms`
}

function conditionOf(c: WorkloadCondition): Condition {
  switch (c.type) {
    case 'count': {
      const where = c.where && { [`properties.${c.where.property}`]: c.where.equals }
      return { event: c.event, ...(where ? { where } : {}), within: durationText(c.windowMs), count: { gte: c.atLeast } }
    }
    case 'notDone':
      return { event: c.event, within: durationText(c.windowMs), count: { eq: 0 } }
    case 'sum':
      return { event: c.event, within: durationText(c.windowMs), sum: `properties.${c.property}`, gte: c.atLeast }
    case 'property':
      return { trait: c.property, eq: c.equals }
  }
}

export function definitionsOf(file: SegmentFile): SegmentDefinition[] {
  return file.segments.map(({ id, op, conditions }) => {
    const parts = conditions.map(conditionOf)
    return { id, where: op === 'and' ? { all: parts } : { any: parts } }
  })
}

/** The message that we are sent for an event. */
export function messageOf(event: WorkloadEvent): JsonObject {
  const traits: { [name: string]: Json } = {}
  for (const trait of TRAITS) {
    const value = event.properties[trait]
    if (typeof value === 'string') traits[trait] = value
  }
  return { ...event, properties: { ...event.properties }, context: { traits } }
}
