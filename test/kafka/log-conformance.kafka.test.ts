// The log on Kafka under the suite that every log passes. What differs by nature: a record may be seen before its sync resolves (it is
// replicated by then), there is no order over partitions, and a release takes effect per partition, at once, to the record.
import { KafkaLog } from '../../src/log/kafka-log.ts'
import { type OpenPartitions, PARTITIONS, type PartitionKind, partitionConformance } from '../log/partition-conformance.ts'
import { clock, freshSettings, madeTopics } from './world.ts'

async function kafkaKind(): Promise<PartitionKind> {
  const settings = freshSettings()
  const opened: KafkaLog[] = []
  const kept = { settings, clock, kind: 'events', partitions: PARTITIONS } as const
  const open = async (): Promise<OpenPartitions> => {
    const log = await KafkaLog.open(kept)
    opened.push(log)
    const reader = await log.reader()
    return { writer: await log.soleWriter(), reader, refresh: async () => reader.refresh?.() }
  }
  await madeTopics(settings, ['events'], PARTITIONS)
  return {
    releasesExactly: true,
    open,
    reopen: open,
    // Somebody else appends: the sole writer's positions are wrong from then on.
    failNextSync: async () => {
      await opened[0]?.append(0, Buffer.from('foreign'))
    },
    dispose: async () => {
      await Promise.all(opened.map((log) => log.close()))
    },
  }
}

partitionConformance('on Kafka', kafkaKind)
