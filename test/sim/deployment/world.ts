// A world of one to four processes on topics: partitions are dealt out among them and move, messages between partitions cross over the
// exchange, definitions change on a log that all append to. Owns the processes and their
// clients; what can be seen of them is the witness's.
import { must } from '../../../src/core/assert.ts'
import { homeOf } from '../../../src/core/identifier.ts'
import { encodeClock, encodeDefinitions, recordOf } from '../../../src/engine/inputs.ts'
import type { Told } from '../../../src/engine/overview.ts'
import type { Answer, Lookup, ProfileFacts } from '../../../src/engine/questions.ts'
import type { Task } from '../../../src/engine/task.ts'
import { pick } from '../../identity/random.ts'
import { START_MS } from '../../oracle/events-arbitrary.ts'
import { SimClock } from '../clock.ts'
import { limitsOf } from '../cut.ts'
import { IDENTIFIERS } from '../final.ts'
import { type InvariantNumber, Model } from '../model.ts'
import { Scheduler, turn } from '../scheduler.ts'
import { record, Tape } from '../tape.ts'
import { identifierOf } from '../workload.ts'
import { Failure } from '../world.ts'
import { checkAtRest } from './checks.ts'
import { Clients } from './clients.ts'
import { Group } from './group.ts'
import type { Action, DeploymentPlan } from './plan.ts'
import { DeploymentProcess, type DeploymentSetup, type Found } from './process.ts'
import { Topics } from './topics.ts'
import { SEEN, type Seen, Witness } from './witness.ts'

const PROCESSES = 4
const STEPS_TO_REST = 30_000
const TICK_SHARE = 0.06
/** A definition that is late comes when nothing else can happen, or after so many steps. */
const LATE_STEPS = 100
/** So long a leader goes on before it is replaced, with nobody to replicate what it has. */
const LEADS_FOR_STEPS = 30
/** How far time leaps where nothing else can happen. */
const LEAPS_MS = [0, 0, 20, 100, 200]
/** Longer than any window, and than any date is ahead. */
const REST_MS = 5000
/** In which a due flip must be seen. */
const PROMISE_MS = 1000
/** Longer than whoever has lost a partition waits before it takes it again. */
const PEACE_MS = 1500

export class DeploymentWorld {
  readonly plan: DeploymentPlan
  readonly scheduler: Scheduler
  readonly clock = new SimClock(START_MS)
  readonly model: Model
  readonly processes: DeploymentProcess[] = []
  readonly seen = new Map<Seen, number>(SEEN.map((name) => [name, 0]))
  readonly topics: Topics
  readonly group: Group
  readonly clients: Clients
  readonly witness: Witness
  readonly #setup: DeploymentSetup
  /** By partition, the process that ran it last. */
  readonly #ran = new Map<number, DeploymentProcess>()
  #restsSinceMs: number | undefined
  /** Who waits for the answer to a question, by its number. */
  readonly #asked = new Map<number, (answer: Answer | undefined) => void>()
  /** Leaders that replicate nothing any more, and lead until then. */
  #leaders: (Action & { readonly do: 'lead'; readonly until: number })[] = []
  #questions = 0
  /** Processes that are about to save a definition, as often as they are. */
  #saving: DeploymentProcess[] = []
  #now = START_MS

  constructor(plan: DeploymentPlan, keepsTrail: boolean) {
    this.plan = plan
    this.scheduler = new Scheduler(plan.seed, keepsTrail)
    const { partitions, sliceRows, hosts, isStandby, deleteEveryMs } = plan.layout
    this.model = new Model(partitions)
    // In other processes events wait that this one has not heard of.
    this.model.isClockSteady = false
    this.model.tape = this.#tape()
    record(this.model.tape)
    this.topics = new Topics(plan.layout, this.scheduler, () => this.clock.now())
    this.group = new Group(this.scheduler, partitions)
    this.witness = new Witness({
      ...{ scheduler: this.scheduler, clock: this.clock, model: this.model, topics: this.topics, partitions, isManual: this.#isManual },
      saw: (what) => this.#saw(what),
      answered: (id, answer) => this.#asked.get(id)?.(answer),
    })
    this.#setup = {
      ...{ scheduler: this.scheduler, clock: this.clock, limits: limitsOf(plan.layout, plan.layout.clock), sliceRows, topics: this.topics },
      ...{ hosts, isStandby, deleteEveryMs },
      saw: (what) => this.#saw(what),
      said: (process, message) => this.witness.said(process, message),
      exchanged: (partition, payload) => this.witness.exchanged(partition, payload),
      look: () => this.#look(),
      manualNow: () => (this.#isManual ? this.#now : undefined),
      fail: (what) => this.model.fail(6, what),
    }
    this.clients = new Clients({
      partitions,
      pick: () => this.#anyServing(),
      now: () => (this.#isManual ? this.#now : this.clock.now()),
      acknowledged: (records) => this.model.acknowledged(records),
    })
  }

  get #isManual(): boolean {
    return this.plan.layout.clock === 'manual'
  }

  #tape(): Tape {
    return new Tape({
      started: (task) => this.#started(task),
      changed: () => {},
      forwarded: (from, to) => {
        if (to >= from) this.model.fail(3, 'a forward points to a key that is not smaller')
      },
    })
  }

  readonly fail = (invariant: InvariantNumber, what: string): never => {
    throw new Failure({ invariant, what })
  }

  get #living(): DeploymentProcess[] {
    return this.processes.filter((process) => !process.isDead)
  }

  get #serving(): DeploymentProcess[] {
    return this.#living.filter((process) => process.isOpen && !process.isFrozen && !process.isClosing)
  }

  #anyServing(): DeploymentProcess | undefined {
    const serving = this.#serving
    return serving.length === 0 ? undefined : pick(this.scheduler.random, serving)
  }

  #anyLiving(): DeploymentProcess | undefined {
    const living = this.#living
    return living.length === 0 ? undefined : pick(this.scheduler.random, living)
  }

  #saw(what: Seen): void {
    this.seen.set(what, (this.seen.get(what) ?? 0) + 1)
  }

  // ---- the plan

  async run(): Promise<void> {
    for (let n = 0; n < this.plan.layout.processes; n++) this.#start(true)
    await this.#until('the first', () => this.#living.every((process) => process.isOpen))
    if (this.#isManual) this.#tell(encodeClock(START_MS))
    if (this.plan.layout.isWarm)
      await this.#until('partitions to run', () => this.witness.judges.every((_, p) => this.#living.some((process) => process.running(p))))
    for (const action of this.plan.actions) {
      this.scheduler.note(`do ${action.do}`)
      this.#do(action)
      await turn()
      for (let i = 0; i < action.steps; i++) await this.#step()
    }
    await this.#finish()
  }

  #do(action: Action): void {
    switch (action.do) {
      case 'send':
        for (const message of action.messages) this.clients.send(message)
        return
      case 'put':
        if (action.isLate) this.scheduler.hold('post definition', LATE_STEPS)
        return this.#put(action.id, action.where)
      case 'move':
        this.#now += action.ms
        return this.#tell(encodeClock(this.#now))
      case 'wait':
        return this.clock.leap(action.ms)
      case 'read':
        return this.#ask(action.id)
      case 'deal':
        if (this.group.deal(action)) this.#saw('process thrown out that lives')
        return
      case 'twice':
        if (this.group.twice()) this.#saw('partition told to two')
        return
      case 'lead':
        this.scheduler.hold(`replicate ${action.topic}`, LEADS_FOR_STEPS)
        this.#leaders.push({ ...action, until: this.scheduler.steps + LEADS_FOR_STEPS })
        return
      case 'hold':
        return this.scheduler.hold(action.prefix, action.steps)
      case 'start':
        if (this.#living.length < PROCESSES) this.#start(action.isEmpty)
        return
      default:
        return this.#befall(action)
    }
  }

  /** Something befalls a process. */
  #befall(action: Action & { do: 'close' | 'kill' | 'freeze' | 'thaw' | 'failStore' }): void {
    const process = this.#anyLiving()
    if (!process) return
    switch (action.do) {
      case 'close':
        if (process.isOpen && !process.isClosing) this.#close(process)
        return
      case 'kill':
        return this.#kill(process, action.power)
      case 'freeze':
        process.isFrozen = true
        this.scheduler.freeze(process)
        return this.clock.freeze(process)
      case 'thaw':
        return this.#thaw(process)
      case 'failStore':
        return this.#failStore(process, action.how)
    }
  }

  #start(isEmpty: boolean): void {
    const from = isEmpty || this.processes.length === 0 ? undefined : pick(this.scheduler.random, this.processes)
    const { partitions } = this.plan.layout
    const found: Found = {
      stores: Array.from({ length: partitions }, (_, p) => from?.stores[p]?.snapshot()),
      bootId: from?.bootId ?? 'boot',
    }
    const process = new DeploymentProcess(this.#setup, `process ${this.processes.length + 1}`, found)
    this.processes.push(process)
    this.#saw('process started')
    process.open(() => {
      this.group.join(process)
      this.group.deal({ noticesDeaths: false, throwsOut: false, isSticky: true })
    })
  }

  #close(process: DeploymentProcess): void {
    this.group.leave(process)
    process.close(() => {
      this.#saw('process closed')
      this.#ended(process)
    })
  }

  #kill(process: DeploymentProcess, power: boolean): void {
    this.#saw('process killed')
    this.#ended(process)
    if (!power) return
    for (const store of process.stores) store.restore(store.afterPowerLoss(this.scheduler.random() < 0.5 ? store.unsyncedWrites : 0))
    process.bootId = `${process.bootId}'`
  }

  #ended(process: DeploymentProcess): void {
    process.isDead = true
    this.scheduler.forget(process)
    this.clock.forget(process)
    this.clients.hungUp(process)
  }

  #thaw(process: DeploymentProcess): void {
    process.isFrozen = false
    this.scheduler.thaw(process)
    this.clock.thaw(process)
  }

  #failStore(process: DeploymentProcess, how: 'read' | 'write' | 'written'): void {
    const { faults } = pick(this.scheduler.random, process.stores)
    const fail = (): void => {
      throw new Error('the plan says so')
    }
    if (how === 'read') faults.beforeRead = fail
    else if (how === 'write') faults.beforeWrite = fail
    else faults.afterWrite = fail
    process.isFaulty = true
    this.#saw('store failed')
  }

  /** A control record to every partition, each tried once: whoever follows says it again. */
  #tell(payload: Buffer, process = this.#anyServing()): void {
    for (let p = 0; process && p < this.plan.layout.partitions; p++) process.append(p, payload).catch(() => undefined)
  }

  #put(id: string, where: (Action & { do: 'put' })['where']): void {
    const process = this.#anyServing()
    if (!process) return
    const { registry } = process
    this.#saving.push(process)
    const saving = where === null ? registry.remove(id) : registry.put(id, { where })
    saving
      .then(
        (version) => {
          if (version === undefined) return
          this.#saw(where === null ? 'definition deleted' : 'definition saved')
          this.#tell(encodeDefinitions(version), process)
        },
        () => this.#saw('definition in doubt'),
      )
      .finally(() => {
        this.#saving.splice(this.#saving.indexOf(process), 1)
      })
  }

  #ask(id: string): void {
    const { key } = identifierOf(id)
    const partition = homeOf(key, this.plan.layout.partitions)
    const question = { kind: 'find', partition, by: { identifier: key } } as const
    const process = this.#serving.find(({ told }) => told.has(partition)) ?? this.#anyServing()
    process?.post(partition, { t: 'question', id: ++this.#questions, question }, 'clients')
  }

  /** As an overview has it: of each partition, what one says who runs it. */
  #look(): Told[] {
    return this.witness.judges.map((_, partition): Told => {
      const process = this.#serving.find((one) => one.running(partition))
      const task = process?.running(partition)
      const { phase = 'moving', state } = task ?? {}
      const { claim = 0, input = 0, now = 0, profiles = 0, activeVersion = -1, sweptVersion = -1 } = state ?? {}
      const facts = { partition, phase, claim, input, now, profiles, activeVersion, sweptVersion }
      return { ...facts, end: input, progress: 0, sizes: [], metrics: {}, ...(process ? { owner: process.name } : {}) }
    })
  }

  // ---- steps

  #changeLeaders(): void {
    const over = this.#leaders.filter(({ until }) => until <= this.scheduler.steps)
    if (over.length === 0) return
    this.#leaders = this.#leaders.filter((leader) => !over.includes(leader))
    for (const { topic, skewMs } of over)
      for (let lost = this.topics.changeLeader(topic, skewMs); lost > 0; lost--) this.#saw('record lost by a new leader')
  }

  async #step(): Promise<void> {
    this.clients.step()
    this.#changeLeaders()
    const isEmpty = this.scheduler.isEmpty
    const next = isEmpty || this.scheduler.random() < TICK_SHARE ? this.clock.untilNext() : undefined
    if (next !== undefined) {
      const time = isEmpty ? Math.max(next, pick(this.scheduler.random, LEAPS_MS)) : next
      this.scheduler.note(`tick ${time}`)
      this.clock.leap(time)
      await turn()
    } else await this.scheduler.step()
    this.witness.readTopics()
    for (const process of this.#living) this.witness.check(process)
    if (this.model.broken) throw new Failure(this.model.broken)
  }

  #started(task: Task): void {
    const process = must(
      this.#living.find((one) => one.has(task)),
      'a task runs on rows of a process',
    )
    process.began.set(task.partition, task)
    this.#saw('partition begun to run')
    const before = this.#ran.get(task.partition)
    if (before && before !== process) this.#saw('partition taken over from another process')
    this.#ran.set(task.partition, process)
  }

  // ---- the end

  async #finish(): Promise<void> {
    this.topics.calm()
    this.scheduler.release()
    for (const process of this.#living) this.#thaw(process)
    for (const process of this.#living) if (process.isFaulty) this.#kill(process, false)
    if (!this.#living.some((process) => !process.isClosing)) this.#start(this.scheduler.random() < 0.5)
    await this.#until('those that start and end', () => this.#living.every((process) => process.isOpen && !process.isClosing))
    await this.#until('clients', () => this.clients.areServed && this.#saving.every((process) => process.isDead))
    this.group.deal({ noticesDeaths: true, throwsOut: false, isSticky: false })
    const restMs = (this.#isManual ? this.#now : this.clock.now()) + REST_MS
    if (this.#isManual) {
      this.#now = restMs
      this.#tell(encodeClock(this.#now))
    } else await this.#until('time', () => this.clock.now() >= restMs + PROMISE_MS)
    await this.#until('everything', () => this.#hasRested())
    const now = this.#isManual ? this.#now : this.clock.now()
    const tasks = this.witness.judges.map((_, p) => must(this.#owner(p)?.running(p), 'each partition runs somewhere'))
    this.#countHeads()
    const views = await this.#views()
    checkAtRest({ model: this.model, fail: this.fail, changes: this.witness.changes, now, tasks, views })
  }

  /** What each identifier resolves to, as readers see it. */
  async #views(): Promise<Map<string, ProfileFacts>> {
    const views = new Map<string, ProfileFacts>()
    let looking = IDENTIFIERS.length
    for (const id of IDENTIFIERS) {
      const { key } = identifierOf(id)
      this.#find(homeOf(key, this.plan.layout.partitions), { identifier: key }, (facts) => {
        looking--
        if (facts) views.set(id, facts)
      })
    }
    await this.#until('readers', () => looking === 0)
    return views
  }

  /** Asks the owner, and the next one where the way leads there. */
  #find(partition: number, by: Lookup, found: (facts: ProfileFacts | undefined) => void): void {
    const id = ++this.#questions
    this.#asked.set(id, (answer) => {
      this.#asked.delete(id)
      if (answer?.kind === 'found' && answer.elsewhere !== undefined)
        this.#find(homeOf(answer.elsewhere, this.plan.layout.partitions), { key: answer.elsewhere }, found)
      else found(answer?.kind === 'found' ? answer.root?.facts : undefined)
    })
    const owner = must(this.#owner(partition), 'at rest each partition has an owner')
    owner.post(partition, { t: 'question', id, question: { kind: 'find', partition, by } }, 'clients')
  }

  #countHeads(): void {
    for (const { first } of this.topics.all.journal) if (first > 0) this.#saw('journal that has lost its head')
    for (const { first } of this.topics.all.events) if (first > 0) this.#saw('events that have lost their head')
    for (const { first } of this.topics.all.exchange) if (first > 0) this.#saw('exchange that has lost its head')
  }

  /** The process that is to run a partition. */
  #owner(partition: number): DeploymentProcess | undefined {
    return this.#living.find(({ told }) => told.has(partition))
  }

  /** Once is not enough: who fights for a partition rests too, now and then. */
  #hasRested(): boolean {
    if (!this.#isAtRest()) this.#restsSinceMs = undefined
    else this.#restsSinceMs ??= this.clock.monotonicMs
    return this.#restsSinceMs !== undefined && this.clock.monotonicMs - this.#restsSinceMs >= PEACE_MS
  }

  #isAtRest(): boolean {
    return (
      !this.scheduler.isPending('arrive') &&
      !this.scheduler.isPending('replicate') &&
      this.witness.judges.every((_, p) =>
        this.#living.every((process) =>
          process === this.#owner(p) ? this.#rests(process, p) : !process.isOpenHere(p) || this.plan.layout.isStandby,
        ),
      )
    )
  }

  #rests(process: DeploymentProcess, partition: number): boolean {
    const task = process.running(partition)
    if (!task?.isIdle || task.busy.size > 0) return false
    if (recordOf(task.committedInput) < this.topics.log('events', partition).records.length) return false
    if (task.state.activeVersion < this.witness.changes.length || task.sweepProgress().progress < 1) return false
    return this.#isManual ? task.firedThrough() >= this.#now : task.nextDue() > this.clock.now()
  }

  async #until(what: string, isDone: () => boolean): Promise<void> {
    for (let steps = 0; !isDone(); steps++) {
      if (steps > STEPS_TO_REST) this.fail(10, `no rest for ${what}`)
      await this.#step()
    }
  }
}
