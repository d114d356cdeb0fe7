// Identifiers and the keys made from them (DESIGN section 5). All keys are binary strings, compared as bytes.
//
//   IdentifierKey  priority(1) hash(16)                    17 characters
//   ProfileKey     priority(1) hash(16) generation(2)      19 characters: the founder's key and a generation
//
// Order of keys = (namespace priority, hash, generation): a fixed total order; forwards descend in it.
import { hash } from 'node:crypto'

export type IdentifierKey = string
export type ProfileKey = string

/** An identifier as an event carries it: `value` is normalised. */
export interface Identifier {
  readonly key: IdentifierKey
  readonly namespace: string
  readonly value: string
}

/** Priority of namespaces that the configuration doesn't list: after all listed ones. */
export const UNLISTED_PRIORITY = 255

export const IDENTIFIER_KEY_BYTES = 17
export const PROFILE_KEY_BYTES = 19

/** A 128-bit hash of a text as a binary string: the first half of SHA-256, so nobody can craft a collision. */
export function hash128(text: string): string {
  return hash('sha256', text, 'binary').slice(0, 16)
}

export function identifierKey(priority: number, namespace: string, value: string): IdentifierKey {
  return String.fromCharCode(priority) + hash128(`${namespace}\u0000${value}`)
}

export function profileKey(founder: IdentifierKey, generation: number): ProfileKey {
  return founder + String.fromCharCode(generation >> 8, generation & 255)
}

export function founderOf(key: ProfileKey): IdentifierKey {
  return key.slice(0, IDENTIFIER_KEY_BYTES)
}

export function generationOf(key: ProfileKey): number {
  return (key.charCodeAt(17) << 8) | key.charCodeAt(18)
}

/** Home partition of an identifier or profile key: the top bits of its hash. `partitions` is a power of two, at most 65,536. */
export function homeOf(key: IdentifierKey | ProfileKey, partitions: number): number {
  const top = (key.charCodeAt(1) << 8) | key.charCodeAt(2)
  return Math.floor((top * partitions) / 65536)
}

export const MAX_PARTITIONS = 65536
