// A broker that the tests of one file have for themselves, since they kill it, start it again or make it stand still.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll } from 'vitest'
import { type Broker, KAFKA_CACHE, startBroker, stopBroker } from '../../scripts/kafka-broker.ts'
import type { KafkaSettings } from '../../src/log/kafka-settings.ts'
import { freshSettings } from './world.ts'

export interface OwnBroker {
  /** With a prefix of their own, each time. */
  settings(): KafkaSettings
  /** kill -9; resolves once it is gone. */
  kill(): Promise<void>
  /** Starts it again, where it listened before. */
  restart(): Promise<void>
  standStill(): void
  goOn(): void
}

/** To be called as a file is loaded: it begins before the tests, and ends after them. */
export function ownBroker(): OwnBroker {
  let directory = ''
  let broker: Broker
  const start = async (): Promise<void> => {
    broker = await startBroker({ directory, jars: join(KAFKA_CACHE, 'libs'), port: 0, say: () => undefined })
  }
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'kafka-'))
    await start()
  }, 90_000)
  afterAll(async () => {
    await stopBroker(directory, 'SIGKILL')
    await rm(directory, { recursive: true })
  }, 60_000)
  return {
    settings: () => freshSettings(broker.brokers),
    kill: async () => {
      await stopBroker(directory, 'SIGKILL')
    },
    restart: start,
    standStill: () => void process.kill(broker.pid, 'SIGSTOP'),
    goOn: () => void process.kill(broker.pid, 'SIGCONT'),
  }
}
