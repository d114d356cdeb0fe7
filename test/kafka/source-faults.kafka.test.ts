// A source while its broker is killed, started again, or stands still: a broker of this file's own, as a process.
import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { ownBroker } from './own-broker.ts'
import { message, messages, reading, userTopic } from './source-world.ts'
import { until } from './world.ts'

const PARTITIONS = 2
const broker = ownBroker()

test('through a kill -9 of the broker, and a broker that stands still, nothing is lost and nothing is set aside', {
  timeout: 150_000,
}, async () => {
  const topic = await userTopic(PARTITIONS, broker.settings())
  const { source, engine } = reading(topic, `test-${randomUUID()}`, { settings: broker.settings() })
  for (let p = 0; p < PARTITIONS; p++) await topic.append(p, messages(1000 * p, 600))
  await until(() => engine.events.length === 1200)

  await broker.kill()
  await until(() => source.facts().failures > 0)
  await broker.restart()
  await until(() =>
    topic.append(0, [message(9000)]).then(
      () => true,
      () => false,
    ),
  )
  await until(() => engine.events.length === 1201)
  expect(source.facts().state).toBe('running')

  broker.standStill()
  // Longer than a session.
  await new Promise((resolve) => setTimeout(resolve, 8000))
  broker.goOn()
  for (let i = 0; i < 10; i++) await topic.append(i % PARTITIONS, [message(9100 + i)])
  await until(() => engine.events.length === 1211)
  expect(engine.rejected).toEqual([])
  await source.close()
  await topic.close()
})
