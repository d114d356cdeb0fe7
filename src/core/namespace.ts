// Namespaces of identifiers: their priority, their limits, and what makes a raw value an identifier or a blocked one.
//
// Normalised: trimmed, NFC; e-mail in lower case; phone in the manner of E.164 (separators gone, leading 00 is +). Normalising
// twice is normalising once. Blocked values are compared after normalisation and without case; they identify nobody.
import { RE2JS } from 're2js'
import { TributaryError } from './errors.ts'
import { type Identifier, identifierKey, UNLISTED_PRIORITY } from './identifier.ts'

export interface NamespaceOptions {
  readonly name: string
  /** Two of these never share a profile: the same as limit 1. */
  readonly unique?: boolean
  /** At most so many of them per profile. */
  readonly limit?: number
  /** Beyond the defaults: exact values, or patterns between slashes. */
  readonly blocked?: readonly string[]
  /** Who keeps one when its link is refused: its first owner. */
  readonly sharedDevice?: string
}

export interface IdentityOptions {
  /** In order of priority. */
  readonly namespaces?: readonly NamespaceOptions[]
  readonly others?: { readonly limit?: number }
  /** Per profile, all namespaces together. */
  readonly limit?: number
}

/** How many identifiers a profile may have. Plain data, so that threads can be handed it. */
export interface IdentifierLimits {
  readonly total: number
  /** Per namespace that is listed. */
  readonly of: ReadonlyMap<string, number>
  /** Of each namespace that isn't. */
  readonly others: number
}

export const DEFAULT_NAMESPACES: readonly NamespaceOptions[] = [
  { name: 'user_id', unique: true },
  { name: 'email' },
  { name: 'phone' },
  { name: 'anonymous_id' },
]

/** More than five addresses or numbers tell of a shared one rather than of a person; cookies come and go by the week. */
const LIMIT_OF: ReadonlyMap<string, number> = new Map([
  ['user_id', 1],
  ['email', 5],
  ['phone', 5],
  ['anonymous_id', 100],
])
/** Namespaces without a limit of their own, listed or not. */
export const DEFAULT_LIMIT = 20
export const DEFAULT_TOTAL = 1000
/** Of a value, before and after normalisation. */
export const MAX_VALUE_CHARACTERS = 512

/** What libraries, forms and spreadsheets write where there is nobody. In lower case. */
const BLOCKED = new Set([
  'null',
  'undefined',
  'none',
  'nil',
  'nan',
  'n/a',
  '#n/a',
  'true',
  'false',
  'anonymous',
  'anon',
  'guest',
  'unknown',
  'unidentified',
  'not set',
  '(not set)',
  '(none)',
  '(null)',
  'not_authenticated',
  '-1',
  '[object object]',
  '{}',
  '[]',
  '""',
  "''",
])
/** Zero, zero GUIDs with or without dashes and braces, and their like. */
const NOTHING_BUT_ZEROS = /^[{(]?[-0]+[)}]?$/

export type Normalised = { readonly value: string } | { readonly blocked: string }

interface Rules {
  readonly priority: number
  readonly blocked: ReadonlySet<string>
  readonly patterns: readonly RE2JS[]
}

const UNLISTED: Rules = { priority: UNLISTED_PRIORITY, blocked: new Set(), patterns: [] }

export class Namespaces {
  readonly limits: IdentifierLimits
  readonly #rules = new Map<string, Rules>()

  constructor(options: IdentityOptions = {}) {
    const listed = options.namespaces ?? DEFAULT_NAMESPACES
    if (listed.length > UNLISTED_PRIORITY)
      throw new TributaryError('invalid_config', `More than ${UNLISTED_PRIORITY} namespaces are listed.`)
    const of = new Map<string, number>()
    for (const [priority, namespace] of listed.entries()) {
      if (of.has(namespace.name)) throw new TributaryError('invalid_config', `The namespace ${namespace.name} is listed twice.`)
      of.set(namespace.name, limitOf(namespace))
      this.#rules.set(namespace.name, { priority, ...blockedBy(namespace) })
    }
    this.limits = { total: options.limit ?? DEFAULT_TOTAL, of, others: options.others?.limit ?? DEFAULT_LIMIT }
  }

  /** Smaller comes first; unlisted ones come last. */
  priorityOf(namespace: string): number {
    return this.#rulesOf(namespace).priority
  }

  /** The value as it is compared and shown, or why it identifies nobody. */
  normalise(namespace: string, raw: unknown): Normalised {
    const text = textOf(raw)
    if (typeof text !== 'string') return text
    const value = normalised(namespace, text)
    if (value === '') return { blocked: 'empty' }
    // NFC may lengthen a text.
    if (value.length > MAX_VALUE_CHARACTERS) return { blocked: 'too_long' }
    const folded = value.toLowerCase()
    const { blocked, patterns } = this.#rulesOf(namespace)
    if (BLOCKED.has(folded) || NOTHING_BUT_ZEROS.test(folded) || blocked.has(folded)) return { blocked: 'blocked_value' }
    for (const pattern of patterns) if (pattern.test(value)) return { blocked: 'blocked_pattern' }
    return { value }
  }

  identifierOf(namespace: string, raw: unknown): Identifier | { readonly blocked: string } {
    const found = this.normalise(namespace, raw)
    if ('blocked' in found) return found
    return { key: identifierKey(this.priorityOf(namespace), namespace, found.value), namespace, value: found.value }
  }

  #rulesOf(namespace: string): Rules {
    return this.#rules.get(namespace) ?? UNLISTED
  }
}

function limitOf({ name, unique, limit }: NamespaceOptions): number {
  if (unique) return 1
  if (limit !== undefined) return limit
  // `unique: false` takes the limit of one away from user_id, and says no other.
  return (unique === false && name === 'user_id' ? undefined : LIMIT_OF.get(name)) ?? DEFAULT_LIMIT
}

function blockedBy({ name, blocked = [] }: NamespaceOptions): { blocked: Set<string>; patterns: RE2JS[] } {
  const values = new Set<string>()
  const patterns: RE2JS[] = []
  for (const entry of blocked) {
    const pattern = /^\/(.+)\/$/s.exec(entry)?.[1]
    if (pattern === undefined) values.add(normalised(name, entry).toLowerCase())
    else patterns.push(compile(name, pattern))
  }
  return { blocked: values, patterns }
}

function compile(namespace: string, pattern: string): RE2JS {
  try {
    return RE2JS.compile(pattern, RE2JS.CASE_INSENSITIVE)
  } catch (error) {
    throw new TributaryError('invalid_config', `The namespace ${namespace} blocks /${pattern}/, which is no pattern of RE2.`, {
      cause: error,
    })
  }
}

/** A raw value as text, or why it can't be one. */
function textOf(raw: unknown): string | { readonly blocked: string } {
  if (raw === undefined || raw === null) return { blocked: 'empty' }
  // A number beyond 2^53 has lost digits while it was parsed: two people could share what is left.
  if (typeof raw === 'number') return Math.abs(raw) <= Number.MAX_SAFE_INTEGER ? String(raw) : { blocked: 'inexact_number' }
  if (typeof raw !== 'string') return { blocked: 'not_text' }
  if (raw.length > MAX_VALUE_CHARACTERS) return { blocked: 'too_long' }
  return raw.isWellFormed() ? raw : { blocked: 'malformed' }
}

function normalised(namespace: string, text: string): string {
  const value = text.trim().normalize('NFC')
  if (namespace === 'email') return value.toLowerCase().normalize('NFC')
  return namespace === 'phone' ? phone(value) : value
}

/** Digits, with + in front where the country is told; anything else stays as it is. */
function phone(value: string): string {
  const international = /^(?:\+|00)/.test(value)
  // In +49 (0)30 … the zero is for callers within the country.
  const digits = (international ? value.replace('(0)', '') : value).replace(/[\s().\-/\u2010-\u2015\u2212]/g, '')
  if (!/^\+?\d+$/.test(digits)) return value
  // Nothing but zeros isn't the start of a country's code.
  return /^00+[1-9]/.test(digits) ? `+${digits.replace(/^0+/, '')}` : digits
}
