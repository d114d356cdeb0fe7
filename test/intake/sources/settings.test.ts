// What is said of sources that can't be right, before anything is connected to.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { checkConfig } from '../../../src/config-load.ts'
import { VirtualClock } from '../../../src/core/clock.ts'
import { Namespaces } from '../../../src/core/namespace.ts'
import { Sources } from '../../../src/intake/sources.ts'

const cwd = mkdtempSync(join(tmpdir(), 'tributary-sources-'))
afterAll(() => rmSync(cwd, { recursive: true }))
writeFileSync(join(cwd, 'order.avsc'), JSON.stringify({ type: 'record', name: 'Order', fields: [{ name: 'userId', type: 'string' }] }))
writeFileSync(join(cwd, 'ca.pem'), '-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n')

const SHOP = { name: 'shop', topics: ['orders'], brokers: ['localhost:9092'] }

function made(sources: readonly object[], rest: object = {}): Sources {
  const config = checkConfig({ sources, ...rest }, cwd)
  const log = { info: () => undefined, warn: () => undefined }
  return new Sources({ ...config, namespaces: new Namespaces({}), kafka: config.kafka, clock: new VirtualClock(), log })
}

test('a source needs little, and is told as connecting before it is started', () => {
  expect(made([SHOP]).facts()).toMatchObject([{ name: 'shop', topics: ['orders'], state: 'connecting', lag: 0, partitions: [] }])
  expect(checkConfig({ sources: [SHOP] }).sources[0]).toMatchObject({
    from: 'earliest',
    format: 'json',
    timestampUnit: 'ms',
    priority: 100,
  })
  expect(made([{ ...SHOP, brokers: undefined }], { kafka: { brokers: ['localhost:9092'] } }).facts()).toHaveLength(1)
})

test('files are found beside the configuration', () => {
  const source = { ...SHOP, format: 'avro', schema: 'order.avsc', tls: { authority: 'ca.pem' } }
  const [loaded] = checkConfig({ sources: [source] }, cwd).sources
  expect(loaded).toMatchObject({ schema: join(cwd, 'order.avsc'), tls: { authority: expect.stringContaining('-----BEGIN CERTIFICATE') } })
  expect(made([source]).facts()).toHaveLength(1)
  expect(made([{ ...SHOP, format: 'avro', schema: '"string"' }]).facts()).toHaveLength(1)
})

test.each<[string, object, object?]>([
  ['sources[0].topic is no option. Did you mean topics?', { ...SHOP, topic: 'x' }],
  ['sources[0].mapping.user is no option.', { ...SHOP, mapping: { user: '$.x' } }],
  ['sources.0.topics: ', { ...SHOP, topics: [] }],
  ['sources.0.format: Expected json, avro, msgpack, not "xml".', { ...SHOP, format: 'xml' }],
  ['sources.0.name: ', { ...SHOP, name: 'a shop' }],
  ['sources have distinct names', SHOP, SHOP],
  ['sources.other has the group tributary.shop, as shop has.', SHOP, { ...SHOP, name: 'other', group: 'tributary.shop' }],
  ['sources.shop needs brokers, as there is no section kafka.', { ...SHOP, brokers: undefined }],
  ['sources.shop.brokers "localhost" is not host:port.', { ...SHOP, brokers: ['localhost'] }],
  [
    'sources.shop.sasl mechanism plain without tls',
    { ...SHOP, brokers: ['kafka:9092'], sasl: { mechanism: 'plain', username: 'u', password: 'p' } },
  ],
  ['sources.shop.tls.authority is neither PEM text nor a file', { ...SHOP, tls: { authority: 'nowhere.pem' } }],
  ['sources.shop: format avro needs either schema or schemaRegistry.', { ...SHOP, format: 'avro' }],
  ['sources.shop: schema and schemaRegistry go with format avro.', { ...SHOP, schemaRegistry: { url: 'http://x' } }],
  ['sources.shop.schema is neither an Avro schema nor a file with one.', { ...SHOP, format: 'avro', schema: 'nowhere.avsc' }],
  ['sources.shop.schema is neither an Avro schema nor a file with one.', { ...SHOP, format: 'avro', schema: '{"type":"recor"}' }],
  ['sources.shop.schemaRegistry: the login goes into', { ...SHOP, format: 'avro', schemaRegistry: { url: 'http://me:secret@x' } }],
  ['sources.shop.schemaRegistry.url is no address.', { ...SHOP, format: 'avro', schemaRegistry: { url: 'http://' } }],
  ['sources.shop.mapping.userId: $customer is no reference', { ...SHOP, mapping: { userId: '$customer' } }],
])('%s', (expected, ...sources) => {
  const given = sources.filter((x): x is object => x !== undefined)
  expect(() => made(given)).toThrow(expect.objectContaining({ code: 'invalid_config', message: expect.stringContaining(expected) }))
})

test('secrets are not shown', () => {
  for (const wrong of [
    { sasl: { mechanism: 'plain', username: 'u', password: ['hunter2'] } },
    { schemaRegistry: { url: 'http://x', token: ['hunter2'] } },
  ]) {
    expect(() => made([{ ...SHOP, ...wrong }])).toThrow(expect.objectContaining({ message: expect.not.stringContaining('hunter2') }))
  }
})
