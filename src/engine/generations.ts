// Generations of the rows that tell repeats (dedupe): when the next one begins. Owns that rule; the rows, and the end of old ones, are
// execute.ts's.
//
// 1. They turn at multiples of the window, so in all partitions at the same instants, and a hash is looked for in the newest two: a repeat
//    is caught for one window at least.
// 2. With another window the generation at hand goes on, and turns at multiples of the new one from then on: numbers never go back or
//    leap, so nothing is forgotten early, and something is forgotten at all.

/** Since when they turn by this window: in generation `number`, at the instant `at`. */
export interface Turning {
  readonly windowMs: number
  readonly number: number
  readonly at: number
}

/** Of a partition that has counted nothing yet, or before there were these. */
export const NEVER_TURNED: Turning = { windowMs: 0, number: 0, at: 0 }

/** How they turn from the instant `now` on (2); `generation` is the one at hand. */
export function turning(before: Turning, windowMs: number, { generation, now }: { generation: number; now: number }): Turning {
  return before.windowMs === windowMs ? before : { windowMs, number: generation, at: now }
}

export function generationAt({ windowMs, number, at }: Turning, now: number): number {
  return number + Math.floor(now / windowMs) - Math.floor(at / windowMs)
}
