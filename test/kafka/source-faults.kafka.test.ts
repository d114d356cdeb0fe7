// A source while its broker is killed, started again, or stands still: a broker of this file's own, as a process.
import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Broker, KAFKA_CACHE, startBroker, stopBroker } from '../../scripts/kafka-broker.ts'
import { message, messages, reading, userTopic } from './source-world.ts'
import { freshSettings, until } from './world.ts'

const PARTITIONS = 2
let directory: string
let broker: Broker
const start = (): Promise<Broker> => startBroker({ directory, jars: join(KAFKA_CACHE, 'libs'), port: 0, say: () => undefined })

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kafka-'))
  broker = await start()
}, 90_000)
afterAll(async () => {
  await stopBroker(directory, 'SIGKILL')
  await rm(directory, { recursive: true })
}, 60_000)

test('through a kill -9 of the broker, and a broker that stands still, nothing is lost and nothing is set aside', {
  timeout: 150_000,
}, async () => {
  const topic = await userTopic(PARTITIONS, freshSettings(broker.brokers))
  const { source, engine } = reading(topic, `test-${randomUUID()}`, { settings: freshSettings(broker.brokers) })
  for (let p = 0; p < PARTITIONS; p++) await topic.append(p, messages(1000 * p, 600))
  await until(() => engine.events.length === 1200)

  await stopBroker(directory, 'SIGKILL')
  await until(() => source.facts().failures > 0)
  broker = await start()
  await until(() =>
    topic.append(0, [message(9000)]).then(
      () => true,
      () => false,
    ),
  )
  await until(() => engine.events.length === 1201)
  expect(source.facts().state).toBe('running')

  process.kill(broker.pid, 'SIGSTOP')
  // Longer than a session.
  await new Promise((resolve) => setTimeout(resolve, 8000))
  process.kill(broker.pid, 'SIGCONT')
  for (let i = 0; i < 10; i++) await topic.append(i % PARTITIONS, [message(9100 + i)])
  await until(() => engine.events.length === 1211)
  expect(engine.rejected).toEqual([])
  await source.close()
  await topic.close()
})
