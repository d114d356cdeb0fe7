// Reads segment entries and exits from Kafka and counts who is in each segment, each transition once.
//
//   node examples/kafka-consumer/consume.ts --brokers 127.0.0.1:19092 --topic tributary.transitions --state counts.json
//
// The state file has the counts, the offsets and the highest seqs, written in one go: so a kill at any moment neither loses nor doubles
// anything. Offsets are the state's, not the group's; the group only gives out partitions.
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import kafkajs from 'kafkajs'
import { Distinct } from './distinct.ts'

interface State {
  readonly counts: Record<string, number>
  readonly offsets: Record<string, string>
  readonly highest: [string, number][]
}

const { values } = parseArgs({
  options: {
    brokers: { type: 'string', default: '127.0.0.1:19092' },
    topic: { type: 'string', default: 'tributary.transitions' },
    state: { type: 'string', default: 'counts.json' },
    /** Ends once this many transitions were counted; 0: never. */
    until: { type: 'string', default: '0' },
  },
})
const { topic } = values

const kept: State = existsSync(values.state) ? JSON.parse(readFileSync(values.state, 'utf8')) : { counts: {}, offsets: {}, highest: [] }
const { counts, offsets } = kept
const distinct = new Distinct(kept.highest)
let counted = 0

function keep(): void {
  const state: State = { counts, offsets, highest: distinct.entries() }
  writeFileSync(`${values.state}.new`, JSON.stringify(state))
  renameSync(`${values.state}.new`, values.state)
}

const kafka = new kafkajs.Kafka({ brokers: values.brokers.split(','), clientId: 'segment-counts', logLevel: kafkajs.logLevel.ERROR })
const consumer = kafka.consumer({ groupId: `segment-counts.${topic}`, sessionTimeout: 6000, heartbeatInterval: 1000 })
const text = (header: unknown): string => String(header ?? '')

// Each time partitions are given out, reading begins where the state says.
consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
  for (const partition of payload.memberAssignment[topic] ?? []) consumer.seek({ topic, partition, offset: offsets[partition] ?? '0' })
})

await consumer.connect()
await consumer.subscribe({ topic, fromBeginning: true })
await consumer.run({
  autoCommit: false,
  eachBatch: async ({ batch }) => {
    for (const { offset, value, headers } of batch.messages) {
      offsets[batch.partition] = String(BigInt(offset) + 1n)
      const place = { partition: batch.partition, origin: Number(text(headers?.origin)), seq: Number(text(headers?.seq)) }
      if (value === null || !distinct.take(place)) continue
      const { segment, transition } = JSON.parse(String(value)) as { segment: string; transition: 'entered' | 'exited' }
      counts[segment] = (counts[segment] ?? 0) + (transition === 'entered' ? 1 : -1)
      counted++
    }
    keep()
    console.log(JSON.stringify(counts))
    if (Number(values.until) > 0 && counted >= Number(values.until)) void consumer.disconnect()
  },
})
