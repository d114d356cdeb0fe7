// Guards, counted anew: shares no code with the rules of identity.
import type { Namespaces } from '../../src/core/namespace.ts'

/** True when a guard would be exceeded: counted anew, not by the rules of identity. */
export function exceeds(ids: readonly { namespace: string }[], { limits }: Namespaces): boolean {
  if (ids.length > limits.total) return true
  return [...limits.of].some(([namespace, limit]) => ids.filter((one) => one.namespace === namespace).length > limit)
}
