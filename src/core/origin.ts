// Where events of a source come from, as the engine keeps it: one partition of a user's topic, and the places in it.
import { hash128 } from './identifier.ts'

/** 128-bit hash (binary string) of a source's name and a partition of its topic. */
export type OriginKey = string

export const ORIGIN_KEY_BYTES = 16

/** Of one message. */
export interface OriginPlace {
  readonly offset: number
  /** Of the message within its record. */
  readonly index: number
}

/** What a reader says of all the events that it brings at once. */
export interface Reading {
  readonly origin: OriginKey
  /** Numbers the leaders under which records were appended: offsets that a lost leader had used are used again under a greater one. */
  readonly leader: number
  /** From this offset on the reader has brought, one after the other, everything that was appended under this leader. */
  readonly from: number
}

/** Events that a source has read together. */
export interface Read {
  readonly reading: Reading
  /** One for each event. */
  readonly places: readonly OriginPlace[]
}

/** `topicId`: the cluster's own, so that a topic that is made anew is another one. */
export function originKey(source: string, topic: string, topicId: string, partition: number): OriginKey {
  return hash128([source, topic, topicId, partition].join('\u0000'))
}

/** Negative when `a` is before `b`. */
export function comparePlaces(a: OriginPlace, b: OriginPlace): number {
  return a.offset - b.offset || a.index - b.index
}
