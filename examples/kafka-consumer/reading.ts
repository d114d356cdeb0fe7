// Reads segment entries and exits from Kafka, each once, and keeps what came of them in a file together with the offsets and the highest
// seqs, written in one go: so a kill at any moment neither loses nor doubles anything in the file. Offsets are the file's, not the
// group's; the group only gives out partitions. (The file is for one process: several keep all this in a database that they share.)
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import kafkajs from 'kafkajs'
import { Distinct } from './distinct.ts'

/** As `GET /v1/transitions` shows it. */
export interface Transition {
  readonly id: string
  readonly segment: string
  readonly profile: string
  readonly userId?: string
  readonly transition: 'entered' | 'exited'
  readonly at: string
}

export interface ReadingOptions<R extends object> {
  readonly brokers: string
  readonly topic: string
  readonly group: string
  /** The file. */
  readonly state: string
  /** What is there before anything was read. */
  readonly empty: R
  /** Takes one transition into the results. Where it rejects, the batch comes again. */
  take(transition: Transition, results: R): void | Promise<void>
  /** The file has been written. True: that is enough. */
  kept(results: R): boolean
}

type Kept<R> = R & { readonly offsets: Record<string, string>; readonly highest: [string, number][] }

const text = (header: unknown): string => String(header ?? '')

export async function read<R extends object>(options: ReadingOptions<R>): Promise<void> {
  const { topic, state } = options
  const found: Kept<R> = existsSync(state)
    ? JSON.parse(readFileSync(state, 'utf8'))
    : { ...structuredClone(options.empty), offsets: {}, highest: [] }
  const { offsets, highest, ...rest } = found
  const results = rest as unknown as R
  const distinct = new Distinct(highest)
  const keep = (): void => {
    writeFileSync(`${state}.new`, JSON.stringify({ ...results, offsets, highest: distinct.entries() }))
    renameSync(`${state}.new`, state)
  }
  const kafka = new kafkajs.Kafka({ brokers: options.brokers.split(','), clientId: options.group, logLevel: kafkajs.logLevel.ERROR })
  const consumer = kafka.consumer({ groupId: `${options.group}.${topic}`, sessionTimeout: 6000, heartbeatInterval: 1000 })

  // Each time partitions are given out, reading begins where the file says.
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    for (const partition of payload.memberAssignment[topic] ?? []) consumer.seek({ topic, partition, offset: offsets[partition] ?? '0' })
  })

  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachBatch: async ({ batch, heartbeat }) => {
      for (const { offset, value, headers } of batch.messages) {
        const place = { partition: batch.partition, origin: Number(text(headers?.origin)), seq: Number(text(headers?.seq)) }
        if (value !== null && distinct.isNew(place)) {
          await options.take(JSON.parse(String(value)) as Transition, results)
          distinct.take(place)
        }
        offsets[batch.partition] = String(BigInt(offset) + 1n)
        await heartbeat()
      }
      keep()
      if (options.kept(results)) void consumer.disconnect()
    },
  })
}
