// A simulated world: a machine with its clock and disks, the process that lives on it, the clients that ask and ask again, and the plan
// that is carried out. Owns the lives of processes and what is asked of them.
//
// 1. Clients ask until they are answered: what a crash leaves unanswered is asked again of the next life.
// 2. Trouble (a partition that stops, a log that fails) is a failure of the run unless a fault of the plan explains it.
import { must } from '../../src/core/assert.ts'
import { TributaryError } from '../../src/core/errors.ts'
import type { EventRecord } from '../../src/core/event.ts'
import type { Namespaces } from '../../src/core/namespace.ts'
import type { EmbeddedEngine } from '../../src/engine/embedded.ts'
import type { FromHost } from '../../src/engine/host.ts'
import { endsOf } from '../../src/engine/position.ts'
import type { Root } from '../../src/identity/root.ts'
import type { MemorySnapshot } from '../../src/state/memory-store.ts'
import { namespacesOf } from '../engine/world-run.ts'
import { below, pick } from '../identity/random.ts'
import { recordOf, START_MS } from '../oracle/events-arbitrary.ts'
import { SimClock } from './clock.ts'
import type { Coverage } from './coverage.ts'
import { FOR_EVER } from './cut.ts'
import { Disk, type DiskCrash } from './disk.ts'
import { exceeds } from './guards.ts'
import { type Broken, type InvariantNumber, Model } from './model.ts'
import { type Action, type CrashPoint, keepOf, type Plan } from './plan.ts'
import { type ProcessSetup, SimProcess } from './process.ts'
import { Scheduler, turn } from './scheduler.ts'
import { switches } from './switches.ts'
import { POISON, record, Tape } from './tape.ts'
import { identifierOf, type Message, sketchOf } from './workload.ts'

/** The run has shown something that must not be. */
export class Failure extends Error {
  readonly broken: Broken
  constructor(broken: Broken) {
    super(`invariant ${broken.invariant}: ${broken.what}`)
    this.broken = broken
  }
}

interface Ask {
  readonly what: string
  readonly start: (engine: EmbeddedEngine) => Promise<void>
  state: 'queued' | 'asked' | 'answered'
}

interface SentMessage {
  readonly message: Message
  readonly firstAcceptedAt: number
}

/** Steps in which everything must come to rest. */
const STEPS_TO_REST = 20_000
/** For so long blocks wait for others, or for a crash. */
const STEPS_HELD = 30
/** How often time goes on although something could happen first. */
const TICK_SHARE = 0.04
/** Codes of answers that the end of a process gives. */
const DYING = new Set(['log_failed', 'store_failed', 'partition_stopped', 'shutting_down', 'internal'])

export class World {
  readonly plan: Plan
  readonly scheduler: Scheduler
  readonly clock = new SimClock(START_MS)
  readonly model: Model
  readonly tape: Tape
  readonly namespaces: Namespaces
  readonly coverage: Coverage
  readonly sent: SentMessage[] = []
  process: SimProcess
  manualNow = START_MS
  #asks: Ask[] = []
  #positions: string[] = []
  #trap: { readonly at: CrashPoint; readonly power: boolean; readonly from: number } | undefined
  /** A fault explains the trouble that this life gets into. */
  #isExcused = false
  /** A store of this life fails from now on, whether the engine has noticed or not. */
  #hasFailingStore = false
  #snapshots: MemorySnapshot[][] = []
  #boots = 0
  /** It was started on stores that may be too old: these are the right ones. */
  #right: readonly MemorySnapshot[] | undefined

  constructor(plan: Plan, options: { coverage: Coverage; keepsTrail: boolean }) {
    this.plan = plan
    this.coverage = options.coverage
    this.scheduler = new Scheduler(plan.seed, options.keepsTrail)
    const { partitions, guarded } = plan.layout
    this.namespaces = namespacesOf(guarded)
    this.model = new Model(partitions)
    this.tape = new Tape({
      changed: (root) => this.#checkGuards(root),
      forwarded: (from, to) => {
        if (to >= from) this.model.fail(3, 'a forward points to a key that is not smaller')
      },
    })
    this.model.tape = this.tape
    this.model.isClockSteady = plan.layout.clock === 'wall'
    record(this.tape)
    this.process = new SimProcess(this.#processSetup(), (owner) => new Disk(this.#diskSetup(owner)))
    this.process.start()
  }

  #diskSetup(owner: object): ConstructorParameters<typeof Disk>[0] {
    const { partitions, hosts } = this.plan.layout
    return { partitions, hosts, scheduler: this.scheduler, watch: this.model, owner }
  }

  #processSetup(): ProcessSetup {
    const { hosts, journalBytes, sliceRows, repeats, guarded: _, ...limits } = this.plan.layout
    return {
      scheduler: this.scheduler,
      clock: this.clock,
      namespaces: this.namespaces,
      hosts,
      journalBytes,
      sliceRows,
      bootId: `boot ${this.#boots}`,
      limits: { ...limits, ...FOR_EVER, identity: this.#limits() },
      deliver: (message) => this.#deliver(message, repeats),
    }
  }

  /** As the engine knows them. */
  #limits(): Namespaces['limits'] {
    return switches.forgetsGuards ? namespacesOf(false).limits : this.namespaces.limits
  }

  #deliver(message: FromHost, repeats: number): number {
    this.model.said(message)
    if (message.t !== 'exchange' || repeats === 0 || this.scheduler.random() >= repeats) return 1
    this.coverage.hit('repeated exchange')
    return 2
  }

  #checkGuards(root: Root): void {
    const ids = [...root.ids.values()].map(({ identifier }) => identifier)
    if (exceeds(ids, this.namespaces)) this.model.fail(5, `a root holds ${ids.map((id) => `${id.namespace}:${id.value}`).join(', ')}`)
  }

  // ---- the plan

  async run(): Promise<void> {
    await turn()
    if (this.plan.layout.clock === 'manual') this.#moveClock(START_MS)
    for (const action of this.plan.actions) {
      this.scheduler.note(`do ${action.do}`)
      this.#do(action)
      await turn()
      await this.steps(action.steps)
    }
    this.#calm()
  }

  #do(action: Action): void {
    switch (action.do) {
      case 'send':
        return this.#send(action.messages)
      case 'repeat':
        return this.#repeat(action.nth)
      case 'put':
        return this.#put(action.id, action.where)
      case 'wait':
        return this.#wait(action.ms)
      case 'read':
        return this.#read(action.id, action.isPinned)
      case 'settle':
        return this.settle()
      case 'crash':
        return this.#setTrap(action)
      case 'hold':
        this.coverage.hit(action.what)
        return this.scheduler.hold(action.prefix, action.steps)
      case 'oldStore':
        return this.#startOnOldStore(action.isEmpty)
      default:
        return this.#disturb(action)
    }
  }

  #setTrap({ at, power }: { readonly at: CrashPoint; readonly power: boolean }): void {
    const isOfRelay = at === 'half relayed' || at === 'before relay'
    // Several blocks are on their way only if none gets there for a while.
    if (isOfRelay) this.scheduler.hold('sync transitions', 2 * STEPS_HELD)
    this.#trap = { at, power, from: this.scheduler.steps + (at === 'before relay' ? STEPS_HELD : 0) }
  }

  #disturb(action: Action): void {
    const { disk } = this.process
    switch (action.do) {
      case 'failLog': {
        const log = pick(
          this.scheduler.random,
          disk.logs.filter(({ name }) => name.startsWith(action.log)),
        )
        log.faults.failNext = action.how
        this.#isExcused = true
        this.coverage.hit(`log ${action.how} fails`)
        return
      }
      case 'failStore': {
        const { faults } = pick(this.scheduler.random, disk.stores)
        const fail = (): void => {
          throw new Error('the plan says so')
        }
        if (action.how === 'read') faults.beforeRead = fail
        else if (action.how === 'write') faults.beforeWrite = fail
        else faults.afterWrite = fail
        this.#isExcused = true
        this.#hasFailingStore = true
        this.coverage.hit(action.how === 'written' ? 'store write fails after writing' : `store ${action.how} fails`)
        return
      }
      case 'setWall':
        if (action.byMs < 0) this.model.isClockSteady = false
        this.clock.set(action.byMs)
        this.coverage.hit(action.byMs < 0 ? 'clock set back' : 'clock set ahead')
        return
      case 'full':
        this.process.diskIsFull = action.isFull
        return
      default:
    }
  }

  /** No more faults. */
  #calm(): void {
    this.scheduler.release()
    this.#trap = undefined
    this.process.diskIsFull = false
    for (const log of this.process.disk.logs) log.faults.failNext = undefined
    // Where the engine has not needed it since, clients have been told that it fails, and come back to another process only.
    if (this.#hasFailingStore) this.#nextLife({ power: false })
  }

  // ---- steps

  async steps(n: number): Promise<void> {
    for (let i = 0; i < n; i++) await this.#step()
  }

  async #step(): Promise<void> {
    this.#askWhatIsQueued()
    const time = this.scheduler.isEmpty || this.scheduler.random() < TICK_SHARE ? this.clock.untilNext() : undefined
    if (time !== undefined) {
      this.scheduler.note(`tick ${time}`)
      this.clock.leap(time)
      await turn()
    } else await this.scheduler.step()
    this.#check()
    if (this.#trap && this.scheduler.steps >= this.#trap.from && this.#isAt(this.#trap.at)) this.#crash(this.#trap)
    else if (this.process.hasTrouble) this.#startAnew()
  }

  #check(): void {
    if (this.model.broken) throw new Failure(this.model.broken)
  }

  readonly fail = (invariant: InvariantNumber, what: string): never => {
    throw new Failure({ invariant, what })
  }

  // ---- crashes

  #isAt(at: CrashPoint): boolean {
    const { scheduler, process } = this
    switch (at) {
      case 'after read':
        return scheduler.last.startsWith('read events')
      case 'in prefetch':
        return process.disk.stores.some((_, p) => scheduler.isPending(`store ${p} read`))
      case 'in execute':
        return scheduler.isPending('pause')
      case 'before commit':
      case 'commit torn':
      case 'commit durable, answer lost':
        return scheduler.isPending('sync journal')
      case 'before relay':
        return scheduler.isPending('sync transitions') || scheduler.isPending('sync merges')
      case 'half relayed':
        return process.disk.streams.transitions.log.unsynced() > 1
      case 'relayed, not recorded':
        return process.hosts.some((_, h) => scheduler.isPending(`post main>${h} relayed`))
      case 'exchange on its way':
        return process.hosts.some((_, h) => scheduler.isPending(`post main>${h} exchange`))
      case 'confirmation on its way':
        return process.hosts.some((_, h) => scheduler.isPending(`post main>${h} confirm`))
      case 'intake unsynced':
        return scheduler.isPending('sync events')
      case 'definition unsynced':
        return scheduler.isPending('sync definitions')
      case 'in apply':
        return process.disk.stores.some((_, p) => scheduler.isPending(`store ${p} write`))
      case 'applied, answer lost':
        return process.disk.stores.some((_, p) => scheduler.isPending(`store ${p} written`))
      case 'in barrier':
        return process.disk.stores.some((_, p) => scheduler.isPending(`store ${p} sync`))
      case 'in opening':
        return process.engine === undefined && process.hosts.length > 0
      case 'anywhere':
        return true
    }
  }

  #crash({ at, power }: { readonly at: CrashPoint; readonly power: boolean }): void {
    this.#trap = undefined
    this.coverage.hit(`crash ${at}`)
    if (power) this.coverage.hit('power failure')
    this.#nextLife({ power, ...keepOf(at) })
  }

  /** After trouble: somebody starts the process again (2). */
  #startAnew(): void {
    const { trouble } = this.process
    const refused = /partition (\d+): the store is at journal position -?\d+, but the journal begins/.exec(trouble)
    if (this.#right && refused) return this.#giveBack(Number(refused[1]), this.#right)
    if (!this.#isExcused) this.fail(14, trouble)
    this.coverage.hit('restart after trouble')
    this.#nextLife({ power: false })
  }

  /** A partition has refused its store, which is too old: it gets back the right one. */
  #giveBack(partition: number, right: readonly MemorySnapshot[]): void {
    this.coverage.hit('old store refused')
    const stores = this.process.disk.stores.map((store) => store.snapshot())
    stores[partition] = must(right[partition], 'the right ones were kept')
    this.#nextLife({ power: false, stores })
    this.#right = right
  }

  #nextLife(crash: DiskCrash): void {
    const dying = this.process
    this.scheduler.note(`crash ${JSON.stringify(crash.keep ?? '')}`)
    if (below(this.scheduler.random, 3) === 0) this.#snapshots.push(dying.disk.stores.map((store) => store.snapshot()))
    this.scheduler.forget(dying)
    this.clock.forget(dying)
    this.#isExcused = false
    this.#hasFailingStore = false
    // It may have been killed before it could refuse.
    if (dying.engine) this.#right = undefined
    if (crash.power) this.#boots++
    const before = { disk: dying.disk, crash }
    this.process = new SimProcess(this.#processSetup(), (owner) => new Disk(this.#diskSetup(owner), before))
    this.tape.died()
    this.#check()
    for (const ask of this.#asks) if (ask.state === 'asked') ask.state = 'queued'
    this.process.start()
  }

  #startOnOldStore(isEmpty: boolean): void {
    // Stores that have not served yet may be too old themselves.
    if (!this.process.engine) return
    const { stores } = this.process.disk
    const now = stores.map((store) => store.snapshot())
    const old = isEmpty ? stores.map(() => ({ rows: new Map() })) : pick(this.scheduler.random, [...this.#snapshots, now])
    this.coverage.hit('old store')
    this.#nextLife({ power: false, stores: old })
    this.#right = now
  }

  // ---- what is asked

  ask(what: string, start: (engine: EmbeddedEngine) => Promise<void>): void {
    this.#asks.push({ what, start, state: 'queued' })
  }

  #askWhatIsQueued(): void {
    const { engine } = this.process
    if (!engine || this.process.hasTrouble) return
    for (const ask of this.#asks) if (ask.state === 'queued') this.#start(ask, engine)
    this.#asks = this.#asks.filter((ask) => ask.state !== 'answered')
  }

  #start(ask: Ask, engine: EmbeddedEngine): void {
    const asked = this.process
    ask.state = 'asked'
    ask.start(engine).then(
      () => {
        ask.state = 'answered'
      },
      (error: Error) => {
        if (asked !== this.process) return
        if (error instanceof TributaryError && error.code === 'disk_full') ask.state = 'queued'
        else if (!(this.#isExcused && (!(error instanceof TributaryError) || DYING.has(error.code))))
          this.model.fail(14, `${ask.what}: ${error.stack}`)
      },
    )
  }

  /** Steps until everything that was asked is answered. */
  async answered(): Promise<void> {
    for (let steps = 0; this.#asks.some((ask) => ask.state !== 'answered'); steps++) {
      if (steps > STEPS_TO_REST) this.fail(10, `no answer to: ${this.#asks.map((ask) => ask.what).join(', ')}`)
      await this.#step()
    }
  }

  #send(messages: readonly Message[]): void {
    const all = messages.map((message) => ({ message, firstAcceptedAt: this.#acceptanceTime() }))
    this.sent.push(...all)
    this.#ingest(all)
  }

  #repeat(nth: number): void {
    if (this.sent.length === 0) return
    this.coverage.hit('repeated message')
    this.#ingest([must(this.sent[nth % this.sent.length], 'index in range')])
  }

  #acceptanceTime(): number {
    return this.process.engine?.acceptanceTime() ?? (this.plan.layout.clock === 'manual' ? this.manualNow : this.clock.now())
  }

  #ingest(all: readonly SentMessage[]): void {
    this.ask(`ingest ${all.map(({ message }) => message.id)}`, async (engine) => {
      const pressure = engine.pressure()
      if (pressure) {
        this.coverage.hit('disk full')
        throw new TributaryError(pressure.code, 'try again')
      }
      const records = all.map((one) => this.#recordOf(one, engine.acceptanceTime()))
      const { position } = await engine.ingest(records, [])
      this.model.acknowledged(records)
      this.#positions.push(position)
    })
  }

  #recordOf({ message, firstAcceptedAt }: SentMessage, acceptedAt: number): EventRecord {
    const made = recordOf(sketchOf(message), firstAcceptedAt)
    if (message.isPoison) this.coverage.hit('poisoned event')
    const messageId = message.isPoison ? `${POISON} ${made.messageId}` : made.messageId
    return { ...made, messageId, acceptedAt }
  }

  #put(id: string, where: Extract<Action, { do: 'put' }>['where']): void {
    this.coverage.hit('definition edits')
    this.ask(`put ${id}`, async (engine) => {
      if (where === null) await engine.deleteSegment(id)
      // Another change may delete it meanwhile.
      else await engine.putSegment(id, { where }).catch(passOver('not_found'))
    })
  }

  #wait(ms: number): void {
    if (ms >= 300) this.coverage.hit('clock leap')
    if (this.plan.layout.clock === 'manual') this.#moveClock(this.manualNow + ms)
    else this.clock.leap(ms)
  }

  #moveClock(to: number): void {
    this.manualNow = to
    this.ask(`clock ${to}`, (engine) => engine.setClock(to).catch(passOver('clock_backwards')))
  }

  #read(id: string, isPinned: boolean): void {
    const minPosition = isPinned ? this.#positions.at(-1) : undefined
    const { namespace, value } = identifierOf(id)
    this.ask(`read ${id}`, async (engine) => {
      const view = await engine.profile({ namespace, value }, minPosition === undefined ? {} : { minPosition })
      if (minPosition !== undefined) this.model.finished(endsOf(minPosition, this.plan.layout.partitions))
      if (view) this.model.shownProfile(view)
    })
  }

  settle(): void {
    this.ask('settle', async (engine) => {
      const { ends } = this.model
      await engine.settle()
      this.model.finished(ends)
    })
  }

  /** Time goes on by so much, for everybody. */
  pass(ms: number): void {
    this.#wait(ms)
  }

  /** Lets the machine run for so long. */
  async runFor(ms: number): Promise<void> {
    const end = this.clock.now() + ms
    for (let steps = 0; this.clock.now() < end; steps++) {
      if (steps > STEPS_TO_REST) this.fail(10, 'time does not pass, so much is to be done')
      await this.#step()
    }
  }
}

function passOver(code: string): (error: unknown) => void {
  return (error) => {
    if (!(error instanceof TributaryError && error.code === code)) throw error
  }
}
