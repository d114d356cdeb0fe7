// The questions that the main thread asks a host about its partitions, and the answers. Owns their shape (query.ts answers them).
import type { JsonObject } from '../core/event.ts'
import type { IdentifierKey, ProfileKey } from '../core/identifier.ts'
import type { Where } from '../operators/definition.ts'

/** Positions by partition: everything before is asked for. */
export type Ends = readonly (readonly [partition: number, input: number])[]

/** The partitions that an answer speaks for, each with the claim of the owner that gave it. */
export type Owned = readonly (readonly [partition: number, claim: number])[]

export type Question =
  | { readonly kind: 'find'; readonly partition: number; readonly by: Lookup }
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
  /** `watch` names who asks, and asks again. */
  | { readonly kind: 'isFinished'; readonly ends: Ends; readonly watch: string }
  | { readonly kind: 'status' }
  /** For a process as a whole: the manual clock stands at `now`. */
  | { readonly kind: 'clock'; readonly now: number }

/** What a profile is looked up by; the partition asked is the home of it. */
export type Lookup = { readonly identifier: IdentifierKey } | { readonly publicId: string } | { readonly key: ProfileKey }

export interface PartitionFacts {
  readonly partition: number
  readonly phase: string
  readonly reason?: string
  readonly claim: number
  readonly input: number
  /** The position behind all events that its host knows of. */
  readonly end: number
  readonly now: number
  readonly profiles: number
  readonly activeVersion: number
  readonly sweptVersion: number
  readonly progress: number
  readonly sizes: readonly (readonly [segment: number, size: number])[]
  readonly metrics: Readonly<Record<string, number>>
}

export interface ProfileFacts {
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
  /** The root, or the key to go on with on another host, or neither: there is none. */
  | { readonly kind: 'found'; readonly root?: { readonly key: ProfileKey; readonly facts: ProfileFacts }; readonly elsewhere?: ProfileKey }
  | { readonly kind: 'rows'; readonly rows: readonly (readonly [suffix: string, value: Uint8Array])[]; readonly more: boolean }
  | { readonly kind: 'memberships'; readonly memberships: readonly (readonly [segment: number, seq: number, member: boolean])[] }
  | { readonly kind: 'members'; readonly members: readonly { key: ProfileKey; id: string; userId: string }[]; readonly more: boolean }
  | { readonly kind: 'preview'; readonly size: number; readonly total: number; readonly of: Owned }
  /**
   * `moved`, where it is clean: equal in two answers to one watch iff nothing of what it is about has moved here in between. `hosts`: how
   * many of those that have partitions it is put together from, each as of another instant.
   */
  | { readonly kind: 'clean'; readonly clean: boolean; readonly moved: number; readonly of: Owned; readonly hosts: number }
  | { readonly kind: 'settled'; readonly of: Owned }
  | { readonly kind: 'status'; readonly partitions: readonly PartitionFacts[] }
