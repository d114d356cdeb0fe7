// One run: a deployment at work on a broker of its own, a script of misfortunes, people who go on as if nothing were, and in the end a
// verifier over all that was accepted and all that came out. Owns the broker and the processes; leaves neither behind.
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { KAFKA_CACHE, startBroker, stopBroker } from '../../scripts/kafka-broker.ts'
import { systemClock } from '../../src/core/clock.ts'
import type { DefinitionChange } from '../../src/engine/definitions.ts'
import type { SegmentView } from '../../src/engine/engine.ts'
import { withAdmin } from '../../src/log/kafka-client.ts'
import { below, type Random, seeded } from '../identity/random.ts'
import { pause } from '../process/server.ts'
import { DefinitionBook, type Edit } from './chaos-definitions.ts'
import { JournalBook } from './chaos-journal.ts'
import { brokenLaws, type Evidence, ExchangeBook, InputBook, replayed } from './chaos-laws.ts'
import { ChaosLoad } from './chaos-load.ts'
import { look } from './chaos-look.ts'
import { OUTPUT_TOPICS, OutputBook } from './chaos-outputs.ts'
import { drawHosts, FIRST, type Misfortune, MOST, type Round } from './chaos-script.ts'
import { type SeenRecord, TopicsFollower } from './chaos-topics.ts'
import { Deployment } from './deployment.ts'

export interface ChaosOptions {
  readonly seed: number
  readonly script: readonly Round[]
  readonly clock: 'manual' | 'wall'
  readonly people: number
  readonly perSecond: number
  readonly partitions: number
  /** Whether states of profiles are told too. */
  readonly tellsProfiles: boolean
  /** How often processes delete what nobody needs; 0: never. The verifier reads along, and says so where it is overtaken. */
  readonly deleteEveryMs: number
  readonly say: (what: string) => void
}

export interface ChaosOutcome {
  /** Laws that are broken, and how. */
  readonly broken: readonly string[]
  readonly figures: { readonly [name: string]: number }
  readonly evidence: Evidence
}

const SOURCE = 'shop'
const SOURCE_PARTITIONS = 4
const SECOND = 1000
const HOUR = 3600 * SECOND
const DAY = 24 * HOUR
/** Where the manual clock stands at first. */
const T0 = Date.parse('2026-05-01T12:00:00Z')
const CLOCK_EVERY_MS = 4000
const BROKER_TRIES = 5
const DRAIN_MS = 120_000

const DELETED_TOPICS = ['events', 'journal', 'exchange']

export async function runChaos(options: ChaosOptions): Promise<ChaosOutcome> {
  const directory = mkdtempSync(join(tmpdir(), 'tributary-chaos-'))
  // However this process ends, nothing is left: servers end by themselves (server.ts).
  const remove = (): void => rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
  const broker = await startBroker(brokerOptions(directory)).catch((error: Error) => {
    remove()
    throw error
  })
  let pid = broker.pid
  const atExit = (): void => {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It is gone.
    }
    remove()
  }
  process.on('exit', atExit)
  const started = (next: number): void => {
    pid = next
  }
  const chaos = new Chaos(options, { directory, brokers: broker.brokers, started })
  try {
    return await chaos.run()
  } finally {
    await chaos.end()
    await stopBroker(directory, 'SIGKILL')
    process.off('exit', atExit)
    remove()
  }
}

const brokerOptions = (directory: string) => ({ directory, jars: join(KAFKA_CACHE, 'libs'), port: 0, say: () => undefined })

/** On a machine that is busy it may not be up in the time that is given to it. */
async function startAgain(directory: string): Promise<number> {
  for (let tries = 1; ; tries++) {
    try {
      return (await startBroker(brokerOptions(directory))).pid
    } catch (error) {
      if (tries === BROKER_TRIES) throw error
    }
  }
}

interface Started {
  readonly standby: boolean
  readonly hosts: number
}

interface Ground {
  readonly directory: string
  readonly brokers: string
  readonly started: (pid: number) => void
}

class Chaos {
  readonly #options: ChaosOptions
  readonly #ground: Ground
  readonly #random: Random
  readonly #deployment: Deployment
  readonly #prefix = `chaos-${randomUUID().slice(0, 8)}`
  readonly #unit: number
  readonly #definitions: DefinitionBook
  readonly #load: ChaosLoad
  readonly #input = new InputBook()
  readonly #outputs = new OutputBook()
  readonly #journal: JournalBook
  readonly #exchange = new ExchangeBook()
  readonly #follower: TopicsFollower
  readonly #counts = new Map<string, number>()
  readonly #trouble: string[] = []
  /** Those to which nothing is happening. */
  readonly #untouched = new Set<string>()
  #names = 0
  #now = T0
  #isBrokerThere = true
  #isMovingTime = true
  /** Edits are made one after another. */
  #edited: Promise<unknown> = Promise.resolve()

  constructor(options: ChaosOptions, ground: Ground) {
    const { seed, clock, people, perSecond, partitions } = options
    this.#options = options
    this.#ground = ground
    this.#random = seeded(seed)
    this.#unit = clock === 'manual' ? DAY : 2 * SECOND
    this.#definitions = new DefinitionBook(this.#unit)
    this.#journal = new JournalBook(partitions, this.#definitions.ids)
    const { brokers } = ground
    const topic = `${this.#prefix}-orders`
    const config = {
      sources: [{ name: SOURCE, topics: [topic], group: `${this.#prefix}-source` }],
    }
    const flags = ['--clock', clock, '--batch-events', '200', '--apply-ms', '200']
    this.#deployment = new Deployment({
      kafka: { brokers, prefix: this.#prefix, deleteEveryMs: options.deleteEveryMs, outputs: { profiles: options.tellsProfiles } },
      ...{ directory: ground.directory, partitions, flags, config },
    })
    this.#load = new ChaosLoad({
      random: this.#random,
      ...{ people, perSecond, brokers, topic, topicPartitions: SOURCE_PARTITIONS },
      urls: () => this.#deployment.names.map((name) => this.#deployment.urlOf(name)),
      timestamp: (random) => this.#timestamp(random),
    })
    this.#follower = new TopicsFollower({
      brokers,
      topics: [topic, ...['definitions', ...DELETED_TOPICS, ...Object.keys(OUTPUT_TOPICS)].map((kind) => `${this.#prefix}.${kind}`)],
      compacted: [`${this.#prefix}.profiles`],
      take: (record) => this.#take(record),
    })
  }

  /** Mostly new, some late, on the manual clock a few ahead. */
  #timestamp(random: Random): number {
    const now = this.#options.clock === 'manual' ? this.#now : Date.now()
    const draw = random()
    if (draw < 0.03 && this.#options.clock === 'manual') return now + below(random, 2 * HOUR)
    return now - below(random, draw < 0.8 ? 2 * this.#unit : 10 * this.#unit)
  }

  #take(record: SeenRecord): void {
    const kind = record.topic.slice(this.#prefix.length + 1)
    if (kind === 'orders') this.#input.takeSource(SOURCE, record)
    else if (kind === 'events') this.#input.takeEvents(record)
    else if (kind === 'definitions') this.#definitions.take(record)
    else if (kind === 'journal') this.#journal.take(record)
    else if (kind === 'exchange') this.#exchange.take(record)
    else this.#outputs.take(OUTPUT_TOPICS[kind as keyof typeof OUTPUT_TOPICS], record)
  }

  #count(what: string, n = 1): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + n)
  }

  // ---- the run

  async run(): Promise<ChaosOutcome> {
    const { say, script, clock } = this.#options
    await this.#prepare()
    await this.#load.start()
    const moving = clock === 'manual' ? this.#moveTime() : Promise.resolve()
    const befalling = (async () => {
      for (const [i, round] of script.entries()) await this.#round(i, round)
      // Everybody has done something, however slow this machine is.
      while (!this.#load.isEverybodyKnown) await pause(200)
      this.#isMovingTime = false
    })()
    await Promise.all([befalling, moving])
    say('calm: what was sent is being acknowledged')
    await this.#load.stop()
    return this.#verify()
  }

  async end(): Promise<void> {
    this.#isMovingTime = false
    await this.#load.close()
    await this.#follower.close()
    await this.#deployment.close()
  }

  async #prepare(): Promise<void> {
    const { clock, say } = this.#options
    const topic = `${this.#prefix}-orders`
    await withAdmin({ brokers: [this.#ground.brokers], prefix: this.#prefix }, systemClock, (admin) =>
      admin.createTopics({ topics: [{ topic, numPartitions: SOURCE_PARTITIONS }], waitForLeaders: true }),
    )
    // Once there are topics, and before anything can be deleted from them.
    for (let i = 0; i < FIRST; i++) {
      await this.#begin({ standby: i === FIRST - 1, hosts: drawHosts(this.#random) })
      if (i === 0) await this.#follower.start()
    }
    if (clock === 'manual') await this.#setClock(this.#now)
    for (const change of this.#definitions.begin()) await this.#save(change)
    await this.#deployment.ask('/v1/admin/settle', { method: 'POST' })
    say(`${FIRST} processes work, ${this.#prefix}`)
  }

  /** Another process, on an empty disk. */
  async #begin(how: Started): Promise<void> {
    await this.#start(`p${++this.#names}`, how)
  }

  /** A server that finds no broker when it starts ends at once, and says so: whoever started it tries again. */
  async #start(name: string, how: Started): Promise<void> {
    for (;;) {
      await this.#whileBroker()
      try {
        await this.#deployment.start(name, how)
        if (how.hosts > 1) this.#count('startedWithTwoHosts')
        this.#untouched.add(name)
        return
      } catch (error) {
        if (!String(error).includes('kafka_')) throw error
        this.#count('startsWithoutBroker')
      }
    }
  }

  #setClock(now: number): Promise<unknown> {
    return this.#deployment.ask('/v1/admin/clock', { method: 'POST', body: { now } })
  }

  async #moveTime(): Promise<void> {
    while (this.#isMovingTime) {
      await pause(CLOCK_EVERY_MS)
      const next = this.#now + below(this.#random, 8 * HOUR)
      await this.#setClock(next)
      this.#now = next
      this.#count('clockMoves')
    }
  }

  // ---- misfortunes

  async #round(i: number, { parts, restMs }: Round): Promise<void> {
    this.#options.say(`round ${i + 1}: ${parts.map(({ afterMs, ...part }) => `${JSON.stringify(part)} after ${afterMs} ms`).join(', ')}`)
    await Promise.all(
      parts.map(async ({ afterMs, ...part }) => {
        await pause(afterMs)
        await this.#befall(part)
      }),
    )
    await pause(restMs)
  }

  /** One of those to which nothing else is happening. */
  #aim(who: number): string | undefined {
    const names = [...this.#untouched]
    const name = names[who % Math.max(1, names.length)]
    if (name !== undefined) this.#untouched.delete(name)
    return name
  }

  async #befall(misfortune: Misfortune): Promise<void> {
    switch (misfortune.do) {
      case 'broker stops':
      case 'broker is killed':
        return this.#bounce(misfortune)
      case 'join':
        if (this.#deployment.names.length >= MOST) return
        this.#count('join')
        await this.#begin(misfortune)
        return
      case 'freeze':
      case 'blink':
        return this.#freeze(misfortune)
      case 'kill':
      case 'leave':
        return this.#restart(misfortune)
      case 'edit':
        // Under a wall clock no journal says when a fill was that changed nothing.
        return this.#options.clock === 'manual' ? this.#edit(misfortune.edit) : undefined
      case 'go': {
        if (this.#deployment.names.length <= 2) return
        const name = this.#aim(misfortune.who)
        if (name !== undefined) await this.#endOne(name, misfortune.signal)
      }
    }
  }

  async #endOne(name: string, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    this.#count(signal)
    const { code, signal: by } = await this.#deployment.end(name, signal)
    if (signal === 'SIGTERM' && code !== 0) this.#trouble.push(`${name} was told to stop, and ended with ${code ?? by}`)
  }

  #edit(edit: Edit): Promise<void> {
    const made = this.#edited.then(() => this.#save(this.#definitions.draw(edit)))
    this.#edited = made
    this.#count('edits')
    return made
  }

  async #save(change: DefinitionChange): Promise<void> {
    if ('put' in change) {
      const { id, where } = change.put
      await this.#deployment.ask(`/v1/segments/${id}`, { method: 'PUT', body: { where } })
      return
    }
    await this.#deployment.ask(`/v1/segments/${change.delete}`, { method: 'DELETE' }).catch((error: Error) => {
      // An answer was lost, and it is done.
      if (!error.message.includes(': 404 ')) throw error
    })
  }

  async #restart({ do: how, who, downMs, disk, standby, hosts }: Misfortune & { do: 'kill' | 'leave' }): Promise<void> {
    const name = this.#aim(who)
    if (name === undefined) return
    await this.#endOne(name, how === 'kill' ? 'SIGKILL' : 'SIGTERM')
    await pause(downMs)
    if (disk === 'lost') {
      this.#deployment.loseDisk(name)
      this.#count('diskLost')
    }
    await this.#start(name, { standby, hosts })
  }

  async #freeze({ do: how, who, ms }: Misfortune & { do: 'freeze' | 'blink' }): Promise<void> {
    const name = this.#aim(who)
    if (name === undefined) return
    const before = this.#claims
    this.#deployment.signal(name, 'SIGSTOP')
    await pause(ms)
    this.#deployment.signal(name, 'SIGCONT')
    this.#count(how)
    if (how === 'freeze') this.#count('claimsWhileFrozen', this.#claims - before)
    this.#untouched.add(name)
  }

  async #bounce({ do: how, downMs }: Misfortune & { do: 'broker stops' | 'broker is killed' }): Promise<void> {
    if (!this.#isBrokerThere) return
    this.#isBrokerThere = false
    this.#count(how)
    const { directory, started } = this.#ground
    await stopBroker(directory, how === 'broker stops' ? 'SIGTERM' : 'SIGKILL')
    await pause(downMs)
    started(await startAgain(directory))
    this.#isBrokerThere = true
  }

  async #whileBroker(): Promise<void> {
    while (!this.#isBrokerThere) await pause(100)
  }

  get #claims(): number {
    return this.#journal.partitions.reduce((n, { claims }) => n + claims.length, 0)
  }

  // ---- the end

  async #verify(): Promise<ChaosOutcome> {
    const { say, clock, partitions } = this.#options
    await this.#drain()
    if (clock === 'manual') {
      // Everything that time alone brings about.
      for (const days of [1, 1, 2]) {
        this.#now += days * DAY
        await this.#setClock(this.#now)
      }
    } else await pause(3 * this.#unit + 2 * SECOND)
    await this.#deployment.ask('/v1/admin/settle', { method: 'POST' })
    const now = clock === 'manual' ? this.#now : Date.now()
    await this.#follower.caughtUp()
    say('all is read; the oracle recomputes')
    const books = { journal: this.#journal, definitions: this.#definitions, outputs: this.#outputs }
    const { history, replay, open } = replayed(books, now)
    this.#count('openWays', open)
    await this.#countDeleted()
    say('the deployment is asked')
    const seen = await look(
      this.#deployment,
      replay.living.map(({ publicId }) => publicId),
    )
    const shown = { ...seen, trouble: [...this.#trouble, ...seen.trouble, ...this.#errors()] }
    // What was written while it was looked at: nothing may be.
    await this.#follower.caughtUp()
    const evidence: Evidence = {
      ...{ ...books, partitions, history, replay, shown },
      ...{ acknowledged: this.#load.acknowledged, bad: this.#load.bad },
      ...{ input: this.#input, exchange: this.#exchange },
    }
    return { broken: [...this.#load.faults, ...brokenLaws(evidence)], figures: this.#figures(evidence), evidence }
  }

  /** What the source still has is taken in, and everything is settled. */
  async #drain(): Promise<void> {
    const deadline = Date.now() + DRAIN_MS
    for (;;) {
      await this.#follower.caughtUp()
      const { missing } = this.#input
      if (missing.length === 0) break
      if (Date.now() > deadline) {
        const { sources } = await this.#deployment.ask<{ sources?: unknown }>('/v1/status')
        this.#trouble.push(`${missing.length} messages of the source are not taken in, such as ${missing[0]}: ${JSON.stringify(sources)}`)
        break
      }
      await pause(200)
    }
    await this.#swept()
    await this.#deployment.ask('/v1/admin/settle', { method: 'POST' })
  }

  /** Profiles that nothing touches are filled by and by. */
  async #swept(): Promise<void> {
    for (const deadline = Date.now() + DRAIN_MS; ; await pause(200)) {
      const { items } = await this.#deployment.ask<{ items: SegmentView[]; deleting?: readonly unknown[] }>('/v1/segments')
      const filling = items.filter(({ status }) => status !== 'live').map(({ id }) => id)
      if (filling.length === 0) return
      if (Date.now() > deadline) return void this.#trouble.push(`${filling} are still filled`)
    }
  }

  async #countDeleted(): Promise<void> {
    if (this.#options.deleteEveryMs === 0) return
    for (const kind of DELETED_TOPICS) {
      const firsts = await this.#follower.firsts(`${this.#prefix}.${kind}`)
      const records = firsts.reduce((sum, first) => sum + first, 0)
      this.#count(`${kind}RecordsDeleted`, records)
      // Else the run has shown nothing of it.
      if (records === 0) this.#trouble.push(`nothing of ${kind} was deleted`)
    }
  }

  /** What processes said that brokers away don't explain. */
  #errors(): string[] {
    const lines = this.#deployment.said().flatMap((text) => text.split('\n'))
    const errors = lines.filter((line) => /"level":[56]0/.test(line))
    this.#count('errorsLogged', errors.length)
    return errors.filter((line) => line.includes('a partition has stopped') || /"level":60/.test(line))
  }

  #figures({ history, replay, shown }: Evidence): ChaosOutcome['figures'] {
    const { sent, acknowledged, requests, retries, unanswered, longestWaitMs, longestPauseMs } = this.#load
    const firsts = this.#journal.partitions.filter(({ claims }) => claims.length > 0).length
    return {
      sent,
      acknowledged: acknowledged.size,
      ofSource: this.#input.sourced.size,
      counted: history.counted.size,
      eventRecords: this.#input.eventRecords,
      ...{ requests, retries, unanswered },
      longestWaitMs: Math.round(longestWaitMs),
      longestPauseMs: Math.round(longestPauseMs),
      ...Object.fromEntries(this.#counts),
      commits: this.#journal.commits.length,
      takeOvers: this.#claims - firsts,
      journalRecordsIgnored: this.#journal.partitions.reduce((n, { judge }) => n + judge.ignored, 0),
      exchangeMessages: this.#exchange.messages.size,
      outputRepeats: this.#outputs.repeats,
      transitions: replay.transitions.length,
      merges: replay.merges.length,
      profiles: shown.profiles.size,
      unclear: history.unclear,
    }
  }
}
