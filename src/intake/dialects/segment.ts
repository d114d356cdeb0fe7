// Segment's dialect, which RudderStack's clients speak too: one message, or {"batch":[…]} with context, integrations and
// sentAt for all of its members. Either is taken on every route.
import { TributaryError } from '../../core/errors.ts'
import type { EventType, Json } from '../../core/event.ts'
import { type Envelope, isObject, textOf } from '../envelope.ts'

export function fromSegment(body: Json, type: EventType | undefined): Envelope {
  if (Array.isArray(body)) return { messages: body, single: false }
  if (!isObject(body)) throw new TributaryError('unreadable', 'The body is neither a message nor a batch.')
  const writeKey = textOf(body.writeKey)
  const key = writeKey === undefined ? {} : { writeKey }
  if (body.batch === undefined) return { messages: [body], single: true, ...key, ...(type === undefined ? {} : { type }) }
  if (!Array.isArray(body.batch)) throw new TributaryError('unreadable', 'batch is not a list.')
  return {
    messages: body.batch,
    single: false,
    ...key,
    ...(isObject(body.context) ? { context: body.context } : {}),
    ...(body.integrations === undefined ? {} : { integrations: body.integrations }),
    ...(body.sentAt === undefined ? {} : { sentAt: body.sentAt }),
  }
}
