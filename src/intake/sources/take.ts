// Records of a source to events and dead letters, by the same rules as messages over HTTP (intake.ts). Pure but for what a decoder
// has to look up.
//
// A message without an id gets one from its record's place, so that a record which comes again is known as a repeat: source, topic,
// partition, offset, and the record's instant, which tells it from one at the same offset of a topic that was made anew.
import { setImmediate } from 'node:timers/promises'
import { type ErrorCode, TributaryError } from '../../core/errors.ts'
import type { EventRecord, Json } from '../../core/event.ts'
import type { OriginPlace } from '../../core/origin.ts'
import type { SourceBatch, SourceRecord } from '../../log/record-group.ts'
import { fromSegment } from '../dialects/segment.ts'
import { type Envelope, isObject } from '../envelope.ts'
import type { IdentifierSource } from '../identifiers.ts'
import { kept, mapMessages } from '../intake.ts'
import { MAX_BODY_BYTES } from '../limits.ts'
import type { IntakeContext } from '../message.ts'
import type { Decode } from './formats.ts'
import type { Mapping, Positioned } from './mapping.ts'

export interface TakeOptions {
  readonly source: string
  readonly decode: Decode
  /** Absent: a value is a Segment message, or a batch of them. */
  readonly mapping: Mapping | undefined
  readonly priority: number
  readonly futureLimit: number
  readonly namespaces: IdentifierSource
}

/** As the engine keeps it; `message` says where the record lies and what it holds. */
export interface SourceRejection {
  readonly code: ErrorCode
  readonly reason: string
  readonly message: unknown
}

export interface Taken {
  readonly events: EventRecord[]
  /** Where each event lies. */
  readonly places: OriginPlace[]
  readonly rejected: SourceRejection[]
  /** Records without a value: they say that a key is gone, and are no message. */
  readonly empty: number
}

/** What is mapped without letting others run. */
const TURN_RECORDS = 250
const TURN_BYTES = 128 << 10
/** Of bytes that can't be read, so many are kept in the dead letter. */
const KEPT_BYTES = 1024
const KEPT_KEY_CHARACTERS = 200

/** Rejects only where a decoder can't know now: nothing is taken then. */
export async function takeRecords({ topic, partition, records }: SourceBatch, options: TakeOptions, acceptedAt: number): Promise<Taken> {
  const taken = { events: [] as EventRecord[], places: [] as OriginPlace[], rejected: [] as SourceRejection[], empty: 0 }
  const taking = { options, acceptedAt, taken }
  let [turnRecords, turnBytes] = [0, 0]
  for (const { offset, stamp, key, value, headers } of records) {
    if (value === null) {
      taken.empty++
      continue
    }
    if (++turnRecords > TURN_RECORDS || turnBytes > TURN_BYTES) {
      await setImmediate()
      ;[turnRecords, turnBytes] = [1, 0]
    }
    turnBytes += value.length
    const decoded = decodedValue(value, options.decode)
    // A spread would cost as much as the rest of what is done here.
    const positioned = { topic, partition, offset, stamp, key, value, headers }
    takeValue(decoded instanceof Promise ? await decoded : decoded, positioned, taking)
  }
  return taken
}

/** What the bytes hold, or why they can't be read by anybody. */
function decodedValue(value: Buffer, decode: Decode): Decoded | Promise<Decoded> {
  if (value.length > MAX_BODY_BYTES)
    return new TributaryError('too_large', `The value holds ${value.length} bytes, more than ${MAX_BODY_BYTES}.`)
  try {
    const json = decode(value)
    return json instanceof Promise ? json.then((x) => ({ json: x }), poisonOnly) : { json }
  } catch (error) {
    return poisonOnly(error)
  }
}

type Decoded = { readonly json: Json } | TributaryError

function poisonOnly(error: unknown): TributaryError {
  if (error instanceof TributaryError && error.code === 'unreadable') return error
  throw error
}

interface Taking {
  readonly options: TakeOptions
  readonly acceptedAt: number
  readonly taken: Pick<Taken, 'events' | 'places' | 'rejected'>
}

function takeValue(decoded: Decoded, record: Positioned, { options, acceptedAt, taken }: Taking): void {
  const reject = (code: ErrorCode, reason: string, value: object): void => {
    taken.rejected.push({ code, reason, message: { ...placeOf(record, options.source), ...value } })
  }
  if (decoded instanceof TributaryError) {
    const { code, message, detail } = decoded
    reject(code, detail ? `${message} ${detail}` : message, excerpt(record.value ?? Buffer.alloc(0)))
    return
  }
  try {
    const envelope = envelopeOf(decoded.json, record, options)
    const { events, rejected } = mapMessages(envelope, contextOf(record, options, acceptedAt))
    // Rejected messages have their index, too: which they are may differ when the record comes again (one that lay in the future).
    let [index, before] = [0, 0]
    for (const event of events) {
      for (; rejected[before]?.index === index; before++) index++
      taken.events.push(event)
      taken.places.push({ offset: record.offset, index: index++ })
    }
    for (const { code, message, original } of rejected) reject(code, message, { value: options.mapping ? kept(decoded.json) : original })
  } catch (error) {
    // Nothing in a value may stop the stream, not even a fault of ours.
    const known = error instanceof TributaryError ? error : new TributaryError('execution_failed', `The value can't be mapped: ${error}`)
    reject(known.code, known.message, { value: kept(decoded.json) })
  }
}

function envelopeOf(json: Json, record: Positioned, { mapping, source }: TakeOptions): Envelope {
  const envelope: Envelope = mapping ? { messages: [mapping(json, record)], single: true } : fromSegment(json, undefined)
  const { messages, single } = envelope
  for (const [i, message] of messages.entries()) {
    if (!isObject(message) || hasId(message.messageId)) continue
    const { topic, partition, offset, stamp } = record
    message.messageId = `${source}/${topic}/${partition}/${offset}/${Math.max(0, stamp).toString(36)}${single ? '' : `/${i}`}`
  }
  return envelope
}

/** True for what intake takes for an id, and for what it refuses as one. */
function hasId(id: unknown): boolean {
  return typeof id === 'string' ? id !== '' : typeof id === 'number' || (typeof id === 'object' && id !== null)
}

/** A record that has waited in its topic was received when it came there, unless its producer's clock runs ahead of ours. */
function contextOf({ stamp }: SourceRecord, options: TakeOptions, acceptedAt: number): IntakeContext {
  const { priority: sourcePriority, futureLimit, namespaces } = options
  return { acceptedAt, receivedAt: stamp > 0 && stamp < acceptedAt ? stamp : acceptedAt, sourcePriority, futureLimit, namespaces }
}

function placeOf({ topic, partition, offset, stamp, key }: Positioned, source: string): object {
  return {
    source,
    topic,
    partition,
    offset,
    ...(stamp > 0 ? { timestamp: new Date(stamp).toISOString() } : {}),
    ...(key ? { key: key.toString('utf8', 0, 4 * KEPT_KEY_CHARACTERS).slice(0, KEPT_KEY_CHARACTERS) } : {}),
  }
}

/** The beginning of the bytes: as text where they are one. */
function excerpt(value: Buffer): object {
  const begin = value.subarray(0, KEPT_BYTES)
  const text = begin.toString('utf8')
  // A character cut in two at the end is none of the value's fault.
  const isText = !text.slice(0, -1).includes('\uFFFD') && !/[^\P{Cc}\t\n\r]/u.test(text)
  return { bytes: value.length, ...(isText ? { text } : { base64: begin.toString('base64') }) }
}
