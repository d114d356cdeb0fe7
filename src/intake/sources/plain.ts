// What decoders other than JSON's give, as JSON: intake and the timeline know nothing else.
import type { Json, JsonObject } from '../../core/event.ts'
import { MAX_DEPTH } from '../limits.ts'

/**
 * Dates become ISO texts, bytes base64, whole numbers beyond 2^53 texts, maps objects, wrapped members of unions themselves; what JSON has no
 * word for is left out. Throws where it is nested deeper than intake takes, with some room for what a mapping leaves out.
 */
export function plain(x: unknown, depth = 2 * MAX_DEPTH): Json | undefined {
  switch (typeof x) {
    case 'string':
    case 'boolean':
      return x
    case 'number':
      return Number.isFinite(x) ? x : null
    case 'bigint':
      return Number.isSafeInteger(Number(x)) ? Number(x) : String(x)
    case 'object':
      if (x === null) return null
      if (depth === 0) throw new RangeError('nested too deeply')
      return plainObject(x, depth - 1)
    default:
      return undefined
  }
}

function plainObject(x: object, depth: number): Json | undefined {
  if (Array.isArray(x)) return x.map((item) => plain(item, depth) ?? null)
  if (x instanceof Uint8Array) return Buffer.from(x.buffer, x.byteOffset, x.length).toString('base64')
  if (x instanceof Date) return Number.isNaN(x.getTime()) ? null : x.toISOString()
  if (x instanceof Map)
    return fromEntries(
      [...x].map(([name, value]) => [String(name), value] as const),
      depth,
    )
  if (x instanceof Set) return plainObject([...x], depth)
  const { unwrap } = x as { unwrap?: unknown }
  if (typeof unwrap === 'function') return plain(unwrap.call(x), depth)
  return fromEntries(Object.entries(x), depth)
}

function fromEntries(entries: readonly (readonly [string, unknown])[], depth: number): JsonObject {
  const object: JsonObject = {}
  for (const [name, value] of entries) {
    const given = plain(value, depth)
    // Assigned, it would set a prototype.
    if (given !== undefined && name !== '__proto__') object[name] = given
  }
  return object
}
