// Asks partitions, wherever they run: hosts of this process and, in a cluster, other processes. Owns the finding of whoever answers for
// a partition now, the waiting while partitions move, and what "finished" means over all of them.
//
// 1. "Finished" over several hosts takes two clean answers of each with nothing moved between them (watches.ts); over one host, one. In a
//    cluster each partition must have been answered for, once, under the same claim both times.
// 2. Whoever is asked for a partition that it doesn't run says `partition_moving`: then the directory is looked into again, until a
//    partition has been on its way for longer than a read may take.
// 3. A sum over all partitions has each of them once, or there is no answer.
import { type Clock, sleep } from '../core/clock.ts'
import { TributaryError } from '../core/errors.ts'
import type { Where } from '../operators/definition.ts'
import { claimsOf, coversAll, expectKind, stateOf } from './answers.ts'
import type { Cluster, Member, Peer } from './directory.ts'
import type { Links } from './links.ts'
import type { Answer, Ends, Owned, PartitionFacts, Question } from './questions.ts'

/** The hosts of this process. */
export type AskedLinks = Pick<Links, 'answer' | 'askHosts' | 'hosts' | 'hasStopped' | 'unlessStopped'>

export interface AskerPorts {
  readonly links: AskedLinks
  readonly clock: Clock
  readonly partitions: number
  readonly readTimeoutMs: number
  readonly cluster?: Cluster | undefined
}

/** What is known of all partitions; `silent` are members that don't answer now. */
export interface Known {
  readonly facts: readonly (PartitionFacts & { readonly owner?: string })[]
  readonly silent: readonly string[]
}

/** First, and longest, pause before it is looked again. */
const PAUSE_MS = 2
const LONGEST_PAUSE_MS = 50

type Watching = Question & { readonly kind: 'isFinished' }

interface Clean {
  readonly state: string
  readonly claims: string
  /** One host has answered for all: at one instant. */
  readonly isOne: boolean
}

export class Asker {
  readonly #ports: AskerPorts
  readonly #links: AskedLinks
  readonly #clock: Clock
  readonly #peers = new Map<string, Peer>()
  #watches = 0
  #isClosed = false

  constructor(ports: AskerPorts) {
    this.#ports = ports
    this.#links = ports.links
    this.#clock = ports.clock
  }

  close(): void {
    this.#isClosed = true
  }

  /** Asks whoever runs a partition. */
  async ask<K extends Answer['kind']>(partition: number, question: Question, kind: K): Promise<Answer & { kind: K }> {
    if (!this.#ports.cluster) return expectKind(await this.#links.answer(question, partition), kind)
    return this.#poll(async () => expectKind(await this.#askOwner(partition, question), kind))
  }

  async #askOwner(partition: number, question: Question): Promise<Answer> {
    const { directory } = this.#cluster()
    const member = directory.ownerOf(partition)
    if (!member) throw moving(`partition ${partition} has no owner`)
    return member.name === directory.self ? this.#links.answer(question, partition) : this.#peer(member).ask(question)
  }

  #cluster(): Cluster {
    const { cluster } = this.#ports
    if (!cluster) throw new TypeError('there is one process only')
    return cluster
  }

  #peer(member: Member): Peer {
    const known = this.#peers.get(member.address)
    if (known) return known
    const { directory, connect } = this.#cluster()
    const addresses = new Set(directory.members().map(({ address }) => address))
    for (const address of this.#peers.keys()) if (!addresses.has(address)) this.#peers.delete(address)
    const peer = connect(member.address)
    this.#peers.set(member.address, peer)
    return peer
  }

  #others(): Member[] {
    const { cluster } = this.#ports
    return cluster ? cluster.directory.members().filter(({ name }) => name !== cluster.directory.self) : []
  }

  /** Every host of this process, and every other process that is to own something. */
  async #askAll<K extends Answer['kind']>(question: Question, kind: K): Promise<(Answer & { kind: K })[]> {
    const owners = this.#others().filter(({ partitions }) => partitions.length > 0)
    const asked = [...this.#links.askHosts(question), ...owners.map((member) => this.#peer(member).ask(question))]
    return (await Promise.all(asked)).map((answer) => expectKind(answer, kind))
  }

  /** (3) */
  #mustCover(answers: readonly { readonly of: Owned }[]): void {
    if (!this.#ports.cluster || coversAll(answers, this.#ports.partitions)) return
    const answered = new Set(answers.flatMap((answer) => answer.of.map(([partition]) => partition)))
    const missing = Array.from({ length: this.#ports.partitions }, (_, p) => p).filter((p) => !answered.has(p))
    throw moving(missing.length > 0 ? `nobody answers for partitions ${missing.join(', ')}` : 'two processes answer for one partition')
  }

  async status(): Promise<PartitionFacts[]> {
    const look = async (): Promise<PartitionFacts[]> => {
      const answers = await this.#askAll({ kind: 'status' }, 'status')
      const facts = answers.flatMap((answer) => answer.partitions)
      const open = this.#ports.cluster ? facts.filter(({ phase }) => phase !== 'opening') : facts
      this.#mustCover([{ of: open.map(({ partition, claim }) => [partition, claim]) }])
      return open.sort((a, b) => a.partition - b.partition)
    }
    return this.#ports.cluster ? this.#poll(look) : look()
  }

  /** What this process runs. */
  async here(): Promise<PartitionFacts[]> {
    const answers = await Promise.all(this.#links.askHosts({ kind: 'status' }))
    return answers.flatMap((answer) => expectKind(answer, 'status').partitions)
  }

  /** What can be known at once, whoever is silent. */
  async known(): Promise<Known> {
    const { cluster } = this.#ports
    const self = cluster?.directory.self
    const facts = (await this.here()).map((f) => (self === undefined ? f : { ...f, owner: self }))
    const silent: string[] = []
    await Promise.all(
      this.#others().map(async (member) => {
        try {
          const { partitions } = expectKind(await this.#peer(member).ask({ kind: 'status' }), 'status')
          for (const f of partitions) facts.push({ ...f, owner: member.name })
        } catch {
          silent.push(member.name)
        }
      }),
    )
    return { facts: facts.sort((a, b) => a.partition - b.partition), silent: silent.sort() }
  }

  /** Tells the other processes; whoever doesn't hear it finds out by itself. */
  async tell(question: Question): Promise<void> {
    await Promise.allSettled(this.#others().map((member) => this.#peer(member).ask(question)))
  }

  async preview(where: Where): Promise<{ size: number; total: number }> {
    const look = async (): Promise<{ size: number; total: number }> => {
      const answers = await this.#askAll({ kind: 'preview', where }, 'preview')
      this.#mustCover(answers)
      return { size: answers.reduce((n, a) => n + a.size, 0), total: answers.reduce((n, a) => n + a.total, 0) }
    }
    return this.#ports.cluster ? this.#poll(look) : look()
  }

  // ---- finished

  /** Resolves when everything before `ends`, and all that it set off, is applied; in a cluster it gives up when aborted. */
  finished(ends: Ends, signal?: AbortSignal): Promise<void> {
    const watch = this.#watch(ends)
    return this.#links.unlessStopped(async () => {
      if (this.#ports.cluster) await this.#poll(() => this.#cleanTwice(watch), signal)
      else await this.#finishHere(watch)
    })
  }

  #watch(ends: Ends): Watching {
    return { kind: 'isFinished', ends, watch: `${this.#ports.cluster?.name ?? ''} ${++this.#watches}` }
  }

  async #finishHere(watch: Watching): Promise<void> {
    await this.#askAll({ kind: 'finished', ends: watch.ends }, 'done')
    if (this.#links.hosts > 1) await this.#poll(() => this.#cleanTwice(watch))
  }

  /** (1) */
  async #cleanTwice(watch: Watching): Promise<Clean | undefined> {
    let before = await this.#clean(watch)
    while (before && !before.isOne && !this.#links.hasStopped) {
      const again = await this.#clean(watch)
      if (again?.state === before.state) return again
      before = again
    }
    return before
  }

  async #clean(watch: Watching): Promise<Clean | undefined> {
    const answers = await this.#askAll(watch, 'clean')
    this.#mustCover(answers)
    if (!answers.every(({ clean }) => clean)) return undefined
    const hosts = answers.reduce((n, answer) => n + answer.hosts, 0)
    return { state: stateOf(answers), claims: claimsOf(answers), isOne: hosts === 1 }
  }

  /** Finished, and relayed; with `now`, also every flip due by then. */
  settled(ends: Ends, now?: number): Promise<void> {
    const question: Question = { kind: 'settled', ends, ...(now === undefined ? {} : { now }) }
    const watch = this.#watch(ends)
    return this.#links.unlessStopped(async () => {
      if (this.#ports.cluster) await this.#poll(() => this.#settledOnce(question, watch))
      else {
        await this.#finishHere(watch)
        await this.#askAll(question, 'settled')
        if (this.#links.hosts > 1) await this.#poll(() => this.#cleanTwice(watch))
      }
    })
  }

  /** The same owners were settled and are clean. */
  async #settledOnce(question: Question, watch: Watching): Promise<true | undefined> {
    if (!(await this.#cleanTwice(watch))) return undefined
    // That may take longer than an answer does: it goes on there, and is asked for again as long as all of them answer at all.
    const answers = await this.#askAll(question, 'settled').catch((error: unknown) => {
      if (!isMoving(error)) throw error
    })
    if (!answers) return undefined
    this.#mustCover(answers)
    const clean = await this.#cleanTwice(watch)
    return clean?.claims === claimsOf(answers) ? true : undefined
  }

  // ---- waiting

  /** Looks again and again until there is something to see, or a partition has been on its way for too long (2). */
  async #poll<T>(look: () => Promise<T | undefined>, signal?: AbortSignal): Promise<T> {
    let movingSince: number | undefined
    for (let pauseMs = PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, this.#longestPauseMs)) {
      try {
        const seen = await look()
        if (seen !== undefined) return seen
        movingSince = undefined
      } catch (error) {
        if (!isMoving(error)) throw error
        movingSince ??= this.#clock.monotonicMs()
        if (this.#clock.monotonicMs() - movingSince >= this.#ports.readTimeoutMs) throw error
      }
      if (this.#isClosed || signal?.aborted || this.#links.hasStopped) throw moving('nobody waits for the answer any more')
      await this.#pause(pauseMs)
    }
  }

  get #longestPauseMs(): number {
    return this.#ports.cluster ? LONGEST_PAUSE_MS : PAUSE_MS
  }

  /** Until the directory says something new, but not for long. */
  #pause(ms: number): Promise<void> {
    const { cluster } = this.#ports
    if (!cluster) return sleep(this.#clock, ms)
    return new Promise((resolve) => {
      const done = (): void => {
        stopListening()
        cancel()
        resolve()
      }
      const stopListening = cluster.directory.onChange(done)
      const cancel = this.#clock.after(ms, done)
    })
  }
}

const moving = (why: string): TributaryError => new TributaryError('partition_moving', why)

/** Asking again may help: others may own what was asked for by now. */
function isMoving(error: unknown): boolean {
  return error instanceof TributaryError && (error.code === 'partition_moving' || error.code === 'fenced')
}
