// One message: checked, normalised, its instant and identifiers found. The message object is this module's to change: it was
// parsed for this purpose, and changing it in place is what keeps intake cheap.
import { randomUUID } from 'node:crypto'
import type { ErrorCode } from '../core/errors.ts'
import { EVENT_TYPES, type EventRecord, type EventType, type JsonObject } from '../core/event.ts'
import { hash128 } from '../core/identifier.ts'
import { type Envelope, isObject } from './envelope.ts'
import { type FoundIdentifiers, findIdentifiers, type IdentifierSource } from './identifiers.ts'
import { MAX_DEPTH, MAX_IDENTIFIERS, MAX_MESSAGE_BYTES, MAX_MESSAGE_ID_CHARACTERS, MAX_NAME_CHARACTERS } from './limits.ts'
import { isoText, parseInstant } from './timestamp.ts'

export interface IntakeContext {
  /** When the request was accepted, ms. */
  readonly acceptedAt: number
  readonly sourcePriority: number
  /** How far ahead of acceptance an event may lie, ms. */
  readonly futureLimit: number
  readonly namespaces: IdentifierSource
}

/** Why a message is not taken. */
export class Refusal {
  readonly code: ErrorCode
  readonly message: string
  constructor(code: ErrorCode, message: string) {
    this.code = code
    this.message = message
  }
}

const NAMES: { readonly [type in EventType]: string } = {
  track: '',
  identify: '$identify',
  page: '$page',
  screen: '$screen',
  group: '$group',
  alias: '$alias',
}

/** Checks and normalises one message. */
export function mapMessage(raw: unknown, envelope: Envelope, context: IntakeContext): EventRecord | Refusal {
  if (!isObject(raw)) return new Refusal('invalid_message', 'A message is an object.')
  if (raw.writeKey !== undefined) blank(raw, 'writeKey')
  if (!isSound(raw, MAX_DEPTH)) return new Refusal('invalid_message', `The message is nested more than ${MAX_DEPTH} levels deep.`)
  const type = envelope.type ?? typeOf(raw.type)
  if (type === undefined) return new Refusal('invalid_message', `The type is none of ${EVENT_TYPES.join(', ')}.`)
  raw.type = type
  return shapeRefusal(raw) ?? record(raw, type, envelope, context)
}

function record(message: JsonObject, type: EventType, envelope: Envelope, context: IntakeContext): EventRecord | Refusal {
  const name = type === 'track' ? message.event : NAMES[type]
  if (typeof name !== 'string' || name.length > MAX_NAME_CHARACTERS || name.trim() === '') {
    return new Refusal('invalid_event_name', `The event is no text of 1 to ${MAX_NAME_CHARACTERS} characters.`)
  }
  if (envelope.context !== undefined) message.context = { ...envelope.context, ...(message.context as JsonObject | undefined) }
  if (envelope.integrations !== undefined && message.integrations === undefined) message.integrations = envelope.integrations
  const at = setTimes(message, envelope, context)
  if (typeof at !== 'number') return at
  const found = findIdentifiers(message, type, context.namespaces)
  const smallest = found.identifiers[0]
  if (smallest === undefined || found.tooMany) return identifierRefusal(found)
  const messageId = idOf(message)
  if (messageId === undefined) return new Refusal('invalid_message', `The messageId is no text of up to ${MAX_MESSAGE_ID_CHARACTERS} characters.`)
  noteBlocked(message, found)
  // The record carries the id, so the body need not.
  if (message.messageId !== undefined) blank(message, 'messageId')
  const body = Buffer.from(JSON.stringify(message))
  if (body.length > MAX_MESSAGE_BYTES) return new Refusal('too_large', `The message holds ${body.length} bytes, more than ${MAX_MESSAGE_BYTES}.`)
  return {
    type,
    name: name.isWellFormed() ? name : name.toWellFormed(),
    messageId,
    messageHash: hash128(`${messageId}\u0000${smallest.key}`),
    acceptedAt: context.acceptedAt,
    at,
    sourcePriority: context.sourcePriority,
    identifiers: found.identifiers,
    hasTraits: carriesTraits(message, type),
    body,
  }
}

/** False when nested too deep. Takes out keys named `__proto__` on the way: no honest message has one, and copying it would set a prototype. */
function isSound(x: JsonObject | readonly unknown[], depth: number): boolean {
  if (depth === 0) return false
  if (Array.isArray(x)) {
    for (let i = 0; i < x.length; i++) {
      const v: unknown = x[i]
      if (typeof v === 'object' && v !== null && !isSound(v as JsonObject, depth - 1)) return false
    }
    return true
  }
  const object = x as JsonObject
  for (const key in object) {
    if (key === '__proto__') {
      delete object[key]
      continue
    }
    const v = object[key]
    if (typeof v === 'object' && v !== null && !isSound(v, depth - 1)) return false
  }
  return true
}

function typeOf(raw: unknown): EventType | undefined {
  return typeof raw === 'string' && Object.hasOwn(NAMES, raw) ? (raw as EventType) : undefined
}

function shapeRefusal(message: JsonObject): Refusal | undefined {
  for (const field of ['properties', 'traits', 'context'] as const) {
    const value = message[field]
    if (value === undefined) continue
    // Some clients send null for "none".
    if (value === null) blank(message, field)
    else if (typeof value !== 'object' || Array.isArray(value)) return new Refusal('invalid_message', `${field} is not an object.`)
  }
  return undefined
}

function identifierRefusal(found: FoundIdentifiers): Refusal {
  if (found.tooMany) return new Refusal('too_many_identifiers', `The message carries more than ${MAX_IDENTIFIERS} identifiers.`)
  const blocked = found.blocked.map((b) => `${b.namespace} ${JSON.stringify(b.value)} (${b.reason})`)
  return new Refusal('no_identifier', `The message carries no usable identifier${blocked.length === 0 ? '.' : `; blocked: ${blocked.join(', ')}.`}`)
}

/** The message's id; one is made where the client sent none. Undefined when what it sent can be no id. */
function idOf(message: JsonObject): string | undefined {
  const raw = message.messageId
  if (typeof raw === 'string' && raw !== '') return raw.length <= MAX_MESSAGE_ID_CHARACTERS ? raw : undefined
  if (typeof raw === 'object' && raw !== null) return undefined
  return typeof raw === 'number' ? String(raw) : randomUUID()
}

/** Takes a field out of the JSON to come. `delete` would do the same, but slows down everything that is done with the object afterwards. */
function blank(object: JsonObject, field: string): void {
  object[field] = undefined as never
}

function noteBlocked(message: JsonObject, found: FoundIdentifiers): void {
  const context = message.context as JsonObject | undefined
  if (found.blocked.length > 0) message.context = { ...context, tributary: { blocked: found.blocked.map((b) => ({ ...b })) } }
  // The field is ours: what a client puts there would show up in the audit as our finding.
  else if (context?.tributary !== undefined) blank(context, 'tributary')
}

function carriesTraits(message: JsonObject, type: EventType): boolean {
  if (type === 'identify' && isFilled(message.traits)) return true
  const context = message.context
  return isObject(context) && isFilled(context.traits)
}

function isFilled(x: unknown): boolean {
  if (!isObject(x)) return false
  for (const _ in x) return true
  return false
}

// One request's messages share their acceptance time, so its text is made once.
let lastAcceptedAt = Number.NaN
let lastAcceptedText = ''

/** When it happened, by the server's clock: acceptance time minus the age that the client saw. Sets the message's own fields. */
function setTimes(message: JsonObject, envelope: Envelope, context: IntakeContext): number | Refusal {
  const { acceptedAt } = context
  if (acceptedAt !== lastAcceptedAt) {
    lastAcceptedAt = acceptedAt
    lastAcceptedText = isoText(acceptedAt)
  }
  if (envelope.sentAt !== undefined && (message.sentAt === undefined || message.sentAt === null)) message.sentAt = envelope.sentAt
  // A message that has passed an intake before (an export, another platform's forward) was corrected there.
  const corrected = message.receivedAt !== undefined && !Number.isNaN(parseInstant(message.receivedAt))
  message.receivedAt = lastAcceptedText
  const raw = given(message.timestamp) ?? given(message.originalTimestamp)
  if (raw === undefined) {
    message.timestamp = lastAcceptedText
    return acceptedAt
  }
  const said = parseInstant(raw)
  if (Number.isNaN(said)) return new Refusal('invalid_timestamp', `The timestamp ${JSON.stringify(raw).slice(0, 60)} is no ISO 8601 instant.`)
  const sentAt = corrected ? Number.NaN : parseInstant(message.sentAt)
  const at = Math.max(0, Number.isNaN(sentAt) ? said : acceptedAt - (sentAt - said))
  if (at > acceptedAt + context.futureLimit) {
    return new Refusal('future_event', `The event lies ${Math.round((at - acceptedAt) / 1000)} s ahead, more than the limit of ${context.futureLimit / 1000} s.`)
  }
  if (at !== said || raw !== message.timestamp || typeof raw !== 'string' || raw.length !== 24) {
    message.originalTimestamp ??= raw
    message.timestamp = isoText(at)
  }
  return at
}

function given(x: JsonObject[string] | undefined): Exclude<JsonObject[string], null> | undefined {
  return x === undefined || x === null || x === '' ? undefined : x
}
