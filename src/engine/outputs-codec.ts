// Entries of topics as bytes. Owns JSON, and what an entry must look like to count as one of ours when it is read.
import type { Transition } from '../core/transition.ts'
import type { TopicRecord } from '../log/topic.ts'
import type { DeadLetter, MergeRecord, ProfileView } from './engine.ts'
import type { OutboxStream, Stream } from './outbox.ts'
import type { ShownTransition } from './outputs-shown.ts'
import type { Form } from './outputs-topic.ts'

/** What lies in a topic: the entries as the API shows them. */
export interface Shown {
  readonly transitions: ShownTransition
  readonly merges: MergeRecord
  readonly deadLetters: DeadLetter
  readonly profiles: ProfileView
}

export interface OutputCodec {
  encode<S extends OutboxStream>(stream: S, entry: Shown[S]): Buffer
  /** Undefined where it can't be read. */
  decode(stream: OutboxStream, value: Buffer): unknown
}

export const JSON_CODEC: OutputCodec = {
  encode: (_, entry) => Buffer.from(JSON.stringify(entry)),
  decode: (_, value) => {
    try {
      return JSON.parse(value.toString('utf8'))
    } catch {
      return undefined
    }
  },
}

export function transitionForm(codec: OutputCodec): Form<Transition> {
  return {
    entryOf: (record) => {
      const shown = entryIn<ShownTransition>(codec, 'transitions', record)
      return shown && { ...shown, at: Date.parse(shown.at), decidedAt: Date.parse(shown.decidedAt) }
    },
    cameAbout: (entry) => entry.decidedAt,
  }
}

export function shownForm<S extends 'merges' | 'deadLetters'>(codec: OutputCodec, stream: S): Form<Shown[S]> {
  return {
    entryOf: (record) => entryIn<Shown[S]>(codec, stream, record),
    cameAbout: (entry) => Date.parse(entry.at),
  }
}

/** An entry of ours has the id that the headers say; whatever else lies in a topic is passed over. */
function entryIn<T extends { readonly id: string }>(codec: OutputCodec, stream: Stream, record: TopicRecord): T | undefined {
  const { value, origin, seq } = record
  const entry = value === null ? undefined : (codec.decode(stream, value) as T | undefined | null)
  return typeof entry === 'object' && entry?.id === `${origin}-${seq}` ? entry : undefined
}
