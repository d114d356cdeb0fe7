// Avro values: a schema as text becomes a decoder to JSON.
//
// Longs beyond 2^53 become texts; decimals numbers; timestamps ISO texts, to the millisecond; dates YYYY-MM-DD; bytes base64.
import avro, { type Schema, type Type } from 'avsc'
import type { Json } from '../../core/event.ts'
import { unreadable } from './formats.ts'
import { plain } from './plain.ts'

const DAY_MS = 86_400_000

/** A named schema that another one refers to comes before it. */
export function avroDecoder(schemas: readonly string[]): (value: Buffer) => Json {
  // Shared by the schemas of one decoder: names that one defines, the next may use.
  const registry: Record<string, Type> = { long: LONG }
  let type: Type | undefined
  for (const text of schemas) type = avro.Type.forSchema(schemaOf(text), { registry, logicalTypes: LOGICAL_TYPES })
  const last = type
  if (!last) throw new RangeError('there is a schema')
  return (value) => {
    try {
      return plain(last.fromBuffer(value)) ?? null
    } catch (cause) {
      throw unreadable('Avro of its schema', cause)
    }
  }
}

function schemaOf(text: string): Schema {
  const trimmed = text.trim()
  // A primitive may be written without quotes.
  return (/^[a-z]+$/.test(trimmed) ? trimmed : JSON.parse(trimmed)) as Schema
}

type Long = number | string

/** A long that fits is a number, another one a text. */
const LONG = avro.types.LongType.__with({
  fromBuffer: (bytes: Buffer): Long => {
    const exact = bytes.readBigInt64LE()
    const rounded = Number(exact)
    return Number.isSafeInteger(rounded) ? rounded : String(exact)
  },
  toBuffer: (long: Long) => {
    const bytes = Buffer.alloc(8)
    bytes.writeBigInt64LE(BigInt(long))
    return bytes
  },
  fromJSON: (long: Long) => long,
  toJSON: (long: Long) => long,
  isValid: (long: unknown) => typeof long === 'string' || Number.isInteger(long),
  compare: (a: Long, b: Long) => (BigInt(a) < BigInt(b) ? -1 : BigInt(a) > BigInt(b) ? 1 : 0),
})

class Millis extends avro.types.LogicalType {
  override _fromValue(ms: Long): string | Long {
    return instantText(Number(ms)) ?? ms
  }
}

class Micros extends avro.types.LogicalType {
  override _fromValue(us: Long): string | Long {
    return instantText(Math.floor(Number(us) / 1000)) ?? us
  }
}

class Day extends avro.types.LogicalType {
  override _fromValue(days: number): string | number {
    return instantText(days * DAY_MS)?.slice(0, -'T00:00:00.000Z'.length) ?? days
  }
}

class Decimal extends avro.types.LogicalType {
  readonly #scale: number
  constructor(schema: Schema, options?: object) {
    super(schema, options)
    const { scale } = schema as { readonly scale?: unknown }
    this.#scale = typeof scale === 'number' ? scale : 0
  }
  /** Two's complement, the highest byte first. */
  override _fromValue(bytes: Uint8Array): number {
    const digits = bytes.length === 0 ? 0n : BigInt.asIntN(8 * bytes.length, BigInt(`0x${Buffer.from(bytes).toString('hex')}`))
    return Number(`${digits}e${-this.#scale}`)
  }
}

const LOGICAL_TYPES = {
  'timestamp-millis': Millis,
  'timestamp-micros': Micros,
  'local-timestamp-millis': Millis,
  'local-timestamp-micros': Micros,
  date: Day,
  decimal: Decimal,
}

/** Undefined beyond what a date can be. */
function instantText(ms: number): string | undefined {
  return Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : undefined
}
