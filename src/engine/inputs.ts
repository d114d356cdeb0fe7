// Records of the events log, as intake and the admin calls append them: packs of events, or one control record.
// Owns their encoding and the numbering of positions inside a pack.
//
//   pack      1 · (length varint · event record)*
//   clock     2 · now varint
//   definitions 3 · version varint
//   read pack 4 · origin 16 · leader varint · from varint · (offset - from varint · index varint · length varint · event record)*
//
// A position is record × 4096 + event: the place of an event in its partition, and what replies carry.
import { Reader, Writer } from '../core/bytes.ts'
import { TributaryError } from '../core/errors.ts'
import { ORIGIN_KEY_BYTES, type OriginPlace, type Read, type Reading } from '../core/origin.ts'

export const EVENTS_PER_RECORD = 4096

export const positionOf = (record: number, event: number): number => record * EVENTS_PER_RECORD + event
export const recordOf = (position: number): number => Math.floor(position / EVENTS_PER_RECORD)
export const eventOf = (position: number): number => position % EVENTS_PER_RECORD

export type InputRecord =
  | {
      readonly kind: 'events'
      readonly events: Buffer[]
      /** Where they come from, if a source has read them. */
      readonly read?: Read
    }
  | { readonly kind: 'clock'; readonly now: number }
  | { readonly kind: 'definitions'; readonly version: number }

const [PACK, CLOCK, DEFINITIONS, READ_PACK] = [1, 2, 3, 4]

/** Packs encoded events of one partition. */
export class Pack {
  readonly #w = new Writer(2048)
  count = 0
  /** Of its events. */
  bytes = 0

  add(event: Uint8Array): void {
    if (this.count === 0) this.#w.u8(PACK)
    this.#add(event)
  }

  /** All events of a pack are of one reading, or of none. */
  addRead(event: Uint8Array, { origin, leader, from }: Reading, { offset, index }: OriginPlace): void {
    if (this.count === 0) this.#w.u8(READ_PACK).binary(origin).varint(leader).varint(from)
    this.#w.varint(offset - from).varint(index)
    this.#add(event)
  }

  #add(event: Uint8Array): void {
    this.#w.bytes(event)
    this.count++
    this.bytes += event.length
  }

  take(): Buffer {
    const bytes = this.#w.take()
    this.#w.reset()
    this.count = 0
    this.bytes = 0
    return bytes
  }
}

export const encodeClock = (now: number): Buffer => new Writer(16).u8(CLOCK).varint(now).take()
export const encodeDefinitions = (version: number): Buffer => new Writer(16).u8(DEFINITIONS).varint(version).take()

export function decodeInput(payload: Buffer): InputRecord {
  const r = new Reader(payload)
  const kind = r.u8()
  if (kind === CLOCK) return { kind: 'clock', now: r.varint() }
  if (kind === DEFINITIONS) return { kind: 'definitions', version: r.varint() }
  if (kind === READ_PACK) return decodeRead(r)
  if (kind !== PACK) throw new TributaryError('data_corrupt', `events log record of unknown kind ${kind}`)
  const events: Buffer[] = []
  while (!r.done) events.push(r.bytes())
  return { kind: 'events', events }
}

function decodeRead(r: Reader): InputRecord {
  const reading = { origin: r.binary(ORIGIN_KEY_BYTES), leader: r.varint(), from: r.varint() }
  const places: OriginPlace[] = []
  const events: Buffer[] = []
  while (!r.done) {
    places.push({ offset: reading.from + r.varint(), index: r.varint() })
    events.push(r.bytes())
  }
  return { kind: 'events', events, read: { reading, places } }
}
