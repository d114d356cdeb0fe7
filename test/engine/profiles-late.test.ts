// What nothing prevents yet (docs/kafka.md, "Limits that are known"): a process that was overtaken has a state of a profile under way, and the
// brokers take it after all. Whoever mends this turns these around.
import { expect, test } from 'vitest'
import { Distinct } from '../../examples/kafka-consumer/distinct.ts'
import { VirtualClock } from '../../src/core/clock.ts'
import { PROFILE_KEY_BYTES } from '../../src/core/identifier.ts'
import type { ProfileView } from '../../src/engine/engine.ts'
import { encodeBlock, ProfileBlock } from '../../src/engine/outbox.ts'
import { OriginBlocks } from '../../src/engine/outputs-origin.ts'
import { ProfilesTopic } from '../../src/engine/outputs-profiles.ts'
import { publicIdText } from '../../src/engine/public-id.ts'
import type { OutputEntry } from '../../src/log/kafka-outputs.ts'

const PUBLIC_ID = 'p'.repeat(16)
const KEY = 'k'.repeat(PROFILE_KEY_BYTES)
const [P, Q] = [0, 1]

/** All that lies in the topic, in its order; one partition. */
type Topic = OutputEntry[]

interface Told {
  readonly topic: Topic
  readonly profileAt: (partition: number) => ProfileView | undefined
  /** Resolves when the brokers get what was sent. */
  readonly underWay?: Promise<void>
}

/** What one process does about a change of the profile in a partition. */
async function tell({ topic, profileAt, underWay }: Told, partition: number, seq: number): Promise<void> {
  const clock = new VirtualClock(0)
  const blocks = new OriginBlocks<OutputEntry>({
    clock,
    write: async (entries) => {
      await underWay
      topic.push(...entries)
    },
    troubled: () => undefined,
  })
  const profiles = new ProfilesTopic({
    clock,
    profileAt: async (at) => profileAt(at),
    encode: (profile) => Buffer.from(JSON.stringify(profile.traits)),
    write: (_, entries) => blocks.take(entries),
    alarm: () => undefined,
  })
  const changes = new ProfileBlock()
  changes.changed(PUBLIC_ID, KEY)
  await profiles.take(partition, encodeBlock({ firstSeq: seq, count: 1, entries: changes.take() }))
}

const withPlan = (plan: string): ProfileView => ({ id: publicIdText(PUBLIC_ID), traits: { plan } }) as unknown as ProfileView

/** The state that a consumer ends with who keeps to docs/kafka.md. */
function stateOf(topic: Topic): string {
  const distinct = new Distinct()
  const taken = topic.filter(({ origin, seq }) => distinct.take({ partition: 0, origin, seq }))
  return String(taken.at(-1)?.value)
}

test('an old state that comes late is passed over by consumers, and is what compaction keeps', async () => {
  const topic: Topic = []
  const released = Promise.withResolvers<void>()
  const overtaken = tell({ topic, profileAt: () => withPlan('old'), underWay: released.promise }, P, 10)
  await tell({ topic, profileAt: () => withPlan('new') }, P, 12)
  released.resolve()
  await overtaken
  expect(stateOf(topic)).toBe('{"plan":"new"}')
  // Of a key Kafka keeps the last record.
  expect(String(topic.at(-1)?.value)).toBe('{"plan":"old"}')
})

test('an old state that comes late is taken by consumers, where the profile has moved to another partition meanwhile', async () => {
  const topic: Topic = []
  const released = Promise.withResolvers<void>()
  const overtaken = tell({ topic, profileAt: () => withPlan('old'), underWay: released.promise }, P, 10)
  // Whoever took over finds the root gone, and says nothing under that seq.
  const after = (partition: number): ProfileView | undefined => (partition === Q ? withPlan('new') : undefined)
  await tell({ topic, profileAt: after }, P, 10)
  await tell({ topic, profileAt: after }, Q, 55)
  released.resolve()
  await overtaken
  expect(topic.map(({ origin, seq }) => `${origin}-${seq}`)).toEqual([`${Q}-55`, `${P}-10`])
  expect(stateOf(topic)).toBe('{"plan":"old"}')
})
