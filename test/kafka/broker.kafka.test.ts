// The local broker itself.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, inject, test } from 'vitest'
import { findBroker, KAFKA_CACHE, startBroker, stopBroker } from '../../scripts/kafka-broker.ts'
import { isReady } from '../../scripts/kafka-ready.ts'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kafka-'))
})
afterEach(async () => {
  await stopBroker(directory, 'SIGKILL')
  await rm(directory, { recursive: true })
})

test('a broker starts, is found, is started once, and stops', { timeout: 60_000 }, async () => {
  const options = { directory, jars: join(KAFKA_CACHE, 'libs'), port: 0, say: () => undefined }
  const broker = await startBroker(options)
  expect(await isReady(broker.port)).toBe(true)
  expect(await findBroker(directory)).toEqual(broker)
  expect(await startBroker(options)).toEqual(broker)
  expect(await stopBroker(directory, 'SIGKILL')).toBe(true)
  expect([await isReady(broker.port), await findBroker(directory), await stopBroker(directory)]).toEqual([false, undefined, false])
})

test('the broker of these tests answers', async () => {
  expect(await isReady(Number(inject('kafka').split(':')[1]))).toBe(true)
})
