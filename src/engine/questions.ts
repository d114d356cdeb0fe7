// The questions that the main thread asks a host about its partitions, and the answers. Owns their shape (query.ts answers them).
import type { JsonObject } from '../core/event.ts'
import type { IdentifierKey, ProfileKey } from '../core/identifier.ts'
import type { Where } from '../operators/definition.ts'

/** Positions by partition: everything before is asked for. */
export type Ends = readonly (readonly [partition: number, input: number])[]

export type Question =
  | { readonly kind: 'leaf'; readonly partition: number; readonly x: IdentifierKey }
  | { readonly kind: 'public'; readonly partition: number; readonly id: string }
  | { readonly kind: 'profile'; readonly partition: number; readonly key: ProfileKey }
  | {
      readonly kind: 'rows'
      readonly partition: number
      readonly key: ProfileKey
      readonly what: 'timeline' | 'audit'
      readonly after: string
      readonly limit: number
    }
  | { readonly kind: 'memberships'; readonly partition: number; readonly key: ProfileKey }
  | { readonly kind: 'members'; readonly partition: number; readonly segment: number; readonly after: ProfileKey; readonly limit: number }
  | { readonly kind: 'preview'; readonly where: Where }
  | { readonly kind: 'finished'; readonly ends: Ends }
  | { readonly kind: 'settled'; readonly ends: Ends; readonly now?: number }
  | { readonly kind: 'isFinished'; readonly ends: Ends }
  | { readonly kind: 'status' }

export interface PartitionFacts {
  readonly partition: number
  readonly phase: string
  readonly reason?: string
  readonly input: number
  readonly now: number
  readonly profiles: number
  readonly activeVersion: number
  readonly sweptVersion: number
  readonly progress: number
  readonly sizes: readonly (readonly [segment: number, size: number])[]
  readonly metrics: Readonly<Record<string, number>>
}

export type ProfileFacts =
  | { readonly forward: ProfileKey }
  | {
      readonly id: string
      readonly identifiers: { namespace: string; value: string }[]
      readonly traits: JsonObject
      readonly segments: readonly number[]
      readonly createdAt: number
      readonly updatedAt: number
      readonly position: string
    }

export type Answer =
  | { readonly kind: 'done' }
  | { readonly kind: 'key'; readonly key?: ProfileKey }
  | { readonly kind: 'profile'; readonly profile?: ProfileFacts }
  | { readonly kind: 'rows'; readonly rows: readonly (readonly [suffix: string, value: Uint8Array])[]; readonly more: boolean }
  | { readonly kind: 'memberships'; readonly memberships: readonly (readonly [segment: number, seq: number, member: boolean])[] }
  | { readonly kind: 'members'; readonly members: readonly { key: ProfileKey; id: string; userId: string }[]; readonly more: boolean }
  | { readonly kind: 'preview'; readonly size: number; readonly total: number }
  | { readonly kind: 'clean'; readonly clean: boolean; readonly received: number }
  | { readonly kind: 'status'; readonly partitions: readonly PartitionFacts[] }
