// The definition language as types (INTERFACE.md, "Definition grammar"). `parse.ts` checks unknown JSON and yields these;
// the plan compiles them; `schema.ts` publishes them as JSON Schema; `build.ts` makes them from TypeScript.

export type Scalar = string | number | boolean

/** A duration as text: number and unit, such as "30d". */
export type DurationText = string

export interface Comparators {
  readonly eq?: Scalar
  readonly neq?: Scalar
  readonly lt?: Scalar
  readonly lte?: Scalar
  readonly gt?: Scalar
  readonly gte?: Scalar
  readonly between?: readonly [Scalar, Scalar]
  readonly in?: readonly Scalar[]
  readonly notIn?: readonly Scalar[]
  readonly contains?: Scalar
  readonly startsWith?: string
  readonly endsWith?: string
  readonly matches?: string
  readonly exists?: boolean
  /** The value is a date: at most this long ago (age < W), more than that ago (age ≥ W), or ahead of now by less than W. */
  readonly withinLast?: DurationText
  readonly beforeLast?: DurationText
  readonly withinNext?: DurationText
  /** The value is a date: before or after this instant (ISO text). */
  readonly before?: string
  readonly after?: string
}

export interface TraitCondition extends Comparators {
  readonly trait: string
}

export interface EventFilter {
  readonly [path: string]: Comparators | Scalar
}

interface EventConditionBase {
  readonly event: string | readonly string[]
  readonly where?: EventFilter
}

export interface CountCondition extends EventConditionBase {
  readonly within?: DurationText
  readonly count?: Comparators
}

export interface AggregateCondition extends EventConditionBase, Comparators {
  readonly within?: DurationText
  readonly sum?: string
  readonly avg?: string
  readonly min?: string
  readonly max?: string
  readonly distinct?: string
}

export type Recency = { readonly within: DurationText } | { readonly before: DurationText }

export interface RecencyCondition extends EventConditionBase {
  readonly first?: Recency
  readonly last?: Recency
}

export type Condition = TraitCondition | CountCondition | AggregateCondition | RecencyCondition

export type Where = { readonly all: readonly Where[] } | { readonly any: readonly Where[] } | { readonly not: Where } | Condition

export interface SegmentDefinition {
  readonly id: string
  readonly name?: string
  readonly where: Where
}
