// The topics of a simulated deployment: every partition a log as bad as the plan has it, every step of which the scheduler runs. Owns
// the records, and what becomes of appends and reads until calm comes.
//
// 1. Nothing of the exchange is sure: it may claim to have what it has not.
import { must } from '../../../src/core/assert.ts'
import type { Clock } from '../../../src/core/clock.ts'
import type { ExchangeTopic } from '../../../src/engine/exchange.ts'
import type { ReleasedTopic } from '../../../src/engine/release.ts'
import type { EventsTopic } from '../../../src/log/kafka-events.ts'
import { below, pick } from '../../identity/random.ts'
import { type Fate, type StampedLog, UnreliableLog } from '../../log/unreliable-log.ts'
import type { Scheduler } from '../scheduler.ts'
import type { DeploymentLayout, TopicName } from './plan.ts'

/** Of the exchange's acknowledgements, those for nothing (1). */
const LIES = 0.1
/** Of deletions, those that don't go as far as they were asked to. */
const PARTLY = 0.2

export interface Reader {
  /** The process: its answers are its own. */
  readonly owner: object
  readonly clock: Clock
}

export class Topics {
  readonly all: Readonly<Record<TopicName, readonly UnreliableLog[]>>
  readonly #scheduler: Scheduler
  readonly #layout: DeploymentLayout
  readonly #skewsMs: number[]
  #isCalm = false

  constructor(layout: DeploymentLayout, scheduler: Scheduler, now: () => number) {
    this.#layout = layout
    this.#scheduler = scheduler
    this.#skewsMs = new Array(layout.partitions).fill(0)
    const topic = (name: TopicName, bad: number, partitions = layout.partitions): UnreliableLog[] =>
      Array.from({ length: partitions }, (_, p) => {
        const schedule = (step: string, run: () => void): void => scheduler.add(`${step} ${name} ${p}`, this, run)
        // The brokers' clocks are not one.
        return new UnreliableLog({ schedule, fate: () => this.#fate(bad), now: () => now() + (this.#skewsMs[p] ?? 0) })
      })
    this.all = {
      events: topic('events', layout.badOthers),
      journal: topic('journal', layout.badJournal),
      exchange: topic('exchange', layout.badExchange),
      definitions: topic('definitions', layout.badOthers, 1),
    }
  }

  /** From now on, nothing goes wrong. */
  calm(): void {
    this.#isCalm = true
  }

  #fate(bad: number): Fate {
    const { random } = this.#scheduler
    if (this.#isCalm || random() >= bad) return { arrivals: 1, isAnswered: true }
    return { arrivals: pick(random, [0, 1, 2]), isAnswered: random() < 0.5 }
  }

  log(topic: TopicName, partition: number): UnreliableLog {
    return must(this.all[topic][partition], `partition ${partition} of ${topic}`)
  }

  /** Of a partition that has something to lose, if there is one. Returns how many records are lost. */
  changeLeader(topic: TopicName, skewMs: number): number {
    const { random } = this.#scheduler
    const partitions = this.all[topic].map((_, p) => p)
    const behind = partitions.filter((p) => this.log(topic, p).unreplicated > 0)
    const partition = pick(random, behind.length > 0 ? behind : partitions)
    const log = this.log(topic, partition)
    const before = log.unreplicated
    const kept = below(random, before + 1)
    log.changeLeader(kept)
    if (topic === 'events') this.#skewsMs[partition] = skewMs
    return before - kept
  }

  /** Deletes, on behalf of a process, what lies before these positions, or less; or can't. */
  async release(topic: ReleasedTopic, positions: ReadonlyMap<number, number>, owner: object): Promise<void> {
    const { random } = this.#scheduler
    await this.#scheduler.wait(`delete ${topic}`, owner)
    if (!this.#isCalm && random() < this.#layout.badOthers) throw new Error('nothing was deleted')
    for (const [partition, position] of positions)
      this.log(topic, partition).release(random() < PARTLY ? below(random, position + 1) : position)
  }

  connect(topic: TopicName, partition: number, { owner, clock }: Reader): StampedLog {
    const { random } = this.#scheduler
    return this.log(topic, partition).connect({
      schedule: (step, run) => this.#scheduler.add(`${step} ${topic} ${partition}`, owner, run),
      clock,
      failsToRead: () => !this.#isCalm && random() < this.#layout.badReads,
    })
  }

  eventsOf(reader: Reader): EventsTopic {
    const { events } = this.all
    return {
      partitions: events.length,
      ends: async () => {
        await this.#scheduler.wait('read events ends', reader.owner)
        return events.map(({ records }) => records.length)
      },
      cursor: (partition) => {
        const log = this.connect('events', partition, reader)
        const read: ReturnType<EventsTopic['cursor']>['read'] = async (from, limits) => {
          const { records, end } = await log.read(from, limits)
          return { records: records.map((record) => ({ ...record, payload: Buffer.from(record.payload), partition })), end, known: end }
        }
        return { read, close: () => void log.close() }
      },
    }
  }

  /** `said` is shown each record before it goes. */
  exchangeOf(reader: Reader, said: (partition: number, payload: Buffer) => void): ExchangeTopic {
    const { random } = this.#scheduler
    const { exchange } = this.all
    const writers = exchange.map((_, p) => this.connect('exchange', p, reader))
    return {
      partitions: exchange.length,
      append: async (partition, payload) => {
        said(partition, Buffer.from(payload))
        if (!this.#isCalm && random() < LIES * this.#layout.badExchange) return
        await must(writers[partition], 'a writer per partition').append(payload)
      },
      end: async (partition) => {
        await this.#scheduler.wait(`read exchange end ${partition}`, reader.owner)
        return this.log('exchange', partition).records.length
      },
      cursor: (partition) => {
        const log = this.connect('exchange', partition, reader)
        return { read: (from, limits) => log.read(from, limits), close: () => void log.close() }
      },
    }
  }
}
