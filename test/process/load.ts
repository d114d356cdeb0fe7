// Load over several connections: people with devices who come unknown, log in and share, repeated messages, and requests that
// get no answer: most are sent again as they were until they are answered, some are given up.
import { below, pick, type Random, shuffled } from '../identity/random.ts'
import { drawMessage, type Message, ownDevice } from './people.ts'
import { pause } from './server.ts'

export interface LoadOptions {
  readonly random: Random
  /** Where the server listens now; throws while it doesn't. */
  readonly urlOf: () => string
  readonly connections: number
  readonly people: number
  /** Between two requests of a connection, at most. */
  readonly thinkMs?: number
  /** The instant that a new message happened at, ms. */
  readonly timestamp: (random: Random) => number
  /** True for answers of 5xx that are no fault now; such a request may have been taken or not. */
  readonly forgives?: (answer: string) => boolean
}

type Fate = 'acknowledged' | 'given up'

const MAX_BATCH = 40
const REPEAT_SHARE = 0.12
const GIVE_UP_SHARE = 0.3
const SINGLE_SHARE = 0.25
const REQUEST_LIMIT_MS = 20_000
/** How long a server may be away, or turn everything away, before that is a fault. */
export const PATIENCE_MS = 60_000
/** Bodies that may be repeated later. */
const KEPT_BODIES = 500

export class Load {
  readonly #options: LoadOptions
  readonly #bodies: Message[][] = []
  #stopping = false
  #isAbandoned = false
  #workers: Promise<void>[] = []
  #nextId = 0
  readonly messages = new Map<string, Message>()
  readonly fates = new Map<string, Fate>()
  /** `namespace:value` of everybody who was sent. */
  readonly identifiers = new Set<string>()
  /** Answers that must not be. */
  readonly faults: string[] = []
  answered = 0
  /** Of those: with 503. */
  turnedAway = 0
  unanswered = 0

  constructor(options: LoadOptions) {
    this.#options = options
  }

  start(): void {
    this.#stopping = false
    this.#workers = Array.from({ length: this.#options.connections }, () => this.#work())
  }

  /** Resolves when every request is answered or given up. */
  async stop(): Promise<void> {
    this.#stopping = true
    await Promise.all(this.#workers)
  }

  /** Likewise, and what is not answered by now is not sent again. */
  abandon(): Promise<void> {
    this.#isAbandoned = true
    return this.stop()
  }

  async #work(): Promise<void> {
    const { random } = this.#options
    while (!this.#stopping) {
      await this.#deliver(random() < REPEAT_SHARE && this.#bodies.length > 0 ? this.#repeated() : this.#fresh())
      if (this.#options.thinkMs !== undefined) await pause(below(random, this.#options.thinkMs))
    }
  }

  #fresh(): Message[] {
    const { random } = this.#options
    const size = random() < SINGLE_SHARE ? 1 : 1 + below(random, MAX_BATCH)
    const messages = Array.from({ length: size }, () => this.#message())
    for (const m of messages) this.messages.set(m.messageId, m)
    if (this.#bodies.length < KEPT_BODIES) this.#bodies.push(messages)
    else this.#bodies[below(random, KEPT_BODIES)] = messages
    return messages
  }

  /** Some messages of an earlier request, in another order. */
  #repeated(): Message[] {
    const { random } = this.#options
    const earlier = pick(random, this.#bodies)
    return shuffled(random, earlier).slice(0, 1 + below(random, earlier.length))
  }

  async #deliver(messages: readonly Message[]): Promise<void> {
    const { random } = this.#options
    const deadline = Date.now() + PATIENCE_MS
    while (true) {
      const answer = await this.#post(messages).catch((error: unknown) => (neverArrived(error) ? 503 : 'none'))
      if (answer === 200) {
        for (const { messageId } of messages) this.fates.set(messageId, 'acknowledged')
        return
      }
      if (answer === 'none') {
        this.unanswered++
        if (random() < GIVE_UP_SHARE) {
          for (const { messageId } of messages) if (!this.fates.has(messageId)) this.fates.set(messageId, 'given up')
          return
        }
      } else if (answer !== 503 && answer !== 429) return
      if (this.#isAbandoned) return
      if (Date.now() > deadline) return void this.faults.push(`a request was turned away for ${PATIENCE_MS} ms`)
      await pause(10 + below(random, 40))
    }
  }

  /** The status of the reply, 'none' when it says nothing about the messages. Throws when there is no reply. */
  async #post(messages: readonly Message[]): Promise<number | 'none'> {
    const [first] = messages
    const single = messages.length === 1 && first !== undefined
    const body = JSON.stringify(single ? first : { batch: messages })
    const url = `${this.#options.urlOf()}/v1/${single ? first.type : 'batch'}`
    const reply = await fetch(url, { method: 'POST', body, signal: AbortSignal.timeout(REQUEST_LIMIT_MS) })
    const text = await reply.text()
    this.answered++
    if (reply.status === 503) this.turnedAway++
    if (reply.status >= 500 && reply.status !== 503 && this.#options.forgives?.(text)) return 'none'
    if (reply.status === 200 && 'rejected' in JSON.parse(text)) this.faults.push(`rejected: ${text}`)
    if (![200, 429, 503].includes(reply.status)) this.faults.push(`${reply.status}: ${text}`)
    return reply.status
  }

  #message(): Message {
    const { random, people } = this.#options
    const messageId = `m${this.#nextId++}`
    const person = below(random, people)
    // A few devices are shared with others.
    const device = random() < 0.04 ? `shared${below(random, 5)}` : ownDevice(random, person)
    const timestamp = this.#options.timestamp(random)
    const { message, identifiers } = drawMessage(random, { messageId, person, device, timestamp })
    for (const identifier of identifiers) this.identifiers.add(identifier)
    return message
  }
}

/** True when nobody listened: such a request is just sent again. */
function neverArrived(error: unknown): boolean {
  return error instanceof Error && error.cause instanceof Error && 'code' in error.cause && error.cause.code === 'ECONNREFUSED'
}
