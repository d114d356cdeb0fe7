// What every dialect is brought to: messages in Segment's shape, with what a batch says about all of them.
import type { EventType, Json, JsonObject } from '../core/event.ts'

export interface Envelope {
  /** As many as the body holds, each still unchecked. */
  readonly messages: readonly unknown[]
  /** One call with one message: if it is bad, the whole call is. */
  readonly single: boolean
  /** Key found in the body; it counts where the request itself carries none. */
  readonly writeKey?: string
  /** The type that the route stands for; it goes before the message's own. */
  readonly type?: EventType
  readonly context?: JsonObject
  readonly integrations?: Json
  readonly sentAt?: Json
}

export function isObject(x: unknown): x is JsonObject {
  return typeof x === 'object' && x !== null && !Array.isArray(x)
}

export function textOf(x: unknown): string | undefined {
  return typeof x === 'string' && x !== '' ? x : undefined
}
