// Where events of a source come from, as the engine keeps it: one partition of a user's topic, and the places in it.
import { hash128 } from './identifier.ts'

/** 128-bit hash (binary string) of a source's name and a partition of its topic. */
export type OriginKey = string

export const ORIGIN_KEY_BYTES = 16

/** Of one message. Places are ordered by leader, then offset, then index. */
export interface OriginPlace {
  /** Numbers the leaders under which records were appended (0: unknown): an offset that a lost leader had used is used again under a greater one. */
  readonly leader: number
  readonly offset: number
  /** Of the message within its record. */
  readonly index: number
}

/** What a reader says of the events that it brings. */
export interface Reading {
  readonly origin: OriginKey
  /** All that the origin holds from this offset up to any of these places was appended before it, or is not there for these homes. */
  readonly from: number
  /** One for each event. */
  readonly places: readonly OriginPlace[]
}

/** `topicId`: the cluster's own, so that a topic that is made anew is another one. */
export function originKey(source: string, topic: string, topicId: string, partition: number): OriginKey {
  return hash128([source, topic, topicId, partition].join('\u0000'))
}

/** Negative when `a` is before `b`. */
export function comparePlaces(a: OriginPlace, b: OriginPlace): number {
  return a.leader - b.leader || a.offset - b.offset || a.index - b.index
}
