// The queues of the appender, against a link that answers as it is told: what was given up is never overtaken unheard.
import { expect, test } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
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
