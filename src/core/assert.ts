// Assertions. A broken invariant is never caught and patched up: it stops the partition (engine/task.ts).

/** Thrown when the program's own rules are broken, never for bad input. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError'
}

/** Returns `x`, or throws when it is null or undefined. `why` says what guarantees that it is there. */
export function must<T>(x: T | null | undefined, why: string): T {
  if (x === null || x === undefined) throw new InvariantError(`missing: ${why}`)
  return x
}

/** Throws an InvariantError unless `holds`. */
export function invariant(holds: boolean, rule: string): asserts holds {
  if (!holds) throw new InvariantError(rule)
}
