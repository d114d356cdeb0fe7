// What a benchmark on Kafka runs on: a broker of its own on loopback, topics, and what both cost.
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { KAFKA_CACHE, startBroker, stopBroker } from '../scripts/kafka-broker.ts'
import { must } from '../src/core/assert.ts'
import { systemClock } from '../src/core/clock.ts'
import { KafkaAppender } from '../src/log/kafka-appender.ts'
import { type Fetched, KafkaLink, withAdmin } from '../src/log/kafka-client.ts'
import { partitionOfKey } from '../src/log/kafka-partitioner.ts'
import type { KafkaSettings } from '../src/log/kafka-settings.ts'
import type { Leavings } from './leavings.ts'
import { type Usage, usageOf } from './server.ts'

const GIVE_UP_MS = 60_000
/** Of one partition, and of one answer, read at a time. */
const READ_BYTES = 1 << 20
const POLL_MS = 100
const TRIES = 20

/** Bytes by topic. */
export interface TopicBytes {
  readonly [topic: string]: number
}

export class BenchBroker {
  readonly brokers: string
  readonly #directory: string
  readonly #pid: number

  private constructor(directory: string, pid: number, brokers: string) {
    this.#directory = directory
    this.#pid = pid
    this.brokers = brokers
  }

  static async start(say: (line: string) => void, leavings: Leavings): Promise<BenchBroker> {
    const directory = mkdtempSync(join(tmpdir(), 'tributary-kafka-'))
    leavings.add(async () => {
      await stopBroker(directory)
      rmSync(directory, { recursive: true, force: true })
    })
    const { pid, brokers } = await startBroker({ directory, jars: join(KAFKA_CACHE, 'libs'), port: 0, isMeasured: true, say })
    return new BenchBroker(directory, pid, brokers)
  }

  usage(): Usage {
    return usageOf(this.#pid)
  }

  settings(prefix: string): KafkaSettings {
    return { brokers: [this.brokers], prefix }
  }

  /** What lies in the log files of topics that begin with a prefix, by what comes after it. */
  topicBytes(prefix: string): TopicBytes {
    const storage = join(this.#directory, 'storage')
    const bytes: { [topic: string]: number } = {}
    for (const folder of readdirSync(storage)) {
      const topic = /^(.*)-\d+$/.exec(folder)?.[1]
      if (topic?.startsWith(`${prefix}.`) !== true) continue
      const name = topic.slice(prefix.length + 1)
      const logs = readdirSync(join(storage, folder)).filter((file) => file.endsWith('.log'))
      bytes[name] = logs.reduce((sum, file) => sum + statSync(join(storage, folder, file)).size, bytes[name] ?? 0)
    }
    return bytes
  }

  /** A topic as users make them. */
  async makeTopic(topic: string, partitions: number): Promise<void> {
    await withAdmin(this.settings('bench'), systemClock, async (admin) => {
      await admin.createTopics({ topics: [{ topic, numPartitions: partitions, replicationFactor: 1 }], waitForLeaders: true })
    })
  }
}

/** Appends records to a topic, one for each message, keyed as the workload says. */
export class TopicWriter {
  readonly #link: KafkaLink
  readonly #appender: KafkaAppender
  readonly #partitions: number

  private constructor(link: KafkaLink, topic: string) {
    this.#link = link
    this.#partitions = link.partitionsOf(topic)
    this.#appender = new KafkaAppender({ link, topic, partitions: this.#partitions, clock: systemClock, giveUpMs: GIVE_UP_MS })
  }

  static async open(settings: KafkaSettings, topic: string): Promise<TopicWriter> {
    const link = await KafkaLink.open(settings, { name: 'bench.writer', clock: systemClock })
    await link.know(topic)
    return new TopicWriter(link, topic)
  }

  /** Resolves once the broker has it. */
  async append(key: string, value: Buffer): Promise<void> {
    await this.#appender.append(partitionOfKey(key, this.#partitions), { key, value })
  }

  async close(): Promise<void> {
    await this.#appender.close()
    await this.#link.close()
  }
}

export interface TopicReading {
  /** Records as they come: of one partition in order. */
  take(record: Fetched['records'][number]): void
}

/** Follows all partitions of a topic from their ends on, until it is closed. */
export async function followTopic(settings: KafkaSettings, topic: string, { take }: TopicReading): Promise<() => Promise<void>> {
  const link = await KafkaLink.open(settings, { name: 'bench.reader', clock: systemClock })
  await link.know(topic)
  const partitions = Array.from({ length: link.partitionsOf(topic) }, (_, p) => p)
  const next = await persistently(link, () => link.offsets(topic, partitions, 'end'))
  let isClosed = false
  const follow = async (leader: string, led: readonly number[]): Promise<void> => {
    while (!isClosed) {
      const wants = led.map((partition) => ({ partition, offset: must(next.get(partition), 'it was asked for'), maxBytes: READ_BYTES }))
      const fetched = await persistently(link, () => link.fetch(leader, topic, wants, { waitMs: POLL_MS, maxBytes: READ_BYTES }))
      for (const { partition, records } of fetched) {
        for (const record of records) take(record)
        const last = records.at(-1)
        if (last) next.set(partition, last.offset + 1)
      }
    }
  }
  const following = link.leaders(topic, partitions).map(([leader, led]) => follow(leader, led))
  return async () => {
    isClosed = true
    await Promise.all(following)
    await link.close()
  }
}

/** A topic that was just made has no leader for a moment. */
async function persistently<T>(link: KafkaLink, ask: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await ask()
    } catch (error) {
      if (tries === TRIES || !(await link.heal(error))) throw error
      await new Promise((resolve) => setTimeout(resolve, POLL_MS))
    }
  }
}

/** Differences per event, of what grew. */
export function bytesPerEvent(before: TopicBytes, after: TopicBytes, events: number): TopicBytes {
  const grown = Object.entries(after).map(([topic, bytes]) => [topic, Math.round((bytes - (before[topic] ?? 0)) / events)] as const)
  return Object.fromEntries(grown.filter(([, bytes]) => bytes > 0))
}
