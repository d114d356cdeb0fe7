// A host runs the tasks of some partitions on one event loop. It speaks with the main thread in the messages below and in no
// other way, in a worker thread (host-thread.ts) as well as in the same thread (tests, simulations).
// Owns its tasks, their journal and the tick of their timers; does not own logs of events or outputs.
//
// 1. Messages between partitions of one host stay in it; all others go through the main thread, in order, or where partitions move
//    between processes, over the exchange (exchange.ts).
// 2. An answer to a question is sent only when all that it shows is durable, and this process owns what it was read from.
import { type Clock, sleep } from '../core/clock.ts'
import { TributaryError } from '../core/errors.ts'
import type { SharedLog } from '../log/claimed.ts'
import type { PartitionReader } from '../log/log.ts'
import type { PendingRows } from '../state/pending.ts'
import type { OutputEnds } from './agreement.ts'
import type { Sent } from './batch.ts'
import type { TaskLimits } from './config.ts'
import { type DefinitionChange, Definitions } from './definitions.ts'
import { Exchange, type ExchangeTasks, type ExchangeTopic } from './exchange.ts'
import { isFenced, Moves } from './host-moves.ts'
import { Followers } from './host-standby.ts'
import type { HostView } from './host-view.ts'
import { recordOf } from './inputs.ts'
import { type HostJournal, isCut } from './journal-port.ts'
import { together } from './opened.ts'
import type { OutboxStream } from './outbox.ts'
import { answer } from './query.ts'
import type { Answer, Ends, Question } from './questions.ts'
import { Release, type ReleaseOptions } from './release.ts'
import type { Restore } from './restoring.ts'
import type { Shared } from './shared.ts'
import { Task } from './task.ts'
import type { TaskHost } from './task-host.ts'
import { Watches } from './watches.ts'

export type ToHost =
  | { readonly t: 'synced'; readonly ordinal: number }
  | { readonly t: 'definition'; readonly id: number; readonly version: number; readonly change: DefinitionChange }
  | { readonly t: 'relayed'; readonly partition: number; readonly stream: OutboxStream; readonly seq: number }
  | { readonly t: 'exchange'; readonly origin: number; readonly target: number; readonly seq: number; readonly bytes: Uint8Array }
  | { readonly t: 'confirm'; readonly origin: number; readonly target: number; readonly seq: number }
  | { readonly t: 'question'; readonly id: number; readonly question: Question }
  | { readonly t: 'confirmClock'; readonly id: number }
  /** The partition is to run here from now on, or not any more. */
  | { readonly t: 'assign'; readonly partition: number }
  | { readonly t: 'revoke'; readonly partition: number }
  | { readonly t: 'close'; readonly id: number }

export type FromHost =
  | { readonly t: 'opened'; readonly host: number }
  | { readonly t: 'failed'; readonly host: number; readonly error: Failure }
  /** Something did not work and is tried again. */
  | { readonly t: 'troubled'; readonly error: Failure }
  /** Something does not work that nothing here depends on. */
  | { readonly t: 'warning'; readonly message: string }
  | { readonly t: 'restoring'; readonly restore: Restore }
  | {
      readonly t: 'relay'
      readonly partition: number
      readonly stream: OutboxStream
      readonly payload: Uint8Array
      readonly lastSeq: number
    }
  | { readonly t: 'exchange'; readonly origin: number; readonly target: number; readonly seq: number; readonly bytes: Uint8Array }
  | { readonly t: 'confirm'; readonly origin: number; readonly target: number; readonly seq: number }
  | { readonly t: 'answer'; readonly id: number; readonly answer?: Answer; readonly error?: Failure }
  | { readonly t: 'stopped'; readonly partition: number; readonly reason: string }

/** An error as it crosses threads. */
export interface Failure {
  readonly code: string
  readonly message: string
}

export function failureOf(error: unknown): Failure {
  if (error instanceof TributaryError) return { code: error.code, message: error.message }
  return { code: 'internal', message: error instanceof Error ? (error.stack ?? error.message) : String(error) }
}

export interface EventsReader extends PartitionReader {
  /** The log is durable up to here. */
  advance?(ordinal: number): void
  /** Where the log tells the host itself: of a partition there is more to read. */
  onMore?(listener: (partition: number) => void): void
}

export interface HostPorts {
  readonly host: number
  /** Those that run here from the beginning on and for good. Others come and go (host-moves.ts). */
  readonly partitions: readonly number[]
  readonly limits: TaskLimits
  readonly clock: Clock
  /** The wall clock, which stops when the machine's steps ahead too far. */
  readonly guard?: { confirm(): void }
  readonly shared: Shared
  readonly definitions: readonly DefinitionChange[]
  readonly events: EventsReader
  readonly journal: HostJournal
  readonly journalBytes: number
  /** Where the logs of outputs end. */
  outputEnds(partition: number): OutputEnds
  openRows(partition: number): Promise<PendingRows>
  /** Nothing works on the rows of a partition any more. */
  closeRows?(partition: number): Promise<void>
  /** The rows of a partition, which are closed, are to be built anew. */
  discardRows?(partition: number): Promise<void>
  /** Where partitions move between processes: how they speak with one another. */
  readonly exchange?: { readonly topic: ExchangeTopic; readonly troubled: (error: Error) => void }
  /** Where topics are shared: what of them is deleted, and how. */
  readonly release?: ReleaseOptions
  /** Where partitions that others run are followed: those that may come to this host, and their journals. */
  readonly standby?: { readonly partitions: readonly number[]; journal(partition: number): SharedLog; troubled(error: Error): void }
  /** Lets the event loop turn. */
  pause(since: number): Promise<void>
  /** True when it is time for that; absent: never. */
  isSpent?(): boolean
  closed(): Promise<void>
}

/** How often timers in memory are compared with the clock. */
const TICK_MS = 5
/** How often stores are looked at for applying and the journal for cutting. */
const TEND_MS = 250
/** How often it is looked whether definitions have come that a partition needs. */
const DEFINITIONS_MS = 20

export class Host implements HostView {
  readonly tasks = new Map<number, Task>()
  readonly ports: HostPorts
  readonly definitions = new Definitions()
  readonly #post: (message: FromHost) => void
  readonly #moves: Moves
  readonly #releases: Release | undefined
  readonly #exchange: Exchange | undefined
  readonly #followers: Followers | undefined
  /** Questions under way, which may be reading stores. */
  readonly #answering = new Set<Promise<unknown>>()
  readonly #waiting: { check: () => boolean; resolve: () => void; reject: (error: Error) => void }[] = []
  #closing = false
  #stopTicks: (() => void)[] = []
  #cutting: Promise<void> = Promise.resolve()
  readonly #watches = new Watches()
  /** The journals of these have lost what their stores still needed. */
  readonly #leftBehind = new Set<number>()

  constructor(ports: HostPorts, post: (message: FromHost) => void) {
    this.ports = ports
    this.#post = post
    for (const [i, change] of ports.definitions.entries()) this.definitions.apply(i + 1, change)
    const { clock, exchange, events } = ports
    events.onMore?.((partition) => this.tasks.get(partition)?.wake())
    this.#exchange = exchange && new Exchange({ ...exchange, clock, tasks: this.#exchangeTasks() })
    this.#followers = this.#followersOf(ports)
    this.#releases = this.#releasesOf(ports)
    this.#moves = new Moves({
      clock,
      create: async (partition) => ({ task: await this.#create(partition), release: () => this.#release(partition) }),
      run: (task, isWanted) => this.#run(task, isWanted),
      hide: (task) => this.#hide(task),
      failed: (partition, error) => this.#post({ t: 'stopped', partition, reason: failureOf(error).message }),
    })
  }

  async open(): Promise<void> {
    const tasks = await together(this.ports.partitions.map((partition) => this.#create(partition)))
    for (const task of tasks) this.tasks.set(task.partition, task)
    // All of them, before any sends again what it had sent: messages find their receivers open.
    await together(tasks.map((task) => task.open()))
    await together(tasks.map((task) => task.relayAgain()))
    for (const task of tasks) task.start()
    for (const partition of this.ports.standby?.partitions ?? []) this.#followers?.begin(partition)
    this.#tick()
    this.#tend()
    this.#post({ t: 'opened', host: this.ports.host })
  }

  async #create(partition: number): Promise<Task> {
    const { limits, events } = this.ports
    const rows = (await this.#followers?.take(partition)) ?? (await this.ports.openRows(partition))
    const journal = this.ports.journal.of(partition)
    const outputEnds = this.ports.outputEnds(partition)
    const host = this.#taskHost()
    return new Task({ partition, limits, definitions: this.definitions, events, journal, outputEnds, rows, host })
  }

  // ---- partitions that come and go

  async #run(task: Task, isWanted: () => boolean): Promise<void> {
    const isGone = (): boolean => !isWanted() || task.phase === 'stopped'
    // Whoever owned it may have been told of definitions before this process.
    while (this.definitions.version < task.state.activeVersion && !isGone()) await sleep(this.ports.clock, DEFINITIONS_MS)
    if (isGone()) return
    this.tasks.set(task.partition, task)
    await task.relayAgain()
    if (isGone()) return
    task.start()
    this.#exchange?.begin(task.partition, (error) => task.fail(error))
  }

  async #hide(task: Task): Promise<void> {
    this.#exchange?.leave(task.partition)
    if (this.tasks.get(task.partition) === task) this.tasks.delete(task.partition)
    this.#publishOpen()
    this.#checkWaiting()
    await Promise.allSettled(this.#answering)
  }

  async #release(partition: number): Promise<void> {
    await this.ports.closeRows?.(partition)
    if (this.#leftBehind.delete(partition)) await this.ports.discardRows?.(partition)
    if (!this.#closing) this.#followers?.begin(partition)
    // Elsewhere it is committed, or not: it holds nothing back here.
    this.ports.shared.committed(partition, Number.POSITIVE_INFINITY)
  }

  #followersOf({ clock, limits, standby, openRows, closeRows, discardRows }: HostPorts): Followers | undefined {
    if (!standby || !closeRows || !discardRows) return undefined
    return new Followers({ ...standby, partitions: limits.partitions, clock, openRows, closeRows, discardRows })
  }

  #releasesOf({ clock, release }: HostPorts): Release | undefined {
    const tasks = (): Task[] => [...this.tasks.values()].filter((task) => task.phase === 'running')
    return release && new Release({ ...release, clock, tasks, exchangeRead: (partition) => this.#exchange?.readThrough(partition) ?? 0 })
  }

  #exchangeTasks(): ExchangeTasks {
    const running = (partition: number): Task | undefined => {
      const task = this.tasks.get(partition)
      return task?.phase === 'running' ? task : undefined
    }
    return {
      deliver: ({ origin, target, seq, bytes }) => {
        const task = running(target)
        if (!task) return 'absent'
        const expected = task.expected(origin)
        if (seq !== expected) return seq < expected ? 'repeat' : 'gap'
        task.receive(origin, seq, Buffer.from(bytes))
        return 'taken'
      },
      durableMark: (target, origin) => running(target)?.durableMark(origin) ?? 0,
      confirmed: (origin, target, seq) => {
        const task = this.tasks.get(origin)
        task?.confirmed(target, seq)
        this.#checkWaiting()
        return task !== undefined
      },
      sayAgain: (origin, target) => {
        running(origin)?.outgoing.again(target)
        return running(origin) !== undefined
      },
      unconfirmed: () => this.#unconfirmed(),
    }
  }

  *#unconfirmed(): Iterable<{ origin: number; target: number; seq: number }> {
    for (const [origin, task] of this.tasks)
      if (task.phase === 'running') for (const { target, seq } of task.outgoing.oldest()) yield { origin, target, seq }
  }

  // ---- what tasks say

  #taskHost(): TaskHost {
    const { clock, shared } = this.ports
    return {
      clock,
      allowedNow: () => shared.allowedNow(clock.now()),
      relay: (partition, stream, payload, lastSeq) => this.#post({ t: 'relay', partition, stream, payload, lastSeq }),
      exchange: (origin, sent) => this.#send(origin, sent),
      confirm: (origin, target, seq) => this.#confirm(origin, target, seq),
      committed: (partition, input, stamp) => {
        shared.executed(partition, stamp)
        this.#publishOpen()
        shared.committed(partition, recordOf(input))
        this.#checkWaiting()
      },
      tookIn: (messages) => this.#watches.committed(messages),
      idle: (partition) => this.#idle(partition),
      stopped: (partition, reason) => {
        if (isCut(reason)) this.#leftBehind.add(partition)
        if (isFenced(reason) && this.#moves.hasLost(partition)) {
          this.tasks.delete(partition)
          this.#checkWaiting()
          return
        }
        this.#post({ t: 'stopped', partition, reason: `${reason.name}: ${reason.message}` })
        // The journal is everybody's, and there is no second attempt on it.
        if (reason instanceof TributaryError && reason.code === 'log_failed')
          this.#post({ t: 'failed', host: this.ports.host, error: failureOf(reason) })
        this.#checkWaiting()
      },
      isSpent: () => this.ports.isSpent?.() ?? false,
      pause: (since) => this.ports.pause(since),
    }
  }

  #send(origin: number, sent: Sent): void {
    if (this.#exchange) {
      this.#exchange.send({ origin, target: sent.target, seq: sent.seq, bytes: sent.bytes })
      return
    }
    const task = this.tasks.get(sent.target)
    if (task) task.receive(origin, sent.seq, sent.bytes)
    else this.#post({ t: 'exchange', origin, target: sent.target, seq: sent.seq, bytes: sent.bytes })
  }

  #confirm(origin: number, target: number, seq: number): void {
    if (this.#exchange) {
      this.#exchange.confirm(origin, target, seq)
      return
    }
    const task = this.tasks.get(origin)
    if (!task) {
      this.#post({ t: 'confirm', origin, target, seq })
      return
    }
    task.confirmed(target, seq)
    this.#checkWaiting()
  }

  #publishOpen(): void {
    let oldest = Number.POSITIVE_INFINITY
    for (const task of this.tasks.values()) oldest = Math.min(oldest, task.oldestOpen)
    this.ports.shared.hostOpen(this.ports.host, oldest)
  }

  #idle(partition: number): void {
    const task = this.tasks.get(partition)
    if (task && task.busy.size === 0 && task.oldestOpen < Number.POSITIVE_INFINITY) {
      task.refreshOpen()
      this.#publishOpen()
    }
    this.#checkWaiting()
  }

  #refreshOpen(): void {
    for (const task of this.tasks.values()) if (task.oldestOpen < Number.POSITIVE_INFINITY) task.refreshOpen()
    this.#publishOpen()
  }

  // ---- time

  #tick(): void {
    if (this.#closing) return
    if (this.ports.limits.clock === 'wall') {
      const now = this.ports.shared.allowedNow(this.ports.clock.now())
      for (const task of this.tasks.values()) if (task.nextDue() <= now) task.wake()
    }
    this.#stopTicks[0] = this.ports.clock.after(TICK_MS, () => this.#tick())
  }

  /** Lets stores catch up with the journal, and cuts the journal behind them. */
  #tend(): void {
    if (this.#closing) return
    this.#refreshOpen()
    for (const task of this.tasks.values()) task.wake()
    const again = (): void => {
      if (!this.#closing) this.#stopTicks[1] = this.ports.clock.after(TEND_MS, () => this.#tend())
    }
    this.#cutting = this.#cutJournal().then(again, (error: Error) => this.#failed(error))
  }

  async #cutJournal(): Promise<void> {
    const { journal, journalBytes } = this.ports
    if (journal.bytes() < journalBytes / 2) return
    for (const [partition, task] of this.tasks) {
      if (this.#closing) return
      const position = await task.barrier()
      await journal.release(partition, position)
    }
  }

  // ---- messages

  receive(message: ToHost): void {
    switch (message.t) {
      case 'synced':
        this.#synced(message.ordinal)
        return
      case 'definition':
        // Told by several, it is known already.
        if (message.version > this.definitions.version) this.definitions.apply(message.version, message.change)
        // Some may have waited for it (gather.ts 4).
        for (const task of this.tasks.values()) task.wake()
        this.#post({ t: 'answer', id: message.id, answer: { kind: 'done' } })
        return
      case 'relayed':
        this.tasks.get(message.partition)?.relayed(message.stream, message.seq)
        this.#checkWaiting()
        return
      case 'exchange':
        this.tasks.get(message.target)?.receive(message.origin, message.seq, Buffer.from(message.bytes))
        return
      case 'confirm':
        this.#confirm(message.origin, message.target, message.seq)
        return
      case 'assign':
        if (!this.#closing) this.#moves.assign(message.partition)
        return
      case 'revoke':
        this.#moves.revoke(message.partition)
        return
      case 'question':
        this.#question(message)
        return
      case 'confirmClock':
        this.ports.guard?.confirm()
        this.#post({ t: 'answer', id: message.id, answer: { kind: 'done' } })
        return
      case 'close':
        this.close().then(
          () => this.#post({ t: 'answer', id: message.id, answer: { kind: 'done' } }),
          (error: unknown) => this.#post({ t: 'answer', id: message.id, error: failureOf(error) }),
        )
    }
  }

  #question({ id, question }: ToHost & { t: 'question' }): void {
    const answering = this.#answer(question).then(
      (result) => this.#post({ t: 'answer', id, answer: result }),
      (error: unknown) => this.#post({ t: 'answer', id, error: failureOf(error) }),
    )
    // These wait for what may never come here, and read no store.
    if (question.kind === 'finished' || question.kind === 'settled') return
    this.#answering.add(answering)
    void answering.finally(() => this.#answering.delete(answering))
  }

  /** Answers, unless one of the partitions has got another owner meanwhile: then the rows here may be older than others' answers. */
  async #answer(question: Question): Promise<Answer> {
    const running = [...this.tasks.values()].filter((task) => task.phase === 'running')
    const result = await answer(this, question)
    for (const task of running) {
      const owned = task.owned()
      if (owned) await owned
    }
    return result
  }

  /** The events log is durable up to here: the tasks read on once the reader has caught up. */
  #synced(ordinal: number): void {
    const { events } = this.ports
    events.advance?.(ordinal)
    const wake = (): void => {
      for (const task of this.tasks.values()) task.wake()
    }
    if (events.refresh) events.refresh().then(wake, (error: Error) => this.#failed(error))
    else wake()
  }

  /** A log or store can't be read: nothing here can go on. */
  #failed(error: Error): void {
    for (const partition of this.ports.partitions) this.#post({ t: 'stopped', partition, reason: failureOf(error).message })
  }

  moved(watch: string, ends: Ends): number {
    return this.#watches.count(watch, ends, this.ports.clock.monotonicMs())
  }

  eventsEnd(partition: number): number {
    return this.ports.events.end(partition)
  }

  pause(): Promise<void> {
    return this.ports.pause(this.ports.clock.monotonicMs())
  }

  /** Resolves when `check` holds; it is asked again after every commit, confirmation and pause. */
  until(check: () => boolean): Promise<void> {
    if (check()) return Promise.resolve()
    return new Promise((resolve, reject) => {
      this.#waiting.push({ check, resolve, reject })
      // Nothing may happen here any more, when a partition has stopped.
      this.#checkWaiting()
    })
  }

  #checkWaiting(): void {
    if (this.#waiting.length === 0) return
    for (const task of this.tasks.values()) {
      if (task.phase !== 'stopped') continue
      for (const w of this.#waiting.splice(0))
        w.reject(new TributaryError('partition_stopped', `partition ${task.partition} has stopped: ${task.stopReason?.message}`))
      return
    }
    for (let i = 0; i < this.#waiting.length; ) {
      const w = this.#waiting[i]
      if (w?.check()) {
        this.#waiting.splice(i, 1)
        w.resolve()
      } else i++
    }
  }

  async close(): Promise<void> {
    this.#closing = true
    for (const stop of this.#stopTicks) stop()
    this.#exchange?.close()
    await this.#releases?.close()
    await this.#moves.close()
    await this.#followers?.close()
    await Promise.all([...this.tasks.values()].map((task) => task.close()))
    // It works on stores and journal: none is closed under it.
    await this.#cutting
    await this.ports.journal.close()
    await this.ports.closed()
  }
}
