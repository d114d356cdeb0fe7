// The workload's segment definitions, in its own small language (map.ts brings them to ours).
import { pick, type Random, randomOf } from './random.ts'
import { carriesChannel, EVENT_NAMES, MONETARY_EVENTS, TRAITS, type Trait, VALUES } from './vocabulary.ts'

interface PropertyEquals {
  readonly property: Trait
  readonly equals: string
}

export interface CountCondition {
  readonly type: 'count'
  readonly event: string
  readonly atLeast: number
  readonly windowMs: number
  readonly where?: PropertyEquals
}

export interface NotDoneCondition {
  readonly type: 'notDone'
  readonly event: string
  readonly windowMs: number
}

export interface SumCondition {
  readonly type: 'sum'
  readonly event: string
  readonly property: string
  readonly atLeast: number
  readonly windowMs: number
}

export interface PropertyCondition extends PropertyEquals {
  readonly type: 'property'
}

export type WorkloadCondition = CountCondition | NotDoneCondition | SumCondition | PropertyCondition

export interface WorkloadSegment {
  readonly id: string
  readonly op: 'and' | 'or'
  readonly conditions: readonly WorkloadCondition[]
}

export interface SegmentFile {
  readonly traits: readonly string[]
  readonly sumBuckets: number
  readonly segments: readonly WorkloadSegment[]
}

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
export const WINDOWS_MS = [HOUR_MS, 6 * HOUR_MS, DAY_MS, 3 * DAY_MS, 7 * DAY_MS, 14 * DAY_MS, 30 * DAY_MS] as const
const COUNTS = [1, 2, 3, 5] as const
const SUMS = [50, 100, 250, 500, 1000] as const

/** `n` segments of ten kinds in turn. */
export function segmentFile({ n = 50, seed = 7 }: { n?: number; seed?: number } = {}): SegmentFile {
  const draw = new Conditions(randomOf(seed))
  const kinds = kindsOf(draw)
  const segments = Array.from({ length: n }, (_, i) => ({
    id: `s${i}`,
    ...(kinds[i % kinds.length] as () => Omit<WorkloadSegment, 'id'>)(),
  }))
  return { traits: TRAITS, sumBuckets: 60, segments }
}

/** The file's text. */
export function segmentText(file: SegmentFile): string {
  return `${JSON.stringify(file, null, 1)}\n`
}

function kindsOf(c: Conditions): (() => Omit<WorkloadSegment, 'id'>)[] {
  const and = (...conditions: WorkloadCondition[]) => ({ op: 'and' as const, conditions })
  const or = (...conditions: WorkloadCondition[]) => ({ op: 'or' as const, conditions })
  return [
    () => and(c.count()),
    () => and(c.filteredCount()),
    () => and(c.sum()),
    () => and(c.count(1), c.notDone()),
    () => and(c.property(), c.count()),
    () => or(c.filteredCount(), c.count(3)),
    () => and(c.property()),
    () => and(c.sum(), c.notDone()),
    () => and(c.property(), c.count(1), c.notDone()),
    () => or(c.count(2), c.sum(), c.filteredCount()),
  ]
}

/** Draws conditions. The order of fields is the order of draws, and of the file. */
class Conditions {
  readonly #random: Random

  constructor(random: Random) {
    this.#random = random
  }

  count(atLeast?: number): CountCondition {
    const event = this.#pick(EVENT_NAMES)
    return { type: 'count', event, atLeast: atLeast ?? this.#pick(COUNTS), windowMs: this.#pick(WINDOWS_MS) }
  }

  filteredCount(): CountCondition {
    const count = this.count(this.#pick([1, 2, 3]))
    const third = carriesChannel((EVENT_NAMES as readonly string[]).indexOf(count.event)) ? 'channel' : 'country'
    const property = this.#pick<Trait>(['plan', third, 'device', 'category'])
    return { ...count, where: { property, equals: this.#pick(VALUES[property]) } }
  }

  sum(): SumCondition {
    const event = this.#pick(MONETARY_EVENTS)
    return { type: 'sum', event, property: 'amount', atLeast: this.#pick(SUMS), windowMs: this.#pick(WINDOWS_MS) }
  }

  notDone(): NotDoneCondition {
    return { type: 'notDone', event: this.#pick(EVENT_NAMES), windowMs: this.#pick(WINDOWS_MS) }
  }

  property(): PropertyCondition {
    const property = this.#pick(TRAITS)
    return { type: 'property', property, equals: this.#pick(VALUES[property]) }
  }

  #pick<T>(values: readonly T[]): T {
    return pick(this.#random, values)
  }
}
