// The topics of one deployment: what they are called, how they must be set up, and the check of it at start. Owns their creation;
// a topic that is there is never changed, only judged.
//
// 1. Topics of the engine keep everything: what may go is deleted by owners, below committed positions. One with another number of
//    partitions, or from which the cluster would drop records by itself, is refused.
import kafkajs, { type Admin } from 'kafkajs'
import { type Clock, sleep } from '../core/clock.ts'
import { TributaryError } from '../core/errors.ts'
import { withAdmin } from './kafka-client.ts'
import { protocolType } from './kafka-errors.ts'
import type { KafkaSettings } from './kafka-settings.ts'

export const TOPICS = ['events', 'exchange', 'journal', 'definitions', 'transitions', 'profiles', 'merges', 'dead-letters'] as const
export type TopicKind = (typeof TOPICS)[number]

/** Largest batch of records that a topic must take: the brokers' own default. */
export const MAX_BATCH_BYTES = 1_048_588

/** News of a topic reach all brokers within so many tries. */
const KNOWN_TRIES = 50
const KNOWN_RETRY_MS = 100
const SPREADING = ['UNKNOWN_TOPIC_OR_PARTITION', 'LEADER_NOT_AVAILABLE']

interface TopicRule {
  /** A number: exactly so many. `any`: where users may choose, made with as many as the engine has. */
  readonly partitions: 'all' | 'any' | 1
  readonly settings: Readonly<Record<string, string>>
}

const KEPT = {
  'cleanup.policy': 'delete',
  'retention.ms': '-1',
  'retention.bytes': '-1',
  'max.message.bytes': String(MAX_BATCH_BYTES),
  'unclean.leader.election.enable': 'false',
}
const OUTPUT = { 'cleanup.policy': 'delete' }

const RULES: Readonly<Record<TopicKind, TopicRule>> = {
  events: { partitions: 'all', settings: { ...KEPT, 'message.timestamp.type': 'LogAppendTime' } },
  exchange: { partitions: 'all', settings: KEPT },
  journal: { partitions: 'all', settings: KEPT },
  definitions: { partitions: 1, settings: KEPT },
  transitions: { partitions: 'any', settings: OUTPUT },
  profiles: { partitions: 'any', settings: { 'cleanup.policy': 'compact' } },
  merges: { partitions: 'any', settings: OUTPUT },
  'dead-letters': { partitions: 'any', settings: OUTPUT },
}

export interface TopicOptions {
  readonly settings: KafkaSettings
  readonly clock: Clock
  readonly kinds: readonly TopicKind[]
  readonly partitions: number
  /** How long the outputs are kept where they are made here, ms. */
  readonly outputsRetainMs: number
  /** Copies of each record; -1: the cluster's default. */
  readonly replicas?: number
}

export const topicName = (settings: KafkaSettings, kind: TopicKind): string => `${settings.prefix}.${kind}`

/** Makes the topics that are missing, checks those that are there; throws kafka_topic, kafka_forbidden and so on. */
export async function ensureTopics(options: TopicOptions): Promise<void> {
  await withAdmin(options.settings, options.clock, async (admin) => {
    const there = new Set(await admin.listTopics())
    const missing = options.kinds.filter((kind) => !there.has(topicName(options.settings, kind)))
    await create(admin, options, missing)
    for (const kind of options.kinds) await checkOnceKnown(admin, options, kind)
  })
}

async function create(admin: Admin, options: TopicOptions, kinds: readonly TopicKind[]): Promise<void> {
  if (kinds.length === 0) return
  const topics = kinds.map((kind) => ({
    topic: topicName(options.settings, kind),
    numPartitions: RULES[kind].partitions === 1 ? 1 : options.partitions,
    replicationFactor: options.replicas ?? -1,
    configEntries: Object.entries(settingsOf(kind, options)).map(([name, value]) => ({ name, value })),
  }))
  try {
    // Resolves to false where another process was faster: its topics are checked like any other.
    await admin.createTopics({ topics, waitForLeaders: true })
  } catch (error) {
    const type = protocolType(error)
    // Made, and not yet known where the client looks for their leaders.
    if (SPREADING.includes(type)) return
    if (type === '' || type.endsWith('_AUTHORIZATION_FAILED')) throw error
    const names = topics.map((t) => t.topic).join(', ')
    throw new TributaryError('kafka_topic', `the topics ${names} could not be made (${type})`, { cause: error })
  }
}

function settingsOf(kind: TopicKind, options: TopicOptions): Readonly<Record<string, string>> {
  const { settings } = RULES[kind]
  return settings === OUTPUT ? { ...settings, 'retention.ms': String(options.outputsRetainMs) } : settings
}

/** A topic that another process has just made may not have reached the broker that is asked. */
async function checkOnceKnown(admin: Admin, options: TopicOptions, kind: TopicKind): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return await check(admin, options, kind)
    } catch (error) {
      if (tries === KNOWN_TRIES || !SPREADING.includes(protocolType(error))) throw error
      await sleep(options.clock, KNOWN_RETRY_MS)
    }
  }
}

async function check(admin: Admin, options: TopicOptions, kind: TopicKind): Promise<void> {
  const topic = topicName(options.settings, kind)
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
  const rule = RULES[kind]
  const found = topics[0]?.partitions.length ?? 0
  const wanted = rule.partitions === 'all' ? options.partitions : rule.partitions
  if (wanted !== 'any' && found !== wanted) throw unlike(topic, `has ${found} partitions, not ${wanted}`)
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false,
    resources: [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: topic }],
  })
  const is = new Map((resources[0]?.configEntries ?? []).map((entry) => [entry.configName, entry.configValue]))
  for (const [name, value] of Object.entries(rule.settings)) {
    const actual = is.get(name) ?? 'absent'
    if (!suits(name, actual, value)) throw unlike(topic, `has ${name} = ${actual}, not ${value}`)
  }
}

/** Larger batches may be allowed; everything else is as wanted. */
const suits = (name: string, actual: string, wanted: string): boolean =>
  name === 'max.message.bytes' ? Number(actual) >= Number(wanted) : actual === wanted

const unlike = (topic: string, what: string): TributaryError => new TributaryError('kafka_topic', `the topic ${topic} ${what}`)
