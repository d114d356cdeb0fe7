// What answering a question may see of a host. Owns nothing; host.ts is the only implementation.
import type { Task } from './task.ts'

export interface HostView {
  readonly tasks: ReadonlyMap<number, Task>
  /** Messages that came from other hosts, ever. */
  readonly received: number
  /** One past the last event of a partition that this host knows of. */
  eventsEnd(partition: number): number
  /** Resolves when `check` holds. */
  until(check: () => boolean): Promise<void>
  /** Lets the event loop turn. */
  pause(): Promise<void>
}
