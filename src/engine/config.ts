// The limits and lengths that a partition's task works under. The defaults are those of src/config.ts; a test holds them together.
import type { Limits } from '../identity/guards.ts'

export interface TaskLimits {
  readonly partitions: number
  readonly clock: 'wall' | 'manual'
  readonly identity: Limits
  readonly dedupeWindowMs: number
  readonly timelineRetentionMs: number
  readonly timelineEvents: number
  readonly batchEvents: number
  readonly batchBytes: number
  readonly sliceMs: number
  readonly skewLimitMs: number
  readonly splitBytes: number
  readonly timerHorizonMs: number
  /** Per partition: the host's budget divided among its partitions. */
  readonly cacheBytes: number
  readonly applyMs: number
  readonly applyBytes: number
  /** Changes of profiles leave by the outbox; absent: nobody wants them. */
  readonly tellsProfiles?: boolean
}

/** Of the events log, read at a time. */
export const BYTES_PER_READ = 256 << 10
/** Inputs of a task's first batch. */
export const FIRST_BATCH_EVENTS = 64
/** Timers loaded from the store at a time: about what a slice takes in. */
export const TIMERS_PER_LOAD = 2_000
/** Timers in memory above which none are loaded ahead of their time. */
export const TIMERS_AHEAD = 20_000
/** How far ahead timers are loaded at most. */
export const LONGEST_HORIZON_MS = 7 * 86_400_000
/** Timers fired in one batch, so that live events get their turn between, and little is alive when garbage is collected. */
export const TIMERS_PER_BATCH = 500
/** Profiles filled in one batch. */
export const FILLS_PER_BATCH = 64
/** Events dated in the future that wait in one profile. */
export const FUTURE_EVENTS_PER_PROFILE = 1_000
/** Events beyond the retention that one input deletes. */
export const EVENTS_PER_TRIM = 1_000
/** Timelines looked at before the inputs that came of it are executed. */
export const TRIMS_PER_BATCH = 64
/** By which part of the retention events may be older before a timeline that gets events is trimmed. */
export const TRIMS_PER_RETENTION = 16
/** Events by which a timeline may exceed its limit before it is trimmed. */
export const TIMELINE_SLACK = 256
