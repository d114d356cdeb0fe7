// The newest records of a topic in memory, in the order in which this process got them, for all who follow it. Owns the following,
// which runs while anybody listens.
//
// 1. From `first` of each partition on, all of its records that this process has got are here; the oldest leave first.
// 2. While nothing was heard of a partition for HOLD_MS, nothing is given of the others: so what is given of one partition is never
//    much later than what is missing of another, and the place of an id (outputs-topic.ts 2) misses none.
import { must } from '../core/assert.ts'
import type { Clock } from '../core/clock.ts'
import type { Topic, TopicFollower, TopicRecord } from '../log/topic.ts'
import type { Form, Placed } from './outputs-topic.ts'
import type { Vector } from './outputs-vector.ts'

/** Of values. Once decoded they take a few times as much. */
const HELD_BYTES = 4 << 20
const HOLD_MS = 10_000

/** Where a follower is: a vector, and its ordinal in a window if that is known. */
export interface TailPlace {
  readonly vector: Vector
  readonly window?: object
  readonly ordinal?: number
}

export interface TailStretch<T> {
  readonly entries: Placed<T>[]
  readonly next: TailPlace
}

export class TopicTail<T> {
  readonly #topic: Topic
  readonly #form: Form<T>
  readonly #clock: Clock
  readonly #listeners = new Set<() => void>()
  #window: Window<T> | undefined
  #started: Promise<() => void> | undefined

  constructor(topic: Topic, form: Form<T>, clock: Clock) {
    this.#topic = topic
    this.#form = form
    this.#clock = clock
  }

  /** Calls back whenever there may be more. Follows from the first listener on until the last is gone. */
  async listen(listener: () => void): Promise<() => void> {
    this.#listeners.add(listener)
    this.#started ??= this.#start()
    try {
      await this.#started
    } catch (error) {
      this.#leave(listener)
      throw error
    }
    return () => this.#leave(listener)
  }

  async #start(): Promise<() => void> {
    const ends = await this.#topic.ends()
    const window = new Window(ends, this.#form, { clock: this.#clock, told: () => this.#tell() })
    const stop = await this.#topic.follow(ends, window)
    this.#window = window
    return stop
  }

  #tell(): void {
    for (const listener of this.#listeners) listener()
  }

  #leave(listener: () => void): void {
    if (!this.#listeners.delete(listener) || this.#listeners.size > 0) return
    void this.#started?.then(
      (stop) => stop(),
      () => undefined,
    )
    this.#started = undefined
    this.#window = undefined
  }

  /** What comes behind a place; undefined when some of it is not in memory. */
  read(from: TailPlace, entries: number): TailStretch<T> | undefined {
    return this.#window?.read(from, entries)
  }
}

interface Held<T> {
  readonly record: TopicRecord
  entry: T | undefined
  isDecoded: boolean
}

class Window<T> implements TopicFollower {
  readonly #form: Form<T>
  readonly #clock: Clock
  readonly #told: () => void
  readonly #held = new Map<number, Held<T>>()
  #oldest = 0
  #next = 0
  #bytes = 0
  /** (1) */
  readonly #first: number[]
  /** When each partition was last known to have no more. */
  readonly #heardAtMs: number[]

  constructor(ends: readonly number[], form: Form<T>, { clock, told }: { clock: Clock; told: () => void }) {
    this.#form = form
    this.#clock = clock
    this.#told = told
    const nowMs = clock.monotonicMs()
    this.#first = [...ends]
    this.#heardAtMs = ends.map(() => nowMs)
  }

  take(records: readonly TopicRecord[]): void {
    for (const record of records) {
      this.#held.set(this.#next++, { record, entry: undefined, isDecoded: false })
      this.#bytes += record.value?.length ?? 0
    }
    while (this.#bytes > HELD_BYTES) this.#drop()
  }

  #drop(): void {
    const { record } = must(this.#held.get(this.#oldest), 'what takes bytes is held')
    this.#held.delete(this.#oldest++)
    this.#bytes -= record.value?.length ?? 0
    this.#first[record.partition] = record.offset + 1
  }

  polled(partitions: readonly number[]): void {
    const nowMs = this.#clock.monotonicMs()
    for (const p of partitions) this.#heardAtMs[p] = nowMs
    if (!this.#isHeldBack()) this.#told()
  }

  /** (2) */
  #isHeldBack(): boolean {
    const sinceMs = this.#clock.monotonicMs() - HOLD_MS
    return this.#heardAtMs.some((ms) => ms < sinceMs)
  }

  read(from: TailPlace, limit: number): TailStretch<T> | undefined {
    const at = [...from.vector]
    if (this.#first.some((first, p) => (at[p] ?? 0) < first)) return undefined
    const entries: Placed<T>[] = []
    const begin = Math.max(this.#oldest, from.window === this ? (from.ordinal ?? 0) : 0)
    let ordinal = begin
    if (!this.#isHeldBack()) {
      for (; ordinal < this.#next && entries.length < limit; ordinal++) {
        const held = must(this.#held.get(ordinal), 'ordinals in here are contiguous')
        const { partition, offset } = held.record
        if (offset < (at[partition] ?? 0)) continue
        at[partition] = offset + 1
        const entry = this.#decoded(held)
        if (entry !== undefined) entries.push({ entry, behind: [...at] })
      }
    }
    return { entries, next: ordinal === begin ? from : { vector: at, window: this, ordinal } }
  }

  #decoded(held: Held<T>): T | undefined {
    if (!held.isDecoded) {
      held.entry = this.#form.entryOf(held.record)
      held.isDecoded = true
    }
    return held.entry
  }
}
