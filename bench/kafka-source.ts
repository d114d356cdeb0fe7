// What a source costs by itself: a process that reads a user's topic from its beginning, maps its records and packs them for their homes,
// and appends the packs to the topic of events, or drops them. No task runs.
//
// It is told what to do by one message, and answers with one.
import { systemClock } from '../src/core/clock.ts'
import type { EventRecord } from '../src/core/event.ts'
import { Namespaces } from '../src/core/namespace.ts'
import type { Read } from '../src/core/origin.ts'
import { Packs } from '../src/engine/packs.ts'
import { decodeJson } from '../src/intake/sources/formats.ts'
import { Source, type SourceEngine } from '../src/intake/sources/source.ts'
import { KafkaLog } from '../src/log/kafka-log.ts'
import { KafkaSource } from '../src/log/kafka-source.ts'
import { ensureTopics } from '../src/log/kafka-topics.ts'
import { answerParent, inProcess } from './children.ts'
import type { Bench } from './kafka-preload.ts'
import { calibrationMs, machine, type Result, rounded } from './report.ts'

export interface SourceTask {
  readonly brokers: string
  readonly prefix: string
  readonly topic: string
  readonly events: number
  readonly partitions: number
  readonly appends: boolean
}

export interface SourceCost {
  readonly ms: number
  readonly cpuUs: number
  readonly rssMB: number
}

const RECORD_BYTES = 240_000
const RETAIN_MS = 86_400_000
/** What starting and compiling costs is over by then. */
const STEADY_FROM = 0.3

/** One figure for reading alone, one with the packs appended. */
export async function* sourceCosts({ broker, deployment, say }: Bench, events: number): AsyncGenerator<Result> {
  const { brokers, partitions } = deployment.options
  for (const appends of [false, true]) {
    say(`the source alone, ${appends ? 'and its appends' : 'nothing appended'}`)
    const calibration = calibrationMs()
    const prefix = `source-${appends ? 'appends' : 'drops'}`
    const before = broker.usage().cpuUs
    const task: SourceTask = { brokers, prefix, topic: deployment.source, events, partitions, appends }
    const { ms, cpuUs, rssMB } = await inProcess<SourceTask, SourceCost>('kafka-source.ts', task)
    const counted = Math.round(events * (1 - STEADY_FROM))
    yield {
      name: `kafka source, ${appends ? 'packs appended' : 'packs dropped'}`,
      events: counted,
      eventsPerSecond: Math.round((counted / ms) * 1000),
      cpuUsPerEvent: rounded(cpuUs / counted),
      brokerCpuUsPerEvent: rounded((broker.usage().cpuUs - before) / events),
      rssMB,
      calibrationMs: calibration,
      load1: machine().load1,
    }
  }
}

interface Reading {
  readonly ms: number
  readonly cpuUs: number
}

function now(): Reading {
  const { user, system } = process.cpuUsage()
  return { ms: performance.now(), cpuUs: user + system }
}

/** Takes what a source gives, until it has so many events. */
class Sink implements SourceEngine {
  readonly done = Promise.withResolvers<Reading>()
  steady: Reading | undefined
  #events = 0
  readonly #task: SourceTask
  readonly #packs: Packs
  readonly #log: KafkaLog | undefined

  constructor(task: SourceTask, log: KafkaLog | undefined) {
    this.#task = task
    this.#packs = new Packs(task.partitions, RECORD_BYTES)
    this.#log = log
  }

  acceptanceTime(): number {
    return Date.now()
  }

  pressure(): undefined {
    return undefined
  }

  async ingest(events: readonly EventRecord[], _: unknown, read?: Read): Promise<void> {
    const records = this.#packs.records(events, Date.now(), read)
    const log = this.#log
    if (log) await Promise.all(records.map(({ partition, payload }) => log.append(partition, payload)))
    this.#events += events.length
    if (this.#events >= this.#task.events * STEADY_FROM) this.steady ??= now()
    if (this.#events >= this.#task.events) this.done.resolve(now())
  }
}

async function run(task: SourceTask): Promise<SourceCost> {
  const { brokers, prefix, topic, partitions, appends } = task
  const settings = { brokers: [brokers], prefix }
  const clock = systemClock
  if (appends) await ensureTopics({ settings, clock, kinds: ['events'], partitions, outputsRetainMs: RETAIN_MS })
  const log = appends ? await KafkaLog.open({ settings, clock, kind: 'events', partitions }) : undefined
  const sink = new Sink(task, log)
  const source = new Source({
    name: 'bench',
    topics: [topic],
    open: () => new KafkaSource({ settings, clock, group: `${prefix}.bench`, topics: [topic], from: 'earliest' }),
    take: {
      source: 'bench',
      decode: decodeJson,
      mapping: undefined,
      priority: 100,
      futureLimit: 86_400_000,
      namespaces: new Namespaces({}),
    },
    clock,
    log: { info: () => {}, warn: (facts, message) => console.error(message, facts) },
  })
  source.start(sink)
  const end = await sink.done.promise
  const begin = sink.steady ?? end
  await source.close()
  await log?.close()
  return { ms: end.ms - begin.ms, cpuUs: end.cpuUs - begin.cpuUs, rssMB: Math.round(process.memoryUsage().rss / 1e6) }
}

if (import.meta.main) answerParent(run)
