// Deletes what nobody needs any more of the topics that processes share: of the partitions whose tasks run here, now and then, off the
// way of commits. Owns how far each may go and has gone; the topics delete.
//
// 1. Nothing goes but what a commit covers that counts: so it is right whoever asks for it, however late, the partition's or not.
//    Journal: before the start of the last completed round (rewrite.ts 4). Events: before the record that is to be read next, but for
//    the last KEPT_RECORDS, since whoever was overtaken without knowing reads on for a moment. Exchange: what had been read when all that
//    had come was not yet durable and is now; nothing rests on it anyway (exchange.ts 1).
// 2. What fails is tried again the next time, and told now and then: that it can't be done stops nothing.
import type { Clock } from '../core/clock.ts'
import { recordOf } from './inputs.ts'
import type { Task } from './task.ts'

export const RELEASED_TOPICS = ['journal', 'events', 'exchange'] as const
export type ReleasedTopic = (typeof RELEASED_TOPICS)[number]

export interface ReleaseOptions {
  readonly everyMs: number
  /** Deletes, of partitions, the records before these positions. */
  readonly release: (topic: ReleasedTopic, positions: ReadonlyMap<number, number>) => Promise<void>
  readonly troubled: (error: Error) => void
}

export type ReleasingTask = Pick<Task, 'partition' | 'releasable' | 'committedInput' | 'state' | 'expected' | 'durableMark' | 'released'>

export interface ReleasePorts extends ReleaseOptions {
  readonly clock: Clock
  /** Those that run here. */
  tasks(): Iterable<ReleasingTask>
  /** Up to where the exchange has been read for a partition. */
  exchangeRead(partition: number): number
}

export const KEPT_RECORDS = 16
const TELL_EVERY_MS = 600_000

interface Seen {
  readonly task: ReleasingTask
  readonly position: number
  /** By origin: the last message that had come. */
  readonly received: readonly number[]
}

export class Release {
  readonly #ports: ReleasePorts
  /** By partition: what had been read of the exchange some time ago. */
  readonly #seen = new Map<number, Seen>()
  #toldAtMs = Number.NEGATIVE_INFINITY
  #isClosed = false
  #cancel: () => void = () => {}
  #releasing: Promise<void> = Promise.resolve()

  constructor(ports: ReleasePorts) {
    this.#ports = ports
    this.#again()
  }

  #again(): void {
    const { clock, everyMs } = this.#ports
    if (this.#isClosed) return
    this.#cancel = clock.after(everyMs, () => {
      this.#releasing = this.look().then(() => this.#again())
    })
  }

  /** Deletes what may go by now. */
  async look(): Promise<void> {
    const tasks = [...this.#ports.tasks()]
    for (const topic of RELEASED_TOPICS) await this.#release(topic, tasks)
  }

  async #release(topic: ReleasedTopic, tasks: readonly ReleasingTask[]): Promise<void> {
    const positions = new Map<number, number>()
    for (const task of tasks) {
      const position = this.#releasable(topic, task)
      if (position > task.released[topic]) positions.set(task.partition, position)
    }
    if (positions.size === 0 || this.#isClosed) return
    try {
      await this.#ports.release(topic, positions)
      for (const task of tasks) task.released[topic] = positions.get(task.partition) ?? task.released[topic]
    } catch (error) {
      for (const task of tasks) if (positions.has(task.partition)) task.released.failures++
      this.#tell(error as Error)
    }
  }

  /** (1) */
  #releasable(topic: ReleasedTopic, task: ReleasingTask): number {
    if (topic === 'journal') return task.releasable
    if (topic === 'events') return recordOf(task.committedInput) - KEPT_RECORDS
    return this.#exchanged(task)
  }

  #exchanged(task: ReleasingTask): number {
    const { partition } = task
    const seen = this.#seen.get(partition)
    const isDone = seen?.task === task && seen.received.every((seq, origin) => seq <= task.durableMark(origin))
    if (!seen || isDone || seen.task !== task) {
      const received = task.state.marks.map((_, origin) => task.expected(origin) - 1)
      this.#seen.set(partition, { task, position: this.#ports.exchangeRead(partition), received })
    }
    return seen && isDone ? seen.position : 0
  }

  /** (2) */
  #tell(error: Error): void {
    const nowMs = this.#ports.clock.monotonicMs()
    if (this.#isClosed || nowMs < this.#toldAtMs + TELL_EVERY_MS) return
    this.#toldAtMs = nowMs
    this.#ports.troubled(error)
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#cancel()
    await this.#releasing
  }
}
