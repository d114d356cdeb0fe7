// What a real cluster gets wrong, and how each is told: topics, rights, logins, TLS, addresses.
import { readFileSync } from 'node:fs'
import { afterAll, expect, inject, test } from 'vitest'
import type { TributaryError } from '../../src/core/errors.ts'
import { withAdmin } from '../../src/log/kafka-client.ts'
import { KafkaLog } from '../../src/log/kafka-log.ts'
import type { KafkaSettings } from '../../src/log/kafka-settings.ts'
import { ensureTopics, TOPICS, type TopicKind, topicName } from '../../src/log/kafka-topics.ts'
import { clock, DAY_MS, freshSettings } from './world.ts'

const guarded = inject('guarded')
const authority = readFileSync(guarded.authority, 'utf8')
const logs: KafkaLog[] = []
afterAll(() => Promise.all(logs.map((log) => log.close())))

const ensure = (settings: KafkaSettings, kinds: readonly TopicKind[], partitions = 2): Promise<void> =>
  ensureTopics({ settings, clock, kinds, partitions, outputsRetainMs: DAY_MS })

async function errorOf(promise: Promise<unknown>): Promise<TributaryError> {
  return promise.then(
    () => expect.unreachable('it should have failed'),
    (error: TributaryError) => error,
  )
}

test('all topics are made once, and found in order at the next start', { timeout: 60_000 }, async () => {
  const settings = freshSettings()
  await ensure(settings, TOPICS, 4)
  await ensure(settings, TOPICS, 4)
})

test('several processes may start at once', async () => {
  for (let round = 0; round < 5; round++) {
    const settings = freshSettings()
    await Promise.all([1, 2, 3, 4].map(() => ensure(settings, ['events', 'journal'])))
    await ensure(settings, ['events', 'journal'])
  }
})

test('another number of partitions is refused by name', async () => {
  const settings = freshSettings()
  await ensure(settings, ['events'], 2)
  const error = await errorOf(ensure(settings, ['events'], 4))
  expect(error).toMatchObject({ code: 'kafka_topic', message: `the topic ${settings.prefix}.events has 2 partitions, not 4` })
  const opening = await errorOf(KafkaLog.open({ settings, clock, kind: 'events', partitions: 4 }))
  expect(opening).toMatchObject({ code: 'kafka_topic', message: expect.stringContaining('2 partitions, not 4') })
})

test('a topic from which the cluster would drop records is refused, where the engine needs them all', async () => {
  const settings = freshSettings()
  const topic = topicName(settings, 'journal')
  const configEntries = Object.entries({
    'retention.ms': '86400000',
    'unclean.leader.election.enable': 'false',
    'max.message.bytes': '1048588',
  })
  await withAdmin(settings, clock, async (admin) => {
    const entries = configEntries.map(([name, value]) => ({ name, value }))
    await admin.createTopics({ topics: [{ topic, numPartitions: 2, configEntries: entries }], waitForLeaders: false })
  })
  const error = await errorOf(ensure(settings, ['journal']))
  expect(error).toMatchObject({ code: 'kafka_topic', message: `the topic ${topic} has retention.ms = 86400000, not -1` })
})

test('a topic that is missing is told when the log is opened', async () => {
  const error = await errorOf(KafkaLog.open({ settings: freshSettings(), clock, kind: 'journal', partitions: 2 }))
  expect(error.code).toBe('kafka_topic')
})

test('an address where nobody listens is told', async () => {
  const error = await errorOf(ensure({ ...freshSettings('127.0.0.1:1') }, ['events']))
  expect(error.code).toBe('kafka_unreachable')
  expect(error.message).toContain('127.0.0.1:1')
})

test('one address that answers is enough', async () => {
  await ensure({ ...freshSettings(), brokers: ['127.0.0.1:1', inject('kafka')] }, ['events'])
})

const login = (account: { username: string; password: string }) => ({ mechanism: 'plain', ...account }) as const

test('with the right login everything works', async () => {
  const settings = { ...freshSettings(guarded.sasl), sasl: login(guarded.admin) }
  await ensure(settings, ['events', 'journal'])
  const log = await KafkaLog.open({ settings, clock, kind: 'events', partitions: 2 })
  logs.push(log)
  expect(await log.append(0, Buffer.from('guarded'))).toBe(0)
})

test('a wrong password, a mechanism that the brokers lack, and no login at all are told apart from a lack of rights', async () => {
  const at = freshSettings(guarded.sasl)
  const wrongPassword = { ...at, sasl: { ...login(guarded.admin), password: 'wrong' } }
  expect((await errorOf(ensure(wrongPassword, ['events']))).code).toBe('kafka_login')
  const wrongMechanism = { ...at, sasl: { ...login(guarded.admin), mechanism: 'scram-sha-512' } } as const
  expect((await errorOf(ensure(wrongMechanism, ['events']))).code).toBe('kafka_login')
  expect((await errorOf(ensure(at, ['events']))).code).toMatch(/^kafka_(login|unreachable)$/)
  const noRights = { ...at, sasl: login(guarded.nobody) }
  const forbidden = await errorOf(ensure(noRights, ['events']))
  expect(forbidden).toMatchObject({ code: 'kafka_forbidden', hint: expect.stringContaining('docs/kafka.md') })
})

test('an account without rights on an existing topic is told so when it opens the log', async () => {
  const settings = freshSettings(guarded.sasl)
  await ensure({ ...settings, sasl: login(guarded.admin) }, ['events'])
  const opening = KafkaLog.open({ settings: { ...settings, sasl: login(guarded.nobody) }, clock, kind: 'events', partitions: 2 })
  expect((await errorOf(opening)).code).toBe('kafka_forbidden')
})

test('over TLS with the right authority everything works', async () => {
  const settings = { ...freshSettings(guarded.tls), tls: { authority } }
  await ensure(settings, ['events'])
  const log = await KafkaLog.open({ settings, clock, kind: 'events', partitions: 2 })
  logs.push(log)
  expect(await log.append(1, Buffer.from('over TLS'))).toBe(0)
})

test('an unknown authority, TLS where there is none, and none where there is are told', async () => {
  expect((await errorOf(ensure({ ...freshSettings(guarded.tls), tls: {} }, ['events']))).code).toBe('kafka_tls')
  expect((await errorOf(ensure({ ...freshSettings(guarded.sasl), tls: { authority } }, ['events']))).code).toBe('kafka_tls')
  const plain = await errorOf(ensure(freshSettings(guarded.tls), ['events']))
  expect(plain).toMatchObject({ code: 'kafka_unreachable', hint: expect.stringContaining('TLS') })
})
