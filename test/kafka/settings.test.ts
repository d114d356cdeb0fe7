// Settings of a cluster that can't be right, values of records, errors of the client, and the check of the client itself.
import { expect, test } from 'vitest'
import { VirtualClock } from '../../src/core/clock.ts'
import { patchConnection, patchQueue } from '../../src/log/kafka-client.ts'
import { kafkaError, mayPass } from '../../src/log/kafka-errors.ts'
import { packValue, unpackValue } from '../../src/log/kafka-pack.ts'
import { checkKafkaSettings, type KafkaSettings } from '../../src/log/kafka-settings.ts'

const GOOD: KafkaSettings = { brokers: ['kafka-1:9092', '127.0.0.1:9092', '[::1]:9092'], prefix: 'tributary' }
const PEM = '-----BEGIN CERTIFICATE-----\n'
const LOGIN = { mechanism: 'plain', username: 'u', password: 'p' } as const

test('settings that can be right pass', () => {
  checkKafkaSettings(GOOD)
  checkKafkaSettings({ ...GOOD, tls: {}, sasl: LOGIN })
  checkKafkaSettings({ ...GOOD, tls: { authority: PEM, certificate: PEM, key: PEM }, sasl: { ...LOGIN, mechanism: 'scram-sha-256' } })
  checkKafkaSettings({ ...GOOD, brokers: ['localhost:1', '127.0.0.1:2', '[::1]:3'], sasl: LOGIN })
})

test.each<[string, Partial<KafkaSettings>]>([
  ['kafka.brokers names no broker', { brokers: [] }],
  ['kafka.brokers "kafka-1" is not host:port', { brokers: ['kafka-1'] }],
  ['kafka.brokers "kafka://a:1" is not host:port', { brokers: ['kafka://a:1'] }],
  ['kafka.brokers "a:0" is not host:port', { brokers: ['a:0'] }],
  ['kafka.brokers "a:65536" is not host:port', { brokers: ['a:65536'] }],
  ['kafka.prefix "a b"', { prefix: 'a b' }],
  ['kafka.prefix ""', { prefix: '' }],
  ['kafka.tls.authority is not PEM', { tls: { authority: '/etc/ssl/ca.pem' } }],
  ['kafka.tls certificate and key', { tls: { certificate: PEM } }],
  ['kafka.sasl username and password', { tls: {}, sasl: { ...LOGIN, password: '' } }],
  ['kafka.sasl mechanism plain without tls', { sasl: LOGIN }],
  ['kafka.sasl mechanism plain without tls', { brokers: ['127.0.0.1:1', '127.evil.example:1'], sasl: LOGIN }],
])('%s', (message, change) => {
  expect(() => checkKafkaSettings({ ...GOOD, ...change })).toThrow(
    expect.objectContaining({ code: 'invalid_config', message: expect.stringContaining(message) }),
  )
})

test('an unknown mechanism is refused', () => {
  const sasl = { ...LOGIN, mechanism: 'oauthbearer' as 'plain' }
  expect(() => checkKafkaSettings({ ...GOOD, tls: {}, sasl })).toThrow('"oauthbearer" is none of plain, scram-sha-256, scram-sha-512')
})

test('values come back as they were, compressed where that pays', () => {
  const random = Buffer.from(Array.from({ length: 5000 }, (_, i) => Math.imul(i, 2654435761) >>> 24))
  for (const payload of [Buffer.alloc(0), Buffer.from('short'), Buffer.alloc(100_000, 'again '), random])
    expect(unpackValue(packValue(payload), 'here').equals(payload)).toBe(true)
  expect(packValue(Buffer.alloc(100_000, 'again ')).length).toBeLessThan(200)
})

test('a value that is torn, changed anywhere, or not ours is corrupt, and the error says where', () => {
  const packed = [packValue(Buffer.alloc(100_000, 'again ')), packValue(Buffer.from('short'))]
  const torn = packed.flatMap((value) => Array.from(value, (_, size) => value.subarray(0, size)))
  const changed = packed.flatMap((value) => Array.from(value, (byte, at) => Buffer.from(value.with(at, byte ^ 1))))
  const ofAnotherKind = Buffer.from(packValue(Buffer.from('short')).with(0, 7))
  for (const value of [null, ...torn, ...changed, ofAnotherKind])
    expect(() => unpackValue(value, 'topic 3:14')).toThrow(
      expect.objectContaining({ code: 'data_corrupt', message: expect.stringContaining('topic 3:14') }),
    )
})

/** An error as the client throws it. */
function thrown(name: string, more: { type?: string; cause?: Error; code?: string; message?: string } = {}): Error {
  return Object.assign(new Error(more.message ?? name), { name, ...more })
}

/** The same of records that could not be deleted. */
const deletion = (type: string): Error =>
  Object.assign(new Error('Error while deleting records'), {
    name: 'KafkaJSDeleteTopicRecordsError',
    partitions: [{ partition: 0, offset: '5', error: thrown('KafkaJSProtocolError', { type }) }],
  })

test.each<[string, Error, string, boolean]>([
  ['a refused connection', thrown('KafkaJSConnectionError', { code: 'ECONNREFUSED' }), 'kafka_unreachable', true],
  ['retries used up', thrown('KafkaJSNumberOfRetriesExceeded', { cause: thrown('KafkaJSConnectionError') }), 'kafka_unreachable', true],
  ['a changed leader', thrown('KafkaJSProtocolError', { type: 'NOT_LEADER_FOR_PARTITION' }), 'kafka_failed', true],
  ['a missing right', thrown('KafkaJSProtocolError', { type: 'TOPIC_AUTHORIZATION_FAILED' }), 'kafka_forbidden', false],
  ['a right that one partition misses', deletion('TOPIC_AUTHORIZATION_FAILED'), 'kafka_forbidden', false],
  ['a wrong password', thrown('KafkaJSSASLAuthenticationError'), 'kafka_login', false],
  ['a certificate of nobody', thrown('KafkaJSConnectionError', { code: 'SELF_SIGNED_CERT_IN_CHAIN' }), 'kafka_tls', true],
  ['a lost sequence', thrown('KafkaJSProtocolError', { type: 'OUT_OF_ORDER_SEQUENCE_NUMBER' }), 'kafka_failed', false],
  ['a group whose coordinator is not there yet', thrown('KafkaJSGroupCoordinatorNotFound'), 'kafka_failed', true],
  ['a broker lost before it was asked', new Error('Broker not connected'), 'kafka_unreachable', true],
  ['anything else', new Error('boom'), 'kafka_failed', false],
])('%s', (_, error, code, passes) => {
  expect(kafkaError(error, 'doing this')).toMatchObject({ code, cause: error, message: expect.stringContaining('doing this: ') })
  expect(mayPass(error)).toBe(passes)
})

test('the patch of the client arms a timer only while a request waits, and is refused by another client', () => {
  const clock = new VirtualClock(1000)
  let checks = 0
  class Queue {
    throttleCheckTimeoutId: unknown = null
    pending: unknown[] = []
    throttledUntil = -1
    checkPendingRequests(): void {
      checks++
      this.scheduleCheckPendingRequests()
    }
    /* What is looked for in the original: throttledUntil throttleCheckTimeoutId setTimeout checkPendingRequests */
    scheduleCheckPendingRequests(): void {
      'throttledUntil throttleCheckTimeoutId setTimeout checkPendingRequests'.trim()
    }
  }
  patchQueue(Queue.prototype, clock)
  const queue = new Queue()
  queue.scheduleCheckPendingRequests()
  clock.advance(1000)
  expect(checks).toBe(0)
  queue.pending.push('request')
  queue.scheduleCheckPendingRequests()
  queue.scheduleCheckPendingRequests()
  clock.advance(10)
  expect(checks).toBe(1)
  queue.throttledUntil = clock.now() + 500
  clock.advance(10)
  expect(checks).toBe(2)
  clock.advance(489)
  expect(checks).toBe(2)
  queue.pending.pop()
  clock.advance(5000)
  expect(checks).toBe(3)
  for (const other of [undefined, {}, { scheduleCheckPendingRequests: () => undefined }])
    expect(() => patchQueue(other, clock)).toThrow(expect.objectContaining({ code: 'kafka_client' }))
})

test('requests that find a connection closed share one attempt to open it, and the next attempt is another', async () => {
  const attempts: PromiseWithResolvers<void>[] = []
  class Connection {
    chunks: readonly Buffer[] = []
    bytesBuffered = 0
    bytesNeeded = 4
    isConnected(): boolean {
      return false
    }
    /* … and: chunks bytesBuffered bytesNeeded */
    processData(): void {
      'chunks bytesBuffered bytesNeeded'.trim()
    }
    /* What is looked for in the original: isConnected connectionTimeout createSocket */
    connect(): Promise<unknown> {
      'isConnected connectionTimeout createSocket'.trim()
      const attempt = Promise.withResolvers<void>()
      attempts.push(attempt)
      return attempt.promise
    }
  }
  patchConnection(Connection.prototype)
  const [one, other] = [new Connection(), new Connection()]
  const waiting = [one.connect(), one.connect(), one.connect()]
  void other.connect()
  expect(attempts).toHaveLength(2)
  attempts[0]?.reject(new Error('refused'))
  expect((await Promise.allSettled(waiting)).map((w) => w.status)).toEqual(['rejected', 'rejected', 'rejected'])
  // An answer was cut off in its midst: what comes on the next connection is not its rest.
  Object.assign(one, { chunks: [Buffer.from('half an answer')], bytesBuffered: 14, bytesNeeded: 100 })
  void one.connect()
  expect(attempts).toHaveLength(3)
  expect(one).toMatchObject({ chunks: [], bytesBuffered: 0, bytesNeeded: 4 })
  for (const another of [undefined, {}, { connect: async () => undefined }])
    expect(() => patchConnection(another)).toThrow(expect.objectContaining({ code: 'kafka_client' }))
})
