// Entries of topics in Avro, framed in one of two ways so that a reader knows the schema. Owns the bytes; the schemas are
// outputs-schemas.ts's, their numbers in a registry outputs-registry.ts's.
//
//   with a registry      0 · number of the schema u32, big-endian · datum           (Confluent's framing)
//   without              C3 01 · CRC-64-AVRO of the schema u64, little-endian · datum   (Avro's single-object encoding)
//
// 1. Whatever was written is read, whichever format is configured now: a value in JSON begins with {.
// 2. A schema that isn't known is an error, not an entry that is passed over: it may become known.
import avro, { type Schema, type Type } from 'avsc'
import { must } from '../core/assert.ts'
import { TributaryError } from '../core/errors.ts'
import { OUTBOX_STREAMS, type OutboxStream, type Stream } from './outbox.ts'
import { JSON_CODEC, type OutputCodec, type Shown } from './outputs-codec.ts'
import { SCHEMAS } from './outputs-schemas.ts'

export type Format = 'json' | 'avro'
/** States of profiles are told only where they are asked for. */
export type Formats = Readonly<Record<Stream, Format>> & { readonly profiles: Format | false }

/** The numbers of schemas in a registry. */
export interface SchemaNumbers {
  /** Ours. */
  numberOf(stream: OutboxStream): number
  /** The schema with a number; throws while it isn't known. */
  schemaOf(stream: OutboxStream, number: number): Schema
}

const BRACE = 0x7b
const REGISTERED = 0
const REGISTERED_HEAD_BYTES = 5
const SINGLE = 0xc3
const SINGLE_VERSION = 1
const SINGLE_HEAD_BYTES = 10

type Row = Readonly<Record<string, unknown>>

export class AvroCodec implements OutputCodec {
  readonly #formats: Formats
  readonly #numbers: SchemaNumbers | undefined
  readonly #types: Readonly<Record<OutboxStream, Type>>
  readonly #heads: Readonly<Record<OutboxStream, Buffer>>
  /** How to read what was written with another schema. */
  readonly #resolvers = new Map<string, ReturnType<Type['createResolver']>>()

  constructor(formats: Formats, numbers?: SchemaNumbers) {
    this.#formats = formats
    this.#numbers = numbers
    const typeOf = (stream: OutboxStream): Type => avro.Type.forSchema(SCHEMAS[stream] as unknown as Schema)
    this.#types = forEach(typeOf)
    const head = (stream: OutboxStream): Buffer =>
      numbers && formats[stream] === 'avro' ? registeredHead(numbers.numberOf(stream)) : singleHead(this.#types[stream])
    this.#heads = forEach(head)
  }

  encode<S extends OutboxStream>(stream: S, entry: Shown[S]): Buffer {
    if (this.#formats[stream] !== 'avro') return JSON_CODEC.encode(stream, entry)
    return Buffer.concat([this.#heads[stream], this.#types[stream].toBuffer(rowOf(stream, { ...entry }))])
  }

  decode(stream: OutboxStream, value: Buffer): unknown {
    try {
      return this.#decoded(stream, value)
    } catch (error) {
      if (error instanceof TributaryError) throw error
      return undefined
    }
  }

  #decoded(stream: OutboxStream, value: Buffer): unknown {
    switch (value[0]) {
      case BRACE:
        return JSON_CODEC.decode(stream, value)
      case REGISTERED:
        return value.length < REGISTERED_HEAD_BYTES ? undefined : this.#registered(stream, value)
      case SINGLE:
        return value[1] === SINGLE_VERSION && value.length >= SINGLE_HEAD_BYTES ? this.#single(stream, value) : undefined
      default:
        return undefined
    }
  }

  #registered(stream: OutboxStream, value: Buffer): unknown {
    const number = value.readUInt32BE(1)
    if (!this.#numbers) throw unknownSchema(`number ${number}, and no registry is configured`)
    const name = `${stream} ${number}`
    let resolver = this.#resolvers.get(name)
    if (!resolver) {
      const written = avro.Type.forSchema(this.#numbers.schemaOf(stream, number))
      resolver = this.#types[stream].createResolver(written)
      this.#resolvers.set(name, resolver)
    }
    return shownOf(stream, this.#types[stream].fromBuffer(value.subarray(REGISTERED_HEAD_BYTES), resolver) as Row)
  }

  #single(stream: OutboxStream, value: Buffer): unknown {
    const type = this.#types[stream]
    if (!singleHead(type).equals(value.subarray(0, SINGLE_HEAD_BYTES))) throw unknownSchema(value.toString('hex', 2, SINGLE_HEAD_BYTES))
    return shownOf(stream, type.fromBuffer(value.subarray(SINGLE_HEAD_BYTES)) as Row)
  }
}

const forEach = <T>(make: (stream: OutboxStream) => T): Readonly<Record<OutboxStream, T>> =>
  Object.fromEntries(OUTBOX_STREAMS.map((stream) => [stream, make(stream)])) as Record<OutboxStream, T>

const unknownSchema = (what: string): TributaryError =>
  new TributaryError('registry_failed', `an output was written with a schema that is not known here: ${what}`)

function registeredHead(number: number): Buffer {
  const head = Buffer.alloc(REGISTERED_HEAD_BYTES)
  head.writeUInt32BE(number, 1)
  return head
}

const singleHeads = new WeakMap<Type, Buffer>()

function singleHead(type: Type): Buffer {
  const known = singleHeads.get(type)
  if (known) return known
  const head = Buffer.alloc(SINGLE_HEAD_BYTES)
  head[0] = SINGLE
  head[1] = SINGLE_VERSION
  head.writeBigUInt64LE(fingerprint(JSON.stringify(type.schema())), 2)
  singleHeads.set(type, head)
  return head
}

const EMPTY = 0xc15d213aa4d7a795n

/** CRC-64-AVRO of a schema in parsing canonical form. */
export function fingerprint(canonical: string): bigint {
  let crc = EMPTY
  for (const byte of Buffer.from(canonical)) {
    let low = (crc ^ BigInt(byte)) & 0xffn
    for (let bit = 0; bit < 8; bit++) low = low & 1n ? (low >> 1n) ^ EMPTY : low >> 1n
    crc = (crc >> 8n) ^ low
  }
  return crc
}

const INSTANTS: Readonly<Record<OutboxStream, readonly string[]>> = {
  transitions: ['at', 'decidedAt'],
  merges: ['at'],
  deadLetters: ['at'],
  profiles: ['createdAt', 'updatedAt'],
}
/** What users sent, of any shape: JSON text in a field (outputs-schemas.ts 3). */
const JSON_TEXTS: Readonly<Record<OutboxStream, readonly string[]>> = {
  ...{ transitions: [], merges: [], deadLetters: ['message'], profiles: ['traits', 'computedTraits'] },
}

/** Instants as numbers; what was received as JSON text. */
function rowOf(stream: OutboxStream, entry: Record<string, unknown>): Row {
  for (const name of INSTANTS[stream]) entry[name] = Date.parse(String(entry[name]))
  for (const name of JSON_TEXTS[stream]) if (entry[name] !== undefined) entry[name] = JSON.stringify(entry[name])
  return wellFormed(entry) as Row
}

/** Half a character, which JSON escapes, would be written as bytes that strict readers refuse. */
function wellFormed(value: unknown): unknown {
  if (typeof value === 'string') return value.toWellFormed()
  if (Array.isArray(value)) return value.map(wellFormed)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, wellFormed(inner)]))
}

function shownOf(stream: OutboxStream, row: Row): object {
  const entry: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(row)) if (value !== null) entry[name] = value
  for (const name of INSTANTS[stream]) entry[name] = new Date(Number(must(entry[name], 'every schema has it'))).toISOString()
  for (const name of JSON_TEXTS[stream]) if (entry[name] !== undefined) entry[name] = JSON.parse(String(entry[name]))
  return entry
}
