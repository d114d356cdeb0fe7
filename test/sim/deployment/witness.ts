// What can be seen of a deployment from outside: what counts in its journals, by an independent reader, which definitions there are, and
// what leaves its processes. Owns that, and the outputs; says so when something may not be.
//
// 1. Nothing that leaves a process is of a commit that does not count (6, 7 of model.ts): it is compared with what an independent reader
//    of the journals has seen count, at the moment it leaves.
// 2. No block leaves a host once a newer claim has been visible for as long as ownership may go unseen, or once its process has closed
//    the partition's store.
// 3. A block that comes to a topic twice is the same to the byte.
// 4. A partition stops only where another has claimed it, or where a store of its process fails.
import { must } from '../../../src/core/assert.ts'
import { restamped } from '../../../src/core/event.ts'
import type { DefinitionChange } from '../../../src/engine/definitions.ts'
import { decodeExchange } from '../../../src/engine/exchange-record.ts'
import type { FromHost } from '../../../src/engine/host.ts'
import { isFenced } from '../../../src/engine/host-moves.ts'
import { decodeInput, Pack } from '../../../src/engine/inputs.ts'
import { decodeBlock, type OutboxStream } from '../../../src/engine/outbox.ts'
import type { Answer } from '../../../src/engine/questions.ts'
import type { Task } from '../../../src/engine/task.ts'
import type { StampedRecord } from '../../log/unreliable-log.ts'
import type { SimClock } from '../clock.ts'
import type { Model } from '../model.ts'
import { Judge } from '../owners/judge.ts'
import type { Scheduler } from '../scheduler.ts'
import type { TopicName } from './plan.ts'
import { type DeploymentProcess, TIMING } from './process.ts'
import type { Topics } from './topics.ts'

/** How often what this is about has happened. */
export const SEEN = [
  'process started',
  'process closed',
  'process killed',
  'process thrown out that lives',
  'partition told to two',
  'partition begun to run',
  'partition taken over from another process',
  'partition fenced',
  'journal record that does not count',
  'message to another process',
  'message said again to another process',
  'request to say again',
  'confirmation to another process',
  'record lost by a new leader',
  'definition saved',
  'definition deleted',
  'definition in doubt',
  'definition lost to another',
  'store failed',
  'store discarded',
  'journal that has lost its head',
  'events that have lost their head',
  'exchange that has lost its head',
  'block relayed by two processes',
  'answer shown',
  'answer refused',
] as const
export type Seen = (typeof SEEN)[number]

export interface WitnessPorts {
  readonly scheduler: Scheduler
  readonly clock: SimClock
  readonly model: Model
  readonly topics: Topics
  readonly partitions: number
  readonly isManual: boolean
  saw(what: Seen): void
  answered(id: number, answer: Answer | undefined): void
}

export class Witness {
  readonly changes: DefinitionChange[] = []
  readonly judges: readonly Judge[]
  readonly #ports: WitnessPorts
  readonly #read = new Map<string, number>()
  readonly #outputs = new Map<string, Buffer[]>()
  /** By origin and target, the last message that went over the exchange. */
  readonly #crossed = new Map<string, number>()
  readonly #fenced = new WeakSet<Task>()

  constructor(ports: WitnessPorts) {
    this.#ports = ports
    this.judges = Array.from({ length: ports.partitions }, () => new Judge())
  }

  #judge(partition: number): Judge {
    return must(this.judges[partition], 'each partition has a judge')
  }

  readTopics(): void {
    for (let p = 0; p < this.#ports.partitions; p++) {
      for (const fresh of this.#fresh('events', p)) this.#ports.model.durable('events', this.#asRead(p, fresh))
      const judge = this.#judge(p)
      for (const fresh of this.#fresh('journal', p)) {
        const before = judge.ignored
        const payload = judge.take(fresh, this.#ports.clock.monotonicMs)
        if (judge.ignored > before) this.#ports.saw('journal record that does not count')
        if (payload) this.#ports.model.durable(`journal ${p}`, { partition: p, position: fresh.position, payload })
      }
    }
    for (const { payload } of this.#fresh('definitions', 0)) {
      const { version, by: _, ...change } = JSON.parse(payload.toString('utf8')) as DefinitionChange & { version: number; by: string }
      if (version === this.changes.length + 1) this.changes.push(change)
      else this.#ports.saw('definition lost to another')
    }
  }

  /** Records that have become visible since the last look. */
  *#fresh(topic: TopicName, partition: number): Iterable<StampedRecord> {
    const key = `${topic} ${partition}`
    const { records } = this.#ports.topics.log(topic, partition)
    for (let at = this.#read.get(key) ?? 0; at < records.length; at++) yield must(records[at], 'index in range')
    this.#read.set(key, records.length)
  }

  /** Under a wall clock events are accepted when their topic stamps them. */
  #asRead(partition: number, { position, payload, stamp }: StampedRecord): { partition: number; position: number; payload: Buffer } {
    const input = decodeInput(payload)
    if (this.#ports.isManual || input.kind !== 'events') return { partition, position, payload }
    const pack = new Pack()
    for (const event of input.events) pack.add(restamped(Buffer.from(event), stamp))
    return { partition, position, payload: pack.take() }
  }

  /** What it takes for durable counts for its claim (1), and nothing has stopped without a reason (4). */
  check(process: DeploymentProcess): void {
    const [trouble] = process.troubles
    if (trouble !== undefined && !process.isFaulty) this.#ports.model.fail(14, `${process.name}: ${trouble}`)
    for (const task of process.began.values()) this.#countFenced(task)
    for (const { partition, phase, durableN, state, stopReason } of process.tasks) {
      if (phase === 'stopped' && !process.isFaulty)
        this.#ports.model.fail(14, `${process.name}, partition ${partition}: ${stopReason?.stack}`)
      if (phase !== 'running' || durableN === 0) continue
      const claim = this.#judge(partition).counted[durableN]
      if (claim === undefined || claim > state.claim)
        this.#ports.model.fail(
          6,
          `${process.name} takes commit ${durableN} of partition ${partition} for its own, which counts for claim ${claim}`,
        )
    }
  }

  #countFenced(task: Task): void {
    if (!isFenced(task.stopReason) || this.#fenced.has(task)) return
    this.#fenced.add(task)
    this.#ports.saw('partition fenced')
  }

  // ---- what leaves a process

  said(process: DeploymentProcess, message: FromHost): void {
    if (message.t === 'relay') this.#relayed(process, message)
    else if (message.t === 'answer') this.#answered(process, message)
    else if (message.t === 'stopped') process.troubles.push(`partition ${message.partition} has stopped: ${message.reason}`)
    else if (message.t === 'failed') process.troubles.push(`it failed: ${message.error.message}`)
  }

  /** (2) */
  #mayLeave(process: DeploymentProcess, partition: number, what: string): void {
    if (!process.isOpenHere(partition))
      this.#ports.model.fail(6, `${what} of partition ${partition} leaves ${process.name}, which has closed it`)
    const judge = this.#judge(partition)
    // One that is about to begin sends again; one that is being closed is not the host's any more.
    const task = process.taskOf(partition) ?? process.began.get(partition)
    const claim = task?.state.claim ?? judge.claim
    const staleMs = this.#ports.clock.monotonicMs - judge.claimedAtMs
    if (claim < judge.claim && staleMs >= TIMING.freshMs)
      this.#ports.model.fail(
        6,
        `${what} of partition ${partition} leaves ${process.name}, of claim ${claim}, ${staleMs} ms after claim ${judge.claim}`,
      )
  }

  #answered(process: DeploymentProcess, { id, answer }: FromHost & { t: 'answer' }): void {
    // Definitions are confirmed too.
    if (id === 0) return
    this.#ports.saw(answer ? 'answer shown' : 'answer refused')
    this.#ports.answered(id, answer)
    if (answer?.kind !== 'found' || !answer.root) return
    const { position } = answer.root.facts
    this.#mayLeave(process, Number(position.split(':')[0]), 'an answer')
    this.#ports.model.shown(position)
  }

  /** (1) */
  exchanged(partition: number, payload: Buffer): void {
    for (const entry of decodeExchange(payload)) {
      if (entry.t === 'again') this.#ports.saw('request to say again')
      else if (entry.t === 'confirm') {
        this.#ports.saw('confirmation to another process')
        this.#ports.model.said({ t: 'confirm', origin: partition, target: entry.target, seq: entry.seq })
      } else {
        const { origin, seq, bytes } = entry
        this.#ports.model.said({ t: 'exchange', origin, target: partition, seq, bytes })
        const way = `${origin}>${partition}`
        this.#ports.saw(seq <= (this.#crossed.get(way) ?? 0) ? 'message said again to another process' : 'message to another process')
        this.#crossed.set(way, Math.max(seq, this.#crossed.get(way) ?? 0))
      }
    }
  }

  #relayed(process: DeploymentProcess, message: FromHost & { t: 'relay' }): void {
    const { partition, stream, lastSeq } = message
    this.#mayLeave(process, partition, 'a block')
    const durable = must(this.#ports.model.partitions[partition], 'the partition exists').durable.seqs[stream]
    if (lastSeq > durable)
      this.#ports.model.fail(7, `${process.name} relays seq ${lastSeq} of ${stream}, partition ${partition}: commits reach ${durable}`)
    const payload = Buffer.from(message.payload)
    const arrive = (): void => {
      this.#toTopic({ stream, partition, lastSeq }, payload)
      if (!process.isDead) process.post(partition, { t: 'relayed', partition, stream, seq: lastSeq }, 'outputs')
    }
    this.#ports.scheduler.add(`relay ${stream}`, this, arrive, `${process.name} relays ${partition}`)
  }

  /** (3) */
  #toTopic({ stream, partition, lastSeq }: { stream: OutboxStream; partition: number; lastSeq: number }, payload: Buffer): void {
    const name = `${stream} ${partition}`
    const blocks = this.#outputs.get(name) ?? []
    this.#outputs.set(name, blocks)
    const known = blocks.find((block) => endOf(block) >= lastSeq)
    if (!known) {
      this.#ports.model.appended(stream, { partition, position: blocks.push(payload) - 1, payload })
      return
    }
    this.#ports.saw('block relayed by two processes')
    if (!known.equals(payload)) this.#ports.model.fail(15, `two blocks of ${name} end at seq ${lastSeq}`)
  }
}

function endOf(block: Buffer): number {
  const { firstSeq, count } = decodeBlock(block)
  return firstSeq + count - 1
}
