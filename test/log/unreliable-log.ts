// One partition of a replicated log in memory, as bad as the real ones are: answers to appends get lost, records come twice, late,
// or after their writer was told that they failed; a new leader drops what was not replicated yet. Owns the records. Nothing
// happens here by itself: every step is given to a scheduler of the caller, who runs each once, later, in whatever order.
//
//   append ─▶ [arrive] ─▶ leader's tail ─▶ [replicate] ─▶ visible, for good ─▶ [answer]
//                              └── changeLeader: a suffix of the tail is gone, its answers are rejections
//   release: the head is not kept any more
//
// const log = new UnreliableLog({ schedule, fate })      `schedule`: the cluster's own steps ("arrive", "replicate")
// const shared = log.connect({ schedule, clock })        one per process; its `schedule`: answers to it, and waking its reads.
//
// A process that sleeps: its `schedule` keeps the steps until it wakes; records on their way arrive meanwhile. A process that is
// killed: its `schedule` forgets them. A read at the end waits without a step until there is something new or `waitMs` of the
// connection's clock have passed.
//
// 1. What was visible once stays, in its place, for every reader, until it is released. Positions are contiguous.
// 2. An append is answered with success only after its record is visible. A rejection says nothing.
// 3. Records of the tail become visible in their order.
// 4. A record is stamped by the leader when it arrives.
import { must } from '../../src/core/assert.ts'
import type { Clock } from '../../src/core/clock.ts'
import { TributaryError } from '../../src/core/errors.ts'
import type { SharedLog, SharedPage, SharedReadLimits, SharedRecord } from '../../src/log/claimed.ts'

export type Step = 'arrive' | 'replicate' | 'answer' | 'read'
/** Keeps a step, to run it once at some later time, or never. */
export type Schedule = (step: Step, run: () => void) => void

/** What becomes of an append: how often its record arrives (each time at a moment of its own), and whether its writer hears of it. */
export interface Fate {
  readonly arrivals: number
  /** Success when it is visible; or a rejection, at any time, whatever becomes of it. */
  readonly isAnswered: boolean
}

const GOOD: Fate = { arrivals: 1, isAnswered: true }

export interface UnreliableOptions {
  readonly schedule: Schedule
  /** By default all goes well. */
  readonly fate?: () => Fate
  /** The leader's clock (4). */
  readonly now?: () => number
}

export type StampedRecord = SharedRecord & { readonly stamp: number }

interface StampedPage extends SharedPage {
  readonly records: readonly StampedRecord[]
}

export interface StampedLog extends SharedLog {
  read(from: number, limits: SharedReadLimits): Promise<StampedPage>
}

export interface Connection {
  readonly schedule: Schedule
  readonly clock: Clock
  /** True when the next read shall fail. */
  readonly failsToRead?: () => boolean
}

interface Arrived {
  readonly payload: Buffer
  readonly stamp: number
  readonly visible: () => void
  readonly dropped: () => void
}

interface Waiting {
  readonly wake: () => void
}

export class UnreliableLog {
  readonly #options: UnreliableOptions
  readonly #visible: StampedRecord[] = []
  readonly #tail: Arrived[] = []
  readonly #waiting = new Set<Waiting>()
  #first = 0

  constructor(options: UnreliableOptions) {
    this.#options = options
  }

  /** What every reader sees (1), and what was released. */
  get records(): readonly StampedRecord[] {
    return this.#visible
  }

  /** Records that a new leader may not have. */
  get unreplicated(): number {
    return this.#tail.length
  }

  /** Records before `position` are not kept any more. */
  release(position: number): void {
    this.#first = Math.max(this.#first, Math.min(position, this.#visible.length))
  }

  /** The first position that is kept. */
  get first(): number {
    return this.#first
  }

  /** Another leader, that has the `kept` oldest of what was not replicated. */
  changeLeader(kept: number): void {
    for (const lost of this.#tail.splice(kept)) lost.dropped()
  }

  connect(connection: Connection): StampedLog {
    const state = { isClosed: false }
    const open = new Set<() => void>()
    return {
      first: async () => this.#first,
      append: (payload) => this.#append(Buffer.from(payload), connection, state),
      read: (from, limits) => this.#read(from, limits, { connection, state, open }),
      close: async () => {
        state.isClosed = true
        for (const settle of [...open]) settle()
      },
    }
  }

  #append(payload: Buffer, connection: Connection, state: { readonly isClosed: boolean }): Promise<void> {
    if (state.isClosed) return Promise.reject(new Error('the connection is closed'))
    const { fate = () => GOOD, schedule, now = () => 0 } = this.#options
    const { arrivals, isAnswered } = fate()
    return new Promise((resolve, reject) => {
      const fail = (why: string): void => connection.schedule('answer', () => reject(new Error(why)))
      const isTold = isAnswered && arrivals > 0
      if (!isTold) fail('no answer')
      for (let i = 0; i < arrivals; i++) {
        const visible = (): void => {
          if (isTold) connection.schedule('answer', resolve)
        }
        const dropped = (): void => {
          if (isTold) fail('the leader has changed')
        }
        schedule('arrive', () => this.#arrive({ payload, stamp: now(), visible, dropped }))
      }
    })
  }

  #arrive(arrived: Arrived): void {
    this.#tail.push(arrived)
    this.#options.schedule('replicate', () => this.#replicate())
  }

  /** The oldest of the tail (3); there is none when a leader dropped it meanwhile. */
  #replicate(): void {
    const oldest = this.#tail.shift()
    if (!oldest) return
    this.#visible.push({ position: this.#visible.length, payload: oldest.payload, stamp: oldest.stamp })
    oldest.visible()
    for (const waiting of [...this.#waiting]) waiting.wake()
  }

  #read(
    from: number,
    limits: SharedReadLimits,
    by: { readonly connection: Connection; readonly state: { readonly isClosed: boolean }; readonly open: Set<() => void> },
  ): Promise<StampedPage> {
    const { connection, state, open } = by
    if (state.isClosed) return Promise.reject(new Error('the connection is closed'))
    return new Promise((resolve, reject) => {
      const close = (): void => reject(new Error('the connection is closed'))
      open.add(close)
      const answer = (): void => {
        // As of now: it may lie about for long before the process looks at it.
        const isKept = from >= this.#first
        const page = this.#page(from, limits)
        connection.schedule('read', () => {
          open.delete(close)
          if (connection.failsToRead?.()) reject(new Error('the connection was lost'))
          else if (!isKept) reject(new TributaryError('data_corrupt', `position ${from} is not kept any more`))
          else resolve(page)
        })
      }
      if (from < this.#visible.length || limits.waitMs === 0) {
        answer()
        return
      }
      const waiting: Waiting = {
        wake: () => {
          if (!this.#waiting.delete(waiting)) return
          cancel()
          answer()
        },
      }
      const cancel = connection.clock.after(limits.waitMs, waiting.wake)
      this.#waiting.add(waiting)
    })
  }

  #page(from: number, { maxRecords, maxBytes }: SharedReadLimits): StampedPage {
    const records: StampedRecord[] = []
    let bytes = 0
    for (let p = from; p < this.#visible.length && records.length < maxRecords; p++) {
      const record = must(this.#visible[p], 'index in range')
      bytes += record.payload.length
      if (records.length > 0 && bytes > maxBytes) break
      records.push(record)
    }
    return { records, end: this.#visible.length }
  }
}
