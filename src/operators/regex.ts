// Patterns of `matches`: RE2's dialect, unanchored, in time linear in the text. What RE2 refuses (look-around, back-references,
// repetitions beyond 1000) is refused when a definition is saved.
import { RE2JS } from 're2js'
import { TributaryError } from '../core/errors.ts'

export interface Pattern {
  /** Whether the pattern matches anywhere in the text. */
  test(text: string): boolean
}

/** Compiled patterns are shared; the oldest make room. */
const CACHED_PATTERNS = 1000
const cache = new Map<string, Pattern>()

/** Compiles a pattern, or throws invalid_definition. */
export function compilePattern(source: string): Pattern {
  const known = cache.get(source)
  if (known) return known
  const compiled = compile(source)
  if (cache.size >= CACHED_PATTERNS) {
    for (const oldest of cache.keys()) {
      cache.delete(oldest)
      break
    }
  }
  cache.set(source, compiled)
  return compiled
}

function compile(source: string): Pattern {
  try {
    return RE2JS.compile(source)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new TributaryError('invalid_definition', `not a pattern of RE2's dialect: ${why}`, { cause })
  }
}
