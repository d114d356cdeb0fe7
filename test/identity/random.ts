/** A seeded generator of numbers in [0, 1). */
export function seeded(seed: number): () => number {
  let state = Math.imul(seed + 1, 0x9e3779b1) >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let x = state
    x = Math.imul(x ^ (x >>> 15), x | 1)
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
  }
}

export type Random = () => number

export const below = (random: Random, n: number): number => Math.floor(random() * n)

export function pick<T>(random: Random, list: readonly T[]): T {
  return list[below(random, list.length)] as T
}

export function shuffled<T>(random: Random, list: readonly T[]): T[] {
  const out = [...list]
  for (let i = out.length - 1; i > 0; i--) {
    const j = below(random, i + 1)
    ;[out[i], out[j]] = [out[j] as T, out[i] as T]
  }
  return out
}

/** How many seeds a property test runs: its own number, or TRIBUTARY_SEEDS. */
export function seedsOf(quick: number): number {
  return Number(process.env.TRIBUTARY_SEEDS ?? quick)
}
