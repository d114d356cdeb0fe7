// The events log as the tasks of one process read it: each partition that runs here is followed, and read ahead. Owns what was read
// ahead; the positions are the tasks'.
//
// 1. `end` of a partition that is begun is beyond everything that was there when `begin` was called; it never goes back.
// 2. A partition reads ahead at most AHEAD_BYTES and what one page exceeds it by.
// 3. A position that is no longer kept, or lies beyond the end, rejects the read: nothing is skipped.
import { must } from '../core/assert.ts'
import { type Clock, sleep } from '../core/clock.ts'
import { TributaryError } from '../core/errors.ts'
import type { KafkaCursor, KafkaRecord } from './kafka-reader.ts'
import type { PartitionReader, ReadLimits } from './log.ts'

/** The topic, as far as it is needed: a KafkaLog. */
export interface EventsTopic {
  readonly partitions: number
  ends(): Promise<number[]>
  cursor(partition: number): Cursor
}

type Cursor = Pick<KafkaCursor, 'read' | 'close'>

export interface KafkaEventsOptions {
  readonly log: EventsTopic
  readonly clock: Clock
  /** One past the last record that is known of a partition. */
  readonly told: (partition: number, end: number) => void
  readonly troubled: (error: Error) => void
}

const AHEAD_BYTES = 4 << 20
const PAGE = { maxRecords: 1000, maxBytes: 1 << 20, waitMs: 500 }
const RETRY_MS = 200

interface Tail {
  readonly partition: number
  end: number
  /** The position of the next record to be given. */
  next: number
  ahead: KafkaRecord[]
  bytes: number
  failed: Error | undefined
  /** Reads ahead on behalf of the tail; another one where the tail begins anew elsewhere. */
  cursor: Cursor | undefined
  resume: () => void
}

export class KafkaEvents implements PartitionReader {
  readonly partitions: number
  readonly #options: KafkaEventsOptions
  readonly #tails = new Map<number, Tail>()
  #onMore: (partition: number) => void = () => {}

  constructor(options: KafkaEventsOptions) {
    this.#options = options
    this.partitions = options.log.partitions
  }

  onMore(listener: (partition: number) => void): void {
    this.#onMore = listener
  }

  /** Learns where the partition ends now (1). Resolves once that is known, however long it takes. */
  async begin(partition: number): Promise<void> {
    this.leave(partition)
    const tail: Tail = {
      ...{ partition, end: 0, next: -1, ahead: [], bytes: 0, failed: undefined, cursor: undefined, resume: () => {} },
    }
    this.#tails.set(partition, tail)
    while (this.#tails.get(partition) === tail) {
      try {
        this.#reached(tail, must((await this.#options.log.ends())[partition], 'each partition has an end'))
        // Whoever has read everything reads no more before it is told that there is something.
        if (this.#tails.get(partition) === tail) this.#beginAt(tail, tail.end)
        return
      } catch (error) {
        this.#options.troubled(error as Error)
        await sleep(this.#options.clock, RETRY_MS)
      }
    }
  }

  leave(partition: number): void {
    const tail = this.#tails.get(partition)
    if (!tail) return
    this.#tails.delete(partition)
    tail.cursor?.close()
    tail.cursor = undefined
    tail.resume()
  }

  /** Not known before a partition is begun. */
  end(partition: number): number {
    return this.#tails.get(partition)?.end ?? 0
  }

  first(): number {
    return 0
  }

  /** What was read ahead of `from`, which may be nothing yet: `onMore` tells when there is more. */
  async read(partition: number, from: number, limits: ReadLimits): Promise<KafkaRecord[]> {
    const tail = must(this.#tails.get(partition), 'a partition is begun before it is read')
    if (tail.next !== from) this.#beginAt(tail, from)
    if (tail.failed) throw tail.failed
    const page: KafkaRecord[] = []
    let bytes = 0
    for (const record of tail.ahead) {
      if (page.length === limits.maxRecords || (page.length > 0 && bytes + record.payload.length > limits.maxBytes)) break
      page.push(record)
      bytes += record.payload.length
      tail.next = record.position + 1
    }
    tail.ahead.splice(0, page.length)
    tail.bytes -= bytes
    if (tail.bytes < AHEAD_BYTES) tail.resume()
    return page
  }

  async last(): Promise<undefined> {
    return undefined
  }

  async close(): Promise<void> {
    for (const partition of [...this.#tails.keys()]) this.leave(partition)
  }

  #reached(tail: Tail, end: number): void {
    if (end <= tail.end) return
    tail.end = end
    this.#options.told(tail.partition, end)
  }

  #beginAt(tail: Tail, from: number): void {
    tail.cursor?.close()
    tail.resume()
    tail.ahead = []
    tail.bytes = 0
    tail.next = from
    tail.failed = undefined
    const cursor = this.#options.log.cursor(tail.partition)
    tail.cursor = cursor
    this.#follow(tail, cursor, from).catch((error: Error) => {
      if (tail.cursor !== cursor) return
      tail.failed = error
      this.#onMore(tail.partition)
    })
  }

  async #follow(tail: Tail, cursor: Cursor, from: number): Promise<void> {
    let position = from
    const isLeft = (): boolean => tail.cursor !== cursor
    while (!isLeft()) {
      const page = await cursor.read(position, PAGE).catch(async (error: Error) => {
        if (isLeft()) return undefined
        // (3)
        if (error instanceof TributaryError && error.code === 'data_corrupt') throw error
        this.#options.troubled(error)
        await sleep(this.#options.clock, RETRY_MS)
        return undefined
      })
      if (isLeft() || !page) continue
      for (const record of page.records) {
        tail.ahead.push(record)
        tail.bytes += record.payload.length
        position = record.position + 1
      }
      this.#reached(tail, page.known)
      if (page.records.length > 0) this.#onMore(tail.partition)
      if (tail.bytes >= AHEAD_BYTES) await this.#untilWanted(tail)
    }
  }

  #untilWanted(tail: Tail): Promise<void> {
    return new Promise((resolve) => {
      tail.resume = () => {
        tail.resume = () => {}
        resolve()
      }
    })
  }
}
