// One set of connections to a Kafka cluster: the only place that knows how the client library is talked to, below its own producer
// and consumer. Owns the library's patch, the check that it is the library this was built on, and the healing of connections.
//
// 1. Requests on one link queue behind each other at a broker: whoever waits long (live polls) has a link of its own.
// 2. Nothing is tried again here but finding the cluster. Whoever asks decides what a failure means, calls `heal` and asks again.
// 3. No group is joined: the cluster object comes out of the factory for assigners, and the consumer is never run.
import { createRequire } from 'node:module'
import kafkajs, {
  type Admin,
  type Broker,
  type Cluster,
  type Consumer,
  type Kafka,
  type KafkaConfig,
  type Message,
  type SASLOptions,
} from 'kafkajs'
import { must } from '../core/assert.ts'
import type { Clock } from '../core/clock.ts'
import { TributaryError } from '../core/errors.ts'
import { kafkaError, mayPass } from './kafka-errors.ts'
import { checkKafkaSettings, type KafkaSettings } from './kafka-settings.ts'
import { decodeTopicsAnswer, encodeTopicsRequest, METADATA_KEY, METADATA_VERSION } from './kafka-topic-ids.ts'

/** The version whose insides this file was checked against. */
const VERSION = '2.2.4'
const CONNECT_MS = 3000
const REQUEST_MS = 10_000
/** Beyond the seeds once, before the cluster counts as unreachable. */
const EXTRA_TRIES = 2
const RETRY = { initialRetryTime: 50, maxRetryTime: 250 }
const THROTTLE_CHECK_MS = 10
/** A request of the client may not be older than this when it is sent; far above anything that queues. */
const MAX_WAIT_MS = 5000

export interface LinkOptions {
  /** Shows in the brokers' logs. */
  readonly name: string
  readonly clock: Clock
  /** A request without an answer has failed after so long. */
  readonly requestMs?: number
}

export interface FetchWant {
  readonly partition: number
  readonly offset: number
  readonly maxBytes: number
}

export interface FetchedRecord {
  readonly offset: number
  readonly value: Buffer | null
  readonly key: Buffer | null
  readonly headers: Readonly<Record<string, unknown>>
  /** Milliseconds: when it was appended, on a topic with LogAppendTime. */
  readonly stamp: number
}

export interface Fetched {
  readonly partition: number
  /** One past the last record that is replicated. */
  readonly end: number
  /** From the wanted offset on. */
  readonly records: readonly FetchedRecord[]
}

/** Records of one partition, to be appended together and in this order. */
export interface Produce {
  readonly partition: number
  readonly firstSequence: number
  readonly messages: readonly KafkaMessage[]
}

export interface KafkaMessage {
  readonly key: Buffer | string | null
  readonly value: Buffer | null
  readonly headers?: Readonly<Record<string, string>>
}

export type WhichOffset = 'first' | 'end' | { readonly since: number }

export interface ProducerId {
  readonly id: number
  readonly epoch: number
}

/** What is used of a broker beyond its published type. */
type InnerBroker = Broker & {
  readonly versions: Readonly<Record<number, { readonly maxVersion: number } | undefined>>
  readonly connectionPool: { send(request: object): Promise<unknown> }
  initProducerId(request: { transactionalId: null; transactionTimeout: number }): Promise<{ producerId: unknown; producerEpoch: unknown }>
}

interface InnerQueue {
  throttleCheckTimeoutId: unknown
  pending: readonly unknown[]
  throttledUntil: number
  checkPendingRequests(): void
  scheduleCheckPendingRequests(): void
}

interface InnerConnection {
  isConnected(): boolean
  connect(): Promise<unknown>
  processData(bytes: Buffer): void
  /** What has come of an answer that is not whole yet, and what it takes. */
  chunks: readonly Buffer[]
  bytesBuffered: number
  bytesNeeded: number
}

/** Of the length that each answer begins with. */
const LENGTH_BYTES = 4

/** What the wire gives for one partition. */
interface WirePartition {
  readonly partition: number
  readonly highWatermark: string
  readonly messages: readonly {
    readonly offset: string
    readonly timestamp: string
    readonly key: Buffer | null
    readonly value: Buffer | null
    readonly headers: Record<string, unknown>
    readonly isControlRecord?: boolean
  }[]
}

export class KafkaLink {
  readonly #cluster: Cluster
  readonly #consumer: Consumer
  readonly #name: string
  #isClosed = false

  private constructor(cluster: Cluster, consumer: Consumer, name: string) {
    this.#cluster = cluster
    this.#consumer = consumer
    this.#name = name
  }

  static async open(settings: KafkaSettings, options: LinkOptions): Promise<KafkaLink> {
    const { name } = options
    const kafka = kafkaClient(settings, options)
    let cluster: Cluster | undefined
    const capture = (given: { cluster: Cluster }) => {
      cluster = given.cluster
      return { name: 'none', version: 0, assign: async () => [], protocol: neverJoined }
    }
    const consumer = kafka.consumer({ groupId: `${settings.prefix}.never-joined`, partitionAssigners: [capture], retry: retryOf(settings) })
    checkCluster(cluster)
    const link = new KafkaLink(must(cluster, 'the factory was called (checkCluster)'), consumer, name)
    try {
      await consumer.connect()
    } catch (error) {
      await consumer.disconnect().catch(() => undefined)
      throw kafkaError(error, `connecting to ${settings.brokers.join(', ')}`)
    }
    return link
  }

  /** Loads the topic's metadata; needed before anything else is asked about it. */
  async know(topic: string): Promise<void> {
    await this.#cluster.addTargetTopic(topic)
  }

  partitionsOf(topic: string): number {
    return this.#cluster.findTopicPartitionMetadata(topic).length
  }

  /** Partitions by the id of the broker that leads them, as last heard. */
  leaders(topic: string, partitions: readonly number[]): [leader: string, partitions: number[]][] {
    return Object.entries(this.#cluster.findLeaderForPartitions(topic, [...partitions]))
  }

  /** Asks one leader; waits up to `waitMs` for the first byte. Only what is replicated is given. */
  async fetch(
    leader: string,
    topic: string,
    wants: readonly FetchWant[],
    limits: { waitMs: number; maxBytes: number },
  ): Promise<Fetched[]> {
    const broker = await this.#broker(leader)
    const answer: { responses: readonly { partitions: readonly WirePartition[] }[] } = await broker.fetch({
      maxWaitTime: Math.min(limits.waitMs, MAX_WAIT_MS),
      minBytes: 1,
      maxBytes: limits.maxBytes,
      isolationLevel: 0,
      topics: [{ topic, partitions: wants.map((w) => ({ partition: w.partition, fetchOffset: String(w.offset), maxBytes: w.maxBytes })) }],
    })
    const from = new Map(wants.map((w) => [w.partition, w.offset]))
    return answer.responses.flatMap((r) =>
      r.partitions.map((p) => fetchedOf(p, must(from.get(p.partition), 'only wanted partitions come'))),
    )
  }

  /** Appends to partitions that this broker leads, acknowledged by all replicas in sync; gives each one's first offset. */
  async produce(leader: string, topic: string, producer: ProducerId, parts: readonly Produce[]): Promise<Map<number, number>> {
    const broker = await this.#broker(leader)
    const partitions = parts.map((p) => ({ partition: p.partition, firstSequence: p.firstSequence, messages: p.messages as Message[] }))
    const answer: { topics: readonly { partitions: readonly { partition: number; baseOffset?: string }[] }[] } = await broker.produce({
      producerId: producer.id,
      producerEpoch: producer.epoch,
      acks: -1,
      timeout: REQUEST_MS,
      compression: 0,
      topicData: [{ topic, partitions }],
    })
    const offsets = answer.topics.flatMap((t) =>
      t.partitions.map((p) => [p.partition, Number(must(p.baseOffset, 'brokers since 0.11'))] as const),
    )
    return new Map(offsets)
  }

  /** A fresh id, under which the brokers recognise what is sent again. */
  async producerId(): Promise<ProducerId> {
    const broker = (await this.#cluster.findControllerBroker()) as InnerBroker
    if (typeof broker.initProducerId !== 'function') throw unfit('broker.initProducerId')
    const { producerId, producerEpoch } = await broker.initProducerId({ transactionalId: null, transactionTimeout: REQUEST_MS })
    return { id: Number(producerId), epoch: Number(producerEpoch) }
  }

  /** The first offset kept, the end, or the first offset of a record that isn't older (-1: none), of each partition. */
  async offsets(topic: string, partitions: readonly number[], which: WhichOffset): Promise<Map<number, number>> {
    const asked = { topic, partitions: partitions.map((partition) => ({ partition })) }
    const place = typeof which === 'object' ? { fromTimestamp: which.since } : { fromBeginning: which === 'first' }
    const [answer] = await this.#cluster.fetchTopicsOffset([{ ...asked, ...place }])
    return new Map((answer?.partitions ?? []).map((p) => [p.partition, Number(p.offset)]))
  }

  /** What the cluster calls these topics; undefined where its brokers are too old to say (kafka-topic-ids.ts). */
  async topicIds(topics: readonly string[]): Promise<ReadonlyMap<string, string> | undefined> {
    for (const topic of topics) await this.know(topic)
    const broker = (await this.#cluster.findControllerBroker()) as InnerBroker
    if (typeof broker.connectionPool?.send !== 'function') throw unfit('broker.connectionPool.send')
    if ((broker.versions[METADATA_KEY]?.maxVersion ?? 0) < METADATA_VERSION) return undefined
    const { Encoder } = innerLibrary()
    const request = {
      ...{ apiKey: METADATA_KEY, apiVersion: METADATA_VERSION, apiName: 'Metadata' },
      encode: async () => {
        const encoder = new Encoder()
        encoder.writeBufferInternal(encodeTopicsRequest(topics))
        return encoder
      },
    }
    const response = { decode: async (answer: Buffer) => ({ ids: decodeTopicsAnswer(answer) }), parse: async (x: object) => x }
    return ((await broker.connectionPool.send({ request, response })) as { ids: Map<string, string> }).ids
  }

  /** After a failed request: drops a broken connection and learns who leads now. Never throws; true when another try may help. */
  async heal(error: unknown): Promise<boolean> {
    // What fails because the link is closed must not open it again.
    if (this.#isClosed) return false
    const { name, host, port } = error as { name?: string; host?: string; port?: number }
    if (name === 'KafkaJSConnectionClosedError' && host !== undefined && port !== undefined) this.#cluster.removeBroker({ host, port })
    await this.#cluster.refreshMetadata().catch(() => undefined)
    return mayPass(error)
  }

  explained(error: unknown, doing: string): TributaryError {
    return kafkaError(error, `${this.#name}: ${doing}`)
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await this.#consumer.disconnect().catch(() => undefined)
  }

  async #broker(leader: string): Promise<InnerBroker> {
    if (this.#isClosed) throw new TributaryError('shutting_down', `the link ${this.#name} is closed`)
    return (await this.#cluster.findBroker({ nodeId: leader })) as InnerBroker
  }
}

/** A broker returns whole batches: what lies before the wanted offset is dropped, and so are markers of transactions. */
function fetchedOf(p: WirePartition, from: number): Fetched {
  const records: FetchedRecord[] = []
  for (const m of p.messages) {
    const offset = Number(m.offset)
    if (offset >= from && m.isControlRecord !== true)
      records.push({ offset, value: m.value, key: m.key, headers: m.headers, stamp: Number(m.timestamp) })
  }
  return { partition: p.partition, end: Number(p.highWatermark), records }
}

const neverJoined = ({ topics }: { topics: string[] }) => ({
  name: 'none',
  metadata: kafkajs.AssignerProtocol.MemberMetadata.encode({ version: 0, topics, userData: Buffer.alloc(0) }),
})

const retryOf = (settings: KafkaSettings) => ({ ...RETRY, retries: settings.brokers.length + EXTRA_TRIES })

/** The library, patched, checked and told how to reach the cluster. */
export function kafkaClient(settings: KafkaSettings, options: LinkOptions): Kafka {
  checkKafkaSettings(settings)
  patchLibrary(options.clock)
  const { tls, sasl } = settings
  const config: KafkaConfig = {
    brokers: [...settings.brokers],
    clientId: `${settings.prefix}.${options.name}`,
    connectionTimeout: CONNECT_MS,
    authenticationTimeout: CONNECT_MS,
    requestTimeout: options.requestMs ?? REQUEST_MS,
    retry: retryOf(settings),
    logLevel: kafkajs.logLevel.NOTHING,
    ...(tls
      ? { ssl: { ...(tls.authority ? { ca: [tls.authority] } : {}), ...(tls.certificate ? { cert: tls.certificate, key: tls.key } : {}) } }
      : {}),
    ...(sasl ? { sasl: { ...sasl } as SASLOptions } : {}),
  }
  return new kafkajs.Kafka(config)
}

/** Connects an admin client, does something with it, disconnects. */
export async function withAdmin<T>(settings: KafkaSettings, clock: Clock, run: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = kafkaClient(settings, { name: 'admin', clock }).admin({ retry: retryOf(settings) })
  try {
    await admin.connect()
    return await run(admin)
  } catch (error) {
    throw kafkaError(error, `asking ${settings.brokers.join(', ')}`)
  } finally {
    await admin.disconnect().catch(() => undefined)
  }
}

const unfit = (what: string): TributaryError =>
  new TributaryError('kafka_client', `the installed kafkajs has no ${what} as in version ${VERSION}`)

function checkCluster(cluster: object | undefined): void {
  const used = [
    ...['addTargetTopic', 'findTopicPartitionMetadata', 'findLeaderForPartitions', 'findBroker', 'findControllerBroker'],
    ...['fetchTopicsOffset', 'removeBroker', 'refreshMetadata'],
  ]
  for (const name of used)
    if (typeof (cluster as Record<string, unknown> | undefined)?.[name] !== 'function') throw unfit(`cluster.${name}`)
}

interface InnerEncoder {
  writeBufferInternal(bytes: Buffer): void
}

function innerLibrary(): { readonly Encoder: new () => InnerEncoder } {
  const Encoder = createRequire(import.meta.url)('kafkajs/src/protocol/encoder') as new () => InnerEncoder
  if (typeof Encoder?.prototype?.writeBufferInternal !== 'function') throw unfit('Encoder.writeBufferInternal')
  return { Encoder }
}

let isPatched = false

/** Mends the library; throws kafka_client when it is not what the patches were written for. */
function patchLibrary(clock: Clock): void {
  if (isPatched) return
  const load = createRequire(import.meta.url)
  const found = String((load('kafkajs/package.json') as { version?: unknown }).version)
  if (found !== VERSION) throw new TributaryError('kafka_client', `kafkajs is ${found}, but ${VERSION} is needed`)
  patchQueue((load('kafkajs/src/network/requestQueue') as { prototype: InnerQueue }).prototype, clock)
  patchConnection((load('kafkajs/src/network/connection') as { prototype: InnerConnection }).prototype)
  isPatched = true
}

/**
 * The library arms a timer of a millisecond for ever on each connection that was ever used (14 ms of CPU a second, idle). Ours is armed
 * only while a request waits. Exported for the test that it refuses another library.
 */
export function patchQueue(queue: Partial<InnerQueue> | undefined, clock: Clock): void {
  const old = queue?.scheduleCheckPendingRequests
  const known = ['throttledUntil', 'throttleCheckTimeoutId', 'setTimeout', 'checkPendingRequests']
  if (!queue || typeof old !== 'function' || !known.every((word) => String(old).includes(word)))
    throw unfit('RequestQueue.scheduleCheckPendingRequests')
  queue.scheduleCheckPendingRequests = function schedule(this: InnerQueue): void {
    if (this.throttleCheckTimeoutId || this.pending.length === 0) return
    const delayMs = this.throttledUntil - clock.now()
    this.throttleCheckTimeoutId = true
    clock.after(delayMs > 0 ? delayMs : THROTTLE_CHECK_MS, () => {
      this.throttleCheckTimeoutId = null
      this.checkPendingRequests()
    })
  }
}

/**
 * Requests that find a connection closed would open one each, of which all but the last are forgotten, open for ever: they share one
 * attempt. And an answer that was cut off in its midst would be taken for the beginning of the next one: whatever comes on the new
 * connection would be kept as the rest of it, and no request on it answered ever. Exported for the test that it refuses another library.
 */
export function patchConnection(connection: Partial<InnerConnection> | undefined): void {
  const old = connection?.connect
  const known = ['isConnected', 'connectionTimeout', 'createSocket']
  if (!connection || typeof old !== 'function' || !known.every((word) => String(old).includes(word))) throw unfit('Connection.connect')
  const kept = ['chunks', 'bytesBuffered', 'bytesNeeded']
  if (!kept.every((word) => String(connection.processData).includes(word))) throw unfit('Connection.processData')
  const underWay = new WeakMap<object, Promise<unknown>>()
  const begin = (inner: InnerConnection): Promise<unknown> => {
    if (!inner.isConnected()) Object.assign(inner, { chunks: [], bytesBuffered: 0, bytesNeeded: LENGTH_BYTES })
    return old.call(inner).finally(() => underWay.delete(inner))
  }
  connection.connect = function connect(this: InnerConnection): Promise<unknown> {
    const attempt = underWay.get(this) ?? begin(this)
    underWay.set(this, attempt)
    return attempt
  }
}
