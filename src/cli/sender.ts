// Sends batches of messages, several at a time, and doesn't give up easily: 429 and 503 are waited out as the server asks,
// dropped connections and other failures of the server are repeated. Repeats are harmless: every message has its id.
import { type Clock, sleep } from '../core/clock.ts'
import { TributaryError } from '../core/errors.ts'
import { type Client, ServerError } from './client.ts'
import type { Line, Message } from './messages.ts'

/** Of a body: below the server's limit with room for the frame. */
const MAX_BATCH_BYTES = 3_500_000
const FIRST_PAUSE_MS = 250
const LONGEST_PAUSE_MS = 10_000
/** How long a server may be unreachable, or fail, before the replay ends. */
const PATIENCE_MS = 60_000
/** Rejected messages that are listed one by one; all are counted. */
const MAX_LISTED = 20

export interface Rejected {
  readonly place: string
  readonly code: string
  readonly message: string
}

export interface SenderOptions {
  readonly client: Client
  readonly clock: Clock
  readonly batch: number
  readonly concurrency: number
  readonly signal: AbortSignal
  /** Called when something is about to be repeated. */
  readonly onRetry?: (why: string) => void
}

interface Entry {
  readonly json: string
  readonly file: string
  readonly number: number
}

export class Sender {
  readonly #options: SenderOptions
  readonly #underWay = new Set<Promise<void>>()
  #batch: Entry[] = []
  #batchBytes = 0
  #failure: unknown
  sent = 0
  rejectedCount = 0
  /** Of those rejected: lines that held no message to send. */
  unsentCount = 0
  readonly rejected: Rejected[] = []
  readonly rejectedByCode = new Map<string, number>()

  constructor(options: SenderOptions) {
    this.#options = options
  }

  /** Resolves when there is room for another message. */
  async add(line: Line, message: Message): Promise<void> {
    const json = JSON.stringify(message)
    const bytes = Buffer.byteLength(json) + 1
    if (this.#batchBytes + bytes > MAX_BATCH_BYTES) await this.#dispatch()
    this.#batch.push({ json, file: line.file, number: line.number })
    this.#batchBytes += bytes
    if (this.#batch.length >= this.#options.batch) await this.#dispatch()
  }

  /** Resolves when everything added so far is accepted or rejected. */
  async flush(): Promise<void> {
    await this.#dispatch()
    await Promise.all(this.#underWay)
    if (this.#failure !== undefined) throw this.#failure
  }

  /** A line that can't be sent. */
  skip(place: string, message: string): void {
    this.unsentCount++
    this.#reject(place, 'unreadable', message)
  }

  #reject(place: string, code: string, message: string): void {
    this.rejectedCount++
    this.rejectedByCode.set(code, (this.rejectedByCode.get(code) ?? 0) + 1)
    if (this.rejected.length < MAX_LISTED) this.rejected.push({ place, code, message })
  }

  async #dispatch(): Promise<void> {
    const entries = this.#batch
    this.#batch = []
    this.#batchBytes = 0
    while (this.#underWay.size >= this.#options.concurrency) await Promise.race(this.#underWay)
    if (this.#failure !== undefined) throw this.#failure
    if (entries.length === 0) return
    const sending = this.#send(entries)
      .catch((error: unknown) => {
        this.#failure ??= error
      })
      .finally(() => this.#underWay.delete(sending))
    this.#underWay.add(sending)
  }

  async #send(entries: readonly Entry[]): Promise<void> {
    const body = `{"batch":[${entries.map((e) => e.json).join(',')}]}`
    const reply = await this.#persistently(body)
    for (const { index, code, message } of reply.rejected ?? []) {
      const entry = entries[index]
      this.#reject(entry ? `${entry.file}:${entry.number}` : `message ${index}`, code, message)
    }
    this.sent += entries.length
  }

  async #persistently(body: string): Promise<BatchReply> {
    const { client, clock, signal } = this.#options
    let failingSince: number | undefined
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2)) {
      try {
        return await client.json<BatchReply>('/v1/batch', { method: 'POST', body, signal })
      } catch (error) {
        signal.throwIfAborted()
        if (!isPassing(error)) throw error
        // A server that asks to wait is well; one that fails is given some time only.
        const asked = error instanceof ServerError && error.status === 429 ? error.retryAfterMs : undefined
        if (asked === undefined) {
          failingSince ??= clock.monotonicMs()
          if (clock.monotonicMs() - failingSince > PATIENCE_MS) throw error
        } else failingSince = undefined
        this.#options.onRetry?.(error instanceof Error ? error.message : String(error))
        await sleepUnless(clock, Math.max(pauseMs, asked ?? 0), signal)
      }
    }
  }
}

interface BatchReply {
  readonly rejected?: readonly { readonly index: number; readonly code: string; readonly message: string }[]
}

function isPassing(error: unknown): boolean {
  if (error instanceof ServerError) return error.status === 429 || error.status >= 500
  return error instanceof TributaryError && error.code === 'cannot_connect'
}

/** Sleeps; throws the signal's reason as soon as it aborts. */
export async function sleepUnless(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted()
  let stop = (): void => {}
  const aborted = new Promise<void>((resolve) => {
    stop = resolve
    signal.addEventListener('abort', stop, { once: true })
  })
  await Promise.race([sleep(clock, ms), aborted])
  signal.removeEventListener('abort', stop)
  signal.throwIfAborted()
}
