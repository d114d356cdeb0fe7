// Random feeds for fast-check: a few people with several identifiers each, a few event names, values and instants that collide.
// Shrinkable: everything is drawn from small lists.
import fc from 'fast-check'
import { EVENT_TYPES, type EventRecord, type EventType, type Json, type JsonObject } from '../../src/core/event.ts'
import { hash128, type Identifier, identifierKey } from '../../src/core/identifier.ts'

export const EVENT_NAMES = ['A', 'B', '$page', '$identify'] as const
export const NAMESPACES = ['user_id', 'email', 'anonymous_id'] as const

/** Windows share multiples, so that boundaries of different conditions and events fall on one instant. */
export const WINDOWS_MS = [1, 10, 20, 50, 100, 1000] as const

const NUMBERS = [0, 1, 2, 3, -1, -2.5, 0.1, 0.2, 0.3, 1.15, 100, 1e21, 1e-7, 1e31, 1e-31] as const
export const numberArbitrary: fc.Arbitrary<number> = fc.constantFrom(...NUMBERS)
export const textArbitrary: fc.Arbitrary<string> = fc.constantFrom('', 'a', 'b', 'ab', 'Abc', '10', 'ß', '\ufffd', '\u{1f600}')

/** Instants of feeds; dates in traits lie in the same range. */
export const START_MS = 1_000_000
export const instantArbitrary: fc.Arbitrary<number> = fc.oneof(
  fc.integer({ min: 0, max: 30 }).map((tens) => START_MS + 10 * tens),
  fc.integer({ min: 0, max: 300 }).map((ms) => START_MS + ms),
)
export const dateArbitrary: fc.Arbitrary<string> = instantArbitrary.map((ms) => new Date(ms).toISOString())

const scalarArbitrary: fc.Arbitrary<Json> = fc.oneof(numberArbitrary, textArbitrary, fc.boolean(), dateArbitrary, fc.constant(null))

const valueArbitrary: fc.Arbitrary<Json> = fc.oneof(
  { weight: 4, arbitrary: scalarArbitrary },
  { weight: 1, arbitrary: fc.array(scalarArbitrary, { maxLength: 3 }) },
  { weight: 1, arbitrary: fc.record({ c: scalarArbitrary }) },
  { weight: 1, arbitrary: fc.array(fc.record({ c: scalarArbitrary }, { requiredKeys: [] }), { maxLength: 3 }) },
)

/** The names of properties and of traits. */
export const FIELDS = ['x', 'y', 'd'] as const
const fieldsArbitrary: fc.Arbitrary<JsonObject> = fc.dictionary(fc.constantFrom(...FIELDS), valueArbitrary, {
  maxKeys: 3,
}) as fc.Arbitrary<JsonObject>

export function identifier(namespace: string, value: string): Identifier {
  const priority = NAMESPACES.indexOf(namespace as (typeof NAMESPACES)[number])
  return { namespace, value, key: identifierKey(priority < 0 ? 255 : priority, namespace, value) }
}

const identifierArbitrary: fc.Arbitrary<Identifier> = fc
  .tuple(fc.constantFrom(...NAMESPACES), fc.integer({ min: 0, max: 3 }))
  .map(([namespace, n]) => identifier(namespace, `${namespace[0]}${n}`))

/** An event before it is accepted. */
export interface EventSketch {
  readonly name: string
  /** Relative to the acceptance: negative is late, positive is dated in the future. */
  readonly offsetMs: number
  readonly properties: JsonObject
  readonly traits: JsonObject | undefined
  /** In `context`, whatever the call. */
  readonly contextTraits: JsonObject | undefined
  readonly identifiers: readonly Identifier[]
  readonly sourcePriority: number
  /** Small, so that some repeat. */
  readonly id: number
}

const offsetArbitrary: fc.Arbitrary<number> = fc.oneof(
  { weight: 4, arbitrary: fc.constant(0) },
  { weight: 3, arbitrary: fc.constantFrom(...WINDOWS_MS).map((ms) => -ms) },
  { weight: 2, arbitrary: fc.integer({ min: -120, max: 0 }) },
  { weight: 1, arbitrary: fc.constantFrom(1, 10, 20, 50) },
)

const traitsArbitrary = (frequency: number): fc.Arbitrary<JsonObject | undefined> =>
  fc.option(fieldsArbitrary, { nil: undefined, freq: frequency })

export function eventArbitrary(identifiers: fc.Arbitrary<readonly Identifier[]> = manyIdentifiers): fc.Arbitrary<EventSketch> {
  return fc.record({
    name: fc.constantFrom(...EVENT_NAMES),
    offsetMs: offsetArbitrary,
    properties: fieldsArbitrary,
    traits: traitsArbitrary(2),
    contextTraits: traitsArbitrary(6),
    identifiers,
    sourcePriority: fc.constantFrom(100, 100, 50),
    id: fc.integer({ min: 0, max: 40 }),
  })
}

export const manyIdentifiers: fc.Arbitrary<readonly Identifier[]> = fc.uniqueArray(identifierArbitrary, {
  minLength: 1,
  maxLength: 3,
  selector: (id) => id.key,
})

/** Always the same one: a feed for a single profile. */
export const oneIdentifier: fc.Arbitrary<readonly Identifier[]> = fc.constant([identifier('user_id', 'u0')])

export type FeedStep =
  | { readonly kind: 'event'; readonly event: EventSketch }
  /** Moves the clock on by so many ms. */
  | { readonly kind: 'wait'; readonly ms: number }

/** Waits end on boundaries of windows, and 1 ms before and after. */
const waitArbitrary: fc.Arbitrary<number> = fc.oneof(
  fc.constantFrom(...WINDOWS_MS),
  fc.constantFrom(...WINDOWS_MS).map((ms) => Math.max(0, ms - 1)),
  fc.constantFrom(...WINDOWS_MS).map((ms) => ms + 1),
  fc.integer({ min: 0, max: 150 }),
)

export function feedArbitrary(options: { maxLength?: number; event?: fc.Arbitrary<EventSketch> } = {}): fc.Arbitrary<FeedStep[]> {
  return fc.array(
    fc.oneof(
      { weight: 3, arbitrary: (options.event ?? eventArbitrary()).map((event) => ({ kind: 'event', event }) as const) },
      { weight: 1, arbitrary: waitArbitrary.map((ms) => ({ kind: 'wait', ms }) as const) },
    ),
    { maxLength: options.maxLength ?? 30 },
  )
}

const typeOf = (name: string): EventType => EVENT_TYPES.find((type) => `$${type}` === name) ?? 'track'

/** The message that a client would send, as intake normalises it. */
export function messageOfSketch(sketch: EventSketch, acceptedAt: number): JsonObject {
  const type = typeOf(sketch.name)
  return {
    type,
    ...(type === 'track' ? { event: sketch.name } : {}),
    timestamp: new Date(acceptedAt + sketch.offsetMs).toISOString(),
    properties: sketch.properties,
    ...(sketch.traits === undefined ? {} : { traits: sketch.traits }),
    ...(sketch.contextTraits === undefined ? {} : { context: { traits: sketch.contextTraits } }),
  }
}

const isFilled = (x: JsonObject | undefined): boolean => x !== undefined && Object.keys(x).length > 0

/** The record that intake makes of it. */
export function recordOf(sketch: EventSketch, acceptedAt: number): EventRecord {
  const identifiers = [...sketch.identifiers].sort((a, b) => (a.key < b.key ? -1 : 1))
  const messageId = `m${sketch.id}`
  const type = typeOf(sketch.name)
  return {
    type,
    name: sketch.name,
    messageId,
    messageHash: hash128(`${messageId}\u0000${identifiers[0]?.key}`),
    acceptedAt,
    at: acceptedAt + sketch.offsetMs,
    sourcePriority: sketch.sourcePriority,
    identifiers,
    hasTraits: (type === 'identify' && isFilled(sketch.traits)) || isFilled(sketch.contextTraits),
    body: Buffer.from(JSON.stringify(messageOfSketch(sketch, acceptedAt))),
  }
}
