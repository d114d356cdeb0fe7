// The plan: what the segments of one definitions version ask of an event. Immutable, shared by all profiles of a process.
// Owns the way from an event's or trait's name to groups, and what separates two versions. Doesn't own numbers and history
// (definitions.ts, numbering.ts) or any profile's state (segment-state.ts).
//
// 1. A plan never changes, and depends on the changes up to its version only.
import type { PlanGroup } from './plan-group.ts'
import type { CompiledSegment } from './segment-tree.ts'

/** What separates a plan from an earlier version. */
export interface PlanChanges {
  readonly groups: readonly PlanGroup[]
  /** Put since then. */
  readonly segments: readonly CompiledSegment[]
  /** Some accumulator must be built from the timeline. */
  readonly needsTimeline: boolean
}

/** Where plans come from (definitions.ts). */
export interface PlanSource {
  /** Whether an id was ever put. */
  knows(id: string): boolean
  numberOf(id: string): number
  /** The last version up to `version` that put or deleted a segment. */
  changedAt(segment: number, version: number): number
  groupsOfEvent(name: string): readonly number[]
  groupOfTrait(name: string): number | undefined
}

export class Plan {
  readonly version: number
  /** By number; a group without live conditions stays, empty. */
  readonly groups: readonly PlanGroup[]
  /** By number; undefined where deleted. */
  readonly segments: readonly (CompiledSegment | undefined)[]
  readonly #source: PlanSource
  #holdsForEmpty: readonly CompiledSegment[] | undefined
  #changes: { readonly since: number; readonly changes: PlanChanges } | undefined

  constructor(version: number, parts: Pick<Plan, 'groups' | 'segments'>, source: PlanSource) {
    this.version = version
    this.groups = parts.groups
    this.segments = parts.segments
    this.#source = source
  }

  segmentById(id: string): CompiledSegment | undefined {
    return this.#source.knows(id) ? this.segments[this.#source.numberOf(id)] : undefined
  }

  /** The definitions version that decides about a segment: at which it was last put or deleted. */
  versionOf(segment: number): number {
    return this.segments[segment]?.definitionVersion ?? this.#source.changedAt(segment, this.version)
  }

  /** The segments that a profile without any event or trait belongs to. */
  get holdsForEmpty(): readonly CompiledSegment[] {
    this.#holdsForEmpty ??= this.segments.filter((segment) => segment?.holdsForEmpty === true) as CompiledSegment[]
    return this.#holdsForEmpty
  }

  /** Numbers of the groups that an event of this name belongs to; some may lie beyond this version's `groups`. */
  groupsOfEvent(name: string): readonly number[] {
    return this.#source.groupsOfEvent(name)
  }

  groupOfTrait(name: string): PlanGroup | undefined {
    const number = this.#source.groupOfTrait(name)
    return number === undefined ? undefined : this.groups[number]
  }

  changesSince(version: number): PlanChanges {
    if (this.#changes?.since !== version) this.#changes = { since: version, changes: this.#compare(version) }
    return this.#changes.changes
  }

  #compare(version: number): PlanChanges {
    const groups = this.groups.filter((group) => group.changedAt > version)
    const segments = this.segments.filter((segment) => segment !== undefined && segment.definitionVersion > version) as CompiledSegment[]
    const needsTimeline = groups.some((group) => group.accumulators.some((a) => a.operator !== undefined && a.filledAt > version))
    return { groups, segments, needsTimeline }
  }
}
