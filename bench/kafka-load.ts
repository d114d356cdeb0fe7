// The load of the benchmark on Kafka, a process of its own: appends messages to a user's topic on a fixed schedule, one record each,
// come what may, and reads the topic of transitions. A latency runs from the scheduled instant of the append.
//
// It is told what to do by one message, and answers with one.
import { closeSync, openSync, readSync } from 'node:fs'
import { must } from '../src/core/assert.ts'
import { followTopic, TopicWriter } from './kafka-cluster.ts'
import { Latencies, onSchedule, type Percentiles, wallMs } from './latency.ts'

export interface TopicLoad {
  readonly brokers: string
  readonly source: string
  readonly transitions: string
  /** Messages, a line each; of each tick the bytes. */
  readonly file: string
  readonly lengths: readonly number[]
  readonly startMs: number
  readonly everyMs: number
  /** Messages of one tick. */
  readonly batch: number
  /** Ticks that don't count. */
  readonly warmTicks: number
  /** What the message ids of this load have before their number. */
  readonly tag: string
  /** How long after the last tick to go on reading. */
  readonly listenMs: number
}

export interface TopicLoadResult {
  readonly sent: number
  /** From the schedule to a transition that the event set off, in the reader's hands. */
  readonly transitions: Percentiles
  /** From the instant at which time moved somebody to the news of it. */
  readonly timers: Percentiles
  /** From the schedule until the broker has all records of a tick. */
  readonly appended: Percentiles
  readonly behind: Percentiles
  readonly transitionsSeen: number
  readonly cpuUs: number
}

interface Seen {
  readonly cause: string
  readonly causeId?: string
  readonly at: string
}

class Reader {
  readonly transitions = new Latencies()
  readonly timers = new Latencies()
  seen = 0
  readonly #load: TopicLoad
  readonly #fromMs: number

  constructor(load: TopicLoad) {
    this.#load = load
    this.#fromMs = load.startMs + load.warmTicks * load.everyMs
  }

  take(value: Buffer | null): void {
    if (value === null) return
    const now = wallMs()
    const t = JSON.parse(value.toString()) as Seen
    this.seen++
    if (t.cause === 'timer') {
      const at = Date.parse(t.at)
      if (at >= this.#fromMs) this.timers.add(now - at)
      return
    }
    const { tag, batch, startMs, everyMs, warmTicks } = this.#load
    if (t.causeId?.slice(-12, -8) !== tag) return
    const tick = Math.floor(Number.parseInt(t.causeId.slice(-8), 16) / batch)
    if (tick >= warmTicks) this.transitions.add(now - (startMs + (tick + 1) * everyMs))
  }
}

const MESSAGE_ID = /"messageId":"([^"]+)"/

async function run(load: TopicLoad): Promise<TopicLoadResult> {
  const { lengths, warmTicks } = load
  const settings = { brokers: [load.brokers], prefix: 'bench' }
  const reader = new Reader(load)
  const stop = await followTopic(settings, load.transitions, { take: (record) => reader.take(record.value) })
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
    transitions: reader.transitions.percentiles(),
    timers: reader.timers.percentiles(),
    appended: appended.percentiles(),
    behind: behind.percentiles(),
    transitionsSeen: reader.seen,
    cpuUs: user + system,
  }
}

if (import.meta.main) {
  // Whoever wanted the result may be gone.
  process.once('disconnect', () => process.exit())
  process.once('message', (load: TopicLoad) => {
    run(load).then((result) => process.send?.(result, undefined, undefined, () => process.exit()))
  })
}
