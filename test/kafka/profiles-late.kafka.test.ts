// States of profiles on a real broker that stands still: what was in doubt is looked up anew and told, and what has moved meanwhile is not
// told again.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { KAFKA_CACHE, startBroker, stopBroker } from '../../scripts/kafka-broker.ts'
import { must } from '../../src/core/assert.ts'
import { TributaryError } from '../../src/core/errors.ts'
import { PROFILE_KEY_BYTES } from '../../src/core/identifier.ts'
import type { ProfileView } from '../../src/engine/engine.ts'
import { encodeBlock, ProfileBlock } from '../../src/engine/outbox.ts'
import { openTopicOutputs, type TopicOutputs } from '../../src/engine/outputs-kafka.ts'
import { publicIdText } from '../../src/engine/public-id.ts'
import { OUTPUT_KINDS } from '../../src/log/kafka-outputs.ts'
import type { KafkaSettings } from '../../src/log/kafka-settings.ts'
import { KafkaTopic } from '../../src/log/kafka-topic.ts'
import { NAMES } from '../engine/topic-blocks.ts'
import { clock, freshSettings, madeTopics, until } from './world.ts'

const [STAYS, MOVES] = [0, 1]
const publicIdOf = (origin: number): string => String(origin).repeat(16)

/** One profile of each partition. */
function take(outputs: TopicOutputs, origin: number, seq: number): Promise<void> {
  const block = new ProfileBlock()
  block.changed(publicIdOf(origin), String(origin).repeat(PROFILE_KEY_BYTES))
  return outputs.take('profiles', origin, encodeBlock({ firstSeq: seq, count: 1, entries: block.take() }))
}

/** What lies in the topic, as `seq plan`, by origin. */
async function recordsOf(settings: KafkaSettings): Promise<string[][]> {
  const topic = new KafkaTopic({ settings, clock, kind: 'profiles', partitions: 1 })
  const found: string[][] = [[], []]
  for (let from = 0, isEnd = false; !isEnd; ) {
    const page = await topic.read(0, from, 1 << 20)
    for (const { origin, seq, value } of page.records) {
      const { traits } = JSON.parse(String(value)) as ProfileView
      must(found[origin], 'two origins').push(`${seq} ${traits.plan}`)
    }
    ;({ next: from, isEnd } = page)
  }
  await topic.close()
  return found
}

test('states that a broker did not confirm are told as they are by then, by whoever owns them by then', { timeout: 120_000 }, async () => {
  const directory = await mkdtemp(join(tmpdir(), 'kafka-'))
  const broker = await startBroker({ directory, jars: join(KAFKA_CACHE, 'libs'), port: 0, say: () => undefined })
  try {
    const settings = freshSettings(broker.brokers)
    await madeTopics(settings, OUTPUT_KINDS, 1)
    const timing = { freshMs: 500, giveUpMs: 20_000, requestMs: 1500 }
    const outputs = await openTopicOutputs({ settings, clock, ...timing, alarm: () => undefined })
    let isStopped = false
    const lookUps = [0, 0]
    await outputs.open(NAMES, async (partition) => {
      const isFirst = lookUps[partition] === 0
      if (isStopped) lookUps[partition] = (lookUps[partition] ?? 0) + 1
      if (!isFirst && partition === MOVES) throw new TributaryError('partition_moving', 'another process has it')
      const plan = isFirst ? (isStopped ? 'old' : 'first') : 'new'
      return { id: publicIdText(publicIdOf(partition)), traits: { plan } } as unknown as ProfileView
    })
    await Promise.all([take(outputs, STAYS, 1), take(outputs, MOVES, 1)])
    process.kill(broker.pid, 'SIGSTOP')
    isStopped = true
    const staying = take(outputs, STAYS, 2)
    let isMovedTold = false
    void take(outputs, MOVES, 2).then(
      () => {
        isMovedTold = true
      },
      () => undefined,
    )
    // What was looked up at first is given up by then.
    await until(() => lookUps.every((count) => count > 1))
    process.kill(broker.pid, 'SIGCONT')
    await staying
    await take(outputs, STAYS, 3)
    const [stayed = [], moved = []] = await recordsOf(settings)
    expect(stayed).toEqual(expect.arrayContaining(['1 first', '2 new', '3 new']))
    expect(moved).toContain('1 first')
    // What was sent before the broker went on may have come after all, any number of times.
    expect(stayed.filter((said) => !['1 first', '2 old', '2 new', '3 new'].includes(said))).toEqual([])
    expect(moved.filter((said) => !['1 first', '2 old'].includes(said))).toEqual([])
    expect(isMovedTold).toBe(false)
    await outputs.close()
  } finally {
    await stopBroker(directory, 'SIGKILL')
    await rm(directory, { recursive: true })
  }
})
