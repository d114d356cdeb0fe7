// The main thread's links to the hosts of this process: routes their messages, asks their questions. Owns which host runs which
// partition when it is here, and what is outstanding; owns no state of partitions.
//
// 1. Messages between hosts keep their order per (origin, target).
// 2. Once a partition has stopped nothing gets finished any more: who waits for that is told, and nobody waits anew. In a cluster
//    another process may take the partition over: then this one has no say in it.
import { must } from '../core/assert.ts'
import { ERRORS, type ErrorCode, TributaryError } from '../core/errors.ts'
import { together } from './answers.ts'
import type { DefinitionChange } from './definitions.ts'
import type { Cluster } from './directory.ts'
import type { Failure, FromHost } from './host.ts'
import type { EmbeddedPorts, HostLink } from './ports.ts'
import type { Answer, Question } from './questions.ts'

interface Asked {
  resolve(answer: Answer): void
  reject(error: Error): void
}

export class Links {
  readonly #ports: EmbeddedPorts
  #hosts: HostLink[] = []
  readonly #byPartition = new Map<number, HostLink>()
  readonly #asked = new Map<number, Asked>()
  #nextId = 1
  readonly #stopped = new Map<number, TributaryError>()
  /** Of those who wait for something to be finished. */
  readonly #rejects = new Set<(error: Error) => void>()
  #stopListening = (): void => {}

  constructor(ports: EmbeddedPorts) {
    this.#ports = ports
  }

  async open(definitions: readonly DefinitionChange[]): Promise<void> {
    // Hosts talk while they open: what they say waits until all partitions have their host.
    const early: FromHost[] = []
    let receive = (message: FromHost): void => void early.push(message)
    this.#hosts = await this.#ports.startHosts(definitions, (message) => receive(message))
    for (const host of this.#hosts) for (const p of host.partitions) this.#byPartition.set(p, host)
    receive = (message) => this.#receive(message)
    const { cluster } = this.#ports
    if (cluster) this.#stopListening = cluster.directory.onChange(() => this.#forgetMoved(cluster))
    for (const message of early) this.#receive(message)
  }

  /** Tells the hosts how far the events log is durable. */
  synced(ordinal: number): void {
    for (const host of this.#hosts) host.post({ t: 'synced', ordinal })
  }

  #receive(message: FromHost): void {
    switch (message.t) {
      case 'relay': {
        const { partition, stream, payload, lastSeq } = message
        this.#ports.outputs.take(stream, partition, payload, lastSeq).then(
          () => this.#hostOf(partition).post({ t: 'relayed', partition, stream, seq: lastSeq }),
          (error: Error) => {
            // What is not confirmed when the outputs close is said again after the next start.
            if (!(error instanceof TributaryError && error.code === 'shutting_down')) this.#ports.fatal(error)
          },
        )
        return
      }
      case 'exchange':
        this.#hostOf(message.target).post(message)
        return
      case 'confirm':
        this.#hostOf(message.origin).post(message)
        return
      case 'answer': {
        const asked = this.#asked.get(message.id)
        this.#asked.delete(message.id)
        if (message.error) asked?.reject(errorOf(message.error))
        else if (message.answer) asked?.resolve(message.answer)
        return
      }
      case 'stopped':
        this.#stop(message.partition, message.reason)
        return
      case 'failed':
        this.#ports.fatal(errorOf(message.error))
        return
      default:
    }
  }

  /** (2) */
  #stop(partition: number, reason: string): void {
    const error = new TributaryError('partition_stopped', `partition ${partition} has stopped: ${reason}`)
    if (!this.#stopped.has(partition)) this.#stopped.set(partition, error)
    for (const reject of this.#rejects) reject(error)
    this.#rejects.clear()
    this.#ports.stopped(partition, reason)
  }

  /** Partitions that have stopped here and are others' by now (2). */
  #forgetMoved({ directory }: Cluster): void {
    for (const partition of [...this.#stopped.keys()])
      if (directory.ownerOf(partition)?.name !== directory.self) this.#stopped.delete(partition)
  }

  get hasStopped(): boolean {
    return this.#stopped.size > 0
  }

  /** The outcome of this work, or that a partition has stopped (2). */
  unlessStopped(work: () => Promise<void>): Promise<void> {
    const [stopped] = this.#stopped.values()
    if (stopped) return Promise.reject(stopped)
    return new Promise((resolve, reject) => {
      this.#rejects.add(reject)
      work()
        .then(resolve, reject)
        .finally(() => this.#rejects.delete(reject))
    })
  }

  #hostOf(partition: number): HostLink {
    return must(this.#byPartition.get(partition), `partition ${partition} has a host`)
  }

  #call(post: (id: number) => void): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const id = this.#nextId++
      this.#asked.set(id, { resolve, reject })
      post(id)
    })
  }

  #ask(host: HostLink, question: Question): Promise<Answer> {
    return this.#call((id) => host.post({ t: 'question', id, question }))
  }

  /** How many there are. */
  get hosts(): number {
    return this.#hosts.length
  }

  /** Asks each host of this process. */
  askHosts(question: Question): Promise<Answer>[] {
    return this.#hosts.map((host) => this.#ask(host, question))
  }

  /** The answer of the host that runs a partition when it is in this process; without one, that of all hosts together. */
  async answer(question: Question, partition?: number): Promise<Answer> {
    if (partition !== undefined) return this.#ask(this.#hostOf(partition), question)
    return together(await Promise.all(this.askHosts(question)))
  }

  async define(version: number, change: DefinitionChange): Promise<void> {
    await Promise.all(this.#hosts.map((host) => this.#call((id) => host.post({ t: 'definition', id, version, change }))))
  }

  async confirmClock(): Promise<void> {
    await Promise.all(this.#hosts.map((host) => this.#call((id) => host.post({ t: 'confirmClock', id }))))
  }

  async close(): Promise<void> {
    this.#stopListening()
    await Promise.all(this.#hosts.map((host) => this.#call((id) => host.post({ t: 'close', id }))))
  }
}

export function errorOf(failure: Failure): Error {
  return failure.code in ERRORS && failure.code !== 'internal'
    ? new TributaryError(failure.code as ErrorCode, failure.message)
    : new Error(failure.message)
}
