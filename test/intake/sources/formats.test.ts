// JSON, MessagePack and Avro to JSON, with and without a schema registry.
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import avro from 'avsc'
import { Packr } from 'msgpackr/pack'
import { afterEach, describe, expect, test } from 'vitest'
import { VirtualClock } from '../../../src/core/clock.ts'
import { avroDecoder } from '../../../src/intake/sources/avro.ts'
import { decodeJson, decodeMsgpack } from '../../../src/intake/sources/formats.ts'
import { type RegistryOptions, SchemaRegistry } from '../../../src/intake/sources/schema-registry.ts'

const framed = (id: number, datum: Buffer): Buffer => {
  const header = Buffer.alloc(5)
  header.writeUInt32BE(id, 1)
  return Buffer.concat([header, datum])
}

describe('JSON', () => {
  test('may begin with a mark of byte order, or with the number of its schema', () => {
    expect(decodeJson(Buffer.from('\uFEFF{"a":1}'))).toEqual({ a: 1 })
    expect(decodeJson(framed(7, Buffer.from('{"a":1}')))).toEqual({ a: 1 })
  })
  test.each(['', '{', 'no', '\0', '\0\0\0\0\0'])('%j is unreadable', (text) => {
    expect(() => decodeJson(Buffer.from(text))).toThrow(expect.objectContaining({ code: 'unreadable' }))
  })
})

describe('MessagePack', () => {
  const packr = new Packr({ useRecords: false, variableMapSize: true })
  test('becomes JSON: bytes base64, dates ISO texts, long numbers texts', () => {
    const value = {
      type: 'track',
      n: 1.5,
      big: 2n ** 60n,
      small: 5n,
      at: new Date(1e12),
      raw: Buffer.from([1, 2]),
      list: [null, true],
      none: undefined,
    }
    expect(decodeMsgpack(packr.pack(value))).toEqual({
      type: 'track',
      n: 1.5,
      big: '1152921504606846976',
      small: 5,
      at: '2001-09-09T01:46:40.000Z',
      raw: 'AQI=',
      list: [null, true],
    })
  })
  test.each([[Buffer.alloc(0)], [Buffer.from([0x81])], [Buffer.from([0x01, 0x02])], [Buffer.alloc(300_000, 0x91)]])(
    '%j is unreadable',
    (bytes) => {
      expect(() => decodeMsgpack(bytes)).toThrow(expect.objectContaining({ code: 'unreadable' }))
    },
  )
})

const ORDER = {
  type: 'record',
  name: 'Order',
  namespace: 'shop',
  fields: [
    { name: 'userId', type: ['null', 'string'] },
    { name: 'total', type: { type: 'bytes', logicalType: 'decimal', precision: 10, scale: 2 } },
    { name: 'at', type: { type: 'long', logicalType: 'timestamp-micros' } },
    { name: 'day', type: { type: 'int', logicalType: 'date' } },
    { name: 'sequence', type: 'long' },
    { name: 'tags', type: { type: 'map', values: 'string' } },
    { name: 'kind', type: { type: 'enum', name: 'Kind', symbols: ['WEB', 'SHOP'] } },
    { name: 'either', type: ['int', 'long'] },
    { name: 'seen', type: ['null', { type: 'long', logicalType: 'timestamp-millis' }] },
  ],
}
/** The same without logical types, as a writer that knows none. */
const PLAIN_ORDER = {
  ...ORDER,
  fields: ORDER.fields.map((f) =>
    typeof f.type === 'object' && 'logicalType' in f.type
      ? { ...f, type: f.type.type }
      : f.name === 'seen'
        ? { ...f, type: ['null', 'long'] }
        : f,
  ),
}
const order = (fields: object = {}): Buffer =>
  avro.Type.forSchema(PLAIN_ORDER as never).toBuffer({
    userId: 'u1',
    total: Buffer.from([0xff, 0x85]),
    at: 1_000_000_000_000_123,
    day: 20_000,
    sequence: 5,
    tags: { a: 'b' },
    kind: 'WEB',
    either: { long: 7 },
    seen: 1_000_000_000_000,
    ...fields,
  })
const READ = {
  userId: 'u1',
  total: -1.23,
  at: '2001-09-09T01:46:40.000Z',
  day: '2024-10-04',
  sequence: 5,
  tags: { a: 'b' },
  kind: 'WEB',
  either: 7,
  seen: '2001-09-09T01:46:40.000Z',
}

describe('Avro with a schema', () => {
  const decode = avroDecoder([JSON.stringify(ORDER)])
  test('becomes JSON: logical types as people read them, unions as their members', () => {
    expect(decode(order())).toEqual(READ)
    expect(decode(order({ userId: null, total: Buffer.alloc(0), seen: null }))).toEqual({ ...READ, userId: null, total: 0, seen: null })
  })
  test('keeps a long that JSON has no number for as a text', () => {
    const long = avro.types.LongType.__with({
      fromBuffer: (b: Buffer) => b.readBigInt64LE(),
      toBuffer: (n: bigint) => {
        const b = Buffer.alloc(8)
        b.writeBigInt64LE(n)
        return b
      },
      fromJSON: BigInt,
      toJSON: String,
      isValid: (n: unknown) => typeof n === 'bigint',
      compare: () => 0,
    })
    const writer = avro.Type.forSchema({ type: 'record', name: 'R', fields: [{ name: 'n', type: 'long' }] }, { registry: { long } })
    const read = avroDecoder([JSON.stringify({ type: 'record', name: 'R', fields: [{ name: 'n', type: 'long' }] })])
    for (const n of [2n ** 62n, -(2n ** 62n), 2n ** 53n - 1n, -1n])
      expect(read(writer.toBuffer({ n }))).toEqual({ n: Number.isSafeInteger(Number(n)) ? Number(n) : String(n) })
  })
  test('is unreadable where bytes are missing, or left over, or hold no member of a union', () => {
    const bytes = order()
    for (const damaged of [bytes.subarray(0, -1), Buffer.concat([bytes, Buffer.from([0])]), Buffer.from([9]), Buffer.alloc(0)])
      expect(() => decode(damaged)).toThrow(expect.objectContaining({ code: 'unreadable' }))
  })
})

/** A registry that speaks Confluent's protocol, as far as a reader needs it. */
class FakeRegistry {
  readonly schemas = new Map<string, object>()
  readonly asked: string[] = []
  status: number | undefined
  readonly #server: Server

  constructor() {
    this.#server = createServer(({ url = '', headers }, reply) => {
      this.asked.push(`${url} ${headers.authorization ?? ''}`.trim())
      const schema = this.schemas.get(url)
      const status = this.status ?? (schema ? 200 : 404)
      reply.writeHead(status, { 'content-type': 'application/vnd.schemaregistry.v1+json' })
      reply.end(JSON.stringify(status === 200 ? schema : { error_code: status === 404 ? 40403 : status, message: 'Schema not found' }))
    })
  }
  async listen(): Promise<string> {
    await new Promise<void>((resolve) => void this.#server.listen(0, '127.0.0.1', resolve))
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }
  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => void this.#server.close(resolve))
  }
}

describe('Avro with a schema registry', () => {
  const open: FakeRegistry[] = []
  afterEach(async () => {
    for (const registry of open.splice(0)) await registry.close()
  })
  async function registry(options: Partial<RegistryOptions> = {}) {
    const fake = new FakeRegistry()
    open.push(fake)
    fake.schemas.set('/schemas/ids/7', { schema: JSON.stringify(ORDER) })
    const clock = new VirtualClock()
    const { decode } = new SchemaRegistry({ url: `${await fake.listen()}/`, ...options }, clock)
    return { fake, clock, decode: async (value: Buffer) => decode(value) }
  }

  test('asks for a schema once, however many values come at once and later', async () => {
    const { fake, decode } = await registry()
    expect(await Promise.all([decode(framed(7, order())), decode(framed(7, order()))])).toEqual([READ, READ])
    expect(await decode(framed(7, order()))).toEqual(READ)
    expect(fake.asked).toEqual(['/schemas/ids/7'])
  })

  test.each([
    [{ username: 'me', password: 'secret' }, 'Basic bWU6c2VjcmV0'],
    [{ token: 't1' }, 'Bearer t1'],
  ])('logs in with %j', async (options, sent) => {
    const { fake, decode } = await registry(options)
    await decode(framed(7, order()))
    expect(fake.asked).toEqual([`/schemas/ids/7 ${sent}`])
  })

  test('finds the schemas that a schema refers to', async () => {
    const { fake, decode } = await registry()
    const line = { type: 'record', name: 'Line', namespace: 'shop', fields: [{ name: 'sku', type: 'string' }] }
    const cart = { type: 'record', name: 'Cart', namespace: 'shop', fields: [{ name: 'line', type: 'shop.Line' }] }
    fake.schemas.set('/subjects/shop.Line/versions/2', { schema: JSON.stringify(line), id: 8, version: 2 })
    fake.schemas.set('/schemas/ids/9', {
      schema: JSON.stringify(cart),
      references: [{ name: 'shop.Line', subject: 'shop.Line', version: 2 }],
    })
    const datum = avro.Type.forSchema({ ...cart, fields: [{ name: 'line', type: line }] } as never).toBuffer({ line: { sku: 's1' } })
    expect(await decode(framed(9, datum))).toEqual({ line: { sku: 's1' } })
  })

  test('finds a value unreadable that has no schema, an unknown one, or one of another kind, and asks again later', async () => {
    const { fake, clock, decode } = await registry()
    fake.schemas.set('/schemas/ids/2', { schema: 'syntax = "proto3";', schemaType: 'PROTOBUF' })
    fake.schemas.set('/schemas/ids/3', { schema: '{"type":"recor"}' })
    for (const value of [Buffer.from('{}'), framed(1, order()), framed(2, order()), framed(3, order())])
      await expect(decode(value)).rejects.toMatchObject({ code: 'unreadable' })
    await expect(decode(framed(1, order()))).rejects.toMatchObject({ detail: 'the registry has no schema 1' })
    expect(fake.asked).toHaveLength(3)
    fake.schemas.set('/schemas/ids/1', { schema: JSON.stringify(ORDER) })
    clock.advance(30_001)
    expect(await decode(framed(1, order()))).toEqual(READ)
  })

  test('does not take trouble for an answer: it fails, and knows no more than before', async () => {
    const { fake, decode } = await registry()
    for (const status of [500, 401, 403, 429]) {
      fake.status = status
      await expect(decode(framed(7, order()))).rejects.toMatchObject({ code: 'registry_failed' })
    }
    fake.status = undefined
    expect(await decode(framed(7, order()))).toEqual(READ)
    await fake.close()
    await expect(decode(framed(8, order()))).rejects.toMatchObject({ code: 'registry_failed' })
  })

  test('takes a 404 that is none of a registry for a wrong address', async () => {
    const server = createServer((_, reply) => void reply.writeHead(404).end('<html>nothing here</html>'))
    await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
    const { decode } = new SchemaRegistry({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }, new VirtualClock())
    await expect(decode(framed(7, order()))).rejects.toMatchObject({ code: 'registry_failed' })
    server.closeAllConnections()
    await new Promise((resolve) => void server.close(resolve))
  })
})
