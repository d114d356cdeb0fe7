// A world in which processes take the same partitions over from one another: one events log, one journal per partition that all append
// to, output topics that all write. Owns the processes, what is visible of the journals, and the topics.
//
// 1. Nothing that leaves a host is of a commit that does not count (6, 7 of model.ts): it is compared with what an independent reader
//    of the journals has seen count, at the moment it leaves.
// 2. Nothing leaves a host once a newer claim has been visible for as long as ownership may go unseen.
// 3. A block that comes to a topic twice is the same to the byte.
import { must } from '../../../src/core/assert.ts'
import { Writer } from '../../../src/core/bytes.ts'
import { encodeEvent } from '../../../src/core/event.ts'
import { homeOf } from '../../../src/core/identifier.ts'
import type { FromHost } from '../../../src/engine/host.ts'
import { encodeClock, encodeDefinitions, Pack } from '../../../src/engine/inputs.ts'
import { decodeBlock, type OutboxStream } from '../../../src/engine/outbox.ts'
import { below, pick } from '../../identity/random.ts'
import { UnreliableLog } from '../../log/unreliable-log.ts'
import { recordOf, START_MS } from '../../oracle/events-arbitrary.ts'
import { SimClock } from '../clock.ts'
import { limitsOf } from '../cut.ts'
import { SimLog } from '../disk.ts'
import { checkCounted, checkTransitions } from '../final.ts'
import { type InvariantNumber, Model } from '../model.ts'
import { Replay } from '../replay.ts'
import { Scheduler, turn } from '../scheduler.ts'
import { record, Tape } from '../tape.ts'
import { identifierOf, type Message, sketchOf } from '../workload.ts'
import { Failure } from '../world.ts'
import { Judge } from './judge.ts'
import type { Action, OwnersPlan } from './plan.ts'
import { OwnerProcess, type OwnerSetup, TIMING } from './process.ts'

const STEPS_TO_REST = 60_000
const TICK_SHARE = 0.06
/** Longer than any window, and than any date is ahead. */
const REST_MS = 5000
const POSITIONS_PER_RECORD = 4096

/** How often what this is about has happened. */
export const SEEN = [
  'process opened',
  'taken over from one that is frozen',
  'taken over from one that runs',
  'taken over from one that was killed',
  'thawed when another had claimed',
  'partition fenced',
  'commit that does not count',
  'block relayed by two processes',
  'answer shown',
  'answer refused',
] as const
export type Seen = (typeof SEEN)[number]

export class OwnersWorld {
  readonly plan: OwnersPlan
  readonly scheduler: Scheduler
  readonly clock = new SimClock(START_MS)
  readonly model: Model
  readonly processes: OwnerProcess[] = []
  readonly seen = new Map<Seen, number>(SEEN.map((name) => [name, 0]))
  readonly #events: SimLog
  readonly #journals: readonly UnreliableLog[]
  readonly #judges: readonly Judge[]
  readonly #read: number[]
  readonly #topics = new Map<string, Buffer[]>()
  readonly #setup: OwnerSetup
  /** Partitions by number of the question about them. */
  readonly #questions: number[] = []
  #now = START_MS
  #isCalm = false

  constructor(plan: OwnersPlan, keepsTrail: boolean) {
    this.plan = plan
    this.scheduler = new Scheduler(plan.seed, keepsTrail)
    const { partitions, hosts, sliceRows } = plan.layout
    this.model = new Model(partitions)
    this.model.isClockSteady = false
    this.model.tape = this.#tape()
    record(this.model.tape)
    this.#events = new SimLog('events', { partitions, hosts, scheduler: this.scheduler, watch: this.model, owner: this })
    this.#events.onSynced = (ordinal) => {
      for (const process of this.#living) process.synced(ordinal)
    }
    this.#journals = Array.from({ length: partitions }, (_, p) => this.#journal(p))
    this.#judges = this.#journals.map(() => new Judge())
    this.#read = this.#journals.map(() => 0)
    this.#setup = {
      scheduler: this.scheduler,
      clock: this.clock,
      limits: limitsOf(plan.layout, 'manual'),
      hosts,
      sliceRows,
      definitions: plan.definitions,
      events: this.#events,
      journals: this.#journals,
      said: (process, message) => this.#said(process, message),
    }
  }

  #tape(): Tape {
    return new Tape({
      changed: () => {},
      forwarded: (from, to) => {
        if (to >= from) this.model.fail(3, 'a forward points to a key that is not smaller')
      },
    })
  }

  #journal(partition: number): UnreliableLog {
    const { random } = this.scheduler
    return new UnreliableLog({
      schedule: (step, run) => this.scheduler.add(`${step} journal ${partition}`, this, run),
      fate: () => {
        if (this.#isCalm || random() >= this.plan.layout.badness) return { arrivals: 1, isAnswered: true }
        return { arrivals: pick(random, [0, 1, 2]), isAnswered: random() < 0.5 }
      },
    })
  }

  readonly fail = (invariant: InvariantNumber, what: string): never => {
    throw new Failure({ invariant, what })
  }

  get #living(): OwnerProcess[] {
    return this.processes.filter((process) => !process.isDead)
  }

  #saw(what: Seen): void {
    this.seen.set(what, (this.seen.get(what) ?? 0) + 1)
  }

  // ---- the plan

  async run(): Promise<void> {
    this.#tell(encodeClock(START_MS))
    this.#tell(encodeDefinitions(this.plan.definitions.length))
    this.#open({ meanwhile: 'running', isEmpty: true })
    for (const action of this.plan.actions) {
      this.scheduler.note(`do ${action.do}`)
      this.#do(action)
      await turn()
      await this.#steps(action.steps)
    }
    await this.#finish()
  }

  #do(action: Action): void {
    const { random } = this.scheduler
    switch (action.do) {
      case 'send':
        for (const message of action.messages) this.#send(message)
        return
      case 'move':
        this.#now += action.ms
        return this.#tell(encodeClock(this.#now))
      case 'wait':
        return this.clock.leap(action.ms)
      case 'open':
        return this.#open(action)
      case 'freeze':
        return this.#freeze(pick(random, this.#living))
      case 'thaw':
        return this.#thaw(pick(random, this.#living))
      case 'kill':
        return this.#kill(pick(random, this.#living))
      case 'lead': {
        const journal = pick(random, this.#journals)
        return journal.changeLeader(below(random, journal.unreplicated + 1))
      }
      case 'read':
        return this.#ask(action.id)
      case 'hold':
        return this.scheduler.hold(action.prefix, action.steps)
    }
  }

  #append(partition: number, payload: Uint8Array): void {
    this.#events.writer.append(partition, payload)
    this.#events.writer.sync()
  }

  /** A control record, to every partition. */
  #tell(payload: Uint8Array): void {
    for (let p = 0; p < this.plan.layout.partitions; p++) this.#append(p, payload)
  }

  #send(message: Message): void {
    const event = recordOf(sketchOf(message), this.#now)
    const w = new Writer(256)
    encodeEvent(event, w)
    const pack = new Pack()
    pack.add(w.view())
    this.#append(homeOf(must(event.identifiers[0], 'an event has an identifier').key, this.plan.layout.partitions), pack.take())
  }

  #open({ meanwhile, isEmpty }: { readonly meanwhile: 'frozen' | 'running' | 'killed'; readonly isEmpty: boolean }): void {
    const owner = this.#living.at(-1)
    if (owner) {
      if (meanwhile === 'frozen') this.#freeze(owner)
      else if (meanwhile === 'killed') this.#kill(owner)
      this.#saw(`taken over from one that ${meanwhile === 'running' ? 'runs' : meanwhile === 'frozen' ? 'is frozen' : 'was killed'}`)
    }
    const from = isEmpty || this.processes.length === 0 ? undefined : pick(this.scheduler.random, this.processes)
    const stores = this.#journals.map((_, p) => from?.stores[p]?.snapshot())
    const process = new OwnerProcess(this.#setup, `process ${this.processes.length + 1}`, stores)
    this.processes.push(process)
    this.#saw('process opened')
    process.open()
  }

  #freeze(process: OwnerProcess | undefined): void {
    if (!process) return
    process.isFrozen = true
    this.scheduler.freeze(process)
    this.clock.freeze(process)
  }

  #thaw(process: OwnerProcess | undefined): void {
    if (!process?.isFrozen) return
    process.isFrozen = false
    this.scheduler.thaw(process)
    this.clock.thaw(process)
    const isPast = process.tasks.some((task) => task.phase === 'running' && task.state.claim < this.#judge(task.partition).claim)
    if (isPast) this.#saw('thawed when another had claimed')
  }

  #kill(process: OwnerProcess | undefined): void {
    if (!process) return
    process.isDead = true
    this.scheduler.forget(process)
    this.clock.forget(process)
  }

  #ask(id: string): void {
    const awake = this.#living.filter((process) => !process.isFrozen)
    if (awake.length === 0) return
    const { key } = identifierOf(id)
    const partition = homeOf(key, this.plan.layout.partitions)
    const question = { kind: 'find', partition, by: { identifier: key } } as const
    pick(this.scheduler.random, awake).post(partition, { t: 'question', id: this.#questions.push(partition) - 1, question }, 'clients')
  }

  // ---- steps

  async #steps(n: number): Promise<void> {
    for (let i = 0; i < n; i++) await this.#step()
  }

  async #step(): Promise<void> {
    const time = this.scheduler.isEmpty || this.scheduler.random() < TICK_SHARE ? this.clock.untilNext() : undefined
    if (time !== undefined) {
      this.scheduler.note(`tick ${time}`)
      this.clock.leap(time)
      await turn()
    } else await this.scheduler.step()
    this.#readJournals()
    for (const process of this.#living) this.#check(process)
    if (this.model.broken) throw new Failure(this.model.broken)
  }

  #judge(partition: number): Judge {
    return must(this.#judges[partition], 'each partition has a judge')
  }

  #readJournals(): void {
    for (const [p, { records }] of this.#journals.entries()) {
      const judge = this.#judge(p)
      for (let at = must(this.#read[p], 'each journal is read'); at < records.length; at++) {
        const before = judge.ignored
        const payload = judge.take(must(records[at], 'index in range'), this.clock.monotonicMs)
        if (judge.ignored > before) this.#saw('commit that does not count')
        if (payload) this.model.durable(`journal ${p}`, { partition: p, position: at, payload })
      }
      this.#read[p] = records.length
    }
  }

  /** What it takes for durable counts (1), and if it has stopped, it was fenced. */
  #check(process: OwnerProcess): void {
    if (process.failed && !isFenced(process.failed)) this.fail(14, `${process.name} did not open: ${process.failed.stack}`)
    for (const { partition, phase, stopReason, durableN, state } of process.tasks) {
      if (phase === 'stopped' && !isFenced(stopReason)) this.fail(14, `${process.name}, partition ${partition}: ${stopReason?.stack}`)
      if (phase !== 'running' || durableN === 0) continue
      const claim = this.#judge(partition).counted[durableN]
      if (claim === undefined || claim > state.claim)
        this.fail(
          6,
          `${process.name} takes commit ${durableN} of partition ${partition} for its own, which counts for claim ${claim ?? 'nobody'}`,
        )
    }
  }

  // ---- what leaves a host

  #said(process: OwnerProcess, message: FromHost): void {
    this.model.said(message)
    if (message.t === 'relay') this.#relayed(process, message)
    else if (message.t === 'exchange') this.#mayLeave(process, message.origin, 'a message')
    else if (message.t === 'confirm') this.#mayLeave(process, message.target, 'a confirmation')
    else if (message.t === 'answer') this.#answered(process, message)
  }

  /** (2) */
  #mayLeave(process: OwnerProcess, partition: number, what: string): void {
    const judge = this.#judge(partition)
    const claim = process.taskOf(partition)?.state.claim ?? 0
    const staleMs = this.clock.monotonicMs - judge.claimedAtMs
    if (claim < judge.claim && staleMs >= TIMING.freshMs)
      this.model.fail(
        6,
        `${what} of partition ${partition} leaves ${process.name}, of claim ${claim}, ${staleMs} ms after claim ${judge.claim}`,
      )
  }

  #answered(process: OwnerProcess, { answer }: FromHost & { t: 'answer' }): void {
    this.#saw(answer ? 'answer shown' : 'answer refused')
    if (answer?.kind !== 'found' || !answer.root) return
    const { position } = answer.root.facts
    this.#mayLeave(process, Number(position.split(':')[0]), 'an answer')
    this.model.shown(position)
  }

  #relayed(process: OwnerProcess, message: FromHost & { t: 'relay' }): void {
    const { partition, stream, lastSeq } = message
    this.#mayLeave(process, partition, 'a block')
    const durable = must(this.model.partitions[partition], 'the partition exists').durable.seqs[stream]
    if (lastSeq > durable)
      this.model.fail(7, `${process.name} relays seq ${lastSeq} of ${stream}, partition ${partition}: commits reach ${durable}`)
    const payload = Buffer.from(message.payload)
    const arrive = (): void => {
      this.#toTopic({ stream, partition, lastSeq }, payload)
      if (!process.isDead) process.post(partition, { t: 'relayed', partition, stream, seq: lastSeq }, 'topics')
    }
    this.scheduler.add(`relay ${stream}`, this, arrive, `${process.name} relays ${partition}`)
  }

  #toTopic({ stream, partition, lastSeq }: { stream: OutboxStream; partition: number; lastSeq: number }, payload: Buffer): void {
    const name = `${stream} ${partition}`
    const blocks = this.#topics.get(name) ?? []
    this.#topics.set(name, blocks)
    const known = blocks.find((block) => endOf(block) >= lastSeq)
    if (!known) {
      this.model.appended(stream, { partition, position: blocks.push(payload) - 1, payload })
      return
    }
    this.#saw('block relayed by two processes')
    if (!known.equals(payload)) this.model.fail(15, `two blocks of ${name} end at seq ${lastSeq}`)
  }

  // ---- the end

  async #finish(): Promise<void> {
    this.#isCalm = true
    this.scheduler.release()
    for (const process of this.#living) this.#thaw(process)
    this.#now += REST_MS
    this.#tell(encodeClock(this.#now))
    // Whoever is still to claim does so before the last one.
    await this.#until('those that open', () => this.#living.every((process) => process.isSettled))
    // A claim on its way counts, though its process has died since; whoever it fences would have to open again.
    await this.#until('what is on its way', () => !this.scheduler.isPending('arrive') && !this.scheduler.isPending('replicate'))
    this.#open({ meanwhile: 'running', isEmpty: this.scheduler.random() < 0.5 })
    const last = must(this.processes.at(-1), 'one was just opened')
    await this.#until('the last process', () => this.#isAtRest(last))
    // Where opening has failed, what was not opened stays so.
    const isStopped = (process: OwnerProcess): boolean =>
      process === last || process.failed !== undefined || process.tasks.every(({ phase }) => phase === 'stopped')
    await this.#until('the fenced', () => this.#living.every(isStopped))
    for (const process of this.#living) for (const { phase } of process.tasks) if (phase === 'stopped') this.#saw('partition fenced')
    this.#compare()
  }

  #isAtRest(process: OwnerProcess): boolean {
    const { tasks } = process
    return (
      tasks.length === this.plan.layout.partitions &&
      tasks.every(
        (task) =>
          task.phase === 'running' &&
          task.isIdle &&
          task.busy.size === 0 &&
          task.firedThrough() >= this.#now &&
          task.committedInput / POSITIONS_PER_RECORD >= this.#events.log.reader.end(task.partition) &&
          task.sweepProgress().progress === 1,
      )
    )
  }

  async #until(what: string, isDone: () => boolean): Promise<void> {
    for (let steps = 0; !isDone(); steps++) {
      if (steps > STEPS_TO_REST) this.fail(10, `no rest for ${what}`)
      await this.#step()
    }
  }

  #compare(): void {
    const changes = this.plan.definitions
    const replay = new Replay(this.model.history, changes)
    replay.advance(this.#now)
    const [oddity] = replay.oddities
    if (oddity !== undefined) this.fail(8, oddity)
    checkCounted(this)
    checkTransitions(this, { changes, replay })
  }
}

function endOf(block: Buffer): number {
  const { firstSeq, count } = decodeBlock(block)
  return firstSeq + count - 1
}

const isFenced = (error: Error | undefined): boolean => (error as { code?: string } | undefined)?.code === 'fenced'
