// What a deployment has told its users, as the topics have it: every record, repeats included. Owns this book.

import { Distinct } from '../../examples/kafka-consumer/distinct.ts'
import type { OutboxStream } from '../../src/engine/outbox.ts'
import type { SeenRecord } from './chaos-topics.ts'

export const OUTPUT_TOPICS = {
  transitions: 'transitions',
  merges: 'merges',
  'dead-letters': 'deadLetters',
  profiles: 'profiles',
} as const satisfies Record<string, OutboxStream>

export interface Output {
  /** Grows in each partition of the topic: where it was first seen. */
  readonly place: number
  readonly origin: number
  readonly seq: number
  /** None: there was none. */
  readonly key: string | undefined
  readonly value: string | undefined
  readonly partition: number
  times: number
}

export class OutputBook {
  readonly streams: Readonly<Record<OutboxStream, Map<string, Output>>> = {
    transitions: new Map(),
    merges: new Map(),
    deadLetters: new Map(),
    profiles: new Map(),
  }
  /** Ids that a consumer who keeps to the rule of docs/kafka.md has passed over, though he had not seen them. */
  readonly passedOver: Readonly<Record<OutboxStream, Set<string>>> = {
    transitions: new Set(),
    merges: new Set(),
    deadLetters: new Set(),
    profiles: new Set(),
  }
  readonly faults: string[] = []
  /** The newest state of each profile; one that its origin has followed up already came late, from a process that was cut off. */
  readonly states = new Map<string, Output>()
  repeats = 0
  readonly #distinct: Readonly<Record<OutboxStream, Distinct>> = {
    transitions: new Distinct(),
    merges: new Distinct(),
    deadLetters: new Distinct(),
    profiles: new Distinct(),
  }

  take(stream: OutboxStream, { topic, partition, offset, key, value, headers }: SeenRecord): void {
    const { id = '', origin, seq } = headers
    const output: Output = {
      place: offset,
      origin: Number(origin),
      seq: Number(seq),
      key: key === null ? undefined : String(key),
      value: value === null ? undefined : String(value),
      partition,
      times: 1,
    }
    if (id !== `${origin}-${seq}`)
      this.faults.push(`${topic}/${partition}/${offset} has the id ${id}, the origin ${origin}, the seq ${seq}`)
    const isTaken = this.#distinct[stream].take({ partition, origin: output.origin, seq: output.seq })
    if (stream === 'profiles' && output.key !== undefined) this.#state(output.key, output)
    const known = this.streams[stream].get(id)
    if (!known) {
      if (!isTaken) this.passedOver[stream].add(id)
      this.streams[stream].set(id, output)
      return
    }
    known.times++
    this.repeats++
    // Of a profile the state as of some commit is told, which a repeat may be later by.
    const isSame = known.key === output.key && known.partition === partition && (stream === 'profiles' || known.value === output.value)
    if (!isSame) this.faults.push(`${id} of ${stream} came as ${known.key}: ${known.value} and as ${output.key}: ${output.value}`)
  }
  #state(profile: string, output: Output): void {
    const known = this.states.get(profile)
    if (known?.origin !== output.origin || known.seq <= output.seq) this.states.set(profile, output)
  }
}
