// A segment, compiled: its tree over conditions. Owns how `all`, `any` and `not` combine; knows nothing of events or rows.
//
// 1. A condition is named by three numbers (group, accumulator, ordinal) that mean the same in every version of the
//    definitions and in every process, so rows store numbers only.
// 2. Where a profile has no state for a condition's accumulator, the condition's truth is the constant `whenEmpty`.
import type { Condition, Where } from '../operators/definition.ts'

/** Truths are kept as bits, so many in a word: within V8's small integers. */
export const BITS_PER_WORD = 30

export interface ConditionRef {
  readonly group: number
  readonly accumulator: number
  readonly ordinal: number
  readonly word: number
  readonly mask: number
  readonly whenEmpty: boolean
}

export function conditionRef(group: number, accumulator: number, ordinal: number, whenEmpty: boolean): ConditionRef {
  return { group, accumulator, ordinal, whenEmpty, word: Math.floor(ordinal / BITS_PER_WORD), mask: 1 << (ordinal % BITS_PER_WORD) }
}

/** Where a tree reads the truth of its conditions. */
export interface Truths {
  holds(ref: ConditionRef): boolean
}

export type Test = (truths: Truths) => boolean

export type SegmentTree =
  | { readonly kind: 'all' | 'any'; readonly parts: readonly SegmentTree[] }
  | { readonly kind: 'not'; readonly part: SegmentTree }
  | { readonly kind: 'condition'; readonly ref: ConditionRef; readonly condition: Condition }

export interface CompiledSegment {
  readonly number: number
  readonly id: string
  readonly name: string | undefined
  readonly where: Where
  /** The definitions version at which it was last put. */
  readonly definitionVersion: number
  readonly tree: SegmentTree
  readonly test: Test
  readonly holdsForEmpty: boolean
}

export function buildTree(where: Where, refOf: (condition: Condition) => ConditionRef): SegmentTree {
  if ('all' in where) return { kind: 'all', parts: where.all.map((part) => buildTree(part, refOf)) }
  if ('any' in where) return { kind: 'any', parts: where.any.map((part) => buildTree(part, refOf)) }
  if ('not' in where) return { kind: 'not', part: buildTree(where.not, refOf) }
  return { kind: 'condition', ref: refOf(where), condition: where }
}

export function compileTree(tree: SegmentTree): Test {
  switch (tree.kind) {
    case 'condition': {
      const { ref } = tree
      return (truths) => truths.holds(ref)
    }
    case 'not': {
      const part = compileTree(tree.part)
      return (truths) => !part(truths)
    }
    default: {
      const flat = compileFlat(tree.parts, tree.kind === 'all')
      return flat ?? compileNested(tree.parts.map(compileTree), tree.kind === 'all')
    }
  }
}

/** One part that is not `isAll` decides: a false one of `all`, a true one of `any`. */
function compileNested(parts: readonly Test[], isAll: boolean): Test {
  return (truths) => {
    for (const part of parts) if (part(truths) !== isAll) return !isAll
    return isAll
  }
}

/** The usual case, without a call per part: all parts are conditions, some of them negated. */
function compileFlat(parts: readonly SegmentTree[], isAll: boolean): Test | undefined {
  const refs: ConditionRef[] = []
  const decisive: boolean[] = []
  for (const part of parts) {
    const inner = part.kind === 'not' ? part.part : part
    if (inner.kind !== 'condition') return undefined
    refs.push(inner.ref)
    decisive.push((part.kind === 'not') === isAll)
  }
  return (truths) => {
    for (let i = 0; i < refs.length; i++) if (truths.holds(refs[i] as ConditionRef) === decisive[i]) return !isAll
    return isAll
  }
}

export function refsOf(tree: SegmentTree): ConditionRef[] {
  switch (tree.kind) {
    case 'condition':
      return [tree.ref]
    case 'not':
      return refsOf(tree.part)
    default:
      return tree.parts.flatMap(refsOf)
  }
}

export const EMPTY_TRUTHS: Truths = { holds: (ref) => ref.whenEmpty }
