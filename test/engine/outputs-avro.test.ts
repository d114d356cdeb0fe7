// Outputs in Avro: what is written is what its published schema says, framed as Avro or a registry wants it, and is read back whatever
// format is configured, and across versions of the schema.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import avro, { type Schema } from 'avsc'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { JsonObject } from '../../src/core/event.ts'
import type { ProfileView } from '../../src/engine/engine.ts'
import { OUTBOX_STREAMS, type OutboxStream } from '../../src/engine/outbox.ts'
import { AvroCodec, type Formats, fingerprint } from '../../src/engine/outputs-avro.ts'
import { JSON_CODEC, type Shown } from '../../src/engine/outputs-codec.ts'
import { OutputSchemas } from '../../src/engine/outputs-registry.ts'
import { SCHEMA_FILES, SCHEMAS } from '../../src/engine/outputs-schemas.ts'
import { RegistryStub } from './registry-stub.ts'

const AVRO: Formats = { transitions: 'avro', merges: 'avro', deadLetters: 'avro', profiles: 'avro' }
const JSON_ONLY: Formats = { transitions: 'json', merges: 'json', deadLetters: 'json', profiles: 'json' }
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
const profile: ProfileView = {
  id: whole.profile,
  identifiers: [
    { namespace: 'user_id', value: 'ü1' },
    { namespace: 'email', value: 'a@b.c' },
  ],
  traits: { city: 'Köln', age: 41, vip: true, address: { lines: ['a', null], zip: '01' } },
  computedTraits: {},
  segments: ['buyers', 'vips'],
  createdAt: '2026-05-03T10:11:12.344Z',
  updatedAt: AT,
  position: '3:17',
}
const SAMPLES: { readonly [S in OutboxStream]: readonly Shown[S][] } = {
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
  profiles: [profile, { ...profile, identifiers: [], traits: {}, segments: [] }],
}
/** An instant that every entry of a stream has. */
const INSTANT = { transitions: 'at', merges: 'at', deadLetters: 'at', profiles: 'updatedAt' } as const

/** The schema as it is published. */
const published = (stream: OutboxStream): Schema =>
  JSON.parse(readFileSync(join(import.meta.dirname, '../../docs/avro', SCHEMA_FILES[stream]), 'utf8')) as Schema

test.each(OUTBOX_STREAMS)('the published schema of %s is the one that is used', (stream) => {
  expect(published(stream)).toEqual(SCHEMAS[stream])
})

test('fingerprints are those of the specification', () => {
  expect(fingerprint('"int"')).toBe(0x7275d51a3f395c8fn)
  expect(fingerprint('"null"')).toBe(0x63dd24e7cc258f8an)
})

test('the fingerprints of the schemas are those that another implementation finds (fastavro 1.13.1), and that the docs name', () => {
  const found = {
    transitions: 'bc433c7d5d8b68b6',
    merges: '0ac79455fc054298',
    deadLetters: '4b3c41990a762b4c',
    profiles: '5018362335d7fb0c',
  }
  const docs = readFileSync(join(import.meta.dirname, '../../docs/kafka.md'), 'utf8')
  for (const stream of OUTBOX_STREAMS) {
    const head = new AvroCodec(AVRO).encode(stream, SAMPLES[stream][0] as Shown[typeof stream]).toString('hex', 0, 10)
    expect(head).toBe(`c301${found[stream]}`)
    const bytes = head.toUpperCase().match(/../g)?.join(' ')
    expect(docs).toContain(`| \`docs/avro/${SCHEMA_FILES[stream]}\` | \`${bytes}\` |`)
  }
})

describe.each(OUTBOX_STREAMS)('%s without a registry', (stream) => {
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
      const row = type.fromBuffer(codec.encode(stream, sample).subarray(10)) as Record<string, unknown>
      const instant = (sample as unknown as Record<string, string>)[INSTANT[stream]]
      expect([row.id, row[INSTANT[stream]]]).toEqual([sample.id, Date.parse(String(instant))])
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

describe('states of profiles', () => {
  const text = fc.string({ unit: 'grapheme', maxLength: 80 })
  const name = fc.oneof(text, fc.constantFrom('__proto__', 'constructor', 'toString', '', '7', 'a.b', '\u0000'))
  const odd = fc.oneof(fc.double(), fc.maxSafeInteger(), fc.constantFrom(2 ** 53 + 2, 1e308, 5e-324, -0, null, '\ud800', '\udc00x'))
  /** Of any shape and name: what JSON can say. */
  const traits = fc.dictionary(name, fc.oneof(fc.jsonValue(), odd)).map((x) => JSON.parse(JSON.stringify(x)) as JsonObject)
  const instant = fc.date({ noInvalidDate: true, min: new Date(0), max: new Date(8.64e15) }).map((date) => date.toISOString())
  const view: fc.Arbitrary<ProfileView> = fc.record({
    id: text,
    identifiers: fc.array(fc.record({ namespace: text, value: text })),
    traits,
    computedTraits: traits,
    segments: fc.array(text),
    createdAt: instant,
    updatedAt: instant,
    position: text,
  })

  test('are read from Avro as from JSON, to the letter, whatever traits there are', () => {
    const codec = new AvroCodec(AVRO)
    fc.assert(
      fc.property(view, (state) => {
        const [inAvro, inJson] = [codec, JSON_CODEC].map((c) => c.decode('profiles', c.encode('profiles', state)))
        expect(JSON.stringify(inAvro)).toBe(JSON.stringify(inJson))
        expect(JSON.stringify(inAvro)).toBe(JSON.stringify(state))
      }),
    )
  })
})

describe('with a registry', () => {
  let registry: RegistryStub
  let url: string
  beforeEach(async () => {
    registry = new RegistryStub()
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
    const codec = new AvroCodec({ ...AVRO, merges: 'json', profiles: false }, numbers)
    for (const stream of OUTBOX_STREAMS) {
      for (const sample of SAMPLES[stream]) {
        const value = codec.encode(stream, sample)
        const number = { transitions: 1, merges: undefined, deadLetters: 2, profiles: undefined }[stream]
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

  test('states of profiles begin with the number of their schema, and are what its readers find behind five bytes', async () => {
    const numbers = await OutputSchemas.register({ url }, { merges: 'm-value', profiles: 'tributary.profiles-value' })
    const codec = new AvroCodec({ ...JSON_ONLY, profiles: 'avro' }, numbers)
    const value = codec.encode('profiles', profile)
    expect(value.subarray(0, 5)).toEqual(Buffer.from([0, 0, 0, 0, 2]))
    expect(codec.decode('profiles', value)).toEqual(profile)
    const asked = await (await fetch(`${url}schemas/ids/${value.readUInt32BE(1)}`)).json()
    const type = avro.Type.forSchema(JSON.parse((asked as { schema: string }).schema) as Schema)
    expect(type.fromBuffer(value.subarray(5))).toMatchObject({ id: profile.id, segments: profile.segments, updatedAt: Date.parse(AT) })
  })

  test.each(OUTBOX_STREAMS)('one that has another schema for %s is an error at the start, and is told nothing new', async (stream) => {
    const other = { ...SCHEMAS[stream], fields: [{ name: 'id', type: 'long' }] }
    registry.register('mine-value', JSON.stringify(other))
    const starting = OutputSchemas.register({ url }, { [stream]: 'mine-value' })
    await expect(starting).rejects.toMatchObject({ code: 'registry_failed', message: /409.*incompatible/ })
    expect(registry.schemas).toEqual([JSON.stringify(other)])
  })

  test('one that is not there is an error at the start', async () => {
    registry.close()
    await expect(OutputSchemas.register({ url }, subjects)).rejects.toMatchObject({ code: 'registry_failed' })
  })

  const numbersOf = (numbers: OutputSchemas) => ({ schemaOf: (stream: OutboxStream, n: number) => numbers.schemaOf(stream, n) })

  function decodedOrNot(codec: AvroCodec, value: Buffer): unknown {
    try {
      return codec.decode('transitions', value)
    } catch {
      return undefined
    }
  }
})

test('half a character, which UTF-8 has no bytes for, is written as the sign for what is not known', () => {
  const codec = new AvroCodec(AVRO)
  const read = <S extends OutboxStream>(stream: S, entry: Shown[S]): unknown => codec.decode(stream, codec.encode(stream, entry))
  expect(read('transitions', { ...whole, userId: 'a\ud800', causeId: '\udc00' })).toEqual({
    ...whole,
    userId: 'a\ufffd',
    causeId: '\ufffd',
  })
  const merge = { id: '0-2', survivor: 'p1', absorbed: 'p3', at: AT }
  expect(read('merges', { ...merge, messageId: '\ud83d' })).toEqual({ ...merge, messageId: '\ufffd' })
  const letter = { id: '0-1', code: 'unreadable', at: AT, message: ['\ud800'] }
  expect(read('deadLetters', { ...letter, reason: '\ud800b' })).toEqual({ ...letter, reason: '\ufffdb' })
  const identifiers = (value: string) => [{ namespace: 'user_id', value }]
  const half = { ...profile, identifiers: identifiers('\ud800'), traits: { half: '\ud800' } }
  expect(read('profiles', half)).toEqual({ ...half, identifiers: identifiers('\ufffd') })
})

test('JSON is written as the API shows it', () => {
  expect(JSON.parse(String(JSON_CODEC.encode('transitions', whole)))).toEqual(whole)
})

describe('readers with another version of a schema', () => {
  type Fields = readonly { readonly name: string; readonly type: unknown; readonly default?: unknown }[]
  const typeOf = (stream: OutboxStream, change: (fields: Fields) => Fields): avro.Type => {
    const schema = published(stream) as { fields: Fields }
    return avro.Type.forSchema({ ...schema, fields: change(schema.fields) } as Schema)
  }
  const asIs = (fields: Fields): Fields => fields
  /** As before the fields that may be missing were thought of. */
  const older = (fields: Fields): Fields => fields.filter((f) => f.default === undefined)
  const newer = (fields: Fields): Fields => [
    { name: 'added', type: ['null', 'string'], default: null },
    ...fields.toReversed(),
    { name: 'more', type: 'long', default: 7 },
  ]
  /** What a reader finds in what a writer has written, by name. */
  const readBy = (reader: avro.Type, writer: avro.Type, value: object): Record<string, unknown> => ({
    ...reader.fromBuffer(writer.toBuffer(value), reader.createResolver(writer)),
  })

  /** Some value of a type. */
  const sampleOf = (name: string, type: unknown): unknown => {
    if (type === 'string' || Array.isArray(type)) return `a ${name}`
    const { items, fields, type: kind } = type as { type: string; items?: unknown; fields?: Fields }
    if (kind === 'array') return [sampleOf(name, items)]
    return kind === 'record' ? rowOf(fields ?? []) : 12
  }
  const rowOf = (fields: Fields): Record<string, unknown> =>
    Object.fromEntries(fields.map(({ name, type }) => [name, sampleOf(name, type)]))

  test.each(OUTBOX_STREAMS)('find in %s what both know, and defaults for what the writer did not', (stream) => {
    const [now, before, after] = [asIs, older, newer].map((change) => typeOf(stream, change)) as [avro.Type, avro.Type, avro.Type]
    const { fields } = published(stream) as { fields: Fields }
    const [all, bare] = [rowOf(fields), rowOf(older(fields))]
    const none = Object.fromEntries(fields.flatMap((f) => (f.default === undefined ? [] : [[f.name, f.default]])))
    // Else nothing could ever be taken away.
    expect(Object.keys(none).length).toBeGreaterThan(0)
    expect(readBy(before, now, all)).toEqual(bare)
    expect(readBy(now, before, bare)).toEqual({ ...bare, ...none })
    expect(readBy(now, after, { ...all, added: 'x', more: 1 })).toEqual(all)
    expect(readBy(after, now, all)).toEqual({ ...all, added: null, more: 7 })
    expect(readBy(before, after, { ...all, added: 'x', more: 1 })).toEqual(bare)
    expect(readBy(after, before, bare)).toEqual({ ...bare, ...none, added: null, more: 7 })
  })
})
