// How the engine of a world is cut up: what a layout has of it, drawn and as limits of tasks where there are several processes. Owns nothing.
import type { TaskLimits } from '../../src/engine/config.ts'
import { namespacesOf } from '../engine/world-run.ts'
import { pick, type Random } from '../identity/random.ts'

export interface Cut {
  readonly batchEvents: number
  readonly sliceMs: number
  readonly splitBytes: number
  readonly cacheBytes: number
  readonly applyMs: number
  readonly applyBytes: number
  readonly sliceRows: number
}

/** Where it doesn't matter. */
export const PLAIN_CUT: Cut = {
  batchEvents: 1000,
  sliceMs: 1e9,
  splitBytes: 4096,
  cacheBytes: 64 << 20,
  applyMs: 1000,
  applyBytes: 4 << 20,
  sliceRows: 1000,
}

export function drawCut(random: Random): Cut {
  return {
    batchEvents: pick(random, [1, 2, 3, 1000]),
    sliceMs: pick(random, [1e9, 0]),
    splitBytes: pick(random, [4096, 60]),
    cacheBytes: pick(random, [64 << 20, 5000, 0]),
    applyMs: pick(random, [1000, 5, 0]),
    applyBytes: pick(random, [4 << 20, 3000, 1]),
    sliceRows: pick(random, [1, 4, 1000]),
  }
}

/** Worlds remember for ever. */
export const FOR_EVER = { timelineEvents: 1e6, timelineRetentionMs: 1e12, dedupeWindowMs: 1e12, skewLimitMs: 2000 }

export function limitsOf(layout: Cut & Pick<TaskLimits, 'partitions'>, clock: TaskLimits['clock']): TaskLimits {
  const { partitions, batchEvents, sliceMs, splitBytes, cacheBytes, applyMs, applyBytes } = layout
  const cut = { batchEvents, sliceMs, splitBytes, cacheBytes, applyMs, applyBytes }
  return { ...FOR_EVER, ...cut, partitions, clock, batchBytes: 4 << 20, timerHorizonMs: 60_000, identity: namespacesOf(false).limits }
}
