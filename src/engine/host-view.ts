// What answering a question may see of a host. Owns nothing; host.ts is the only implementation.
import type { Ends } from './questions.ts'
import type { Task } from './task.ts'

export interface HostView {
  readonly tasks: ReadonlyMap<number, Task>
  /** What has moved until now of what a watch is about, which has just found nothing open here (watches.ts). */
  moved(watch: string, ends: Ends): number
  /** One past the last event of a partition that this host knows of. */
  eventsEnd(partition: number): number
  /** Resolves when `check` holds. */
  until(check: () => boolean): Promise<void>
  /** Lets the event loop turn. */
  pause(): Promise<void>
}
