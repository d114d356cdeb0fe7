// Row keys of a partition's store. Owns the layout; owns no rows.
// One letter for the kind, then fixed-width parts, so that rows of one kind and one profile lie together and sort.
//
//   l identifierKey                leaf: which profile key an identifier belongs to
//   p profileKey                   profile root or forward
//   a profileKey group(3)          accumulators of one group, split off a large profile row
//   t profileKey time(6) hash(16)  timeline
//   u profileKey seq(5)            audit
//   i due(6) profileKey            timer
//   b publicId(16)                 public id: its founding key
//   d generation(3) hash(16)       dedupe
//   o stream(1) seq(7)             outbox block of a stream, by its last seq
//   x target(2) seq(7)             outbox message of the exchange
//   s profileKey                   busy: the root has protocol work under way
//   k origin(16) leader(4) from(7)  what was taken of an origin, from some offset on
//   z block(3)                     segment sizes, 32 segments a row
//   m name                         the task's own state
import { sortable, unsortable } from '../core/bytes.ts'
import { type IdentifierKey, PROFILE_KEY_BYTES, type ProfileKey } from '../core/identifier.ts'
import type { OriginKey } from '../core/origin.ts'

export const META_KEY = 'mtask'
export const SIZES_PER_ROW = 32

export const leafKey = (x: IdentifierKey): string => `l${x}`
export const profileRowKey = (key: ProfileKey): string => `p${key}`
export const groupKey = (key: ProfileKey, group: number): string => `a${key}${sortable(group, 3)}`
export const timelineKey = (key: ProfileKey, at: number, messageHash: string): string =>
  `t${key}${sortable(Math.max(0, at), 6)}${messageHash}`
/** The keys of a profile's events before some instant. */
export const timelineBefore = (key: ProfileKey, at: number): { gte: string; lt: string } => ({
  gte: `t${key}`,
  lt: timelineKey(key, at, ''),
})
export const auditKey = (key: ProfileKey, seq: number): string => `u${key}${sortable(seq, 5)}`
export const timerKey = (due: number, key: ProfileKey): string => `i${sortable(due, 6)}${key}`
export const publicKey = (id: string): string => `b${id}`
export const dedupeKey = (generation: number, messageHash: string): string => `d${sortable(generation, 3)}${messageHash}`
export const outboxKey = (stream: string, seq: number): string => `o${stream}${sortable(seq, 7)}`
export const exchangeKey = (target: number, seq: number): string => `x${sortable(target, 2)}${sortable(seq, 7)}`
export const busyKey = (key: ProfileKey): string => `s${key}`
export const LEADER_BYTES = 4
export const OFFSET_BYTES = 7
export const originRowKey = (origin: OriginKey, leader: number, from: number): string =>
  `k${origin}${sortable(leader, LEADER_BYTES)}${sortable(from, OFFSET_BYTES)}`
export const sizesKey = (block: number): string => `z${sortable(block, 3)}`

/** The smallest key above every key that starts with `prefix`. */
export function prefixEnd(prefix: string): string {
  let end = prefix.length
  while (end > 0 && prefix.charCodeAt(end - 1) === 255) end--
  if (end === 0) return '\u00ff'.repeat(64)
  return prefix.slice(0, end - 1) + String.fromCharCode(prefix.charCodeAt(end - 1) + 1)
}

export const prefixRange = (prefix: string): { gte: string; lt: string } => ({ gte: prefix, lt: prefixEnd(prefix) })

export const profileKeyOf = (rowKey: string): ProfileKey => rowKey.slice(1, 1 + PROFILE_KEY_BYTES)

export function timerOf(rowKey: string): { due: number; key: ProfileKey } {
  return { due: unsortable(rowKey, 1, 6), key: rowKey.slice(7) }
}
