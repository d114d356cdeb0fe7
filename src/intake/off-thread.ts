// Reads large bodies on a thread of its own, so that megabytes of JSON never hold up the main thread.
// The thread runs parse-thread.ts; events come back as the records that the log takes anyway.
import { Worker } from 'node:worker_threads'
import { must } from '../core/assert.ts'
import { Reader } from '../core/bytes.ts'
import { type ErrorCode, TributaryError } from '../core/errors.ts'
import { decodeEvent, type EventRecord, type EventType } from '../core/event.ts'
import type { Dialect } from './dialects.ts'
import { type Intake, type IntakeRequest, type Rejection, UnreadableBody } from './intake.ts'
import type { IntakeContext } from './message.ts'

export interface ThreadRequest {
  readonly id: number
  readonly bytes: Uint8Array
  readonly dialect: Dialect
  readonly type: EventType | undefined
  readonly acceptedAt: number
  readonly sourcePriority: number
  readonly futureLimit: number
}

export type ThreadReply =
  | {
      readonly id: number
      readonly records: Uint8Array
      readonly rejected: Rejection[]
      readonly single: boolean
      readonly writeKey: string | undefined
    }
  | {
      readonly id: number
      readonly code: ErrorCode
      readonly message: string
      readonly detail: string | undefined
      readonly kept: string | undefined
    }

interface Waiting {
  readonly resolve: (intake: Intake) => void
  readonly reject: (error: Error) => void
}

export class OffThread {
  readonly #threadData: unknown
  readonly #waiting = new Map<number, Waiting>()
  #worker: Worker | undefined
  #lastId = 0

  /** `identity` is what core/namespace.ts is made from: the thread makes its own. */
  constructor(identity: unknown) {
    this.#threadData = { identity }
  }

  /** Reads and maps an inflated body; rejects as `readAndMap` throws. */
  read(bytes: Buffer, request: Pick<IntakeRequest, 'dialect' | 'type'>, context: IntakeContext): Promise<Intake> {
    const { acceptedAt, sourcePriority, futureLimit } = context
    const id = ++this.#lastId
    const message: ThreadRequest = { id, bytes, dialect: request.dialect, type: request.type, acceptedAt, sourcePriority, futureLimit }
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#thread().postMessage(message)
    })
  }

  async close(): Promise<void> {
    const worker = this.#worker
    this.#fail(new TributaryError('shutting_down', 'The server is stopping.'))
    await worker?.terminate()
  }

  #thread(): Worker {
    if (this.#worker) return this.#worker
    const worker = new Worker(new URL('./parse-thread.ts', import.meta.url), { workerData: this.#threadData })
    this.#worker = worker
    worker.unref()
    worker.on('message', (reply: ThreadReply) => this.#settle(reply))
    const lost = (cause?: unknown) => {
      if (this.#worker === worker) this.#fail(new TributaryError('internal', 'The thread that reads large bodies has ended.', { cause }))
    }
    worker.on('error', lost)
    worker.on('exit', () => lost())
    return worker
  }

  /** Everyone waiting is told; the next body starts a new thread. */
  #fail(error: TributaryError): void {
    this.#worker = undefined
    const waiting = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const { reject } of waiting) reject(error)
  }

  #settle(reply: ThreadReply): void {
    const { resolve, reject } = must(this.#waiting.get(reply.id), 'a reply answers one request')
    this.#waiting.delete(reply.id)
    if ('records' in reply) {
      resolve({ events: decodeAll(reply.records), rejected: reply.rejected, single: reply.single, writeKey: reply.writeKey })
      return
    }
    const error = new TributaryError(reply.code, reply.message, reply.detail === undefined ? {} : { detail: reply.detail })
    reject(reply.kept === undefined ? error : new UnreadableBody(error, reply.kept))
  }
}

function decodeAll(records: Uint8Array): EventRecord[] {
  const reader = new Reader(Buffer.from(records.buffer, records.byteOffset, records.length))
  const events: EventRecord[] = []
  while (!reader.done) events.push(decodeEvent(reader.bytes()))
  return events
}
