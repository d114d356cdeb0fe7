// Filters of event conditions: {"where": {path: a scalar or comparators}}, all of which must hold for the message.
// Ages (withinLast …) are measured from the event's own instant, so that an event matches or not once and for all.
import { Matcher } from './compare.ts'
import type { Comparators, EventFilter, Scalar } from './definition.ts'
import { type Path, parsePath } from './path.ts'
import { equalsOneOf } from './trait.ts'

export interface FilterTerm {
  readonly text: string
  readonly path: Path
  readonly matcher: Matcher
  /** The only values that match, where the term is an equality: what an index can serve. */
  readonly equals: readonly Scalar[] | undefined
}

const comparatorsOf = (x: Comparators | Scalar): Comparators => (typeof x === 'object' ? x : { eq: x })

export function compileFilter(filter: EventFilter): FilterTerm[] {
  return Object.entries(filter).map(([text, x]) => {
    const c = comparatorsOf(x)
    return { text, path: parsePath(text), matcher: new Matcher(c), equals: equalsOneOf(c) }
  })
}
