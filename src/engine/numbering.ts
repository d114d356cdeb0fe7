// The numbers and the history behind plans. Owns which number a group, accumulator or condition has and in which versions it is
// live; builds the groups of a version from that. Doesn't own segments or versions themselves (plan.ts).
//
// 1. Numbers are given in order of first appearance and never reused.
// 2. What a version looks like depends on the changes up to it only, however many have been noted since.
import { must } from '../core/assert.ts'
import type { JsonObject } from '../core/event.ts'
import { canonicalCondition, sortedText } from '../operators/canonical.ts'
import type { Condition, TraitCondition } from '../operators/definition.ts'
import { compileFilter, type FilterTerm } from '../operators/filter.ts'
import { combineNeeds, type EventCondition, isWidened, type Need, NO_NEED, type Operator, type Reading } from '../operators/operator.ts'
import { type Path, parsePath } from '../operators/path.ts'
import { operatorOf } from '../operators/registry.ts'
import { equalsOneOf, TraitReading, traitName } from '../operators/trait.ts'
import { type PlanAccumulator, type PlanCondition, PlanGroup } from './plan-group.ts'
import { type CompiledSegment, type ConditionRef, conditionRef, refsOf } from './segment-tree.ts'

/** Builds of a group for recent versions that are kept ready. */
const BUILDS_KEPT = 4

/** A segment reads a condition in the versions [from, to). */
interface Use {
  readonly segment: CompiledSegment
  readonly from: number
  to: number
}

interface ConditionTable {
  readonly ref: ConditionRef
  readonly reading: Reading<unknown>
  readonly uses: Use[]
}

interface NeedEntry {
  readonly version: number
  /** Undefined: no live condition. */
  readonly need: Need | undefined
  readonly filledAt: number
}

interface AccumulatorTable {
  readonly ordinal: number
  readonly operator: Operator<unknown> | undefined
  readonly path: Path | undefined
  readonly terms: readonly FilterTerm[]
  readonly conditions: ConditionTable[]
  readonly ordinals: Map<string, number>
  readonly needs: NeedEntry[]
}

interface GroupTable {
  readonly number: number
  readonly trait: string | undefined
  readonly accumulators: AccumulatorTable[]
  readonly ordinals: Map<string, number>
  /** The versions that changed it, ascending. */
  readonly changedAt: number[]
  readonly builds: PlanGroup[]
}

/** The last of some ascending versions that is at most `version`. */
export function lastAt<T>(items: readonly T[], versionOf: (item: T) => number, version: number): T | undefined {
  for (let i = items.length - 1; i >= 0; i--) {
    const item = items[i] as T
    if (versionOf(item) <= version) return item
  }
  return undefined
}

export class Numbering {
  readonly #groups: GroupTable[] = []
  readonly #groupNumbers = new Map<string, number>()
  readonly #groupOfTrait = new Map<string, number>()
  readonly #groupsOfEvent = new Map<string, number[]>()

  groupsOfEvent(name: string): readonly number[] {
    return this.#groupsOfEvent.get(name) ?? NO_GROUPS
  }

  groupOfTrait(name: string): number | undefined {
    return this.#groupOfTrait.get(name)
  }

  /** Notes that `version` replaces a segment's definition; returns the groups that this changes. */
  replace(version: number, old: CompiledSegment | undefined, fresh: CompiledSegment | undefined): number[] {
    const touched = new Set<AccumulatorTable>()
    const groups = new Set<number>()
    const note = (ref: ConditionRef): ConditionTable => {
      const accumulator = must(this.#groups[ref.group]?.accumulators[ref.accumulator], 'a reference names a known accumulator')
      touched.add(accumulator)
      groups.add(ref.group)
      return must(accumulator.conditions[ref.ordinal], 'a reference names a known condition')
    }
    if (old) for (const ref of refsOf(old.tree)) for (const use of note(ref).uses) if (use.segment === old) use.to = version
    if (fresh)
      for (const ref of new Set(refsOf(fresh.tree))) note(ref).uses.push({ segment: fresh, from: version, to: Number.POSITIVE_INFINITY })
    for (const accumulator of touched) updateNeed(accumulator, version)
    for (const number of groups) must(this.#groups[number], 'noted above').changedAt.push(version)
    return [...groups]
  }

  /** A group as of `version`. */
  group(number: number, version: number): PlanGroup {
    return buildGroup(must(this.#groups[number], 'the group has a number'), version)
  }

  /** All groups that exist at `version`: numbers follow the order of versions. */
  groups(version: number): PlanGroup[] {
    const known = this.#groups.filter((group) => (group.changedAt[0] ?? Number.POSITIVE_INFINITY) <= version)
    return known.map((group) => buildGroup(group, version))
  }

  refOf(condition: Condition): ConditionRef {
    const canonical = canonicalCondition(condition)
    return 'trait' in condition ? this.#traitRef(condition, canonical) : this.#eventRef(condition as EventCondition, canonical)
  }

  #eventRef(condition: EventCondition, canonical: JsonObject): ConditionRef {
    const names = canonical.event as string[]
    const group = this.#group(sortedText({ event: names }), undefined, names)
    const operator = operatorOf(condition)
    const path = operator.path(condition)
    const accumulator = accumulatorIn(group, sortedText([operator.kind, path ?? null, canonical.where ?? {}]), () => ({
      operator,
      path: path === undefined ? undefined : parsePath(path),
      terms: compileFilter(condition.where ?? {}),
    }))
    return refIn(group, accumulator, sortedText(canonical), () => operator.reading(condition))
  }

  /** Equalities of a trait are found by value (plan-group.ts, 2), so each is an accumulator of its own; all others share one. */
  #traitRef(condition: TraitCondition, canonical: JsonObject): ConditionRef {
    const { trait, ...comparators } = condition
    const name = traitName(condition)
    const group = this.#group(sortedText({ trait: name }), name, [])
    const isEquality = equalsOneOf(comparators) !== undefined
    const accumulator = accumulatorIn(group, isEquality ? sortedText(canonical) : '', () => ({
      operator: undefined,
      path: undefined,
      terms: isEquality ? compileFilter({ [trait]: comparators }).map((term) => ({ ...term, path: term.path.slice(1) })) : [],
    }))
    return refIn(group, accumulator, sortedText(canonical), () => new TraitReading(condition) as Reading<unknown>)
  }

  #group(key: string, trait: string | undefined, names: readonly string[]): GroupTable {
    const known = this.#groupNumbers.get(key)
    if (known !== undefined) return must(this.#groups[known], 'it has a number')
    const group: GroupTable = { number: this.#groups.length, trait, accumulators: [], ordinals: new Map(), changedAt: [], builds: [] }
    this.#groups.push(group)
    this.#groupNumbers.set(key, group.number)
    if (trait !== undefined) this.#groupOfTrait.set(trait, group.number)
    for (const name of names) {
      const numbers = this.#groupsOfEvent.get(name)
      if (numbers) numbers.push(group.number)
      else this.#groupsOfEvent.set(name, [group.number])
    }
    return group
  }
}

const NO_GROUPS: readonly number[] = []

type AccumulatorParts = Pick<AccumulatorTable, 'operator' | 'path' | 'terms'>

function accumulatorIn(group: GroupTable, key: string, parts: () => AccumulatorParts): AccumulatorTable {
  const known = group.ordinals.get(key)
  if (known !== undefined) return must(group.accumulators[known], 'it has an ordinal')
  const accumulator: AccumulatorTable = { ordinal: group.accumulators.length, ...parts(), conditions: [], ordinals: new Map(), needs: [] }
  group.accumulators.push(accumulator)
  group.ordinals.set(key, accumulator.ordinal)
  return accumulator
}

function refIn(group: GroupTable, accumulator: AccumulatorTable, key: string, reading: () => Reading<unknown>): ConditionRef {
  const known = accumulator.ordinals.get(key)
  if (known !== undefined) return must(accumulator.conditions[known], 'it has an ordinal').ref
  const ordinal = accumulator.conditions.length
  const compiled = reading()
  const ref = conditionRef(group.number, accumulator.ordinal, ordinal, compiled.whenEmpty)
  accumulator.conditions.push({ ref, reading: compiled, uses: [] })
  accumulator.ordinals.set(key, ordinal)
  return ref
}

function updateNeed(accumulator: AccumulatorTable, version: number): void {
  const live = accumulator.conditions.filter((condition) => condition.uses.some((use) => isLive(use, version)))
  const need = live.length === 0 ? undefined : live.map(({ reading }) => reading.need).reduce(combineNeeds, NO_NEED)
  const old = accumulator.needs.at(-1)
  const isNarrow = need !== undefined && (old?.need === undefined || isWidened(old.need, need))
  accumulator.needs.push({ version, need, filledAt: isNarrow ? version : (old?.filledAt ?? version) })
}

const isLive = (use: Use, version: number): boolean => use.from <= version && version < use.to

function buildGroup(group: GroupTable, version: number): PlanGroup {
  const changedAt = lastAt(group.changedAt, (v) => v, version) as number
  const known = group.builds.find((build) => build.changedAt === changedAt)
  if (known) return known
  const accumulators = group.accumulators.map((a) => buildAccumulator(a, changedAt)).filter((a) => a !== undefined)
  const build = new PlanGroup(group.number, group.trait, changedAt, accumulators)
  group.builds.push(build)
  if (group.builds.length > BUILDS_KEPT) group.builds.shift()
  return build
}

function buildAccumulator(table: AccumulatorTable, version: number): PlanAccumulator | undefined {
  const entry = lastAt(table.needs, (x) => x.version, version)
  if (entry?.need === undefined) return undefined
  const conditions: PlanCondition[] = []
  const emptyBits: number[] = []
  for (const { ref, reading, uses } of table.conditions) {
    const segments = uses.filter((use) => isLive(use, version)).map((use) => use.segment)
    if (segments.length === 0) continue
    conditions.push({ ref, reading, segments })
    while (emptyBits.length <= ref.word) emptyBits.push(0)
    if (ref.whenEmpty) emptyBits[ref.word] = (emptyBits[ref.word] as number) | ref.mask
  }
  const { ordinal, operator, path, terms } = table
  return { ordinal, operator, path, terms, need: entry.need, filledAt: entry.filledAt, conditions, emptyBits }
}
