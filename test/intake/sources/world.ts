// A source in memory: a group whose topics are lists, an engine that takes what it is given, and a clock that is moved by hand.
import { VirtualClock } from '../../../src/core/clock.ts'
import { type EventRecord, messageOf } from '../../../src/core/event.ts'
import { Namespaces } from '../../../src/core/namespace.ts'
import type { Read } from '../../../src/core/origin.ts'
import { decodeJson } from '../../../src/intake/sources/formats.ts'
import { Source, type SourceOptions } from '../../../src/intake/sources/source.ts'
import type { SourceRejection, TakeOptions } from '../../../src/intake/sources/take.ts'
import type { BatchOrigin, Place, RecordGroup, SourceRecord, TakeBatch } from '../../../src/log/record-group.ts'

export const NOW = Date.parse('2026-11-20T12:00:00.000Z')
export const STAMP = NOW - 60_000

export const takeOptions: TakeOptions = {
  source: 'shop',
  decode: decodeJson,
  mapping: undefined,
  priority: 100,
  futureLimit: 86_400_000,
  namespaces: new Namespaces({}),
}

/** `value` as JSON unless it is bytes already, or null. */
export function record(offset: number, value: unknown, rest: Partial<SourceRecord> = {}): SourceRecord {
  const bytes = value === null || Buffer.isBuffer(value) ? value : Buffer.from(JSON.stringify(value))
  return { offset, stamp: STAMP, key: null, value: bytes, headers: {}, ...rest }
}

export const seen = (n: number): object => ({ type: 'track', event: 'Seen', userId: `u${n}`, messageId: `m${n}` })

/** What a broker keeps: the records of each partition, and how far the group has come. */
export class Topics {
  readonly partitions = new Map<number, SourceRecord[]>()
  readonly committed = new Map<number, number>()
  /** What the group says of all that it gives. */
  origin: BatchOrigin | undefined
  /** Errors that the next groups end with when they join. */
  readonly refusals: Error[] = []
  /** The group, as it is told that it is still there. */
  beats = 0
  opened = 0
  /** Answers in the stead of the group. */
  places: (() => Promise<Place[]>) | undefined
  /** Called after each `done`. */
  onDone = (_partition: number, _next: number): void => {}

  append(partition: number, ...values: readonly unknown[]): void {
    const records = this.partitions.get(partition) ?? []
    this.partitions.set(partition, records)
    for (const value of values) records.push(record(records.length, value))
  }
}

/** Gives what is there from the committed positions, in batches, and again whenever it is asked to. */
export class MemoryGroup implements RecordGroup {
  readonly #topics: Topics
  readonly #ended = Promise.withResolvers<void>()
  isLost = false
  #joined = (): void => {}

  constructor(topics: Topics) {
    this.#topics = topics
    topics.opened++
  }

  async run(take: TakeBatch, joined: () => void): Promise<void> {
    const refusal = this.#topics.refusals.shift()
    if (refusal) throw refusal
    this.#joined = joined
    joined()
    await Promise.all([...this.#topics.partitions.keys()].map((p) => this.#give(p, take)))
    await this.#ended.promise
  }

  async #give(partition: number, take: TakeBatch): Promise<void> {
    const topics = this.#topics
    const records = (topics.partitions.get(partition) ?? []).slice(topics.committed.get(partition) ?? 0)
    const isLost = (): boolean => this.isLost
    await take(
      { topic: 'orders', partition, records, ...(this.#topics.origin ? { origin: this.#topics.origin } : {}) },
      {
        get isCurrent() {
          return !isLost()
        },
        alive: async () => void topics.beats++,
        done: async (next) => {
          topics.committed.set(partition, next)
          topics.onDone(partition, next)
        },
      },
    )
  }

  async places(): Promise<Place[]> {
    if (this.#topics.places) return this.#topics.places()
    return [...this.#topics.partitions].map(([partition, records]) => ({
      topic: 'orders',
      partition,
      next: this.#topics.committed.get(partition) ?? 0,
      end: records.length,
    }))
  }

  async close(): Promise<void> {
    this.isLost = true
    this.#ended.resolve()
  }

  /** The group has changed; this member keeps what it has. */
  rejoin(): void {
    this.#joined()
  }

  lose(error: Error): void {
    this.isLost = true
    this.#ended.reject(error)
  }
}

/** Keeps what it is given, once per message. */
export class MemoryEngine {
  readonly events: EventRecord[] = []
  readonly rejected: SourceRejection[] = []
  readonly reads: Read[] = []
  readonly calls: number[] = []
  /** Errors that the next ingestions end with, nothing taken. */
  readonly failures: Error[] = []
  isFull = false

  acceptanceTime(): number {
    return NOW
  }
  pressure(): { code: string; retryAfterSeconds: number } | undefined {
    return this.isFull ? { code: 'back_pressure', retryAfterSeconds: 1 } : undefined
  }
  async ingest(events: readonly EventRecord[], rejected: readonly SourceRejection[], read?: Read): Promise<void> {
    await Promise.resolve()
    const failure = this.failures.shift()
    if (failure) throw failure
    this.calls.push(events.length)
    const known = new Set(this.events.map((e) => e.messageHash))
    for (const event of events) if (!known.has(event.messageHash)) this.events.push(event)
    this.rejected.push(...rejected)
    if (read) this.reads.push(read)
  }
  get messages(): Record<string, unknown>[] {
    return this.events.map(messageOf)
  }
}

export interface World {
  readonly source: Source
  /** Starts the source. */
  start(): void
  readonly topics: Topics
  readonly engine: MemoryEngine
  readonly clock: VirtualClock
  readonly groups: MemoryGroup[]
  /** What was logged. */
  readonly said: string[]
}

export function world(options: Partial<SourceOptions> = {}): World {
  const topics = new Topics()
  const engine = new MemoryEngine()
  const clock = new VirtualClock(NOW)
  const groups: MemoryGroup[] = []
  const said: string[] = []
  const say = (_: object, message: string): void => void said.push(message)
  const source = new Source({
    name: 'shop',
    topics: ['orders'],
    open: () => {
      const group = new MemoryGroup(topics)
      groups.push(group)
      return group
    },
    take: takeOptions,
    clock,
    log: { info: say, warn: say },
    ...options,
  })
  return { source, start: () => source.start(engine), topics, engine, clock, groups, said }
}

/** Lets everything that is due happen, and time pass where something waits for it, until `holds`. */
export async function passUntil({ clock }: Pick<World, 'clock'>, holds: () => boolean): Promise<void> {
  for (let turns = 0; !holds(); turns++) {
    if (turns > 10_000) throw new Error('it never came about')
    await new Promise(setImmediate)
    if (turns % 5 === 4) clock.advance(50)
  }
}
