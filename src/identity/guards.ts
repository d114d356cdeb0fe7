// Guards: how many identifiers one profile may have. Owns the rule; what is counted is the root's matter (root.ts).
//
// 1. Counted are the identifiers that a root has, has asked for and has granted: what is under way can't be promised twice.
// 2. A guard says no; it never takes away. A namespace that is unique has the limit 1.
// 3. A limit lowered below what a profile has refuses only what would make it worse.
import type { IdentifierLimits } from '../core/namespace.ts'
import type { CountedIdentifier } from './messages.ts'

export type Limits = IdentifierLimits

/** Why `more` can't join `held`: `guard:NAMESPACE`, or `guard:*` for the total; undefined when it can. */
export function refusalOf(limits: Limits, held: Iterable<CountedIdentifier>, more: Iterable<CountedIdentifier>): string | undefined {
  const counted = new Set<string>()
  const perNamespace = new Map<string, number>()
  const count = ({ key, namespace }: CountedIdentifier): number => {
    counted.add(key)
    const n = (perNamespace.get(namespace) ?? 0) + 1
    perNamespace.set(namespace, n)
    return n
  }
  for (const x of held) if (!counted.has(x.key)) count(x)
  for (const x of more) {
    if (counted.has(x.key)) continue
    if (count(x) > (limits.of.get(x.namespace) ?? limits.others)) return `guard:${x.namespace}`
    if (counted.size > limits.total) return 'guard:*'
  }
  return undefined
}
