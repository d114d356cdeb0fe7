// Which identifiers a message carries. A blocked one is dropped with its reason; the message lives on with the others.
import type { EventType, JsonObject } from '../core/event.ts'
import type { Identifier } from '../core/identifier.ts'
import { isObject } from './envelope.ts'
import { MAX_IDENTIFIER_CHARACTERS, MAX_IDENTIFIERS, MAX_NAMESPACE_CHARACTERS } from './limits.ts'

/** Normalises a raw value and makes its key (core/namespace.ts), or says why it is no identifier. */
export interface IdentifierSource {
  identifierOf(namespace: string, raw: string): Identifier | { readonly blocked: string }
}

/** As the audit shows it. */
export interface Blocked {
  readonly namespace: string
  readonly value: string
  readonly reason: string
}

export class FoundIdentifiers {
  /** Distinct, in key order once `sort` was called. */
  readonly identifiers: Identifier[] = []
  readonly blocked: Blocked[] = []
  readonly #source: IdentifierSource

  constructor(source: IdentifierSource) {
    this.#source = source
  }

  get tooMany(): boolean {
    return this.identifiers.length > MAX_IDENTIFIERS || this.blocked.length > MAX_IDENTIFIERS
  }

  add(namespace: string, raw: unknown): void {
    if (raw === undefined || raw === null || raw === '') return
    const text = typeof raw === 'string' ? raw : textOfNumber(raw)
    if (text === undefined) return this.#block(namespace, JSON.stringify(raw), typeof raw === 'number' ? 'inexact_number' : 'not_text')
    if (text.length > MAX_IDENTIFIER_CHARACTERS) return this.#block(namespace, text, 'too_long')
    if (!text.isWellFormed()) return this.#block(namespace, text.toWellFormed(), 'malformed')
    const found = this.#source.identifierOf(namespace, text)
    if ('blocked' in found) return this.#block(namespace, text, found.blocked)
    for (const known of this.identifiers) if (known.key === found.key) return
    this.identifiers.push(found)
  }

  #block(namespace: string, value: string, reason: string): void {
    this.blocked.push({ namespace, value: value.slice(0, 100), reason })
  }

  sort(): void {
    if (this.identifiers.length > 1) this.identifiers.sort((a, b) => (a.key < b.key ? -1 : 1))
  }
}

/** A number beyond 2^53 has lost digits while it was parsed: two people could share what is left. */
function textOfNumber(raw: unknown): string | undefined {
  return typeof raw === 'number' && Math.abs(raw) <= Number.MAX_SAFE_INTEGER ? String(raw) : undefined
}

/** Collects the identifiers of a message; `context` is its own with that of its batch. */
export function findIdentifiers(message: JsonObject, context: JsonObject | undefined, type: EventType, source: IdentifierSource): FoundIdentifiers {
  const found = new FoundIdentifiers(source)
  found.add('user_id', message.userId)
  found.add('anonymous_id', message.anonymousId)
  // The traits of a group call are the group's.
  if (type !== 'group' && isObject(message.traits)) addTraits(found, message.traits)
  if (context !== undefined) {
    if (isObject(context.traits)) addTraits(found, context.traits)
    if (Array.isArray(context.externalIds)) addExternalIds(found, context.externalIds)
  }
  const toOneself = type === 'alias' && isAliasToOneself(message)
  if (type === 'alias' && !toOneself) found.add('anonymous_id', message.previousId)
  found.sort()
  // An alias to oneself links nothing, whatever else the client attached to it.
  if (toOneself) found.identifiers.length = Math.min(1, found.identifiers.length)
  return found
}

function addTraits(found: FoundIdentifiers, traits: JsonObject): void {
  found.add('email', traits.email)
  found.add('phone', traits.phone)
}

// No control characters: a NUL separates namespace and value in the hashed text.
const NAMESPACE = /^[^\p{Cc}\p{Cs}]+$/u

function addExternalIds(found: FoundIdentifiers, ids: readonly unknown[]): void {
  for (const id of ids) {
    if (!isObject(id) || typeof id.type !== 'string') continue
    const namespace = id.type.trim()
    // `profile_id` names profiles in the API, so it can't be an identifier's namespace.
    if (namespace.length > MAX_NAMESPACE_CHARACTERS || namespace === 'profile_id' || !NAMESPACE.test(namespace)) continue
    found.add(namespace, id.id)
    if (found.tooMany) return
  }
}

function isAliasToOneself(message: JsonObject): boolean {
  const { userId, previousId } = message
  return userId !== undefined && userId !== null && previousId !== undefined && String(userId).trim() === String(previousId).trim()
}
