// What gathering and loading may see of their task. Owns nothing; task.ts is the only implementation.
import type { Clock } from '../core/clock.ts'
import type { ProfileKey } from '../core/identifier.ts'
import type { PendingRows } from '../state/pending.ts'
import type { TaskLimits } from './config.ts'
import type { Memory } from './memory.ts'
import type { TaskState } from './task-state.ts'
import type { Timers } from './timers.ts'

export interface TaskView {
  readonly partition: number
  readonly limits: TaskLimits
  readonly definitions: { readonly version: number }
  readonly memory: Memory
  readonly timers: Timers
  readonly rows: PendingRows
  readonly state: Readonly<TaskState>
  /** Profiles whose timeline has outgrown its limit. */
  readonly overgrown: Set<ProfileKey>
  readonly metrics: { rowsRead: number }
  readonly host: { readonly clock: Clock; allowedNow(): number }
  /** Lets others run once the turn is used up; undefined while it isn't. */
  breathe(): Promise<void> | undefined
  /** Resolves when everything executed by now is durable. */
  durable(): Promise<void>
}
