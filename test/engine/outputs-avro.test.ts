// Outputs in Avro: what is written is what its published schema says, framed as Avro or a registry wants it, and is read back whatever
// format is configured, and across versions of the schema.
import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import avro, { type Schema } from 'avsc'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Stream } from '../../src/engine/outbox.ts'
import { AvroCodec, type Formats, fingerprint } from '../../src/engine/outputs-avro.ts'
import { JSON_CODEC, type Shown } from '../../src/engine/outputs-codec.ts'
import { OutputSchemas } from '../../src/engine/outputs-registry.ts'
import { SCHEMA_FILES, SCHEMAS } from '../../src/engine/outputs-schemas.ts'

const AVRO: Formats = { transitions: 'avro', merges: 'avro', deadLetters: 'avro' }
const JSON_ONLY: Formats = { transitions: 'json', merges: 'json', deadLetters: 'json' }
const STREAMS: readonly Stream[] = ['transitions', 'merges', 'deadLetters']
const AT = '2026-05-03T10:11:12.345Z'

const whole: Shown['transitions'] = {
  id: '3-17',
  segment: 'vips',
  version: 4,
  profile: '0190b8c27e1a7c3d9d5f123456',
  userId: 'ü1',
  transition: 'entered',
  cause: 'event',
  causeId: 'm1',
  seq: 7,
  at: '2026-05-03T10:11:12.344Z',
  decidedAt: AT,
}
const { userId: _, causeId: __, ...bare } = whole
const SAMPLES: { readonly [S in Stream]: readonly Shown[S][] } = {
  transitions: [whole, { ...bare, cause: 'timer', transition: 'exited', at: AT }],
  merges: [
    { id: '0-1', survivor: 'p1', absorbed: 'p2', at: AT },
    { id: '0-2', survivor: 'p1', absorbed: 'p3', at: AT, messageId: 'm' },
  ],
  deadLetters: [
    { id: '0-1', code: 'unreadable', reason: 'no JSON', at: AT },
    { id: '0-2', code: 'no_identifier', reason: 'r', at: AT, message: { a: [1, null, 'ü'], b: 'x' } },
    { id: '0-3', code: 'unreadable', reason: 'r', at: AT, message: 'a text' },
  ],
}

/** The schema as it is published. */
const published = (stream: Stream): Schema =>
  JSON.parse(readFileSync(join(import.meta.dirname, '../../docs/avro', SCHEMA_FILES[stream]), 'utf8')) as Schema

test.each(STREAMS)('the published schema of %s is the one that is used', (stream) => {
  expect(published(stream)).toEqual(SCHEMAS[stream])
})

test('fingerprints are those of the specification', () => {
  expect(fingerprint('"int"')).toBe(0x7275d51a3f395c8fn)
  expect(fingerprint('"null"')).toBe(0x63dd24e7cc258f8an)
})

describe.each(STREAMS)('%s without a registry', (stream) => {
  const codec = new AvroCodec(AVRO)

  test('are read back as they were, in Avro and in JSON', () => {
    for (const sample of SAMPLES[stream]) {
      for (const format of [AVRO, JSON_ONLY]) {
        const value = new AvroCodec(format).encode(stream, sample)
        expect(value[0]).toBe(format === AVRO ? 0xc3 : 0x7b)
        expect(codec.decode(stream, value)).toEqual(sample)
        expect(new AvroCodec(JSON_ONLY).decode(stream, value)).toEqual(sample)
      }
    }
  })

  test('are what a reader with the published schema finds behind ten bytes of head', () => {
    const type = avro.Type.forSchema(published(stream))
    for (const sample of SAMPLES[stream]) {
      const row = type.fromBuffer(codec.encode(stream, sample).subarray(10)) as { id: string; at: number }
      expect([row.id, row.at]).toEqual([sample.id, Date.parse(sample.at)])
    }
  })

  test('that are damaged or of somebody else are no entries; a schema that is not known is an error', () => {
    const value = codec.encode(stream, SAMPLES[stream][0] as Shown[typeof stream])
    for (const bad of [Buffer.alloc(0), Buffer.from('x'), value.subarray(0, 9), value.subarray(0, value.length - 3), Buffer.from('{')])
      expect(codec.decode(stream, bad)).toBeUndefined()
    const other = Buffer.from(value)
    other[5] = (other[5] ?? 0) ^ 1
    expect(() => codec.decode(stream, other)).toThrow(/not known/)
    expect(() => codec.decode(stream, Buffer.from([0, 0, 0, 0, 7, 1]))).toThrow(/no registry/)
  })
})

describe('with a registry', () => {
  /** As much of a registry as is talked to. */
  class Registry {
    readonly schemas: string[] = []
    readonly asked: string[] = []
    refuses = false
    readonly #server: Server = createServer((request, reply) => {
      void this.#answer(request).then(([status, body]) => reply.writeHead(status).end(JSON.stringify(body)))
    })

    async listen(): Promise<string> {
      await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
      return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/`
    }

    async #answer(request: IncomingMessage): Promise<[number, object]> {
      this.asked.push(`${request.method} ${request.url} ${request.headers.authorization ?? ''}`.trim())
      if (this.refuses) return [409, { error_code: 409, message: 'incompatible' }]
      if (request.method === 'POST') {
        const { schema } = JSON.parse(await text(request)) as { schema: string }
        if (!this.schemas.includes(schema)) this.schemas.push(schema)
        return [200, { id: this.schemas.indexOf(schema) + 1 }]
      }
      const schema = this.schemas[Number(request.url?.split('/').at(-1)) - 1]
      return schema === undefined ? [404, { error_code: 40403 }] : [200, { schema }]
    }

    close(): void {
      this.#server.closeAllConnections()
      this.#server.close()
    }
  }

  let registry: Registry
  let url: string
  beforeEach(async () => {
    registry = new Registry()
    url = await registry.listen()
  })
  afterEach(() => registry.close())

  const subjects = { transitions: 'tributary.transitions-value', deadLetters: 'a/b-value' }

  test('schemas are registered once under their subjects, and values begin with their number', async () => {
    const numbers = await OutputSchemas.register({ url, username: 'u', password: 'p' }, subjects)
    await OutputSchemas.register({ url, token: 't' }, subjects)
    expect(registry.asked).toEqual([
      'POST /subjects/tributary.transitions-value/versions Basic dTpw',
      'POST /subjects/a%2Fb-value/versions Basic dTpw',
      'POST /subjects/tributary.transitions-value/versions Bearer t',
      'POST /subjects/a%2Fb-value/versions Bearer t',
    ])
    const codec = new AvroCodec({ ...AVRO, merges: 'json' }, numbers)
    for (const stream of STREAMS) {
      for (const sample of SAMPLES[stream]) {
        const value = codec.encode(stream, sample)
        const number = { transitions: 1, merges: undefined, deadLetters: 2 }[stream]
        expect(value[0] === 0 ? value.readUInt32BE(1) : undefined).toBe(number)
        expect(codec.decode(stream, value)).toEqual(sample)
      }
    }
  })

  test('values of an older and of a newer schema are read, once the registry has told it', async () => {
    const fields = SCHEMAS.transitions.fields.filter((f) => f.name !== 'userId')
    const newer = { ...SCHEMAS.transitions, fields: [...fields, { name: 'mood', type: 'string', default: '' }] } as unknown as Schema
    const numbers = await OutputSchemas.register({ url }, subjects)
    registry.schemas.push(JSON.stringify(newer))
    const codec = new AvroCodec(AVRO, { ...numbersOf(numbers), numberOf: () => 1 })
    const row = { ...whole, at: 5, decidedAt: 6, mood: 'good' }
    const value = Buffer.concat([Buffer.from([0, 0, 0, 0, 3]), avro.Type.forSchema(newer).toBuffer(row)])
    expect(() => codec.decode('transitions', value)).toThrow(/not known yet/)
    const wanted = { ...whole, at: '1970-01-01T00:00:00.005Z', decidedAt: '1970-01-01T00:00:00.006Z' }
    const { userId, ...withoutUser } = wanted
    expect(userId).toBeDefined()
    await expect.poll(() => decodedOrNot(codec, value)).toEqual(withoutUser)
  })

  test('one that refuses or is not there is an error at the start', async () => {
    registry.refuses = true
    await expect(OutputSchemas.register({ url }, subjects)).rejects.toMatchObject({ code: 'registry_failed', message: /incompatible/ })
    registry.close()
    await expect(OutputSchemas.register({ url }, subjects)).rejects.toMatchObject({ code: 'registry_failed' })
  })

  const numbersOf = (numbers: OutputSchemas) => ({ schemaOf: (stream: Stream, n: number) => numbers.schemaOf(stream, n) })

  function decodedOrNot(codec: AvroCodec, value: Buffer): unknown {
    try {
      return codec.decode('transitions', value)
    } catch {
      return undefined
    }
  }
})

test('JSON is written as the API shows it', () => {
  expect(JSON.parse(String(JSON_CODEC.encode('transitions', whole)))).toEqual(whole)
})

describe('readers with another version of a schema', () => {
  type Fields = readonly { readonly name: string; readonly default?: unknown }[]
  const typeOf = (stream: Stream, change: (fields: Fields) => Fields): avro.Type => {
    const schema = published(stream) as { fields: Fields }
    return avro.Type.forSchema({ ...schema, fields: change(schema.fields) } as Schema)
  }
  const asIs = (fields: Fields): Fields => fields
  /** As before the fields that may be missing were thought of. */
  const older = (fields: Fields): Fields => fields.filter((f) => f.default === undefined)
  const newer = (fields: Fields): Fields => [
    { name: 'added', type: ['null', 'string'], default: null } as never,
    ...fields.toReversed(),
    { name: 'more', type: 'long', default: 7 } as never,
  ]
  /** What a reader finds in what a writer has written, by name. */
  const readBy = (reader: avro.Type, writer: avro.Type, value: object): Record<string, unknown> => ({
    ...reader.fromBuffer(writer.toBuffer(value), reader.createResolver(writer)),
  })

  test.each(STREAMS)('find in %s what both know, and defaults for what the writer did not', (stream) => {
    const [now, before, after] = [asIs, older, newer].map((change) => typeOf(stream, change)) as [avro.Type, avro.Type, avro.Type]
    const optional = (published(stream) as { fields: Fields }).fields.flatMap((f) => (f.default === undefined ? [] : [f.name]))
    // Else nothing could ever be taken away.
    expect(optional.length).toBeGreaterThan(0)
    const texts = Object.fromEntries(
      (published(stream) as { fields: readonly { name: string; type: unknown }[] }).fields.map(({ name, type }) => [
        name,
        type === 'string' || Array.isArray(type) ? `a ${name}` : 12,
      ]),
    )
    const bare = Object.fromEntries(Object.entries(texts).filter(([name]) => !optional.includes(name)))
    const none = Object.fromEntries(optional.map((name) => [name, null]))
    expect(readBy(before, now, texts)).toEqual(bare)
    expect(readBy(now, before, bare)).toEqual({ ...bare, ...none })
    expect(readBy(now, after, { ...texts, added: 'x', more: 1 })).toEqual(texts)
    expect(readBy(after, now, texts)).toEqual({ ...texts, added: null, more: 7 })
    expect(readBy(before, after, { ...texts, added: 'x', more: 1 })).toEqual(bare)
    expect(readBy(after, before, bare)).toEqual({ ...bare, ...none, added: null, more: 7 })
  })
})
