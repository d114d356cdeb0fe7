import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { assertSafeToListen, describeOptions, isLoopback, parseQuantity } from '../../src/config.ts'
import { hashKey, loadConfig } from '../../src/config-load.ts'

const cwd = mkdtempSync(join(tmpdir(), 'tributary-config-'))
afterAll(() => rmSync(cwd, { recursive: true }))
const file = (text: string, name = 'tributary.yaml') => writeFileSync(join(cwd, name), text)
const message = (argv: string[], env = {}) => {
  try {
    loadConfig({ argv, env, cwd })
  } catch (error) {
    expect(error).toMatchObject({ code: 'invalid_config' })
    return (error as Error).message
  }
  throw new Error('it was accepted')
}

describe('where values come from', () => {
  test('defaults, then file, then environment, then flags', () => {
    file('port: 1\ndataDir: from-file\ncacheBytes: 1GiB\nidentity:\n  limit: 5\n')
    const env = { TRIBUTARY_PORT: '2', TRIBUTARY_DATA_DIR: 'from-env', TRIBUTARY_IDENTITY__OTHERS__LIMIT: '3' }
    const config = loadConfig({ argv: ['--port=3', '--batch-events', '7'], env, cwd })
    expect(config).toMatchObject({
      port: 3,
      dataDir: 'from-env',
      cacheBytes: 2 ** 30,
      batchEvents: 7,
      partitions: 16,
      futureLimit: 86_400_000,
    })
    expect(config.identity).toMatchObject({ limit: 5, others: { limit: 3 } })
    expect(config.identity.namespaces.map((n) => n.name)).toEqual(['user_id', 'email', 'phone', 'anonymous_id'])
  })

  test('--config names the file, and it must be there', () => {
    file('port: 77', 'other.yaml')
    expect(loadConfig({ argv: ['--config', 'other.yaml'], cwd }).port).toBe(77)
    expect(loadConfig({ env: { TRIBUTARY_CONFIG: 'other.yaml' }, cwd }).port).toBe(77)
    expect(message(['--config', 'missing.yaml'])).toContain('missing.yaml')
  })

  test.each([['--identity.limit=9'], ['--identity-limit', '9'], ['--identity.limit', '9'], ['--identity', '{limit: 9}']])(
    '%s',
    (...argv) => {
      expect(loadConfig({ argv, cwd: '/nonexistent' }).identity.limit).toBe(9)
    },
  )

  test('what an orchestrator or the tests set is left alone', () => {
    const env = {
      TRIBUTARY_PORT: 'tcp://10.0.0.1:80',
      TRIBUTARY_SERVICE_HOST: 'x',
      TRIBUTARY_PORT_80_TCP: 'x',
      TRIBUTARY_FUZZ_CASES: '9',
      TRIBUTARY_KAFKA_CACHE: '/var/cache',
      TRIBUTARYX: '1',
      PATH: 'x',
    }
    expect(loadConfig({ env, cwd: '/nonexistent' }).port).toBe(8080)
  })

  test('the result is frozen, and each load stands alone', () => {
    const config = loadConfig({ cwd: '/nonexistent' })
    expect(() => {
      ;(config.identity as { limit: number }).limit = 1
    }).toThrow(TypeError)
    expect(() => (config.identity.namespaces as unknown[]).push(1)).toThrow(TypeError)
    expect(loadConfig({ cwd: '/nonexistent' })).toEqual(config)
  })
})

describe('mistakes', () => {
  test.each([
    [['--prot=1'], '--prot is no option. Did you mean port?'],
    [['--data-dri', 'x'], 'Did you mean dataDir?'],
    [['--identity.limt=1'], 'Did you mean identity.limit?'],
    [['--identity', '{limt: 1}'], 'identity.limt is no option. Did you mean limit?'],
    [['--zzzzzzzzzzzz=1'], '--zzzzzzzzzzzz is no option.'],
    [['--port'], '--port needs a value'],
    [['--port', '--host=x'], '--port needs a value'],
    [['stray'], 'Unexpected argument stray'],
    [['--port=x'], 'port: Expected integer, not "x"'],
    [['--port=70000'], 'port: Expected integer to be less or equal to 65535'],
    [['--port='], 'port: Expected integer'],
    [['--timer-horizon-ms=0'], 'timerHorizonMs: Expected integer to be greater or equal to 1'],
    [['--clock=sun'], 'clock: Expected wall, manual, not "sun"'],
    [['--dedupe-window=3 fortnights'], 'is no duration such as 3d'],
    [['--cache-bytes=64mb'], 'is no size such as 64MB'],
    [['--keys', '[{name: a, role: write}]'], 'keys: a needs either hash or key'],
    [['--keys', '[{name: a, role: write, key: x, hash: y}]'], 'keys'],
    [['--keys', '[{name: a, role: boss, key: x}]'], 'keys.0.role: Expected write, read, admin'],
    [['--keys', '[{name: a, role: write, key: x}, {name: a, role: read, key: y}]'], 'keys have distinct names'],
    [['--keys', '['], 'not valid YAML'],
    [['--partitions=12'], 'partitions is a power of two'],
    [['--partitions=131072'], 'partitions is a power of two'],
    [['--partitions=2', '--hosts=4'], 'hosts is at most partitions'],
    [['--apply-bytes=1GB'], 'applyBytes is at most half of journalBytes'],
    [['--batch-bytes=32MB'], 'batchBytes is at most applyBytes'],
    [['--future-limit=500d'], 'futureLimit is below timelineRetention'],
    [['--identity.namespaces', '[{name: a}, {name: a}]'], 'distinct names'],
    [['--identity.namespaces', '[{name: a, unique: true, limit: 2}]'], 'unique'],
    [['--identity.namespaces', '[{name: profile_id}]'], 'profile_id'],
    [['--identity.namespaces', '[{name: a, prority: 2}]'], 'identity.namespaces[0].prority is no option'],
  ])('%j', (argv, expected) => {
    rmSync(join(cwd, 'tributary.yaml'), { force: true })
    expect(message(argv)).toContain(expected)
  })

  test('in the environment and the file', () => {
    rmSync(join(cwd, 'tributary.yaml'), { force: true })
    expect(message([], { TRIBUTARY_PROT: '1' })).toContain('TRIBUTARY_PROT is no option. Did you mean port?')
    file('retention:\n  event: 1d')
    expect(message([])).toContain('retention.event is no option. Did you mean events?')
    file('- 1')
    expect(message([])).toContain('holds no options')
    file('a: [')
    expect(message([])).toContain('not valid YAML')
    file('')
    expect(loadConfig({ cwd }).port).toBe(8080)
  })

  test('never print a key', () => {
    expect(message(['--keys', '[{name: a, role: write, hash: my-secret}]'])).not.toContain('my-secret')
  })
})

test('keys are hashed when loaded', () => {
  const config = loadConfig({
    argv: ['--keys', `[{name: a, role: admin, key: secret}, {name: b, role: read, hash: ${hashKey('other')}, priority: 4}]`],
    cwd: '/nonexistent',
  })
  expect(config.keys).toEqual([
    { name: 'a', role: 'admin', hash: hashKey('secret'), priority: 100 },
    { name: 'b', role: 'read', hash: hashKey('other'), priority: 4 },
  ])
  expect(JSON.stringify(config)).not.toContain('secret')
})

describe('kafka', () => {
  const load = (kafka: string, ...argv: string[]) => loadConfig({ argv: ['--kafka', kafka, ...argv], cwd })

  test('is absent unless it is asked for', () => {
    expect(loadConfig({ cwd: '/nonexistent' }).kafka).toBeUndefined()
    expect(load('{brokers: [a:9092, b:9092]}').kafka).toEqual({
      ...{ brokers: ['a:9092', 'b:9092'], prefix: 'tributary', replicas: -1, sessionTimeoutMs: 6000, standby: false },
      deleteEveryMs: 30_000,
      outputs: { transitions: 'json', merges: 'json', deadLetters: 'json', profiles: false },
    })
    expect(loadConfig({ env: { TRIBUTARY_KAFKA__BROKERS: '["a:1"]', TRIBUTARY_KAFKA__PREFIX: 'x' }, cwd }).kafka).toMatchObject({
      ...{ brokers: ['a:1'], prefix: 'x' },
    })
    expect(message(['--kafka.prefix=x'])).toContain('kafka.brokers')
  })

  test('states of profiles are told in a format, where true means JSON as it always has', () => {
    const profiles = (text: string) => load(`{brokers: [a:1], outputs: {profiles: ${text}}}`).kafka?.outputs.profiles
    expect(['true', 'json', 'avro', 'false'].map(profiles)).toEqual(['json', 'json', 'avro', false])
    for (const [text, format] of [
      ['true', 'json'],
      ['avro', 'avro'],
      ['false', false],
    ]) {
      const env = { TRIBUTARY_KAFKA__BROKERS: '["a:1"]', TRIBUTARY_KAFKA__OUTPUTS__PROFILES: String(text) }
      expect(loadConfig({ env, cwd }).kafka?.outputs.profiles).toBe(format)
    }
    expect(load('{brokers: [a:1]}', '--kafka.outputs.profiles=avro').kafka?.outputs.profiles).toBe('avro')
    const wrong = message(['--kafka', '{brokers: [a:1], outputs: {profiles: xml}}'])
    expect(wrong).toContain('kafka.outputs.profiles: Expected false, json, avro, not "xml"')
  })

  test('takes PEM from a file or as text', () => {
    file('-----BEGIN CERTIFICATE-----\nx\n', 'ca.pem')
    expect(load('{brokers: [a:1], tls: {authority: ca.pem}}').kafka?.tls).toEqual({ authority: '-----BEGIN CERTIFICATE-----\nx\n' })
    expect(load('{brokers: [a:1], tls: {authority: "-----BEGIN X"}}').kafka?.tls).toEqual({ authority: '-----BEGIN X' })
    expect(load('{brokers: [a:1], tls: {}}').kafka?.tls).toEqual({})
    expect(message(['--kafka', '{brokers: [a:1], tls: {authority: none.pem}}'])).toContain('kafka.tls.authority is neither PEM')
  })

  test('needs a secret beyond loopback, and shows none', () => {
    const keys = ['--host=0.0.0.0', '--keys', '[{name: a, role: admin, key: k}]']
    expect(message(['--kafka', '{brokers: [a:1]}', ...keys])).toContain('kafka.secret')
    expect(load('{brokers: [a:1], secret: s}', ...keys).kafka?.secret).toBe('s')
    expect(message(['--kafka', '{brokers: [a:1], sasl: {mechanism: plain, username: u, password: [hush]}}'])).not.toContain('hush')
  })
})

test('an open server stays on loopback', () => {
  const keys = loadConfig({ argv: ['--keys', '[{name: a, role: write, key: x}]'], cwd: '/nonexistent' }).keys
  for (const host of ['127.0.0.1', 'localhost', '::1', '[::1]', '127.9.9.9', 'LOCALHOST'])
    expect(() => assertSafeToListen({ host, keys: [] })).not.toThrow()
  for (const host of ['0.0.0.0', '::', '10.0.0.1', '127.0.0.1.example.com', 'example.com', '']) {
    expect(() => assertSafeToListen({ host, keys: [] })).toThrow(expect.objectContaining({ code: 'open_beyond_loopback' }))
    expect(() => assertSafeToListen({ host, keys })).not.toThrow()
  }
  expect(isLoopback('128.0.0.1')).toBe(false)
})

test.each([
  ['duration', '3d', 259_200_000],
  ['duration', '1.5 h', 5_400_000],
  ['duration', '250', 250],
  ['duration', '10ms', 10],
  ['bytes', '64MB', 64_000_000],
  ['bytes', '64MiB', 67_108_864],
  ['bytes', '4 kB', 4000],
  ['bytes', '-1', Number.NaN],
  ['duration', '3 days', Number.NaN],
  ['duration', 'constructor', Number.NaN],
  ['duration', '1constructor', Number.NaN],
] as const)('%s %s', (unit, text, value) => {
  expect(parseQuantity(unit, text)).toBe(value)
})

test('docs/configuration.md lists every option as the schema has it', () => {
  const docs = readFileSync(join(import.meta.dirname, '../../docs/configuration.md'), 'utf8')
  const rows = describeOptions().map((o) => `| \`${o.path}\` | ${o.type} | ${o.default} | ${o.description} |`)
  const documented = docs.split('\n').filter((line) => line.startsWith('| `'))
  expect(documented).toEqual(rows)
})
