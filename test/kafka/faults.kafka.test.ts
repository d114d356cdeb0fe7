// The log on Kafka while its broker is killed, started again, or stands still: a broker of this file's own, as a process.
import { expect, test } from 'vitest'
import type { KafkaLog } from '../../src/log/kafka-log.ts'
import { ALL } from '../log/partition-conformance.ts'
import { ownBroker } from './own-broker.ts'
import { openedLog, until } from './world.ts'

const PARTITIONS = 3
const broker = ownBroker()

/** Appends numbered records to one partition, one behind the other, until told to stop; tells what became of each. */
function appendNumbers(log: KafkaLog, partition: number) {
  const outcomes: ('acknowledged' | 'in doubt')[] = []
  let isWanted = true
  const run = async (): Promise<void> => {
    while (isWanted) {
      const n = outcomes.length
      outcomes.push(
        await log.append(partition, Buffer.from(String(n))).then(
          () => 'acknowledged' as const,
          (error: { code?: string }) => {
            expect(error.code).toBe('append_in_doubt')
            return 'in doubt' as const
          },
        ),
      )
    }
  }
  const done = run()
  const stop = async (): Promise<typeof outcomes> => {
    isWanted = false
    await done
    return outcomes
  }
  return { outcomes, stop }
}

/** Everything in a partition, as numbers. */
async function numbersIn(log: KafkaLog, partition: number): Promise<number[]> {
  const numbers: number[] = []
  for (let at = 0; ; ) {
    const records = await log.read(partition, at, ALL)
    if (records.length === 0) return numbers
    numbers.push(...records.map((r) => Number(r.payload)))
    at += records.length
  }
}

test('through a kill -9 of the broker nothing is lost, doubled or out of order, and readers go on by themselves', {
  timeout: 90_000,
}, async () => {
  const log = await openedLog({ settings: broker.settings(), kind: 'events', partitions: PARTITIONS, giveUpMs: 60_000 })
  const appending = Array.from({ length: PARTITIONS }, (_, p) => appendNumbers(log, p))
  const seen: number[] = []
  let isReading = true
  const cursor = log.cursor(1)
  const reading = (async () => {
    while (isReading) {
      const page = await cursor.read(seen.length, { ...ALL, waitMs: 300 }).catch(() => undefined)
      seen.push(...(page?.records ?? []).map((r) => Number(r.payload)))
    }
  })()
  await until(() => appending.every((a) => a.outcomes.length > 50))
  await broker.kill()
  const atKill = appending.map((a) => a.outcomes.length)
  await broker.restart()
  await until(() => appending.every((a, p) => a.outcomes.length > (atKill[p] ?? 0) + 50))
  const outcomes = await Promise.all(appending.map((a) => a.stop()))
  for (const [p, list] of outcomes.entries()) {
    expect(list.filter((o) => o !== 'acknowledged')).toEqual([])
    expect(await numbersIn(log, p)).toEqual(list.map((_, n) => n))
  }
  await until(() => seen.length >= (outcomes[1]?.length ?? 0))
  expect(seen).toEqual(outcomes[1]?.map((_, n) => n))
  isReading = false
  await reading
  await log.close()
})

test('what was given up while the broker stood still is in doubt; what was acknowledged afterwards is there once', {
  timeout: 90_000,
}, async () => {
  const log = await openedLog({
    settings: broker.settings(),
    kind: 'events',
    partitions: PARTITIONS,
    giveUpMs: 500,
    requestMs: 700,
  })
  const appending = Array.from({ length: PARTITIONS }, (_, p) => appendNumbers(log, p))
  for (let round = 0; round < 2; round++) {
    const before = appending.map((a) => a.outcomes.length)
    await until(() => appending.every((a, p) => a.outcomes.length > (before[p] ?? 0) + 20))
    broker.standStill()
    const isDoubted = (p: number): boolean => appending[p]?.outcomes.slice(before[p]).includes('in doubt') === true
    await until(() => [0, 1, 2].every(isDoubted))
    broker.goOn()
  }
  await until(() => appending.every((a) => a.outcomes.slice(-20).every((o) => o === 'acknowledged')))
  for (const [p, a] of appending.entries()) {
    const outcomes = await a.stop()
    const counts = new Map<number, number>()
    for (const n of await numbersIn(log, p)) counts.set(n, (counts.get(n) ?? 0) + 1)
    const wrong = outcomes.flatMap((outcome, n) => {
      const times = counts.get(n) ?? 0
      const isRight = outcome === 'acknowledged' ? times === 1 : times <= 1
      return isRight ? [] : [`${n}: ${outcome}, ${times} times`]
    })
    expect(wrong, `partition ${p}`).toEqual([])
    expect(outcomes.filter((o) => o === 'in doubt').length).toBeGreaterThanOrEqual(2)
  }
  await log.close()
})
