// Intake: from a request's bytes to events for the log. Pure but for the ids it makes up; it knows neither HTTP nor the engine.
import type { ErrorCode } from '../core/errors.ts'
import { TributaryError } from '../core/errors.ts'
import type { EventRecord, EventType } from '../core/event.ts'
import { inflate, parseBody } from './body.ts'
import { DIALECTS, type Dialect } from './dialects.ts'
import type { Envelope } from './envelope.ts'
import { MAX_BATCH_MESSAGES, MAX_KEPT_CHARACTERS, MAX_MESSAGE_BYTES, OFF_THREAD_BYTES } from './limits.ts'
import { type IntakeContext, mapMessage, Refusal } from './message.ts'

/** A message that was not taken. */
export interface Rejection {
  /** Its place in the batch. */
  readonly index: number
  readonly code: ErrorCode
  readonly message: string
  /** As received, as far as it is kept. */
  readonly original: unknown
}

export interface Mapped {
  readonly events: EventRecord[]
  readonly rejected: Rejection[]
}

export interface IntakeRequest {
  readonly raw: Buffer
  /** Content-Encoding, as declared. */
  readonly encoding: string | undefined
  readonly dialect: Dialect
  readonly type: EventType | undefined
}

/** What a request holds: its messages mapped, and the key that its body carries. */
export interface Intake extends Mapped {
  readonly single: boolean
  readonly writeKey: string | undefined
}

/** Where large bodies are read and mapped (off-thread.ts). */
export type ReadElsewhere = (bytes: Buffer, request: IntakeRequest, context: IntakeContext) => Promise<Intake>

/** Reads and maps a whole request. Throws TributaryError (unreadable, too_large) when nothing could be read. */
export async function takeIn(request: IntakeRequest, context: IntakeContext, elsewhere?: ReadElsewhere): Promise<Intake> {
  const inflated = inflate(request.raw, request.encoding)
  const bytes = inflated instanceof Promise ? await inflated : inflated
  return bytes.length > OFF_THREAD_BYTES && elsewhere ? elsewhere(bytes, request, context) : readAndMap(bytes, request, context)
}

/** The same for a body that is inflated already. */
export function readAndMap(bytes: Buffer, request: Pick<IntakeRequest, 'dialect' | 'type'>, context: IntakeContext): Intake {
  const envelope = readEnvelope(bytes, request)
  return { ...mapMessages(envelope, context), single: envelope.single, writeKey: envelope.writeKey }
}

function readEnvelope(bytes: Buffer, { dialect, type }: Pick<IntakeRequest, 'dialect' | 'type'>): Envelope {
  try {
    return DIALECTS[dialect](parseBody(bytes), type)
  } catch (cause) {
    if (!(cause instanceof TributaryError) || cause.code !== 'unreadable') throw cause
    throw new UnreadableBody(cause, bytes.toString('utf8', 0, MAX_KEPT_CHARACTERS))
  }
}

/** The body was received but not understood; `kept` is its beginning, for the dead letter. */
export class UnreadableBody extends TributaryError {
  readonly kept: string
  constructor(cause: TributaryError, kept: string) {
    super('unreadable', cause.message, cause.detail === undefined ? { cause } : { detail: cause.detail, cause })
    this.kept = kept
  }
}

/** Maps every message that an envelope holds; bad ones don't hold up good ones. */
export function mapMessages(envelope: Envelope, context: IntakeContext): Mapped {
  const { messages } = envelope
  if (messages.length > MAX_BATCH_MESSAGES)
    throw new TributaryError('too_large', `The batch holds more than ${MAX_BATCH_MESSAGES} messages.`)
  const events: EventRecord[] = []
  const rejected: Rejection[] = []
  for (let index = 0; index < messages.length; index++) {
    const original = messages[index]
    const mapped = mapMessage(original, envelope, context)
    if (mapped instanceof Refusal) rejected.push({ index, code: mapped.code, message: mapped.message, original: kept(original) })
    else events.push(mapped)
  }
  return { events, rejected }
}

/** A rejected message as its dead letter holds it: itself, or the beginning of its text where it is too large or too deep. */
export function kept(original: unknown): unknown {
  let text: string
  try {
    text = JSON.stringify(original) ?? 'null'
  } catch {
    // Too deep for the stack; what it says can't be shown.
    return '(nested too deeply to be kept)'
  }
  return text.length <= MAX_MESSAGE_BYTES ? original : text.slice(0, MAX_KEPT_CHARACTERS)
}
