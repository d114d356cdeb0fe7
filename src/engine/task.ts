// The task of one partition: read ▸ prefetch ▸ execute ▸ commit ▸ relay. The only writer of its partition's rows.
// Owns the loop, the pipeline of commits and the failure rules; the rules of execution are in execute.ts, the end of rows that die by
// watermark is dead-rows.ts's.
//
//   opening ──▶ running ──▶ stopping ──▶ closed
//                  └──────▶ stopped  (a broken invariant, or another owner; nothing more is committed)
//
// 1. At most one commit is in flight, and one batch executed behind it.
// 2. Nothing is relayed, confirmed or shown before the commit that holds it is durable, or once another process owns the partition.
// 3. When execute throws, what the batch dirtied is dropped and read anew, the batch runs input by input, and only the thrower
//    is set aside. A throwing message or control record, and every broken invariant, stops the partition.
// 4. The store follows the journal: rows wait in memory and are applied in stretches; execution waits when they pile up.
import { InvariantError, invariant, must } from '../core/assert.ts'
import { Writer } from '../core/bytes.ts'
import { TributaryError } from '../core/errors.ts'
import type { ProfileKey } from '../core/identifier.ts'
import { decodeMessage } from '../identity/codec.ts'
import type { IdentityMessage } from '../identity/messages.ts'
import type { PartitionReader } from '../log/log.ts'
import type { PendingRows } from '../state/pending.ts'
import { RowBlock } from '../state/row-block.ts'
import { disagreement, type OutputEnds } from './agreement.ts'
import { Awaiting } from './awaiting.ts'
import { Batch, type Sent } from './batch.ts'
import type { Openness } from './causes.ts'
import { type CommitRows, encodeBatch } from './commit.ts'
import type { TaskLimits } from './config.ts'
import { DeadRows } from './dead-rows.ts'
import type { Definitions } from './definitions.ts'
import { Executor, type ExecutorSurroundings, type Input } from './execute.ts'
import { Gather } from './gather.ts'
import { positionOf } from './inputs.ts'
import { encodeCommit } from './journal.ts'
import { OwnedGate, type TaskJournal } from './journal-port.ts'
import { KeptOpen } from './kept-open.ts'
import { Memory } from './memory.ts'
import { Origins } from './origins.ts'
import type { OutboxStream } from './outbox.ts'
import { Prefetch } from './prefetch.ts'
import { Profile } from './profile.ts'
import { Relay } from './relay.ts'
import { Rewrite } from './rewrite.ts'
import { setAside } from './set-aside.ts'
import { StoreBehind } from './store-behind.ts'
import { type Taken, TakenMarks } from './taken-marks.ts'
import type { TaskHost } from './task-host.ts'
import { busyRoots, readAllSizes, readOrigins, readState, unconfirmedOf, unrelayedOf } from './task-rows.ts'
import { copyTaskState, emptyTaskState, type TaskState } from './task-state.ts'
import type { TaskView } from './task-view.ts'
import { Timers } from './timers.ts'

export type TaskPhase = 'opening' | 'running' | 'stopping' | 'closed' | 'stopped'

export interface TaskOptions {
  readonly partition: number
  readonly limits: TaskLimits
  readonly definitions: Definitions
  readonly events: PartitionReader
  readonly journal: TaskJournal
  readonly outputEnds: OutputEnds
  readonly rows: PendingRows
  readonly host: TaskHost
}

interface InFlight {
  readonly n: number
  readonly done: Promise<void>
}

export class Task implements TaskView {
  readonly partition: number
  readonly limits: TaskLimits
  readonly definitions: Definitions
  readonly rows: PendingRows
  readonly memory = new Memory()
  readonly sizes = new Map<number, number>()
  readonly timers = new Timers()
  readonly busy = new Map<ProfileKey, Profile>()
  readonly metrics = {
    commits: 0,
    journalBytes: 0,
    rewrittenBytes: 0,
    inputs: 0,
    events: 0,
    transitions: 0,
    rowsRead: 0,
    restoredRows: 0,
    cuts: 0,
    failures: 0,
    appliedRows: 0,
    inexact: 0,
  }
  /** Where the shared topics begin, as far as this owner has deleted of them, and how often it could not (release.ts). */
  readonly released = { journal: 0, events: 0, exchange: 0, failures: 0 }
  phase: TaskPhase = 'opening'
  stopReason: Error | undefined
  /** Found when it was opened (agreement.ts). */
  #disagreement: Error | undefined
  #state: TaskState
  readonly #options: TaskOptions
  readonly #host: TaskHost
  readonly #surroundings: ExecutorSurroundings
  readonly #executor: Executor
  readonly #prefetch: Prefetch
  readonly #gather: Gather
  #relay: Relay
  readonly #gate: OwnedGate
  #queue: Input[] = []
  /** The first input of the queue has wanted rows, which are loaded by now. */
  #isCut = false
  #inFlight: InFlight | undefined
  /** A batch has failed, and memory shows yet what it did. */
  #isUndoing = false
  /** Read at opening, until `relayAgain`. */
  #unconfirmed: Sent[] = []
  #durableN = 0
  /** The batch has its number already, and others get their turn while it is encoded. */
  #isEncoding = false
  readonly #deadRows: DeadRows
  readonly #rewrite: Rewrite | undefined
  readonly #store: StoreBehind
  readonly #taken: TakenMarks
  #committedInput = 0
  readonly #awaiting = new Awaiting()
  readonly #open = new KeptOpen()
  #wake: (() => void) | undefined
  #awake = false
  /** When the batch at hand was begun. */
  #began = 0
  #loop: Promise<void> | undefined
  /** Taken in turns, as only one commit is in flight (1). */
  #rowsAtHand = new RowBlock()
  #rowsInFlight = new RowBlock()
  /** Likewise: the journal may look at one until its commit is durable. */
  readonly #writers = [new Writer(1 << 16), new Writer(1 << 16)]

  constructor(options: TaskOptions) {
    this.#options = options
    this.#host = options.host
    this.partition = options.partition
    this.limits = options.limits
    this.definitions = options.definitions
    this.rows = options.rows
    this.#state = emptyTaskState(options.limits.partitions)
    this.#deadRows = new DeadRows(options.limits.partitions)
    this.#taken = new TakenMarks(options.limits.partitions)
    this.#surroundings = {
      partition: this.partition,
      limits: this.limits,
      definitions: this.definitions,
      memory: this.memory,
      origins: new Origins(),
      timers: this.timers,
      sizes: this.sizes,
      busy: this.busy,
      batch: new Batch(this.#rowsAtHand),
      state: this.#state,
      overgrown: new Set(),
      seenBefore: new Set(),
      lastStamp: 0,
    }
    this.#executor = new Executor(this.#surroundings)
    this.#prefetch = new Prefetch(this)
    this.#gather = new Gather(this, options.events)
    this.#relay = new Relay({ relay: () => {}, exchange: () => {} }, this.#state)
    this.#gate = new OwnedGate(options.journal)
    const failed = (error: Error): void => this.#stop(error)
    this.#rewrite = options.journal.isRewritten ? new Rewrite({ rows: this.rows, pause: () => this.breathe(), failed }) : undefined
    this.#store = new StoreBehind({
      rows: this.rows,
      monotonicMs: () => this.#host.clock.monotonicMs(),
      isDead: (key) => this.#deadRows.isDead(key, this.#state.acked),
      begins: () => this.#rewrite?.applying(),
      applied: () => this.wake(),
      failed,
    })
  }

  get state(): Readonly<TaskState> {
    return this.#state
  }

  // ---- opening

  /** Reads back the truth: store, then the journal behind it; then what was not yet relayed goes out again. */
  async open(): Promise<void> {
    invariant(this.phase === 'opening', 'a task is opened once')
    const stored = await readState(this.rows, this.limits.partitions)
    // Wherever the store is brought to, that is a commit's position (journal-claimed.ts 2).
    this.#store.reached(this.rows.appliedPosition())
    const claim = await this.#options.journal.open({
      from: this.#store.position + 1,
      claim: stored.claim,
      n: stored.n,
      isBlank: this.rows.isBlank,
      visit: (commit, position) => {
        this.rows.commit(position, commit.rows, commit.deletedRanges)
        this.metrics.restoredRows += commit.rows.length
        this.#rewrite?.reached(position, commit)
        this.#store.reached(position)
        return this.rows.isFull ? this.rows.apply(position) : undefined
      },
      lost: (error) => this.#stop(error),
    })
    this.#setState(await readState(this.rows, this.limits.partitions))
    this.#state.claim = claim
    await this.#rewrite?.open()
    this.#durableN = this.#state.n
    this.#deadRows.durable = { relayed: { ...this.#state.relayed }, firedThrough: this.#state.firedThrough }
    this.#committedInput = this.#state.input
    this.#disagreement = this.#compareLogs()
    if (this.#disagreement) {
      this.#stop(this.#disagreement)
      return
    }
    await readAllSizes(this.rows, this.sizes)
    await readOrigins(this.rows, this.#surroundings.origins)
    await this.#readBusy()
    this.#unconfirmed = await unconfirmedOf(this.rows, this.#state, this.#deadRows)
    this.#relay = new Relay(
      {
        relay: (stream, payload, lastSeq) => this.#gate.pass(() => this.#host.relay(this.partition, stream, payload, lastSeq)),
        exchange: (sent) => this.#gate.pass(() => this.#host.exchange(this.partition, sent)),
      },
      this.#state,
    )
    this.#gather.begin()
    this.#beginExecutor()
  }

  #compareLogs(): Error | undefined {
    const { events, journal, outputEnds } = this.#options
    const ends = {
      events: positionOf(events.end(this.partition), 0),
      journal: journal.end(),
      applied: this.rows.claimedPosition(),
      outputs: outputEnds,
    }
    return disagreement(this.#state, ends)
  }

  /** Sends again what was committed and not known to have arrived. To be called once every task of the host is open. */
  async relayAgain(): Promise<void> {
    if (this.phase === 'stopped') return
    this.#relay.commit(await unrelayedOf(this.rows, this.#state, this.#deadRows), this.#unconfirmed, this.#state.seqs)
    this.#unconfirmed = []
    // Only now is it known what is open: time may follow the clock from here on.
    this.refreshOpen()
    this.#host.committed(this.partition, this.#state.input, 0)
  }

  #beginExecutor(): void {
    const own: IdentityMessage[] = []
    for (const s of [...this.#unconfirmed, ...this.#relay.unconfirmed()]) {
      if (s.target === this.partition && s.seq > (this.#state.marks[this.partition] ?? 0)) own.push(decodeMessage(s.bytes))
    }
    this.#executor.begin(own)
  }

  #setState(state: TaskState): void {
    this.#state = state
    this.#surroundings.state = state
  }

  async #readBusy(): Promise<void> {
    this.busy.clear()
    const keys = await busyRoots(this.rows)
    await this.#prefetch.rows(keys)
    for (const key of keys) {
      const row = this.memory.row(key)
      invariant(row instanceof Profile, 'a busy row belongs to a root')
      row.busy = true
      this.busy.set(key, row)
    }
  }

  // ---- the loop

  /** Begins, once all tasks of the host have sent again: what they repeated was dropped here, so they are told how far we are. */
  start(): void {
    if (this.phase === 'stopped') return
    invariant(this.phase === 'opening', 'a task is started once, after opening')
    this.phase = 'running'
    this.#confirm(this.#taken.take(this.#state.marks))
    this.#loop = this.#run().catch((error: Error) => {
      if (error instanceof TributaryError && error.code === 'data_corrupt') this.#doubt(error)
      else this.#stop(error)
    })
  }

  /** Something to do may have come. */
  wake(): void {
    this.#awake = true
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }

  /** Resolves when everything executed by now is durable. */
  durable(): Promise<void> {
    const isAhead = this.#isUndoing || !(this.#surroundings.batch.isEmpty || this.#isEncoding)
    const n = this.#state.n + (isAhead ? 1 : 0)
    if (n <= this.#durableN) return Promise.resolve()
    if (this.phase === 'stopped') return Promise.reject(this.#stoppedError())
    return this.#awaiting.durable(n)
  }

  #stoppedError(): TributaryError {
    return new TributaryError('partition_stopped', `partition ${this.partition} has stopped: ${this.stopReason?.message}`)
  }

  async #run(): Promise<void> {
    while (this.phase === 'running') {
      this.#awake = false
      await this.#gather.into(this.#queue)
      if (this.#queue.length > 0) {
        await this.#step()
        continue
      }
      if (this.#inFlight) {
        await this.#inFlight.done
        continue
      }
      this.#store.applyIfDue()
      this.#host.idle(this.partition)
      if (!this.#awake) await this.#sleep()
    }
    await this.#inFlight?.done
  }

  #sleep(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }

  /** One batch: as much of the queue as has its rows in memory. */
  async #step(): Promise<void> {
    this.#began = this.#host.clock.monotonicMs()
    await this.breathe()
    for (let room = this.#store.room(); room; room = this.#store.room()) {
      await room
      // The store has failed: it will be full for ever.
      if (this.phase === 'stopped') return
    }
    // Here and nowhere else, and not behind a cut: what is loaded for an input stays until it was executed.
    if (!this.#isCut) this.memory.evict(this.limits.cacheBytes, this.#durableN)
    this.#isCut = false
    await this.#prefetch.inputs(this.#queue)
    await this.#host.pause(this.#began)
    const { wanted, failed } = await this.#execute()
    if (failed) {
      await this.#recover(failed)
      return
    }
    await this.#commit()
    if (!wanted) return
    this.metrics.cuts++
    this.#isCut = true
    this.#prefetch.again(this.#queue)
    await this.#prefetch.inputs(this.#queue)
    // One look for all of the kind that wanted rows: they will want such rows too. To look is to decode, so the others are left alone.
    const kind = this.#queue[0]?.kind
    const all = this.#executor.wants(this.#queue.filter((input) => input.kind === kind))
    if (all.needsScan) await this.#inFlight?.done
    await this.#prefetch.wanted(all, this.#surroundings.batch)
  }

  async #execute(limit = Number.POSITIVE_INFINITY): Promise<{ wanted?: ReturnType<Executor['execute']>; failed?: Error }> {
    const s = this.#surroundings
    const undo = copyTaskState(this.#state)
    this.#open.begins(this.#state.n + 1, this.busy)
    let done = 0
    // Where time has moved for a cut that nothing came before, the batch has ranges to delete already.
    if (s.batch.isEmpty && s.batch.deletedRanges.length === 0) s.batch = new Batch(this.#rowsAtHand, s.batch.withTimeline)
    this.memory.renew()
    this.#executor.moveTo(this.#gather.nowAllowed)
    try {
      for (const input of this.#queue) {
        if (done >= limit) break
        const wanted = this.#executor.execute(input)
        if (wanted) {
          this.#queue = this.#queue.slice(done)
          return { wanted }
        }
        done++
        const pause = done % 8 === 0 ? this.breathe() : undefined
        if (pause) await pause
      }
      this.#queue = this.#queue.slice(done)
      return {}
    } catch (error) {
      if (error instanceof InvariantError || error instanceof TributaryError) throw error
      this.#setState(undo)
      this.#isUndoing = true
      s.batch = new Batch(this.#rowsAtHand)
      return { failed: error as Error }
    }
  }

  // ---- commit

  async #commit(): Promise<void> {
    const s = this.#surroundings
    const batch = s.batch
    if (batch.isEmpty) {
      this.#open.ended(this.#state.n + 1)
      return
    }
    this.#state.n++
    this.#isEncoding = true
    this.#state.firedThrough = Math.max(this.#state.firedThrough, this.#firedThrough())
    Object.assign(this.#state.relayed, this.#watermarks())
    batch.deletedRanges.push(...this.#deadRows.takeRanges(this.#state))
    const commit = await encodeBatch(batch, {
      limits: this.limits,
      memory: this.memory,
      origins: s.origins,
      sizes: this.sizes,
      state: this.#state,
      pause: () => this.breathe(),
    })
    // Only now: what waits for a disk are bytes, not decoded rows, which garbage collection would copy around.
    await this.#inFlight?.done
    s.seenBefore = batch.seen
    const rows = this.#rowsInFlight
    this.#rowsInFlight = this.#rowsAtHand
    this.#rowsAtHand = rows
    s.batch = new Batch(rows)
    this.#isEncoding = false
    const payload = this.#encode(commit)
    const { claim, n } = this.#state
    const counts = this.#options.journal.commit(payload, this.#rewrite?.start)
    const taken = this.#taken.take(this.#state.marks)
    const stamp = s.lastStamp
    const oldest = batch.oldestStamp
    const isOpen = batch.sent.length > 0 || this.busy.size > 0
    const seqs = { ...this.#state.seqs }
    const input = this.#state.input
    const watermarks = { relayed: { ...this.#state.relayed }, firedThrough: this.#state.firedThrough }
    this.#count(batch, payload.length)
    const done = counts.then((position) => {
      this.#store.reached(position)
      this.rows.commit(position, commit.rows, commit.deletedRanges)
      this.#rewrite?.committed(position, { claim, n })
      this.#durableN = n
      this.#deadRows.durable = watermarks
      this.#inFlight = undefined
      this.#open.ended(n)
      this.#awaiting.reached(n)
      if (batch.taken.length > 0) this.#host.tookIn(batch.taken)
      this.timers.committed(n)
      this.#relay.commit(commit.blocks, batch.sent, seqs)
      this.#confirm(taken)
      this.#committedInput = input
      if (isOpen) this.#open.stays(oldest)
      this.#host.committed(this.partition, input, stamp)
      this.#store.applyIfDue()
    })
    this.#inFlight = { n, done }
    done.catch((error: Error) => this.#stop(error))
  }

  #confirm(taken: Taken): void {
    this.#taken.reached(taken)
    for (const [origin, mark] of taken) this.#gate.pass(() => this.#host.confirm(origin, this.partition, mark))
  }

  breathe(): Promise<void> | undefined {
    return this.#host.isSpent() ? this.#host.pause(this.#began) : undefined
  }

  #encode(commit: CommitRows): Buffer {
    const w = must(this.#writers[this.#state.n % 2], 'there are two')
    w.reset()
    const { rows, deletedRanges } = commit
    const cold = this.#rewrite?.join(rows, deletedRanges)
    this.metrics.rewrittenBytes += cold?.bytes.length ?? 0
    encodeCommit({ claim: this.#state.claim, n: this.#state.n, rows, cold, deletedRanges }, w)
    return w.view()
  }

  #count(batch: Batch, journalBytes: number): void {
    this.metrics.commits++
    this.metrics.journalBytes += journalBytes
    this.metrics.inputs += batch.inputs
    this.metrics.events += batch.events
    this.metrics.transitions += batch.transitionsEmitted
    this.metrics.inexact += batch.inexact
  }

  /** Every timer due by then has fired: neither in the heap, nor in the queue, nor still in the store. */
  #firedThrough(): number {
    let through = Math.min(this.#state.now, this.timers.nextDue() - 1, this.timers.loadedThrough.due - 1)
    for (const input of this.#queue) if (input.kind === 'timer') through = Math.min(through, input.due - 1)
    return through
  }

  #watermarks(): Record<OutboxStream, number> {
    return {
      transitions: this.#relay.watermark('transitions'),
      merges: this.#relay.watermark('merges'),
      deadLetters: this.#relay.watermark('deadLetters'),
      profiles: this.#relay.watermark('profiles'),
    }
  }

  /** Makes the journal before some position unnecessary; returns that position. */
  async barrier(): Promise<number> {
    // Nobody knows yet which of them is wrong: nothing may go.
    if (this.#disagreement) return 0
    return (await this.rows.barrier()) + 1
  }

  // ---- failures (3)

  async #recover(error: Error): Promise<void> {
    this.metrics.failures++
    const s = this.#surroundings
    await this.#inFlight?.done
    await this.#forget()
    while (this.#queue.length > 0) {
      this.#prefetch.again(this.#queue)
      await this.#prefetch.inputs(this.#queue.slice(0, 1))
      const result = await this.#execute(1)
      if (result.wanted) await this.#prefetch.wanted(result.wanted, s.batch)
      else if (result.failed) {
        await this.#forget()
        // Where the input is not to blame, it runs once more, and sets aside what is.
        if (this.#executor.apply_.refuse(result.failed)) continue
        const thrower = must(this.#queue.shift(), 'the thrower heads the queue')
        if ('key' in thrower) await this.#prefetch.rows([thrower.key])
        const touch = (p: Profile): void => this.#executor.apply_.touch(p)
        setAside(thrower, result.failed ?? error, { batch: s.batch, state: this.#state, memory: this.memory, touch })
      }
      await this.#commit()
      await this.#inFlight?.done
    }
    this.#executor.apply_.refuseNone()
  }

  /** Drops every decoded row and counter that the failed batch may have touched: the committed rows are the undo. */
  async #forget(): Promise<void> {
    this.#surroundings.batch = new Batch(this.#rowsAtHand)
    this.memory.clear()
    this.#isUndoing = false
    this.#surroundings.seenBefore = new Set()
    await readAllSizes(this.rows, this.sizes)
    await readOrigins(this.rows, this.#surroundings.origins)
    await this.#readBusy()
    this.#beginExecutor()
  }

  /** It can't be opened, or can't go on, for a reason outside it. */
  fail(error: Error): void {
    this.#stop(error)
  }

  #stop(error: Error): void {
    if (this.phase === 'stopped' || this.phase === 'closed') return
    this.phase = 'stopped'
    this.stopReason = error
    this.#awaiting.ended(this.#stoppedError())
    this.#host.stopped(this.partition, error)
  }

  // ---- from the host

  /** An exchange message arrived. Repeats are dropped by the mark, at the latest when executed. */
  receive(origin: number, seq: number, bytes: Buffer): void {
    if (this.phase === 'stopped') return
    try {
      this.#gather.receive(origin, seq, bytes)
    } catch (error) {
      this.#doubt(error as Error)
      return
    }
    this.wake()
  }

  /** It may only look so to an owner that has been overtaken without knowing yet: that one is told by `lost`, and stops as fenced. */
  #doubt(error: Error): void {
    this.#options.journal.verify().then(
      () => this.#stop(error),
      () => undefined,
    )
  }

  /** The seq of the next message of an origin. */
  expected(origin: number): number {
    return this.#gather.received(origin) + 1
  }

  /** Up to where the messages of an origin are durable here. */
  durableMark(origin: number): number {
    return this.#taken.durable(origin)
  }

  /** What has left for other partitions and is not confirmed. */
  get outgoing(): Pick<Relay, 'again' | 'oldest'> {
    return this.#relay
  }

  relayed(stream: OutboxStream, seq: number): void {
    this.#relay.relayed(stream, seq)
  }

  confirmed(target: number, seq: number): void {
    this.#relay.confirmed(target, seq)
    this.#state.acked[target] = Math.max(this.#state.acked[target] ?? 0, seq)
  }

  /** All timers due by this instant have fired, as far as memory tells. */
  firedThrough(): number {
    return this.#firedThrough()
  }

  /** True when a stream's log has everything up to `seq`. */
  hasRelayed(stream: OutboxStream, seq: number): boolean {
    return this.#relay.watermark(stream) >= seq
  }

  /** When the next timer in memory is due. */
  nextDue(): number {
    return this.timers.nextDue()
  }

  openness(): Openness {
    return this.#open.of([...this.#unconfirmed, ...this.#relay.unconfirmed()], this.busy.values())
  }

  /** No acceptance stamp that this partition keeps open is older; exact after `refreshOpen`. */
  get oldestOpen(): number {
    return this.#open.oldestStamp
  }

  refreshOpen(): void {
    this.#open.refresh(this.openness())
  }

  /** True when there is nothing left to do without new input or the passing of time. */
  get isIdle(): boolean {
    return (
      this.#queue.length === 0 &&
      this.#gather.isDrained &&
      this.#inFlight === undefined &&
      this.#surroundings.batch.isEmpty &&
      this.#relay.isIdle &&
      this.busy.size === 0
    )
  }

  sweepProgress(): { version: number; progress: number } {
    return this.#gather.sweepProgress()
  }

  get overgrown(): Set<ProfileKey> {
    return this.#surroundings.overgrown
  }

  get host(): TaskHost {
    return this.#host
  }

  /** The events position up to which everything is durably executed. */
  get committedInput(): number {
    return this.#committedInput
  }

  get journalEnd(): number {
    return this.#store.position + 1
  }

  /** The journal before this is not needed by anybody. */
  get releasable(): number {
    return this.#rewrite?.releasable ?? 0
  }

  get durableN(): number {
    return this.#durableN
  }

  /** Undefined while this process is known to own the partition; else resolves when it is, and rejects when another one does. */
  owned(): Promise<void> | undefined {
    return this.#options.journal.owned()
  }

  /** Finishes the batch under way and commits; then nothing more is read. */
  async close(): Promise<void> {
    if (this.phase === 'running') this.phase = 'stopping'
    this.wake()
    await this.#loop
    await this.#rewrite?.close()
    await this.#store.settled()
    if (this.phase === 'stopping') {
      await this.#store.catchUp()
      this.phase = 'closed'
    }
    await this.#options.journal.close()
  }
}
