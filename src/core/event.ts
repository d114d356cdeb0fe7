// The event as the engine sees it: what intake appends to the events log, a task executes and a timeline keeps.
//
// Record (binary, version 1):
//   version u8 · type u8 · flags u8 · messageHash 16 · messageId text · acceptedAt varint · at varint · sourcePriority u8
//   · name text · identifier count u8 · (identifierKey 17 · namespace text · value text)* · body bytes
// `body` is the normalised Segment message as JSON, without its messageId (the record has it); it is parsed only by what needs it.
import { InvariantError, must } from './assert.ts'
import { Reader, Writer } from './bytes.ts'
import { IDENTIFIER_KEY_BYTES, type Identifier, type IdentifierKey } from './identifier.ts'

export const EVENT_TYPES = ['track', 'identify', 'page', 'screen', 'group', 'alias'] as const
export type EventType = (typeof EVENT_TYPES)[number]

/** A JSON value. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }
export type JsonObject = { [key: string]: Json }

export interface EventRecord {
  readonly type: EventType
  /** The event's name for conditions: that of a track call, else `$page`, `$screen`, `$identify`, `$group`, `$alias`. */
  readonly name: string
  /** 128-bit hash (binary string) of message id and smallest identifier: equal for repeats. */
  readonly messageHash: string
  readonly messageId: string
  /** When intake accepted it, ms. */
  readonly acceptedAt: number
  /** When it happened, ms, corrected for the client's clock. */
  readonly at: number
  /** Smaller wins where two sources set a trait at one instant. */
  readonly sourcePriority: number
  /** At least one, distinct, in key order: the first is the smallest. */
  readonly identifiers: readonly Identifier[]
  /** True when the message carries traits of the person (identify's `traits`, or `context.traits`). */
  readonly hasTraits: boolean
  /** The message as JSON text, without messageId. */
  readonly body: Buffer
}

const VERSION = 1
const HAS_TRAITS = 1

/** `acceptedAt`: when it is accepted for good, in place of when it was read. */
export function encodeEvent(e: EventRecord, w: Writer, acceptedAt = e.acceptedAt): void {
  w.u8(VERSION)
    .u8(EVENT_TYPES.indexOf(e.type))
    .u8(e.hasTraits ? HAS_TRAITS : 0)
  w.binary(e.messageHash)
    .text(e.messageId)
    .varint(acceptedAt)
    .varint(Math.max(0, e.at))
    .u8(e.sourcePriority)
    .text(e.name)
    .u8(e.identifiers.length)
  for (const id of e.identifiers) w.binary(id.key).text(id.namespace).text(id.value)
  w.bytes(e.body)
}

/** What is wanted of an event that waits. */
export interface EventHead {
  readonly messageHash: string
  readonly acceptedAt: number
  /** Key of the smallest identifier. */
  readonly smallest: IdentifierKey
}

/** Reads the head, and makes sure that the whole can be decoded. */
export function decodeEventHead(buffer: Buffer): EventHead {
  const r = new Reader(buffer)
  readType(r)
  r.u8()
  const messageHash = r.binary(16)
  r.skip()
  const acceptedAt = r.varint()
  r.varint()
  r.u8()
  r.skip()
  let smallest: IdentifierKey | undefined
  for (let n = r.u8(); n > 0; n--) {
    const key = r.binary(IDENTIFIER_KEY_BYTES)
    smallest ??= key
    r.skip()
    r.skip()
  }
  r.skip()
  return { messageHash, acceptedAt, smallest: must(smallest, 'an event has an identifier') }
}

function readType(r: Reader): EventType {
  const version = r.u8()
  if (version !== VERSION) throw new InvariantError(`event record of unknown version ${version}`)
  const type = EVENT_TYPES[r.u8()]
  if (!type) throw new InvariantError('event record of unknown type')
  return type
}

/** Decodes a record; `body` is a view into `buffer`. */
export function decodeEvent(buffer: Buffer): EventRecord {
  const r = new Reader(buffer)
  const type = readType(r)
  const hasTraits = (r.u8() & HAS_TRAITS) !== 0
  const messageHash = r.binary(16)
  const messageId = r.text()
  const acceptedAt = r.varint()
  const at = r.varint()
  const sourcePriority = r.u8()
  const name = r.text()
  const identifiers: Identifier[] = []
  for (let n = r.u8(); n > 0; n--) identifiers.push({ key: r.binary(IDENTIFIER_KEY_BYTES), namespace: r.text(), value: r.text() })
  return { type, name, messageHash, messageId, acceptedAt, at, sourcePriority, identifiers, hasTraits, body: r.bytes() }
}

/** An event's record with another acceptance time; in place where that takes as many bytes, as it does for centuries. */
export function restamped(buffer: Buffer, acceptedAt: number): Buffer {
  // Behind version, type, flags, hash and message id.
  const at = startOfStamp(buffer)
  let length = 1
  while ((buffer[at + length - 1] ?? 0) >= 0x80) length++
  const stamp = new Writer(16).varint(acceptedAt).take()
  if (stamp.length !== length) return Buffer.concat([buffer.subarray(0, at), stamp, buffer.subarray(at + length)])
  buffer.set(stamp, at)
  return buffer
}

function startOfStamp(buffer: Buffer): number {
  const r = new Reader(buffer)
  r.u8()
  r.u8()
  r.u8()
  r.binary(16)
  r.text()
  return r.at
}

/** The message of an event, parsed. */
export function messageOf(e: EventRecord): JsonObject {
  const message = JSON.parse(e.body.utf8Slice(0, e.body.length)) as JsonObject
  message.messageId = e.messageId
  return message
}
