// The load of the benchmark on Kafka, a process of its own: appends messages to a user's topic on a fixed schedule, one record each,
// come what may, and reads the topic of transitions. A latency runs from the scheduled instant of the append.
//
// It is told what to do by one message, and answers with one.
import { closeSync, openSync, readSync } from 'node:fs'
import { must } from '../src/core/assert.ts'
import { answerParent } from './children.ts'
import { followTopic, TopicWriter } from './kafka-cluster.ts'
import { Latencies, onSchedule, type Percentiles, wallMs } from './latency.ts'
import { type Schedule, type TransitionFigures, TransitionLatencies } from './transition-latencies.ts'

export interface TopicLoad extends Schedule {
  readonly brokers: string
  readonly source: string
  readonly transitions: string
  /** Messages, a line each; of each tick the bytes. */
  readonly file: string
  readonly lengths: readonly number[]
  /** How long after the last tick to go on reading. */
  readonly listenMs: number
}

export interface TopicLoadResult extends TransitionFigures {
  readonly sent: number
  /** From the schedule until the broker has all records of a tick. */
  readonly appended: Percentiles
  readonly behind: Percentiles
  readonly cpuUs: number
}

const MESSAGE_ID = /"messageId":"([^"]+)"/

async function run(load: TopicLoad): Promise<TopicLoadResult> {
  const { lengths, warmTicks } = load
  const settings = { brokers: [load.brokers], prefix: 'bench' }
  const seen = new TransitionLatencies(load)
  const stop = await followTopic(settings, load.transitions, {
    take: ({ value }) => value && seen.take(value.toString()),
  })
  const writer = await TopicWriter.open(settings, load.source)
  const file = openSync(load.file, 'r')
  const [appended, behind] = [new Latencies(), new Latencies()]
  const underWay: Promise<void>[] = []
  let cpu = process.cpuUsage()
  let sent = 0
  await onSchedule(load.startMs, load.everyMs, lengths.length, (k, dueMs) => {
    if (k === warmTicks) cpu = process.cpuUsage()
    if (k >= warmTicks) behind.add(wallMs() - dueMs)
    const bytes = Buffer.allocUnsafe(must(lengths[k], 'a tick of the file'))
    readSync(file, bytes)
    const lines = bytes.toString().trimEnd().split('\n')
    sent += lines.length
    const tick = Promise.all(lines.map((line) => writer.append(MESSAGE_ID.exec(line)?.[1] ?? '', Buffer.from(line))))
    underWay.push(tick.then(() => (k >= warmTicks ? appended.add(wallMs() - dueMs) : undefined)))
  })
  const { user, system } = process.cpuUsage(cpu)
  await Promise.all(underWay)
  await new Promise((resolve) => setTimeout(resolve, load.listenMs))
  await stop()
  await writer.close()
  closeSync(file)
  return {
    sent,
    ...seen.figures(),
    appended: appended.percentiles(),
    behind: behind.percentiles(),
    cpuUs: user + system,
  }
}

if (import.meta.main) answerParent(run)
