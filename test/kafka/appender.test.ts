// The queues of the appender, against a link that answers as it is told: what was given up is never overtaken unheard.
import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { systemClock, VirtualClock } from '../../src/core/clock.ts'
import { TributaryError } from '../../src/core/errors.ts'
import { KafkaAppender } from '../../src/log/kafka-appender.ts'
import type { KafkaLink, Produce } from '../../src/log/kafka-client.ts'

/** One broker, which refuses the first requests for good and appends the others. */
function linkThat(refuses: number): { link: KafkaLink; log: string[] } {
  const log: string[] = []
  let requests = 0
  const link: Pick<KafkaLink, 'leaders' | 'produce' | 'producerId' | 'heal' | 'explained'> = {
    leaders: (_, partitions) => [['1', [...partitions]]],
    producerId: async () => ({ id: 1, epoch: 0 }),
    produce: async (_leader, _topic, _producer, parts: readonly Produce[]) => {
      if (requests++ < refuses) throw new Error('refused')
      return new Map(
        parts.map(({ partition, messages }) => [partition, log.push(...messages.map((m) => String(m.value))) - messages.length]),
      )
    },
    heal: async () => false,
    explained: (error, doing) => new TributaryError('kafka_failed', `${doing}: ${String(error)}`),
  }
  return { link: link as KafkaLink, log }
}

test('what is appended right behind a batch that was given up is given up too, before its writer has heard of the batch', async () => {
  const { link, log } = linkThat(1)
  const appender = new KafkaAppender({ link, topic: 't', partitions: 1, clock: systemClock, giveUpMs: 1000 })
  const append = (text: string) => appender.append(0, { key: null, value: Buffer.from(text) })
  const outcomes: string[] = []
  const noted = (name: string, appending: Promise<number>) =>
    appending.then(
      () => void outcomes.push(`${name} is there`),
      (error: { code: string }) => void outcomes.push(`${name}: ${error.code}`),
    )
  let behind: Promise<void> | undefined
  const first = append('1').catch((error: { code: string }) => {
    outcomes.push(`1: ${error.code}`)
    // As soon as can be, and nevertheless not before it is clear that the first must come again.
    behind = noted('2', append('2'))
  })
  await first
  await behind
  expect(outcomes).toEqual(['1: append_in_doubt', '2: append_in_doubt'])
  await Promise.all([noted('1 again', append('1')), noted('2 again', append('2'))])
  expect(log).toEqual(['1', '2'])
  await appender.close()
})

/** What becomes of an append, and when, once it is known. */
const outcomeOf = (appending: Promise<number>, clock: VirtualClock): Promise<string> =>
  appending.then(
    (offset) => `there at ${offset}`,
    (error: { code: string }) => `${error.code} by ${clock.now()}`,
  )

async function pass(clock: VirtualClock, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 50) {
    await setImmediate()
    clock.advance(50)
  }
  await setImmediate()
}

test('what waited for longer than it may is not sent, and nothing else is kept from it', async () => {
  const clock = new VirtualClock(0)
  const { link, log } = linkThat(0)
  const slow = Promise.withResolvers<void>()
  const { produce } = link
  link.produce = async (...request) => {
    if (log.length === 0) await slow.promise
    return produce(...request)
  }
  const appender = new KafkaAppender({ link, topic: 't', partitions: 2, clock, giveUpMs: 30_000 })
  const append = (partition: number, text: string, untilMs?: number) =>
    outcomeOf(appender.append(partition, { key: null, value: Buffer.from(text) }, untilMs), clock)
  const first = append(0, 'first', 1000)
  await setImmediate()
  const others = [append(0, 'old', 1000), append(1, 'of any age'), append(1, 'in time', 3000)]
  await pass(clock, 2000)
  slow.resolve()
  await pass(clock, 200)
  // What was sent in time is there, however late the answer comes.
  expect(await first).toBe('there at 0')
  expect(await Promise.all(others)).toEqual(['append_in_doubt by 2000', 'there at 1', 'there at 2'])
  expect(log).toEqual(['first', 'of any age', 'in time'])
  const again = append(0, 'new', 4000)
  await pass(clock, 100)
  expect(await again).toBe('there at 3')
  await appender.close()
})

test('what fails is sent again for as long as it may be, and not longer', async () => {
  const clock = new VirtualClock(0)
  const { link } = linkThat(Number.POSITIVE_INFINITY)
  const sentAt: number[] = []
  const { produce } = link
  link.produce = (...request) => {
    sentAt.push(clock.now())
    return produce(...request)
  }
  link.heal = async () => true
  const appender = new KafkaAppender({ link, topic: 't', partitions: 1, clock, giveUpMs: 30_000 })
  const outcome = outcomeOf(appender.append(0, { key: null, value: Buffer.from('x') }, 1000), clock)
  await pass(clock, 5000)
  expect(await outcome).toBe('append_in_doubt by 1000')
  expect(sentAt.length).toBeGreaterThan(10)
  expect(Math.max(...sentAt)).toBeLessThan(1000)
  await appender.close()
})
