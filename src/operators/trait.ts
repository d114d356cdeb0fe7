// What is known of the person: {"trait": "address.city", comparators}. It has no accumulator: the profile keeps the traits.
// The first component of the path names the trait; traits are replaced whole.
import type { Json } from '../core/event.ts'
import { Matcher } from './compare.ts'
import type { Comparators, Scalar, TraitCondition } from './definition.ts'
import { NEVER, NO_NEED, type Reading, type Truth } from './operator.ts'
import { listOf, type Path, parsePath, valueAt } from './path.ts'

/** Reads the trait's whole value; undefined where the profile has none. */
export class TraitReading implements Reading<Json | undefined> {
  readonly need = NO_NEED
  readonly whenEmpty: boolean
  readonly #path: Path
  readonly #matcher: Matcher

  constructor(condition: TraitCondition) {
    const { trait, ...comparators } = condition
    this.#path = parsePath(trait).slice(1)
    this.#matcher = new Matcher(comparators)
    this.whenEmpty = this.#matcher.test(undefined, 0)
  }

  read(trait: Json | undefined, now: number, out: Truth): void {
    const reached = valueAt(trait, this.#path)
    const holds = this.#matcher.any(reached, now)
    out.holds = holds
    out.flipsAt = NEVER
    if (!this.#matcher.looksAtClock) return
    const changes = listOf(reached).flatMap((value) => this.#matcher.changesOf(value))
    for (const instant of changes) {
      if (instant > now && instant < out.flipsAt && this.#matcher.any(reached, instant) !== holds) out.flipsAt = instant
    }
  }

  value(trait: Json | undefined): Json | undefined {
    const reached = valueAt(trait, this.#path)
    const values = listOf(reached)
    return values.length > 1 ? [...values] : values[0]
  }

  exact(): boolean {
    return true
  }
}

/** The trait that a condition looks at. */
export function traitName(condition: TraitCondition): string {
  return parsePath(condition.trait)[0] as string
}

/** The values one of which a value must equal, where comparators are nothing but "eq" or "in"; else undefined. */
export function equalsOneOf(c: Comparators): readonly Scalar[] | undefined {
  if (Object.keys(c).length !== 1) return undefined
  return c.eq !== undefined ? [c.eq] : c.in
}
