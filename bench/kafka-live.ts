// Live load on a deployment that has a past: messages at a fixed rate into the users' topic, and what becomes of them.
import { closeSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { inProcess } from './children.ts'
import { bytesPerEvent } from './kafka-cluster.ts'
import type { TopicLoad, TopicLoadResult } from './kafka-load.ts'
import type { Bench } from './kafka-preload.ts'
import { named, wallMs } from './latency.ts'
import { type Figures, machine, rounded } from './report.ts'
import { DEFAULT_EVENTS, eventLines } from './workload/events.ts'
import { messageOf, type WorkloadEvent } from './workload/map.ts'

export interface LiveSetup {
  readonly users: number
  /** Events per second. */
  readonly rate: number
  readonly seconds: number
  /** Of these, the first that don't count. */
  readonly warmSeconds: number
}

/** Of one tick of the schedule, at most: few, since all of a tick are sent at its end. */
const TICK_MESSAGES = 40
const LISTEN_MS = 3000
const START_IN_MS = 2500
/** What making a message takes at worst, so that it can carry the instant at which it will be sent. */
const BUILD_US_PER_EVENT = 40
const SEED = 2

interface Messages {
  readonly file: string
  readonly lengths: number[]
  readonly tag: string
}

function writeMessages(dir: string, o: LiveSetup, startMs: number): Messages {
  const file = join(dir, 'live.ndjson')
  const out = openSync(file, 'w')
  const spanMs = o.seconds * 1000
  const lengths: number[] = []
  let tick: string[] = []
  let tag = ''
  for (const line of eventLines({
    ...DEFAULT_EVENTS,
    n: o.rate * o.seconds,
    users: o.users,
    seed: SEED,
    spanMs,
    endMs: startMs + spanMs,
  })) {
    const event = JSON.parse(line) as WorkloadEvent
    tag ||= event.messageId.slice(-12, -8)
    if (tick.push(JSON.stringify(messageOf(event))) < TICK_MESSAGES) continue
    lengths.push(writeSync(out, `${tick.join('\n')}\n`))
    tick = []
  }
  closeSync(out)
  return { file, lengths, tag }
}

export async function liveOnKafka({ broker, deployment }: Bench, o: LiveSetup): Promise<Figures[]> {
  const { prefix, dir } = deployment.options
  const server = deployment.server('first')
  const startMs = Math.ceil(wallMs() + START_IN_MS + (o.rate * o.seconds * BUILD_US_PER_EVENT) / 1000)
  const { file, lengths, tag } = writeMessages(dir, o, startMs)
  if (wallMs() > startMs - START_IN_MS / 2) throw new Error('the messages were not ready in time')
  const everyMs = (TICK_MESSAGES / o.rate) * 1000
  const warmTicks = Math.ceil((o.warmSeconds * 1000) / everyMs)
  const loading = inProcess<TopicLoad, TopicLoadResult>('kafka-load.ts', {
    brokers: broker.brokers,
    source: deployment.source,
    transitions: `${prefix}.transitions`,
    ...{ file, lengths, startMs, everyMs, warmTicks, tag },
    batch: TICK_MESSAGES,
    listenMs: LISTEN_MS,
  })
  const moment = async () => ({
    ms: wallMs(),
    ours: server.usage(),
    broker: broker.usage(),
    bytes: broker.topicBytes(prefix),
    figures: await server.figures(),
  })
  const until = (ms: number) => new Promise((resolve) => setTimeout(resolve, Math.max(0, ms - wallMs())))
  await until(startMs + warmTicks * everyMs)
  const from = await moment()
  await until(startMs + lengths.length * everyMs)
  const to = await moment()
  const load = await loading
  rmSync(file)
  const events = to.figures('tributary_events_applied_total') - from.figures('tributary_events_applied_total')
  const [cpu, brokerCpu] = [(to.ours.cpuUs - from.ours.cpuUs) / events, (to.broker.cpuUs - from.broker.cpuUs) / events]
  const whole: Figures = {
    name: 'kafka live',
    rate: o.rate,
    events,
    eventsPerSecond: Math.round((events / (to.ms - from.ms)) * 1000),
    cpuUsPerEvent: rounded(cpu),
    brokerCpuUsPerEvent: rounded(brokerCpu),
    allCpuUsPerEvent: rounded(cpu + brokerCpu),
    generatorCpuUsPerEvent: rounded(load.cpuUs / ((lengths.length - warmTicks) * TICK_MESSAGES)),
    topicBytesPerEvent: bytesPerEvent(from.bytes, to.bytes, events),
    lagAtEnd: to.figures('tributary_lag_events'),
    rssMB: to.ours.rssMB,
    load1: machine().load1,
  }
  const latencies: Figures = {
    name: 'kafka live latency',
    rate: o.rate,
    ...named('transition', load.transitions),
    ...named('appended', load.appended),
    ...named('timer', load.timers),
    generatorBehindP99Ms: load.behind.p99,
  }
  return [whole, latencies]
}
