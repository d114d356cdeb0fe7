// What users read: the topics of transitions, profiles, merges and dead letters, one record per entry, not packed. Owns their
// form on the wire and the choice of the partition; what goes out, and in which order, the relay decides, what values look like the engine.
//
//   key      the public profile id (profiles, transitions), the survivor's (merges), none where no profile is known (dead letters)
//   value    the entry; none: the profile is gone (profiles only, whose topic is compacted)
//   headers  id: stable, `<origin partition>-<seq>` · seq: the entry's number in its origin's stream · origin: that partition
//
// 1. Entries of one key lie in one partition, chosen as Kafka's Java client does, in the order of the calls.
// 2. A call that rejects says nothing about its entries: they may be there. Said again they carry the same ids; a reader that drops ids
//    it has had sees each once. Whoever writes begins again at its first entry that was not confirmed: then seqs of one origin grow in
//    each partition, repeats aside, and remembering the highest is enough.
import { must } from '../core/assert.ts'
import type { Clock } from '../core/clock.ts'
import { KafkaAppender } from './kafka-appender.ts'
import { KafkaLink, type KafkaMessage } from './kafka-client.ts'
import { partitionOfKey } from './kafka-partitioner.ts'
import type { KafkaSettings } from './kafka-settings.ts'
import { type TopicKind, topicName } from './kafka-topics.ts'

export const OUTPUT_KINDS = ['transitions', 'profiles', 'merges', 'dead-letters'] as const satisfies readonly TopicKind[]
export type OutputKind = (typeof OUTPUT_KINDS)[number]

export interface OutputEntry {
  readonly key: string | undefined
  /** The partition from which it comes, and its number among the entries of that partition's stream. */
  readonly origin: number
  readonly seq: number
  /** None: the key is gone. */
  readonly value: Buffer | null
}

export interface OutputOptions {
  readonly settings: KafkaSettings
  readonly clock: Clock
  /** After so long without an answer entries are in doubt. */
  readonly giveUpMs?: number
  /** A request without an answer has failed after so long; then it is sent again. */
  readonly requestMs?: number
}

const GIVE_UP_MS = 30_000

export class KafkaOutputs {
  readonly #link: KafkaLink
  readonly #appenders: ReadonlyMap<OutputKind, { readonly appender: KafkaAppender; readonly partitions: number }>

  private constructor(link: KafkaLink, options: OutputOptions) {
    this.#link = link
    const open = (kind: OutputKind) => {
      const topic = topicName(options.settings, kind)
      // Users may have made the topic with a number of partitions of their own.
      const partitions = link.partitionsOf(topic)
      const appender = new KafkaAppender({ link, topic, partitions, clock: options.clock, giveUpMs: options.giveUpMs ?? GIVE_UP_MS })
      return { appender, partitions }
    }
    this.#appenders = new Map(OUTPUT_KINDS.map((kind) => [kind, open(kind)]))
  }

  /** Connects to topics that `ensureTopics` has made or checked. */
  static async open(options: OutputOptions): Promise<KafkaOutputs> {
    const link = await KafkaLink.open(options.settings, { ...options, name: 'outputs' })
    try {
      for (const kind of OUTPUT_KINDS) await link.know(topicName(options.settings, kind))
      return new KafkaOutputs(link, options)
    } catch (error) {
      await link.close()
      throw link.explained(error, 'opening the outputs')
    }
  }

  #target(kind: OutputKind): { readonly appender: KafkaAppender; readonly partitions: number } {
    return must(this.#appenders.get(kind), 'every kind of output has an appender')
  }

  partitionsOf(kind: OutputKind): number {
    return this.#target(kind).partitions
  }

  /** Resolves when all replicas in sync have the entries; they are sent in this order, and after `untilMs` not any more. */
  async write(kind: OutputKind, entries: readonly OutputEntry[], untilMs?: number): Promise<void> {
    const { appender, partitions } = this.#target(kind)
    await Promise.all(entries.map((entry) => appender.append(placeOf(entry, partitions), messageOf(entry), untilMs)))
  }

  /** What was written settles first. */
  async close(): Promise<void> {
    for (const { appender } of this.#appenders.values()) await appender.close()
    await this.#link.close()
  }
}

const idOf = (entry: OutputEntry): string => `${entry.origin}-${entry.seq}`

/** Without a key the id spreads the entries, and a repeat goes where it went before. */
const placeOf = (entry: OutputEntry, partitions: number): number => partitionOfKey(entry.key ?? idOf(entry), partitions)

function messageOf(entry: OutputEntry): KafkaMessage {
  return {
    key: entry.key ?? null,
    value: entry.value,
    headers: { id: idOf(entry), seq: String(entry.seq), origin: String(entry.origin) },
  }
}
