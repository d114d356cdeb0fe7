// Jitsu's dialect: Segment's messages, one per call, but a page call's own properties lie one level too deep.
import type { EventType, Json } from '../../core/event.ts'
import { type Envelope, isObject } from '../envelope.ts'
import { fromSegment } from './segment.ts'

export function fromJitsu(body: Json, type: EventType | undefined): Envelope {
  const envelope = fromSegment(body, type)
  return { ...envelope, messages: envelope.messages.map(flattened) }
}

function flattened(message: unknown): unknown {
  if (!isObject(message) || message.type !== 'page' || !isObject(message.properties)) return message
  const { properties: inner, ...outer } = message.properties
  return isObject(inner) ? { ...message, properties: { ...outer, ...inner } } : message
}
