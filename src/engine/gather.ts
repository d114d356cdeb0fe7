// Gathers the inputs of the next batch: due timers, exchange messages, events and control records, fills and trims.
// Owns how far each source was read ahead; the positions that count are in the task's state.
//
// 1. Inputs keep the order of their source. Timers due by the partition's `now` come before anything else.
// 2. A clock record ends the batch: what it makes due fires before the next event is read.
// 3. With events drained, and only then, `now` may follow the clock (wall clock), as far as the host allows and not past what set off a
//    message that waits here.
// 4. What needs definitions that aren't known here yet waits, and what is behind it: another process may have heard of them first.
// 5. The first batch is small, and each that is full makes room for one of twice the size: with nothing in memory and nothing compiled, large
//    ones would let everybody wait for the first transition.
import { invariant, must } from '../core/assert.ts'
import { decodeEventHead, restamped } from '../core/event.ts'
import { PROFILE_KEY_BYTES, type ProfileKey } from '../core/identifier.ts'
import type { Read } from '../core/origin.ts'
import { decodeMessage } from '../identity/codec.ts'
import type { PartitionReader, PartitionRecord } from '../log/log.ts'
import {
  BYTES_PER_READ,
  EVENTS_PER_TRIM,
  FILLS_PER_BATCH,
  FIRST_BATCH_EVENTS,
  LONGEST_HORIZON_MS,
  TIMERS_AHEAD,
  TIMERS_PER_BATCH,
  TIMERS_PER_LOAD,
  TRIMS_PER_BATCH,
} from './config.ts'
import { EventInput, type ReadAt } from './event-input.ts'
import type { Input } from './execute.ts'
import { decodeInput, eventOf, positionOf, recordOf } from './inputs.ts'
import { prefixRange, profileKeyOf, timelineBefore, timerKey, timerOf } from './keys.ts'
import { decodeProfileRow, decodeTimelineRow, Profile, versionHandedOver } from './profile.ts'
import type { TaskView } from './task-view.ts'

const LAST_KEY = '\u00ff'.repeat(PROFILE_KEY_BYTES)

interface Place {
  readonly position: number
  readonly next: number
  readonly read: ReadAt | undefined
}

interface Times {
  /** A stamp beyond this is cut down to it. */
  readonly latest: number
  readonly acceptedAt: number | undefined
}

export class Gather {
  /** How far this batch may move the partition's `now` without an input saying so; -1: not at all. */
  nowAllowed = -1
  /** Inputs that the next batch may have (5). */
  #room: number
  readonly #task: TaskView
  readonly #log: PartitionReader
  #exchange: Input[] = []
  readonly #received: number[]
  #events: Input[] = []
  /** Read and not decoded yet: decoded events that wait would be what garbage collection copies around. */
  #records: PartitionRecord[] = []
  #next = -1
  /** Where the sweep stands, ahead of its commits. */
  #horizonMs: number
  #sweep: { target: number; cursor: string } | undefined

  constructor(task: TaskView, log: PartitionReader) {
    this.#task = task
    this.#log = log
    this.#horizonMs = task.limits.timerHorizonMs
    this.#room = Math.min(FIRST_BATCH_EVENTS, task.limits.batchEvents)
    this.#received = new Array(task.limits.partitions).fill(0)
  }

  /** Starts over behind the committed state (opening, or after a failed batch). */
  begin(): void {
    const { state } = this.#task
    this.#next = state.input
    this.#events = []
    this.#records = []
    for (const [origin, mark] of state.marks.entries()) this.#received[origin] = Math.max(this.#received[origin] ?? 0, mark)
    this.#sweep = undefined
  }

  receive(origin: number, seq: number, bytes: Buffer): void {
    const last = this.#received[origin] ?? 0
    if (seq <= last) return
    invariant(seq === last + 1, `exchange message ${seq} of partition ${origin} follows ${last}`)
    this.#received[origin] = seq
    this.#exchange.push({ kind: 'exchange', origin, seq, message: decodeMessage(bytes) })
  }

  /** The last message of an origin that has come. */
  received(origin: number): number {
    return this.#received[origin] ?? 0
  }

  get isDrained(): boolean {
    return this.#hasNoEvents && this.#exchange.length === 0
  }

  get #hasNoEvents(): boolean {
    return this.#events.length === 0 && recordOf(this.#next) >= this.#log.end(this.#task.partition)
  }

  /** (3) */
  #allowedNow(): number {
    let now = this.#task.host.allowedNow()
    for (const input of this.#exchange) if (input.kind === 'exchange') now = Math.min(now, input.message.cause.stamp)
    return now
  }

  async into(queue: Input[]): Promise<void> {
    const { limits } = this.#task
    this.nowAllowed = -1
    if (queue.length >= this.#room) return
    await this.#readEvents()
    if (limits.clock === 'wall' && queue.length === 0 && this.#hasNoEvents) this.nowAllowed = this.#allowedNow()
    const allFired = await this.#takeTimers(queue)
    while (queue.length < this.#room && this.#isKnown(this.#exchange[0])) queue.push(this.#exchange.shift() as Input)
    if (allFired || limits.clock === 'wall') this.#takeEvents(queue)
    if (queue.length < this.#room) await this.#takeFills(queue)
    else this.#room = Math.min(2 * this.#room, limits.batchEvents)
    if (this.#task.overgrown.size > 0) await this.#takeTrims(queue)
  }

  /** (4) */
  #isKnown(input: Input | undefined): boolean {
    if (input === undefined) return false
    return versionNeeded(input) <= this.#task.definitions.version
  }

  // ---- events

  async #readEvents(): Promise<void> {
    const { limits, partition, host } = this.#task
    const latest = host.clock.now() + limits.skewLimitMs
    while (this.#events.length < this.#room) {
      await this.#task.breathe()
      const record = this.#records.shift()
      if (record) this.#decode(record, latest)
      else {
        if (recordOf(this.#next) >= this.#log.end(partition)) return
        const maxBytes = Math.min(limits.batchBytes, BYTES_PER_READ)
        this.#records = await this.#log.read(partition, recordOf(this.#next), { maxRecords: this.#room, maxBytes })
        if (this.#records.length === 0) return
      }
    }
  }

  #decode({ position: record, payload, stamp }: PartitionRecord, latest: number): void {
    const input = decodeInput(payload)
    // A log that stamps its records says when their events were accepted.
    const times = { latest, acceptedAt: this.#task.limits.clock === 'wall' ? stamp : undefined }
    const after = positionOf(record + 1, 0)
    if (input.kind === 'clock') this.#events.push({ kind: 'clock', next: after, now: input.now })
    else if (input.kind === 'definitions') this.#events.push({ kind: 'definitions', next: after, version: input.version })
    else {
      const from = recordOf(this.#next) === record ? eventOf(this.#next) : 0
      for (let i = from; i < input.events.length; i++) {
        const bytes = input.events[i] as Buffer
        const next = i + 1 === input.events.length ? after : positionOf(record, i + 1)
        this.#events.push(this.#decodeOne(bytes, { position: positionOf(record, i), next, read: readAt(input.read, i) }, times))
      }
    }
    this.#next = after
  }

  #decodeOne(stored: Buffer, { position, next, read }: Place, { latest, acceptedAt }: Times): Input {
    try {
      const bytes = acceptedAt === undefined ? stored : restamped(stored, acceptedAt)
      const head = decodeEventHead(bytes)
      const stamp = Math.min(head.acceptedAt, latest)
      return new EventInput({ bytes, head, next, read, place: { partition: this.#task.partition, position, stamp } })
    } catch (error) {
      return { kind: 'unreadable', next, stamp: 0, reason: String(error), bytes: stored }
    }
  }

  #takeEvents(queue: Input[]): void {
    const room = this.#room - queue.length
    let taken = 0
    for (const input of this.#events) {
      if (taken >= room || !this.#isKnown(input)) break
      queue.push(input)
      taken++
      if (input.kind === 'clock') break
    }
    this.#events = taken === this.#events.length ? [] : this.#events.slice(taken)
  }

  // ---- timers

  /** Takes due timers; false when more are due than one batch takes. */
  async #takeTimers(queue: Input[]): Promise<boolean> {
    const { timers, state } = this.#task
    const now = Math.max(state.now, this.nowAllowed)
    for (let taken = 0; taken < Math.min(TIMERS_PER_BATCH, this.#room); taken++) {
      if (timers.nextDue() > now && timers.loadedThrough.due <= now) await this.#loadTimers(now)
      const timer = timers.takeDue(now)
      if (!timer) return timers.loadedThrough.due > now
      queue.push({ kind: 'timer', due: timer.due, key: timer.key })
    }
    return false
  }

  async #loadTimers(now: number): Promise<void> {
    const { timers, rows } = this.#task
    const from = timers.loadedThrough
    const until = now + this.#horizonMs
    timers.scanBegins()
    const scan = rows.scan({ gte: from.due < 0 ? 'i' : `${timerKey(from.due, from.key)}\u0000`, lt: timerKey(until + 1, '') })
    const page = await scan.next(TIMERS_PER_LOAD)
    await scan.close()
    await this.#task.breathe()
    const loaded = page.map(([key]) => timerOf(key))
    const last = loaded[loaded.length - 1]
    const isAll = page.length < TIMERS_PER_LOAD || !last
    timers.loaded(loaded, isAll ? { due: until, key: LAST_KEY } : last)
    this.#adaptHorizon(isAll)
  }

  /** Where time passes quickly (a backlog, a time-lapse) and few timers are due, it is looked further ahead. */
  #adaptHorizon(isAll: boolean): void {
    const { timers, limits } = this.#task
    if (!isAll || timers.inMemory > TIMERS_AHEAD) this.#horizonMs = limits.timerHorizonMs
    else if (timers.inMemory < TIMERS_AHEAD / 4) this.#horizonMs = Math.min(this.#horizonMs * 2, LONGEST_HORIZON_MS)
  }

  // ---- fills and trims

  async #takeFills(queue: Input[]): Promise<void> {
    const { state, rows } = this.#task
    const target = state.activeVersion
    if (this.#sweep?.target !== target) {
      if (state.sweptVersion >= target) return
      // Scans see committed rows only: whoever was founded under an older version must be among them.
      await this.#task.durable()
      this.#sweep = { target, cursor: state.sweepTarget === target ? state.sweepCursor : '' }
    }
    if (this.#sweep.cursor === LAST_KEY) return
    const from = this.#sweep.cursor
    const scan = rows.scan({ gte: from === '' ? 'p' : `p${from}\u0000`, lt: prefixRange('p').lt })
    const page = await scan.next(FILLS_PER_BATCH)
    await scan.close()
    for (const [rowKey, value] of page) {
      const key = profileKeyOf(rowKey)
      const row = this.#task.memory.peek(key) ?? decodeProfileRow(key, value)
      if (row instanceof Profile && row.segments && row.segments.version < target) queue.push({ kind: 'fill', key })
    }
    const done = page.length < FILLS_PER_BATCH
    const last = page[page.length - 1]
    this.#sweep.cursor = done || !last ? LAST_KEY : profileKeyOf(last[0])
    queue.push({ kind: 'swept', target, cursor: this.#sweep.cursor, done })
  }

  sweepProgress(): { version: number; progress: number } {
    const { state } = this.#task
    if (state.sweptVersion >= state.activeVersion) return { version: state.sweptVersion, progress: 1 }
    const cursor = state.sweepTarget === state.activeVersion ? state.sweepCursor : ''
    if (cursor === '') return { version: state.sweptVersion, progress: 0 }
    // Keys are hashes behind one priority byte: their first bytes tell how far the sweep is, roughly.
    return { version: state.sweptVersion, progress: Math.min(0.99, ((cursor.charCodeAt(1) << 8) | cursor.charCodeAt(2)) / 65536) }
  }

  async #takeTrims(queue: Input[]): Promise<void> {
    const { overgrown } = this.#task
    let looks = 0
    for (const key of [...overgrown] as ProfileKey[]) {
      if (looks++ >= TRIMS_PER_BATCH && queue.length > 0) return
      overgrown.delete(key)
      const trim = await this.#trimOf(key)
      if (trim) queue.push(trim)
    }
  }

  /** Deletes the oldest events of a timeline: those that are too many, else those that are too old. */
  async #trimOf(key: ProfileKey): Promise<Input | undefined> {
    const { overgrown, memory, rows, limits, state } = this.#task
    const row = memory.row(key)
    if (!(row instanceof Profile)) return undefined
    const excess = row.timelineCount - limits.timelineEvents
    await this.#task.durable()
    const oldest = Math.max(state.now, row.asOf) - limits.timelineRetentionMs
    const scan = rows.scan(excess > 0 ? prefixRange(`t${key}`) : timelineBefore(key, oldest))
    const page = await scan.next(excess > 0 ? excess : EVENTS_PER_TRIM)
    await scan.close()
    const last = page[page.length - 1]
    if (!last) return { kind: 'trim', key, through: '', count: 0, from: 0, oldest }
    if (page.length === EVENTS_PER_TRIM) overgrown.add(key)
    const from = decodeTimelineRow(last[1]).record.at + 1
    return { kind: 'trim', key, through: last[0].slice(1 + key.length), count: page.length, from, oldest: from }
  }
}

function readAt(read: Read | undefined, i: number): ReadAt | undefined {
  return read && { reading: read.reading, place: must(read.places[i], 'each event has a place') }
}

function versionNeeded(input: Input): number {
  if (input.kind === 'definitions') return input.version
  return input.kind === 'exchange' && input.message.kind === 'handover' ? versionHandedOver(input.message.state) : 0
}
