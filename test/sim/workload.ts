// Draws what clients do: events and definitions so narrow that nearly every event matters to nearly every segment.
import { must } from '../../src/core/assert.ts'
import type { Json } from '../../src/core/event.ts'
import type { Where } from '../../src/operators/definition.ts'
import { below, pick, type Random } from '../identity/random.ts'
import { type EventSketch, identifier, NAMESPACES, START_MS } from '../oracle/events-arbitrary.ts'

const WINDOWS = ['10ms', '20ms', '50ms', '100ms'] as const
const NUMBERS = [0, 1, 2, 3, 0.1, 0.3, -1] as const
const OFFSETS = [0, 0, 0, -1, -9, -10, -11, -20, -50, -99, -100, -101, 1, 10, 20, 50] as const
/** How many identifiers there are of each namespace. */
const PEOPLE = 4

const comparison = (random: Random): object => ({ [pick(random, ['gte', 'gte', 'gte', 'lt', 'eq', 'neq'])]: pick(random, NUMBERS) })

function drawFilter(random: Random): object {
  const filter = pick(random, [
    {},
    {},
    { 'properties.y': 'a' },
    { 'properties.y': { in: ['a', 'b'] } },
    { 'properties.y': 'b', 'properties.x': { gte: 1 } },
  ])
  return { where: filter, event: pick(random, ['A', 'A', 'B', ['A', 'B']]) }
}

const drawWindow = (random: Random): object => (random() < 0.8 ? { within: pick(random, WINDOWS) } : {})

function drawCondition(random: Random): object {
  switch (below(random, 5)) {
    case 0:
    case 1: {
      const least = pick(random, ['gte', 'gte', 'gte', 'lt', 'eq', 'neq'])
      return { ...drawFilter(random), ...drawWindow(random), count: { [least]: below(random, 4) } }
    }
    case 2: {
      const measure = pick(random, ['sum', 'sum', 'sum', 'avg', 'min', 'max', 'distinct'])
      return { ...drawFilter(random), ...drawWindow(random), [measure]: 'properties.x', ...comparison(random) }
    }
    case 3:
      return { ...drawFilter(random), [pick(random, ['first', 'last'])]: { [pick(random, ['within', 'before'])]: pick(random, WINDOWS) } }
    default:
      return drawTrait(random)
  }
}

function drawTrait(random: Random): object {
  return pick<object>(random, [
    { trait: 'd', [pick(random, ['withinLast', 'beforeLast', 'withinNext'])]: pick(random, WINDOWS) },
    { trait: 'p', eq: 'a' },
    { trait: 'p', in: ['a', 'b'] },
    { trait: 'p', neq: 'a' },
    { trait: 'l', contains: 'a' },
  ])
}

export function drawWhere(random: Random): Where {
  const kind = below(random, 6)
  const where =
    kind === 0
      ? { all: [drawCondition(random), drawCondition(random)] }
      : kind === 1
        ? { any: [drawCondition(random), { not: drawCondition(random) }] }
        : kind === 2
          ? { not: drawCondition(random) }
          : drawCondition(random)
  return where as Where
}

export interface Crowd {
  /** Identifiers per event, at most. */
  readonly links: number
  /** Of each namespace. */
  readonly people: number
}

/** A message as a client has it: plain data. Its identifiers are written as u0, e1, a2. */
export type Message = Omit<EventSketch, 'identifiers' | 'contextTraits' | 'sourcePriority'> & {
  readonly ids: readonly string[]
  /** It throws where it is executed. */
  readonly isPoison?: true
}

export function identifierOf(text: string): EventSketch['identifiers'][number] {
  const namespace = must(
    NAMESPACES.find((name) => name.startsWith(text.charAt(0))),
    'its letter says which namespace',
  )
  return identifier(namespace, text)
}

export const sketchOf = ({ ids, ...rest }: Message): EventSketch => ({
  ...rest,
  contextTraits: undefined,
  sourcePriority: 100,
  identifiers: ids.map(identifierOf),
})

/** One message; `id` is its own. */
export function drawMessage(random: Random, crowd: Crowd, id: number): Message {
  const ids = new Set<string>()
  for (let n = 1 + below(random, crowd.links); n > 0; n--)
    ids.add(`${pick(random, NAMESPACES)[0]}${below(random, Math.min(PEOPLE, crowd.people))}`)
  const traits: { [name: string]: Json } = {}
  if (random() < 0.4) traits.p = pick(random, ['a', 'b', 'c', null])
  if (random() < 0.2) traits.d = new Date(START_MS + below(random, 300)).toISOString()
  if (random() < 0.2) traits.l = pick<Json>(random, [['a'], ['b'], []])
  return {
    name: pick(random, ['A', 'A', 'A', 'B', '$identify']),
    offsetMs: random() < 0.5 ? pick(random, OFFSETS) : -below(random, 121),
    properties: { ...(random() < 0.7 ? { x: pick(random, NUMBERS) } : {}), y: pick(random, ['a', 'a', 'b', 'c']) },
    traits,
    ids: [...ids],
    id,
  }
}
