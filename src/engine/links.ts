// The main thread's links to the hosts: routes their messages, asks their questions. Owns which host runs which partition and
// what is outstanding; owns no state of partitions.
//
// 1. Messages between hosts keep their order per (origin, target).
// 2. "Finished" over several hosts takes two equal clean answers with nothing moved between them; over one host, one.
// 3. Once a partition has stopped nothing gets finished any more: who waits for that is told, and nobody waits anew.
import { must } from '../core/assert.ts'
import { type Clock, sleep } from '../core/clock.ts'
import { ERRORS, type ErrorCode, TributaryError } from '../core/errors.ts'
import type { Where } from '../operators/definition.ts'
import type { DefinitionChange } from './definitions.ts'
import type { Failure, FromHost } from './host.ts'
import type { EmbeddedPorts, HostLink } from './ports.ts'
import type { Answer, Ends, PartitionFacts, Question } from './questions.ts'

interface Asked {
  resolve(answer: Answer): void
  reject(error: Error): void
}

const RETRY_MS = 2

export class Links {
  readonly #ports: EmbeddedPorts
  readonly #clock: Clock
  #hosts: HostLink[] = []
  readonly #byPartition = new Map<number, HostLink>()
  readonly #asked = new Map<number, Asked>()
  #nextId = 1
  #stopped: TributaryError | undefined
  /** Of those who wait for something to be finished. */
  readonly #rejects = new Set<(error: Error) => void>()

  constructor(ports: EmbeddedPorts) {
    this.#ports = ports
    this.#clock = ports.clock
  }

  async open(definitions: readonly DefinitionChange[]): Promise<void> {
    // Hosts talk while they open: what they say waits until all partitions have their host.
    const early: FromHost[] = []
    let receive = (message: FromHost): void => void early.push(message)
    this.#hosts = await this.#ports.startHosts(definitions, (message) => receive(message))
    for (const host of this.#hosts) for (const p of host.partitions) this.#byPartition.set(p, host)
    receive = (message) => this.#receive(message)
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
          (error: Error) => this.#ports.fatal(error),
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

  /** (3) */
  #stop(partition: number, reason: string): void {
    this.#stopped ??= new TributaryError('partition_stopped', `partition ${partition} has stopped: ${reason}`)
    for (const reject of this.#rejects) reject(this.#stopped)
    this.#rejects.clear()
    this.#ports.stopped(partition, reason)
  }

  /** The outcome of this work, or that a partition has stopped (3). */
  #unlessStopped(work: () => Promise<void>): Promise<void> {
    if (this.#stopped) return Promise.reject(this.#stopped)
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

  /** Asks the host of a partition. */
  async ask<K extends Answer['kind']>(partition: number, question: Question, kind: K): Promise<Answer & { kind: K }> {
    return expect(await this.#ask(this.#hostOf(partition), question), kind)
  }

  async #askAll<K extends Answer['kind']>(question: Question, kind: K): Promise<(Answer & { kind: K })[]> {
    return (await Promise.all(this.#hosts.map((host) => this.#ask(host, question)))).map((a) => expect(a, kind))
  }

  async status(): Promise<PartitionFacts[]> {
    const answers = await this.#askAll({ kind: 'status' }, 'status')
    return answers.flatMap((a) => a.partitions).sort((a, b) => a.partition - b.partition)
  }

  async preview(where: Where): Promise<{ size: number; total: number }> {
    const answers = await this.#askAll({ kind: 'preview', where }, 'preview')
    return { size: answers.reduce((n, a) => n + a.size, 0), total: answers.reduce((n, a) => n + a.total, 0) }
  }

  async define(version: number, change: DefinitionChange): Promise<void> {
    await Promise.all(this.#hosts.map((host) => this.#call((id) => host.post({ t: 'definition', id, version, change }))))
  }

  /** Resolves when everything before `ends`, and all that it set off, is applied. */
  finished(ends: Ends): Promise<void> {
    return this.#unlessStopped(() => this.#finish(ends))
  }

  async #finish(ends: Ends): Promise<void> {
    await this.#askAll({ kind: 'finished', ends }, 'done')
    if (this.#hosts.length > 1) await this.#twiceClean(ends)
  }

  async #twiceClean(ends: Ends): Promise<void> {
    for (let before = ''; !this.#stopped; ) {
      const answers = await this.#askAll({ kind: 'isFinished', ends }, 'clean')
      const moved = answers.map((a) => a.received).join()
      if (!answers.every((a) => a.clean)) {
        before = ''
        await sleep(this.#clock, RETRY_MS)
      } else if (moved === before) return
      else before = moved
    }
  }

  /** Finished, and relayed; with `now`, also every flip due by then. */
  settled(ends: Ends, now?: number): Promise<void> {
    return this.#unlessStopped(async () => {
      await this.#finish(ends)
      await this.#askAll({ kind: 'settled', ends, ...(now === undefined ? {} : { now }) }, 'settled')
      if (this.#hosts.length > 1) await this.#twiceClean(ends)
    })
  }

  async confirmClock(): Promise<void> {
    await Promise.all(this.#hosts.map((host) => this.#call((id) => host.post({ t: 'confirmClock', id }))))
  }

  async close(): Promise<void> {
    await Promise.all(this.#hosts.map((host) => this.#call((id) => host.post({ t: 'close', id }))))
  }
}

function expect<K extends Answer['kind']>(answer: Answer, kind: K): Answer & { kind: K } {
  if (answer.kind !== kind) throw new TypeError(`a host answered ${answer.kind} instead of ${kind}`)
  return answer as Answer & { kind: K }
}

export function errorOf(failure: Failure): Error {
  return failure.code in ERRORS && failure.code !== 'internal'
    ? new TributaryError(failure.code as ErrorCode, failure.message)
    : new Error(failure.message)
}
