// One message: checked, normalised, its instant and identifiers found. The message object is this module's to change: it was
// parsed for this purpose, and changing it in place is what keeps intake cheap.
import { randomUUID } from 'node:crypto'
import type { ErrorCode } from '../core/errors.ts'
import { EVENT_TYPES, type EventRecord, type EventType, type Json, type JsonObject } from '../core/event.ts'
import { hash128 } from '../core/identifier.ts'
import { isoText } from '../core/iso-text.ts'
import { type Envelope, isObject } from './envelope.ts'
import { type FoundIdentifiers, findIdentifiers, type IdentifierSource } from './identifiers.ts'
import { MAX_DEPTH, MAX_IDENTIFIERS, MAX_MESSAGE_BYTES, MAX_MESSAGE_ID_CHARACTERS, MAX_NAME_CHARACTERS } from './limits.ts'
import { parseInstant } from './timestamp.ts'

export interface IntakeContext {
  /** When the request was accepted, ms. */
  readonly acceptedAt: number
  /** When the message had come to us, where it has waited since (a source): its `sentAt` and a missing timestamp are told by this. Not later. */
  readonly receivedAt?: number
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

/** Checks and normalises one message. A refused one is left as it came (but for its key), so that its dead letter shows what was sent. */
export function mapMessage(raw: unknown, envelope: Envelope, context: IntakeContext): EventRecord | Refusal {
  if (!isObject(raw)) return new Refusal('invalid_message', 'A message is an object.')
  if (raw.writeKey !== undefined) blank(raw, 'writeKey')
  if (!isSound(raw, MAX_DEPTH)) return new Refusal('invalid_message', `The message is nested more than ${MAX_DEPTH} levels deep.`)
  const type = envelope.type ?? typeOf(raw.type)
  if (type === undefined) return new Refusal('invalid_message', `The type is none of ${EVENT_TYPES.join(', ')}.`)
  return shapeRefusal(raw) ?? record(raw, type, envelope, context)
}

function record(message: JsonObject, type: EventType, envelope: Envelope, intake: IntakeContext): EventRecord | Refusal {
  const name = type === 'track' ? message.event : NAMES[type]
  if (typeof name !== 'string' || name.length > MAX_NAME_CHARACTERS || name.trim() === '') {
    return new Refusal('invalid_event_name', `The event is no text of 1 to ${MAX_NAME_CHARACTERS} characters.`)
  }
  const context = contextOf(message, envelope)
  const times = timesOf(message, envelope, intake)
  if (times instanceof Refusal) return times
  const found = findIdentifiers(message, context, type, intake.namespaces)
  const smallest = found.identifiers[0]
  if (smallest === undefined || found.tooMany) return identifierRefusal(found)
  const messageId = idOf(message)
  if (messageId === undefined)
    return new Refusal('invalid_message', `The messageId is no text of up to ${MAX_MESSAGE_ID_CHARACTERS} characters.`)

  message.type = type
  setTimes(message, times)
  setContext(message, context, found)
  if (envelope.integrations !== undefined && message.integrations === undefined) message.integrations = envelope.integrations
  // The record carries the id, so the body need not.
  if (message.messageId !== undefined) blank(message, 'messageId')
  const body = Buffer.from(JSON.stringify(message))
  if (body.length > MAX_MESSAGE_BYTES)
    return new Refusal('too_large', `The message holds ${body.length} bytes, more than ${MAX_MESSAGE_BYTES}.`)
  return {
    type,
    name: name.isWellFormed() ? name : name.toWellFormed(),
    messageId,
    messageHash: hash128(`${messageId}\u0000${smallest.key}`),
    acceptedAt: intake.acceptedAt,
    at: times.at,
    sourcePriority: intake.sourcePriority,
    identifiers: found.identifiers,
    hasTraits: (type === 'identify' && isFilled(message.traits)) || isFilled(context?.traits),
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
    // Some clients send null for "none".
    if (value === undefined || value === null) continue
    if (typeof value !== 'object' || Array.isArray(value)) return new Refusal('invalid_message', `${field} is not an object.`)
  }
  return undefined
}

function identifierRefusal(found: FoundIdentifiers): Refusal {
  if (found.tooMany) return new Refusal('too_many_identifiers', `The message carries more than ${MAX_IDENTIFIERS} identifiers.`)
  const blocked = found.blocked.map((b) => `${b.namespace} ${JSON.stringify(b.value)} (${b.reason})`)
  return new Refusal(
    'no_identifier',
    `The message carries no usable identifier${blocked.length === 0 ? '.' : `; blocked: ${blocked.join(', ')}.`}`,
  )
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

/** The message's context over that of its batch; checked to be an object, if anything. */
function contextOf(message: JsonObject, envelope: Envelope): JsonObject | undefined {
  const own = (message.context ?? undefined) as JsonObject | undefined
  return envelope.context === undefined ? own : { ...envelope.context, ...own }
}

function setContext(message: JsonObject, context: JsonObject | undefined, found: FoundIdentifiers): void {
  if (found.blocked.length > 0) message.context = { ...context, tributary: { blocked: found.blocked.map((b) => ({ ...b })) } }
  else if (context !== undefined) {
    message.context = context
    // The field is ours: what a client puts there would show up in the audit as our finding.
    if (context.tributary !== undefined) blank(context, 'tributary')
  }
}

function isFilled(x: unknown): boolean {
  if (!isObject(x)) return false
  for (const _ in x) return true
  return false
}

interface Times {
  /** By the server's clock. */
  readonly at: number
  /** The same as text, where the message does not say so already. */
  readonly corrected: string | undefined
  readonly said: Json | undefined
  readonly sentAt: Json | undefined
  readonly receivedAt: string
}

// One request's messages share their acceptance time, so its text is made once.
let lastReceivedMs = Number.NaN
let lastReceivedText = ''

/** When it happened, by the server's clock: the instant of receipt minus the age that the client saw. */
function timesOf(
  message: JsonObject,
  envelope: Envelope,
  { acceptedAt, receivedAt: receivedMs = acceptedAt, futureLimit }: IntakeContext,
): Times | Refusal {
  if (receivedMs !== lastReceivedMs) {
    lastReceivedMs = receivedMs
    lastReceivedText = isoText(receivedMs)
  }
  const receivedAt = lastReceivedText
  const sentAt = message.sentAt ?? envelope.sentAt
  const said = given(message.timestamp) ?? given(message.originalTimestamp)
  if (said === undefined) return { at: receivedMs, corrected: receivedAt, said: undefined, sentAt, receivedAt }
  const saidMs = parseInstant(said)
  if (Number.isNaN(saidMs))
    return new Refusal('invalid_timestamp', `The timestamp ${JSON.stringify(said).slice(0, 60)} is no ISO 8601 instant.`)
  // A message that has passed an intake before (an export, another platform's forward) was corrected there.
  const isCorrected = message.receivedAt !== undefined && !Number.isNaN(parseInstant(message.receivedAt))
  const sentMs = isCorrected ? Number.NaN : parseInstant(sentAt)
  const at = Math.max(0, Number.isNaN(sentMs) ? saidMs : receivedMs - (sentMs - saidMs))
  if (at > acceptedAt + futureLimit) {
    return new Refusal(
      'future_event',
      `The event lies ${Math.round((at - acceptedAt) / 1000)} s ahead, more than the limit of ${futureLimit / 1000} s.`,
    )
  }
  const isShown = at === saidMs && said === message.timestamp && typeof said === 'string' && said.length === 24
  return { at, corrected: isShown ? undefined : isoText(at), said, sentAt, receivedAt }
}

function setTimes(message: JsonObject, { corrected, said, sentAt, receivedAt }: Times): void {
  if (sentAt !== undefined) message.sentAt = sentAt
  message.receivedAt = receivedAt
  if (corrected === undefined) return
  if (said !== undefined) message.originalTimestamp ??= said
  message.timestamp = corrected
}

function given(x: Json | undefined): Json | undefined {
  return x === null || x === '' ? undefined : x
}
