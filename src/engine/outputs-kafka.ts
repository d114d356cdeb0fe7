// The output streams as topics of a cluster, which all processes write to and read from. Owns what goes into them and how they are read;
// the topics themselves, and how entries get there, are src/log's.
//
// 1. Each entry of a block is a record of its own, with the id that it has embedded too. What is taken again has equal ids.
// 2. Dead letters of intake come from an origin that only this process has, for as long as it runs: whoever is not answered sends again,
//    and gets other ids.
import { randomInt } from 'node:crypto'
import { must } from '../core/assert.ts'
import { type Clock, sleep } from '../core/clock.ts'
import { TributaryError } from '../core/errors.ts'
import type { Transition } from '../core/transition.ts'
import { CLAIM_TIMING } from '../log/claimed-log.ts'
import { KafkaOutputs, type OutputEntry, type OutputKind } from '../log/kafka-outputs.ts'
import type { KafkaSettings } from '../log/kafka-settings.ts'
import { KafkaTopic } from '../log/kafka-topic.ts'
import { topicName } from '../log/kafka-topics.ts'
import type { Topic } from '../log/topic.ts'
import type { OutputEnds } from './agreement.ts'
import type { DeadLetter, MergeRecord, Page, PageQuery } from './engine.ts'
import { decodeBlock, entryId, OUTBOX_STREAMS, type OutboxStream, readJsonEntries, readTransitions, type Stream } from './outbox.ts'
import { AvroCodec, type Formats } from './outputs-avro.ts'
import { type OutputCodec, shownForm, transitionForm } from './outputs-codec.ts'
import { follow } from './outputs-follow.ts'
import { OriginBlocks } from './outputs-origin.ts'
import type { DeadLetterEntry, FollowOptions, MergeEntry, OutputPort, ProfileAt, SegmentNames } from './outputs-port.ts'
import { ProfilesTopic } from './outputs-profiles.ts'
import { OutputSchemas, type RegistryAccess } from './outputs-registry.ts'
import { deadLetterOf, mergeOf, shown, transitionOf } from './outputs-shown.ts'
import { type TailPlace, type TailStretch, TopicTail } from './outputs-tail.ts'
import { TopicStream } from './outputs-topic.ts'
import { vectorText } from './outputs-vector.ts'

const KIND: Readonly<Record<OutboxStream, OutputKind>> = {
  ...{ transitions: 'transitions', merges: 'merges', deadLetters: 'dead-letters', profiles: 'profiles' },
}
/** Blocks that wait for the brokers, of all partitions: beyond this the process gives up, and says all again after its next start. */
const HELD_BYTES = 256 << 20
/** A value of a dead letter may take so many bytes; beyond, it goes without its message. */
const VALUE_BYTES = 1_000_000
const ALARM_EVERY_MS = 10_000
/** Entries given to a follower at once. */
const STRETCH = 1000
const RETRY_MS = 500
/** Origins of processes have 15 digits: more than any partition's. */
const ORIGINS = { from: 10 ** 14, to: 2 ** 48 - 1 } as const

/** What entries are written with. */
export interface EntryWriter {
  /** After `untilMs` of the monotonic clock, where that is given, nothing of it is sent any more. */
  write(kind: OutputKind, entries: readonly OutputEntry[], untilMs?: number): Promise<void>
  close(): Promise<void>
}

export interface TopicOutputsPorts {
  readonly writer: EntryWriter
  readonly topics: Readonly<Record<Stream, Topic>>
  readonly codec: OutputCodec
  readonly clock: Clock
  /** Of intake's dead letters (2). */
  readonly origin: number
  /** So old what the owner said of a profile may be when it is sent. */
  readonly freshMs: number
  /** Something that a person must look at. */
  alarm(message: string): void
}

export interface TopicOutputsOptions {
  readonly settings: KafkaSettings
  readonly clock: Clock
  /** After so long without an answer entries are said again. */
  readonly giveUpMs?: number
  /** A request without an answer has failed after so long. */
  readonly requestMs?: number
  /** So long ownership that was seen is taken for granted; as journals do, where nothing is said. */
  readonly freshMs?: number
  /** JSON where nothing is said. */
  readonly formats?: Formats
  /** Where the schemas of those in Avro are registered; without one values say theirs as Avro does. */
  readonly registry?: RegistryAccess
  alarm(message: string): void
}

const ALL_IN_JSON: Formats = { transitions: 'json', merges: 'json', deadLetters: 'json', profiles: 'json' }

/** Connects to topics that `ensureTopics` has made or checked. */
export async function openTopicOutputs(options: TopicOutputsOptions): Promise<TopicOutputs> {
  const { settings, clock, alarm, freshMs = CLAIM_TIMING.freshMs } = options
  const codec = await openCodec(options)
  const writer = await KafkaOutputs.open(options)
  const topic = (stream: Stream): Topic =>
    new KafkaTopic({ settings, clock, kind: KIND[stream], partitions: writer.partitionsOf(KIND[stream]) })
  const topics = { transitions: topic('transitions'), merges: topic('merges'), deadLetters: topic('deadLetters') }
  return new TopicOutputs({ writer, topics, codec, clock, freshMs, alarm, origin: randomInt(ORIGINS.from, ORIGINS.to) })
}

async function openCodec({ settings, formats = ALL_IN_JSON, registry }: TopicOutputsOptions): Promise<AvroCodec> {
  const inAvro = OUTBOX_STREAMS.filter((stream) => formats[stream] === 'avro')
  if (!registry || inAvro.length === 0) return new AvroCodec(formats)
  const subjects = Object.fromEntries(inAvro.map((stream) => [stream, `${topicName(settings, KIND[stream])}-value`]))
  return new AvroCodec(formats, await OutputSchemas.register(registry, subjects))
}

export class TopicOutputs implements OutputPort {
  readonly #ports: TopicOutputsPorts
  readonly #transitions: TopicStream<Transition>
  readonly #merges: TopicStream<MergeRecord>
  readonly #deadLetters: TopicStream<DeadLetter>
  readonly #tail: TopicTail<Transition>
  readonly #origins = new Map<string, OriginBlocks<OutputEntry>>()
  #opened: SegmentNames | undefined
  #profiles: ProfilesTopic | undefined
  #isClosed = false
  #rejected = 0
  #heldBytes = 0
  #alarmedAtMs = Number.NEGATIVE_INFINITY

  constructor(ports: TopicOutputsPorts) {
    this.#ports = ports
    const { topics, codec, clock } = ports
    this.#transitions = new TopicStream(topics.transitions, transitionForm(codec))
    this.#merges = new TopicStream(topics.merges, shownForm(codec, 'merges'))
    this.#deadLetters = new TopicStream(topics.deadLetters, shownForm(codec, 'deadLetters'))
    this.#tail = new TopicTail(topics.transitions, transitionForm(codec), clock)
  }

  async open(names: SegmentNames, profileAt: ProfileAt): Promise<void> {
    this.#opened = names
    const { clock, freshMs, writer } = this.#ports
    this.#profiles = new ProfilesTopic({
      ...{ clock, freshMs, profileAt },
      encode: (profile) => this.#ports.codec.encode('profiles', profile),
      write: (entries, untilMs) => writer.write('profiles', entries, untilMs),
      troubled: (error) => this.#troubled(error),
      alarm: (message) => this.#ports.alarm(message),
    })
  }

  // ---- writing

  async take(stream: OutboxStream, partition: number, payload: Uint8Array): Promise<void> {
    const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.length)
    if (stream === 'profiles') return must(this.#profiles, 'streams are open before anything is taken').take(partition, bytes)
    if (this.#heldBytes > HELD_BYTES)
      throw new TributaryError('log_failed', `${HELD_BYTES} bytes of outputs wait for the brokers: the process gives up`)
    const { firstSeq, entries } = decodeBlock(bytes)
    this.#heldBytes += payload.length
    try {
      await this.#blocksOf(stream, partition).take(this.#entriesOf(stream, { partition, firstSeq }, entries))
    } finally {
      this.#heldBytes -= payload.length
    }
  }

  #entriesOf(stream: Stream, first: { partition: number; firstSeq: number }, entries: Buffer): OutputEntry[] {
    const { partition: origin, firstSeq } = first
    const { codec } = this.#ports
    if (stream === 'transitions') {
      const names = must(this.#opened, 'streams are open before anything is taken')
      const list: OutputEntry[] = []
      readTransitions(entries, (entry, place) => {
        const t = shown(transitionOf(entryId(origin, firstSeq + place), entry, names))
        list.push({ key: t.profile, origin, seq: firstSeq + place, value: codec.encode('transitions', t) })
      })
      return list
    }
    return readJsonEntries(entries).map((entry, place) => {
      const seq = firstSeq + place
      if (stream === 'deadLetters') return this.#letter({ origin, seq }, entry as DeadLetterEntry)
      const merge = mergeOf(entryId(origin, seq), entry as MergeEntry)
      return { key: merge.survivor, origin, seq, value: codec.encode('merges', merge) }
    })
  }

  #letter({ origin, seq }: { origin: number; seq: number }, entry: DeadLetterEntry): OutputEntry {
    const { codec } = this.#ports
    const id = entryId(origin, seq)
    const value = codec.encode('deadLetters', deadLetterOf(id, entry))
    if (value.length <= VALUE_BYTES) return { key: undefined, origin, seq, value }
    const { code, at } = entry
    const reason = `${entry.reason.slice(0, 1000)} (the message is left out: it takes more than a record may)`
    return { key: undefined, origin, seq, value: codec.encode('deadLetters', deadLetterOf(id, { code, at, reason })) }
  }

  #blocksOf(stream: OutboxStream, partition: number): OriginBlocks<OutputEntry> {
    const name = `${stream} ${partition}`
    const known = this.#origins.get(name)
    if (known) return known
    const { writer, clock } = this.#ports
    const blocks = new OriginBlocks<OutputEntry>({
      clock,
      write: (entries) => writer.write(KIND[stream], entries),
      troubled: (error) => this.#troubled(error),
    })
    this.#origins.set(name, blocks)
    return blocks
  }

  #troubled(error: Error): void {
    const nowMs = this.#ports.clock.monotonicMs()
    if (nowMs < this.#alarmedAtMs + ALARM_EVERY_MS) return
    this.#alarmedAtMs = nowMs
    this.#ports.alarm(`outputs are not confirmed by the brokers, and are said again: ${error.message}`)
  }

  async reject(letters: readonly DeadLetterEntry[]): Promise<void> {
    const { origin, writer } = this.#ports
    const entries = letters.map((letter) => this.#letter({ origin, seq: ++this.#rejected }, letter))
    await writer.write('dead-letters', entries)
  }

  /** What retention has left of a topic says nothing about a partition. */
  ends(): OutputEnds {
    return { transitions: undefined, merges: undefined, deadLetters: undefined }
  }

  async mark(): Promise<void> {}

  // ---- reading

  transitionsPage({ segment, ...query }: PageQuery & { segment?: string }): Promise<Page<Transition>> {
    return this.#transitions.page(query, (t) => segment === undefined || t.segment === segment)
  }

  async followTransitions({ after, segment, deliver, failed }: FollowOptions): Promise<() => void> {
    const vector = after === undefined ? await this.#transitions.topic.ends() : await this.#transitions.locate(after)
    let wake = (): void => {}
    const leave = await this.#tail.listen(() => wake())
    const source = {
      read: (from: TailPlace) => this.#stretch(from),
      onAppend: (listener: () => void) => {
        wake = listener
        return leave
      },
    }
    const take = (placed: TailStretch<Transition>['entries']): unknown => {
      const transitions: Transition[] = []
      const behind: string[] = []
      for (const p of placed) {
        if (p.entry === undefined || (segment !== undefined && p.entry.segment !== segment)) continue
        transitions.push(p.entry)
        behind.push(vectorText(p.behind))
      }
      return transitions.length > 0 ? deliver(transitions, behind) : undefined
    }
    return follow(source, { vector }, { take, failed })
  }

  /** From memory, or from the topic; while that can't be read, again and again. */
  async #stretch(from: TailPlace): Promise<TailStretch<Transition>> {
    try {
      const inMemory = this.#tail.read(from, STRETCH)
      if (inMemory) return inMemory
      const { entries, next } = await this.#transitions.stretch(from.vector, STRETCH)
      return { entries, next: next === from.vector ? from : { vector: next } }
    } catch (error) {
      if (this.#isClosed || !(error instanceof TributaryError)) throw error
      await sleep(this.#ports.clock, RETRY_MS)
      return { entries: [], next: { ...from } }
    }
  }

  async transitionsEnd(): Promise<string> {
    return vectorText(await this.#transitions.topic.ends())
  }

  mergesPage(query: PageQuery): Promise<Page<MergeRecord>> {
    return this.#merges.page(query, () => true)
  }

  deadLettersPage(query: PageQuery): Promise<Page<DeadLetter>> {
    return this.#deadLetters.page(query, () => true)
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#profiles?.close()
    for (const blocks of this.#origins.values()) blocks.close()
    const { writer, topics } = this.#ports
    await Promise.all([writer.close(), ...Object.values(topics).map((topic) => topic.close())])
  }
}
