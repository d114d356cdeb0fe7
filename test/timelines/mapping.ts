// Dittofeed's worked segment timelines (test/fixtures/segment-timelines.json) in our words: its segment definitions as `where`,
// its steps as a neutral script that the oracle and the engine can both be driven with.
import { readFileSync } from 'node:fs'
import type { JsonObject } from '../../src/core/event.ts'

/** When the timelines start; their dates in traits are relative to it. */
export const TIMELINE_START_MS = Date.UTC(2024, 0, 1)

export interface ScriptEvent {
  readonly userId: string
  /** Relative to the moment of submission. */
  readonly offsetMs: number
  /** A Segment message without ids and timestamp. */
  readonly message: JsonObject
}

export type ScriptStep =
  | { readonly step: 'define'; readonly segment: string; readonly where: JsonObject }
  | { readonly step: 'submit'; readonly events: readonly ScriptEvent[] }
  | { readonly step: 'sleep'; readonly ms: number }
  | { readonly step: 'assert'; readonly what: string; readonly userId: string; readonly segments: { readonly [segment: string]: boolean } }

export interface Script {
  readonly description: string
  readonly steps: readonly ScriptStep[]
}

export interface Unsupported {
  readonly description: string
  readonly reason: string
}

interface Node {
  readonly type: string
  readonly id: string
  readonly path?: string
  readonly operator?: { readonly type: string; readonly value?: string | number; readonly windowSeconds?: number }
  readonly children?: readonly string[]
  readonly event?: string
  readonly times?: number
  readonly timesOperator?: string
  readonly withinSeconds?: number
  readonly properties?: readonly { readonly path: string; readonly operator: NonNullable<Node['operator']> }[]
  readonly templateId?: string
  readonly item?: string
}

interface Segment {
  readonly name: string
  readonly definition: { readonly entryNode: Node; readonly nodes: readonly Node[] }
}

interface SourceEvent {
  readonly type: string
  readonly userId: string
  readonly offsetMs: number
  readonly event?: string
  readonly properties?: JsonObject
  readonly traits?: JsonObject
}

interface SourceStep {
  readonly step: string
  readonly description?: string
  readonly ms?: number
  readonly events?: readonly SourceEvent[]
  readonly segments?: readonly Segment[]
  readonly users?: readonly { readonly id: string; readonly segments?: { readonly [name: string]: boolean | null } }[]
}

interface Timeline {
  readonly description: string
  readonly segments: readonly Segment[]
  readonly steps: readonly SourceStep[]
}

/** Node types that have no counterpart, and why. */
const UNSUPPORTED: { readonly [type: string]: string } = {
  HasBeen: 'asks how long a trait has had its value; traits keep no history',
  LastPerformed: 'asks for a property of the latest matching event; conditions ask how often, how much and how long ago',
  Manual: 'membership by hand, not by a condition',
  RandomBucket: 'membership by a hash of the user id, not by a condition',
}

class NoCounterpart extends Error {}

export function readTimelines(): { scripts: Script[]; unsupported: Unsupported[] } {
  const file = new URL('../fixtures/segment-timelines.json', import.meta.url)
  const scripts: Script[] = []
  const unsupported: Unsupported[] = []
  for (const timeline of JSON.parse(readFileSync(file, 'utf8')) as Timeline[]) {
    const { description } = timeline
    try {
      scripts.push({ description, steps: [...definitions(timeline.segments), ...timeline.steps.flatMap(stepsOf)] })
    } catch (error) {
      if (!(error instanceof NoCounterpart)) throw error
      unsupported.push({ description, reason: error.message })
    }
  }
  return { scripts, unsupported }
}

function definitions(segments: readonly Segment[]): ScriptStep[] {
  return segments.map(({ name, definition }) => ({ step: 'define', segment: name, where: whereOf(definition.entryNode, definition.nodes) }))
}

function stepsOf(source: SourceStep): ScriptStep[] {
  switch (source.step) {
    case 'submit':
      return [{ step: 'submit', events: (source.events ?? []).map(eventOf) }]
    case 'sleep':
      return [{ step: 'sleep', ms: source.ms ?? 0 }]
    case 'redefine':
      return definitions(source.segments ?? [])
    case 'assert':
      return (source.users ?? []).map((user) => ({
        step: 'assert',
        what: source.description ?? '',
        userId: user.id,
        segments: Object.fromEntries(Object.entries(user.segments ?? {}).map(([name, isIn]) => [name, isIn === true])),
      }))
    // Nothing to trigger here, and journeys are none of ours.
    case 'compute':
    case 'UpdateJourney':
      return []
    default:
      throw new NoCounterpart(`unknown step ${source.step}`)
  }
}

function eventOf({ type, userId, offsetMs, event, properties, traits }: SourceEvent): ScriptEvent {
  const message: JsonObject = { type: type.toLowerCase() }
  if (event !== undefined) message.event = event
  if (properties !== undefined) message.properties = properties
  if (traits !== undefined) message.traits = traits
  return { userId, offsetMs, message }
}

function whereOf(node: Node, nodes: readonly Node[]): JsonObject {
  const reason = UNSUPPORTED[node.type] ?? UNSUPPORTED[node.operator?.type ?? '']
  if (reason !== undefined) throw new NoCounterpart(`${node.operator?.type ?? node.type} ${reason}`)
  switch (node.type) {
    case 'And':
      return { all: (node.children ?? []).map((id) => whereOf(child(id, nodes), nodes)) }
    case 'Trait':
      return traitCondition(node.path ?? '', node.operator)
    case 'Includes':
      return { trait: node.path ?? '', contains: node.item ?? '' }
    case 'Performed':
      return {
        event: node.event ?? '',
        ...(node.properties === undefined
          ? {}
          : { where: Object.fromEntries(node.properties.map(({ path, operator }) => [`properties.${path}`, comparison(operator)])) }),
        ...(node.withinSeconds === undefined ? {} : { within: `${node.withinSeconds}s` }),
        count: comparison({ type: node.timesOperator ?? 'GreaterThanOrEqual', value: node.times ?? 1 }),
      }
    case 'Email':
      return { event: node.event ?? '', where: { 'properties.templateId': node.templateId ?? '' }, count: { gte: node.times ?? 1 } }
    default:
      throw new NoCounterpart(`unknown node ${node.type}`)
  }
}

function child(id: string, nodes: readonly Node[]): Node {
  const found = nodes.find((node) => node.id === id)
  if (!found) throw new Error(`no node ${id}`)
  return found
}

function traitCondition(trait: string, operator: Node['operator']): JsonObject {
  // There an empty text is no value; here it is one.
  if (operator?.type === 'NotExists') return { not: { trait, exists: true, neq: '' } }
  if (operator?.type === 'Exists') return { trait, exists: true, neq: '' }
  return { trait, ...comparison(operator) }
}

function comparison(operator: Node['operator']): JsonObject {
  const value = operator?.value ?? ''
  switch (operator?.type) {
    case 'Equals':
      return { eq: value }
    case 'LessThan':
      return { lt: value }
    case 'GreaterThanOrEqual':
      return { gte: value }
    case 'Within':
      return { withinLast: `${operator.windowSeconds ?? 0}s` }
    default:
      throw new NoCounterpart(`unknown operator ${operator?.type}`)
  }
}
