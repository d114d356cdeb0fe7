// What tests against a broker share: settings with a prefix of their own, so that they never meet, and logs opened on them.
import { randomUUID } from 'node:crypto'
import { inject } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { KafkaLog, type KafkaLogOptions } from '../../src/log/kafka-log.ts'
import type { KafkaSettings } from '../../src/log/kafka-settings.ts'
import { ensureTopics, type TopicKind } from '../../src/log/kafka-topics.ts'

export const clock = systemClock
export const DAY_MS = 86_400_000

export function freshSettings(brokers = inject('kafka')): KafkaSettings {
  return { brokers: [brokers], prefix: `test-${randomUUID()}` }
}

export async function madeTopics(settings: KafkaSettings, kinds: readonly TopicKind[], partitions: number): Promise<void> {
  await ensureTopics({ settings, clock, kinds, partitions, outputsRetainMs: DAY_MS })
}

/** A log on a topic that is there afterwards. */
export async function openedLog(
  options: Pick<KafkaLogOptions, 'settings' | 'kind' | 'partitions'> & Partial<KafkaLogOptions>,
): Promise<KafkaLog> {
  await madeTopics(options.settings, [options.kind], options.partitions)
  return KafkaLog.open({ clock, ...options })
}

/** Resolves once `holds`; the test's own time limit ends it otherwise. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 20))
}
