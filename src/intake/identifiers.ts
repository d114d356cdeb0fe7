// Which identifiers a message carries. A blocked one is dropped with its reason; the message lives on with the others.
import type { EventType, JsonObject } from '../core/event.ts'
import type { Identifier } from '../core/identifier.ts'
import { isObject } from './envelope.ts'
import { MAX_IDENTIFIERS, MAX_NAMESPACE_CHARACTERS } from './limits.ts'

/** Normalises a raw value and makes its key (core/namespace.ts), or says why it is no identifier. */
export interface IdentifierSource {
  identifierOf(namespace: string, raw: unknown): Identifier | { readonly blocked: string }
}

/** As the audit shows it. */
export interface Blocked {
  readonly namespace: string
  readonly value: string
  readonly reason: string
}

/** Of a blocked value. */
const KEPT_CHARACTERS = 100

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
    // "None" in the manner of different clients; nothing to remark on.
    if (raw === undefined || raw === null || raw === '') return
    const found = this.#source.identifierOf(namespace, raw)
    if ('blocked' in found) {
      const value = typeof raw === 'string' ? raw.toWellFormed() : JSON.stringify(raw)
      this.blocked.push({ namespace, value: value.slice(0, KEPT_CHARACTERS), reason: found.blocked })
      return
    }
    for (const known of this.identifiers) if (known.key === found.key) return
    this.identifiers.push(found)
  }

  sort(): void {
    if (this.identifiers.length > 1) this.identifiers.sort((a, b) => (a.key < b.key ? -1 : 1))
  }
}

/** Collects the identifiers of a message; `context` is its own with that of its batch. */
export function findIdentifiers(
  message: JsonObject,
  context: JsonObject | undefined,
  type: EventType,
  source: IdentifierSource,
): FoundIdentifiers {
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
  const userId = plain(message.userId)
  return userId !== undefined && userId === plain(message.previousId)
}

function plain(id: unknown): string | undefined {
  return typeof id === 'string' || typeof id === 'number' ? String(id).trim() : undefined
}
