// Starts what the tests of mode "kafka" need, before any of them: a broker in a container where a Docker engine answers, else a
// local one (scripts/). Always a local one too, with SASL, TLS and access control, for the tests of a guarded cluster; tests that
// kill a broker start their own. Nothing is skipped: what can't be had fails the run.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { KAFKA_CACHE, startBroker, stopBroker } from '../../scripts/kafka-broker.ts'
import type { Secured } from '../../scripts/kafka-secured.ts'

declare module 'vitest' {
  export interface ProvidedContext {
    /** Where the broker for most tests listens. */
    kafka: string
    guarded: Secured
  }
}

const IMAGE = 'confluentinc/cp-kafka:8.1.0'
const IN_CONTAINER = 9093
const say = (line: string): void => console.log(line)

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const directory = await mkdtemp(join(tmpdir(), 'kafka-'))
  const local = await startBroker({ directory, jars: join(KAFKA_CACHE, 'libs'), port: 0, isSecured: true, say })
  const { secured } = local
  if (!secured) throw new Error('the local broker is guarded')
  const container = await startContainer()
  say(container ? `tests run against ${IMAGE}` : 'no Docker engine answers: tests run against the local broker')
  project.provide('kafka', container?.brokers ?? local.brokers)
  project.provide('guarded', secured)
  return async () => {
    await container?.stop()
    await stopBroker(directory)
    await rm(directory, { recursive: true, force: true })
  }
}

async function startContainer(): Promise<{ brokers: string; stop(): Promise<unknown> } | undefined> {
  const { getContainerRuntimeClient } = await import('testcontainers')
  const answers = await getContainerRuntimeClient().then(
    () => true,
    () => false,
  )
  if (!answers) return undefined
  const { KafkaContainer } = await import('@testcontainers/kafka')
  const container = await new KafkaContainer(IMAGE)
    .withKraft()
    .withEnvironment({ KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS: '0', KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS: '1000' })
    .withExposedPorts(IN_CONTAINER)
    .start()
  return { brokers: `${container.getHost()}:${container.getMappedPort(IN_CONTAINER)}`, stop: () => container.stop() }
}
