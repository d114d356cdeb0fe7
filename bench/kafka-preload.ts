// Events that lie in a user's topic beforehand: from the start of a process until all of them are worked off and relayed.
import type { KafkaSettings } from '../src/log/kafka-settings.ts'
import { type BenchBroker, bytesPerEvent, TopicWriter } from './kafka-cluster.ts'
import type { KafkaDeployment } from './kafka-deployment.ts'
import { wallMs } from './latency.ts'
import { calibrationMs, machine, type Result, rounded } from './report.ts'
import type { Usage } from './server.ts'
import { DEFAULT_EVENTS, eventLines } from './workload/events.ts'
import { messageOf, type WorkloadEvent } from './workload/map.ts'

export interface PreloadSetup {
  readonly events: number
  readonly users: number
  readonly segments: number
}

/** What a phase of the benchmark has to do with. */
export interface Bench {
  readonly broker: BenchBroker
  readonly deployment: KafkaDeployment
  say(line: string): unknown
}

const LOOK_EVERY_MS = 200
/** From the first look with so much done: what starting and compiling costs is over. */
const STEADY_FROM = 0.2
/** Appends under way at most. */
const FILL_CHUNK = 10_000

async function fill(settings: KafkaSettings, topic: string, lines: Iterable<string>): Promise<number> {
  const writer = await TopicWriter.open(settings, topic)
  let bytes = 0
  let chunk: Promise<void>[] = []
  for (const line of lines) {
    const event = JSON.parse(line) as WorkloadEvent
    const value = Buffer.from(JSON.stringify(messageOf(event)))
    bytes += value.length
    if (chunk.push(writer.append(event.messageId, value)) < FILL_CHUNK) continue
    await Promise.all(chunk)
    chunk = []
  }
  await Promise.all(chunk)
  await writer.close()
  return bytes
}

interface Look {
  readonly ms: number
  readonly applied: number
  readonly ours: Usage
  readonly broker: Usage
}

/** Puts so many events into the users' topic; how many bytes their messages have. */
export async function fillSource({ broker, deployment, say }: Bench, o: PreloadSetup): Promise<number> {
  const history = { ...DEFAULT_EVENTS, n: o.events, users: o.users, endMs: Date.now() }
  const bytes = await fill(broker.settings(deployment.options.prefix), deployment.source, eventLines(history))
  say(`${o.events.toLocaleString('en')} events lie in ${deployment.source}`)
  return bytes
}

export async function preload(bench: Bench, o: PreloadSetup): Promise<Result> {
  const { broker, deployment } = bench
  const { prefix, isEmbedded = false } = deployment.options
  const messageBytes = await fillSource(bench, o)
  const calibration = calibrationMs()
  const bytesBefore = broker.topicBytes(prefix)
  const brokerBefore = broker.usage()
  const begun = wallMs()
  const server = await deployment.begin({ name: 'first', hasSource: true })
  const look = async (): Promise<Look> => {
    const applied = (await server.figures())('tributary_events_applied_total')
    return { ms: wallMs(), applied, ours: server.usage(), broker: broker.usage() }
  }
  let steady: Look | undefined
  let last = await look()
  for (; last.applied < o.events; last = await look()) {
    if (steady === undefined && last.applied >= o.events * STEADY_FROM) steady = last
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS))
  }
  await server.settle()
  const end = await look()
  const figures = await server.figures()
  const cpu = end.ours.cpuUs / o.events
  const brokerCpu = (end.broker.cpuUs - brokerBefore.cpuUs) / o.events
  return {
    name: isEmbedded ? 'kafka preload, engine on files' : 'kafka preload',
    events: o.events,
    eventsPerSecond: Math.round((o.events / (end.ms - begun)) * 1000),
    cpuUsPerEvent: rounded(cpu),
    brokerCpuUsPerEvent: rounded(brokerCpu),
    allCpuUsPerEvent: rounded(cpu + brokerCpu),
    ...(steady ? steadyPart(steady, last) : {}),
    messageBytesPerEvent: Math.round(messageBytes / o.events),
    topicBytesPerEvent: bytesPerEvent(bytesBefore, broker.topicBytes(prefix), o.events),
    transitionsPerEvent: rounded(figures('tributary_transitions_total') / o.events),
    commits: figures('tributary_commits_total'),
    profiles: figures('tributary_profiles'),
    rssMB: end.ours.rssMB,
    brokerRssMB: end.broker.rssMB,
    diskBytesPerEvent: Math.round(end.ours.writtenBytes / o.events),
    brokerDiskBytesPerEvent: Math.round((end.broker.writtenBytes - brokerBefore.writtenBytes) / o.events),
    segments: o.segments,
    calibrationMs: calibration,
    load1: machine().load1,
  }
}

function steadyPart(from: Look, to: Look): { readonly [name: string]: number } {
  const events = Math.max(1, to.applied - from.applied)
  const perEvent = (usage: (look: Look) => Usage): number => (usage(to).cpuUs - usage(from).cpuUs) / events
  const [ours, broker] = [perEvent((l) => l.ours), perEvent((l) => l.broker)]
  return {
    steadyEventsPerSecond: Math.round((events / (to.ms - from.ms)) * 1000),
    steadyCpuUsPerEvent: rounded(ours),
    steadyBrokerCpuUsPerEvent: rounded(broker),
    steadyAllCpuUsPerEvent: rounded(ours + broker),
  }
}
