// The definitions log, folded: which segments each version has. Owns segments, their numbers and versions; hands out plans.
// Doesn't own the log, or when a version becomes active (control records do that).
//
// 1. Versions are 1, 2, 3, …: each puts one segment or deletes one.
// 2. Numbers (of segments here, of groups, accumulators and conditions in numbering.ts) are given in order of first appearance
//    over the whole log and never reused: every process that folds the same log gets the same numbers.
// 3. planAt(v) depends on the first v changes only, however many have been folded.
import { invariant, must } from '../core/assert.ts'
import type { SegmentDefinition, Where } from '../operators/definition.ts'
import { lastAt, Numbering } from './numbering.ts'
import { Plan, type PlanSource } from './plan.ts'
import { buildTree, type CompiledSegment, compileTree, EMPTY_TRUTHS } from './segment-tree.ts'

export type DefinitionChange = { readonly put: SegmentDefinition } | { readonly delete: string }

/** Plans of recent versions that are kept ready. */
const PLANS_KEPT = 8

interface SegmentTable {
  readonly number: number
  readonly id: string
  /** Its definition from a version on; undefined: deleted. */
  readonly history: { readonly from: number; readonly segment: CompiledSegment | undefined }[]
}

interface ChangeRecord {
  readonly segment: number | undefined
  readonly groups: readonly number[]
}

export class Definitions implements PlanSource {
  readonly #numbering = new Numbering()
  readonly #segments = new Map<string, SegmentTable>()
  readonly #tables: SegmentTable[] = []
  readonly #changes: ChangeRecord[] = []
  readonly #plans = new Map<number, Plan>()

  /** The newest version folded. */
  get version(): number {
    return this.#changes.length
  }

  apply(version: number, change: DefinitionChange): void {
    invariant(version === this.version + 1, `definitions version ${version} follows ${this.version} (1)`)
    const table = 'put' in change ? this.#tableFor(change.put.id) : this.#segments.get(change.delete)
    const segment = 'put' in change && table ? this.#compile(version, table.number, change.put) : undefined
    const old = table?.history.at(-1)?.segment
    table?.history.push({ from: version, segment })
    this.#changes.push({ segment: table?.number, groups: this.#numbering.replace(version, old, segment) })
  }

  planAt(version: number): Plan {
    const known = this.#plans.get(version)
    if (known) return known
    invariant(version >= 0 && version <= this.version, `definitions version ${version} is known`)
    const base = this.#plans.get(version - 1)
    const plan = new Plan(version, base ? this.#advance(base) : this.#assemble(version), this)
    this.#plans.set(version, plan)
    for (const oldest of this.#plans.keys()) {
      if (this.#plans.size <= PLANS_KEPT) break
      this.#plans.delete(oldest)
    }
    return plan
  }

  knows(id: string): boolean {
    return this.#segments.has(id)
  }

  /** The number of a segment that was put once. */
  numberOf(id: string): number {
    return must(this.#segments.get(id), 'the segment was put once').number
  }

  hasNumber(number: number): boolean {
    return number < this.#tables.length
  }

  /** The id behind a number; deleted segments included. */
  idOf(number: number): string {
    return must(this.#tables[number], 'the segment was put once').id
  }

  /** Whether a definition holds for a profile without any event or trait. */
  holdsForEmpty(where: Where): boolean {
    return previewPlan(where).holdsForEmpty.length > 0
  }

  /** The last version up to `version` that put or deleted a segment. */
  changedAt(segment: number, version: number): number {
    const { history } = must(this.#tables[segment], 'the segment was put once')
    return must(
      lastAt(history, (entry) => entry.from, version),
      'it was put before',
    ).from
  }

  groupsOfEvent(name: string): readonly number[] {
    return this.#numbering.groupsOfEvent(name)
  }

  groupOfTrait(name: string): number | undefined {
    return this.#numbering.groupOfTrait(name)
  }

  #assemble(version: number): Pick<Plan, 'groups' | 'segments'> {
    const tables = this.#tables.filter((table) => must(table.history[0], 'a table begins with a put').from <= version)
    return {
      groups: this.#numbering.groups(version),
      segments: tables.map((table) => lastAt(table.history, (entry) => entry.from, version)?.segment),
    }
  }

  /** The parts of the version after `base`: only what its change has touched is built anew. */
  #advance(base: Plan): Pick<Plan, 'groups' | 'segments'> {
    const version = base.version + 1
    const change = must(this.#changes[base.version], 'the version is known')
    const groups = [...base.groups]
    for (const number of change.groups) groups[number] = this.#numbering.group(number, version)
    const segments = [...base.segments]
    if (change.segment !== undefined) {
      const table = must(this.#tables[change.segment], 'it was changed')
      segments[change.segment] = lastAt(table.history, (entry) => entry.from, version)?.segment
    }
    return { groups, segments }
  }

  #tableFor(id: string): SegmentTable {
    const known = this.#segments.get(id)
    if (known) return known
    const table: SegmentTable = { number: this.#tables.length, id, history: [] }
    this.#tables.push(table)
    this.#segments.set(id, table)
    return table
  }

  #compile(version: number, number: number, { id, name, where }: SegmentDefinition): CompiledSegment {
    const tree = buildTree(where, (condition) => this.#numbering.refOf(condition))
    const test = compileTree(tree)
    return { number, id, name, where, definitionVersion: version, tree, test, holdsForEmpty: test(EMPTY_TRUTHS) }
  }
}

/** The plan of one unsaved definition, for previews: its only segment has number 0. */
export function previewPlan(where: Where): Plan {
  const definitions = new Definitions()
  definitions.apply(1, { put: { id: 'preview', where } })
  return definitions.planAt(1)
}
