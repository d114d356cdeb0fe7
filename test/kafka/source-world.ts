// What tests of sources share: a topic of their own with records in it, and a source that reads it.
import { randomUUID } from 'node:crypto'
import kafkajs, { type Message } from 'kafkajs'
import { Namespaces } from '../../src/core/namespace.ts'
import { decodeJson } from '../../src/intake/sources/formats.ts'
import { Source, type SourceOptions } from '../../src/intake/sources/source.ts'
import { kafkaClient } from '../../src/log/kafka-client.ts'
import { KafkaSource, type KafkaSourceOptions } from '../../src/log/kafka-source.ts'
import { MemoryEngine } from '../intake/sources/world.ts'
import { clock, freshSettings, until } from './world.ts'

export interface UserTopic {
  readonly topic: string
  /** Appends to one partition, acknowledged. */
  append(partition: number, messages: readonly Message[], compression?: number): Promise<void>
  more(partitions: number): Promise<void>
  deleteBefore(partition: number, offset: number): Promise<void>
  /** Deletes the topic, and makes one of the same name. */
  remake(): Promise<void>
  /** Forgets the group, which has no members, with its positions. */
  forget(group: string): Promise<void>
  committed(group: string): Promise<Map<number, number>>
  members(group: string): Promise<number>
  close(): Promise<void>
}

/** `compression`: how the broker packs what it keeps. */
export async function userTopic(partitions: number, settings = freshSettings(), compression = 'producer'): Promise<UserTopic> {
  const topic = `orders-${randomUUID()}`
  const kafka = kafkaClient(settings, { name: 'test', clock })
  const admin = kafka.admin()
  const made = () => kafka.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner })
  let producer = made()
  await admin.connect()
  const configEntries = [{ name: 'compression.type', value: compression }]
  const make = async (): Promise<void> => {
    await admin.createTopics({ topics: [{ topic, numPartitions: partitions, configEntries }], waitForLeaders: false })
    // The client's own way to wait gives up where a busy broker doesn't know of the topic yet.
    const isLed = async (): Promise<boolean> => {
      const found = await admin.fetchTopicMetadata({ topics: [topic] }).catch(() => undefined)
      const known = found?.topics[0]?.partitions ?? []
      return known.length === partitions && known.every((p) => p.leader >= 0)
    }
    await until(isLed)
  }
  await make()
  await producer.connect()
  return {
    topic,
    append: async (partition, messages, compression = 0) => {
      await producer.send({ topic, compression, messages: messages.map((m) => ({ ...m, partition })) })
    },
    more: async (count) => {
      await admin.createPartitions({ topicPartitions: [{ topic, count }] })
      // The old one wouldn't hear of them for minutes.
      await producer.disconnect()
      producer = made()
      await producer.connect()
    },
    deleteBefore: async (partition, offset) => {
      // The client forgets to find out who leads the partitions; asking for offsets makes it.
      await admin.fetchTopicOffsets(topic)
      await admin.deleteTopicRecords({ topic, partitions: [{ partition, offset: String(offset) }] })
    },
    remake: async () => {
      await admin.deleteTopics({ topics: [topic] })
      await until(() =>
        make().then(
          () => true,
          () => false,
        ),
      )
      await producer.disconnect()
      producer = made()
      await producer.connect()
    },
    forget: async (group) => {
      await admin.deleteGroups([group])
    },
    committed: async (groupId) => {
      const [found] = await admin.fetchOffsets({ groupId, topics: [topic] })
      return new Map((found?.partitions ?? []).map((p) => [p.partition, Number(p.offset)]))
    },
    members: async (group) => {
      const { groups } = await admin.describeGroups([group])
      return groups[0]?.members.length ?? 0
    },
    close: async () => {
      await producer.disconnect()
      await admin.disconnect()
    },
  }
}

export interface Reading {
  readonly source: Source
  readonly engine: MemoryEngine
  readonly said: string[]
  ids(): string[]
}

/** Starts to read; whoever calls closes `source`. */
export function reading(
  { topic }: Pick<UserTopic, 'topic'>,
  group: string,
  options: Partial<KafkaSourceOptions> & { readonly engine?: MemoryEngine; readonly decode?: SourceOptions['take']['decode'] } = {},
): Reading {
  const { engine = new MemoryEngine(), decode = decodeJson, ...rest } = options
  const said: string[] = []
  const say = (facts: object, message: string): void => void said.push(`${message} ${JSON.stringify(facts)}`)
  const source = new Source({
    name: 'shop',
    topics: [topic],
    open: () => new KafkaSource({ settings: freshSettings(), clock, group, topics: [topic], from: 'earliest', sessionMs: 6000, ...rest }),
    take: { source: 'shop', decode, mapping: undefined, priority: 100, futureLimit: 86_400_000, namespaces: new Namespaces({}) },
    clock,
    log: { info: say, warn: say },
  })
  source.start(engine)
  return { source, engine, said, ids: () => engine.events.map((e) => e.messageId) }
}

export const message = (n: number): Message => ({
  key: `k${n}`,
  value: JSON.stringify({ type: 'track', event: 'Seen', userId: `u${n}`, messageId: `m${n}` }),
})

export const messages = (from: number, count: number): Message[] => Array.from({ length: count }, (_, i) => message(from + i))
