// The formats of a source's values. A new one is a decoder and a line in `decoderOf`.
import { Unpackr } from 'msgpackr/unpack'
import { TributaryError } from '../../core/errors.ts'
import type { Json } from '../../core/event.ts'
import { plain } from './plain.ts'

/** Bytes to JSON. Throws unreadable for bytes that are no value; any other error means that it can't be known now. */
export type Decode = (value: Buffer) => Json | Promise<Json>

/** In front of values that a schema registry knows: a zero, then the number of the schema. */
export const REGISTRY_HEADER_BYTES = 5

export const unreadable = (what: string, cause: unknown): TributaryError =>
  new TributaryError('unreadable', `The value is not valid ${what}.`, {
    detail: cause instanceof Error ? cause.message.slice(0, 200) : '',
    cause,
  })

export function decodeJson(value: Buffer): Json {
  // JSON with a schema in a registry has that number in front; JSON itself never begins with a zero byte.
  const begin = value[0] === 0 && value.length > REGISTRY_HEADER_BYTES ? REGISTRY_HEADER_BYTES : 0
  const text = value.toString('utf8', begin)
  try {
    return JSON.parse(text.startsWith('\uFEFF') ? text.slice(1) : text) as Json
  } catch (cause) {
    throw unreadable('JSON', cause)
  }
}

const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'auto' })

export function decodeMsgpack(value: Buffer): Json {
  try {
    return plain(unpackr.unpack(value)) ?? null
  } catch (cause) {
    throw unreadable('MessagePack', cause)
  }
}
