// People who do things: over HTTP to whichever process answers, again and again with the same id until one has accepted it, and through a
// topic. They come unknown, on several devices, log in and say their address, so that profiles merge. Owns what was sent and what became
// of it.
import type { Producer } from 'kafkajs'
import kafkajs from 'kafkajs'
import { systemClock } from '../../src/core/clock.ts'
import { kafkaClient } from '../../src/log/kafka-client.ts'
import { below, pick, type Random } from '../identity/random.ts'
import { drawMessage, type Message, ownDevice } from '../process/people.ts'
import { pause } from '../process/server.ts'

export interface ChaosLoadOptions {
  readonly random: Random
  readonly people: number
  readonly perSecond: number
  /** Where processes listen that were not ended. */
  readonly urls: () => readonly string[]
  readonly brokers: string
  readonly topic: string
  readonly topicPartitions: number
  /** The instant that a new message happened at, ms. */
  readonly timestamp: (random: Random) => number
}

const CLIENTS = 12
const MOST_AT_ONCE = 12
const REPEAT_SHARE = 0.05
const BAD_SHARE = 0.004
const SOURCE_SHARE = 0.2
const REQUEST_MS = 6000
/** So long a message may be turned away, or not be answered. */
const PATIENCE_MS = 240_000
const KEPT_BODIES = 300
const SOURCE_EVERY_MS = 250
const POISON_EVERY = 400
/** Of the topic's messages, one in so many has no id of its own. */
const NAMELESS_EVERY = 7

export class ChaosLoad {
  readonly #options: ChaosLoadOptions
  readonly #bodies: Message[][] = []
  #isStopping = false
  #work: Promise<unknown> = Promise.resolve()
  #people = 0
  #messages = 0
  #sourced = 0
  readonly #producer: Producer
  readonly acknowledged = new Set<string>()
  /** Messages that no process may take, by id. */
  readonly bad = new Set<string>()
  readonly identifiers = new Set<string>()
  readonly faults: string[] = []
  requests = 0
  retries = 0
  unanswered = 0
  /** The longest that a request took to be accepted, retries included; and the longest that none was. */
  longestWaitMs = 0
  longestPauseMs = 0
  #lastAnswerMs = performance.now()

  constructor(options: ChaosLoadOptions) {
    this.#options = options
    const kafka = kafkaClient({ brokers: [options.brokers], prefix: 'orders' }, { name: 'producer', clock: systemClock })
    this.#producer = kafka.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner })
  }

  async start(): Promise<void> {
    await this.#producer.connect()
    this.#lastAnswerMs = performance.now()
    this.#work = Promise.all([...Array.from({ length: CLIENTS }, () => this.#client()), this.#produce()])
    this.#work.catch(() => undefined)
  }

  /** Resolves when everything that was sent is acknowledged. */
  async stop(): Promise<void> {
    this.#isStopping = true
    await this.#work
  }

  async close(): Promise<void> {
    this.#isStopping = true
    await this.#producer.disconnect().catch(() => undefined)
  }

  get sent(): number {
    return this.#messages
  }

  /** True once everybody has done something. */
  get isEverybodyKnown(): boolean {
    return this.#people >= this.#options.people
  }

  // ---- HTTP

  async #client(): Promise<void> {
    const { random, perSecond } = this.#options
    const shareMs = (1000 * CLIENTS) / (perSecond * (1 - SOURCE_SHARE))
    while (!this.#isStopping) {
      const begunMs = performance.now()
      const messages = random() < REPEAT_SHARE && this.#bodies.length > 0 ? pick(random, this.#bodies) : this.#fresh()
      await this.#deliver(messages)
      await pause(Math.max(0, shareMs * messages.length - (performance.now() - begunMs)))
    }
  }

  #fresh(): Message[] {
    const { random } = this.#options
    const messages = Array.from({ length: 1 + below(random, MOST_AT_ONCE) }, () => this.#message())
    if (random() < BAD_SHARE * messages.length) {
      const messageId = `bad${this.#messages++}`
      this.bad.add(messageId)
      messages.push({ messageId, type: 'track', event: 'View', properties: {} })
    }
    if (this.#bodies.length < KEPT_BODIES) this.#bodies.push(messages)
    else this.#bodies[below(random, KEPT_BODIES)] = messages
    return messages
  }

  async #deliver(messages: readonly Message[]): Promise<void> {
    const { random } = this.#options
    const begunMs = performance.now()
    const body = JSON.stringify({ batch: messages })
    for (let tries = 0; ; tries++) {
      const urls = this.#options.urls()
      const isAccepted = urls.length > 0 && (await this.#post(pick(random, urls), body, messages))
      const now = performance.now()
      if (isAccepted) {
        this.retries += tries
        this.longestWaitMs = Math.max(this.longestWaitMs, now - begunMs)
        this.longestPauseMs = Math.max(this.longestPauseMs, now - this.#lastAnswerMs)
        this.#lastAnswerMs = now
        return
      }
      if (now - begunMs > PATIENCE_MS) return void this.faults.push(`a request was not accepted for ${PATIENCE_MS} ms`)
      await pause(50 + below(random, 200))
    }
  }

  async #post(url: string, body: string, messages: readonly Message[]): Promise<boolean> {
    this.requests++
    const signal = AbortSignal.timeout(REQUEST_MS)
    const reply = await fetch(`${url}/v1/batch`, { method: 'POST', body, signal }).then(
      async (r) => ({ status: r.status, text: await r.text() }),
      () => undefined,
    )
    if (!reply) {
      this.unanswered++
      return false
    }
    if (reply.status === 200) {
      this.#accepted(messages, reply.text)
      return true
    }
    const mayBeRepeated = reply.status === 503 || reply.status === 429 || reply.text.includes('append_in_doubt')
    if (!mayBeRepeated) this.faults.push(`${reply.status}: ${reply.text}`)
    return false
  }

  #accepted(messages: readonly Message[], text: string): void {
    const { rejected = [] } = JSON.parse(text) as { rejected?: readonly { index: number }[] }
    const refused = new Set(rejected.map(({ index }) => index))
    for (const [i, { messageId }] of messages.entries()) {
      if (refused.has(i) !== this.bad.has(messageId)) this.faults.push(`${messageId}, ${refused.has(i) ? 'refused' : 'accepted'}: ${text}`)
      else if (!refused.has(i)) this.acknowledged.add(messageId)
    }
  }

  // ---- the topic

  async #produce(): Promise<void> {
    const { random, perSecond, topic, topicPartitions } = this.#options
    const atOnce = Math.max(1, Math.round((perSecond * SOURCE_SHARE * SOURCE_EVERY_MS) / 1000))
    while (!this.#isStopping) {
      const partition = below(random, topicPartitions)
      const messages = Array.from({ length: atOnce }, () => ({ partition, value: this.#sourceValue() }))
      const deadline = performance.now() + PATIENCE_MS
      while (!(await this.#produced(topic, messages))) {
        if (performance.now() > deadline) return void this.faults.push(`the brokers took nothing for ${PATIENCE_MS} ms`)
        await pause(SOURCE_EVERY_MS)
      }
      await pause(SOURCE_EVERY_MS)
    }
  }

  #produced(topic: string, messages: { partition: number; value: string }[]): Promise<boolean> {
    return this.#producer.send({ topic, messages, timeout: REQUEST_MS }).then(
      () => true,
      () => false,
    )
  }

  #sourceValue(): string {
    const n = this.#sourced++
    if (n % POISON_EVERY === POISON_EVERY - 1) return `poison ${n}`
    const { messageId, ...message } = this.#message()
    return JSON.stringify(n % NAMELESS_EVERY === 0 ? message : { ...message, messageId })
  }

  // ---- people

  #message(): Message {
    const { random, people } = this.#options
    const messageId = `m${this.#messages++}`
    // At first everybody once.
    const person = this.#people < people ? this.#people++ : below(random, people)
    const device = ownDevice(random, person)
    const timestamp = this.#options.timestamp(random)
    const { message, identifiers } = drawMessage(random, { messageId, person, device, timestamp })
    for (const identifier of identifiers) this.identifiers.add(identifier)
    return message
  }
}
