// PostHog's dialect. `distinct_id` is a user's id, or a browser's own until it is identified; `$set` are traits.
// `$set_once` stays in the properties: traits here are last-write-wins, and "once" would come out as "last".
import { TributaryError } from '../../core/errors.ts'
import type { Json, JsonObject } from '../../core/event.ts'
import { type Envelope, isObject, textOf } from '../envelope.ts'

export function fromPosthog(body: Json): Envelope {
  if (Array.isArray(body)) return envelopeOf({}, body)
  if (!isObject(body)) throw new TributaryError('unreadable', 'The body is neither an event nor a batch.')
  if (body.batch === undefined) return { ...envelopeOf(body, [body]), single: true }
  if (!Array.isArray(body.batch)) throw new TributaryError('unreadable', 'batch is not a list.')
  return envelopeOf(body, body.batch)
}

function envelopeOf(outer: JsonObject, messages: readonly Json[]): Envelope {
  const first = messages[0]
  const writeKey = keyOf(outer) ?? (isObject(first) ? keyOf(first) : undefined)
  const sentAt = outer.sent_at ?? outer.sentAt
  return {
    messages: messages.map(translated),
    single: false,
    ...(writeKey === undefined ? {} : { writeKey }),
    ...(sentAt === undefined ? {} : { sentAt }),
  }
}

function keyOf(x: JsonObject): string | undefined {
  return textOf(x.api_key) ?? textOf(x.token) ?? (isObject(x.properties) ? textOf(x.properties.token) : undefined)
}

/** One PostHog event as a Segment message; what is no event at all goes through untouched, to be rejected by name. */
function translated(event: Json): unknown {
  if (!isObject(event) || typeof event.event !== 'string') return event
  const properties = isObject(event.properties) ? event.properties : {}
  const set = event.$set ?? properties.$set
  const traits = isObject(set) ? set : {}
  const message: JsonObject = {
    messageId: event.uuid ?? properties.$insert_id ?? null,
    timestamp: event.timestamp ?? null,
    ...identity(event, properties),
    ...(properties.$session_id === undefined ? {} : { context: { sessionId: properties.$session_id } }),
  }
  switch (event.event) {
    case '$identify':
    case '$set':
      return { ...message, type: 'identify', traits, properties }
    case '$create_alias':
      return { ...message, type: 'alias', previousId: properties.alias ?? null }
    case '$groupidentify':
      return { ...message, type: 'group', groupId: properties.$group_key ?? null, traits: properties.$group_set ?? {}, properties }
    case '$pageview':
      return { ...withTraits(message, traits), type: 'page', name: properties.title ?? null, properties: page(properties) }
    case '$screen':
      return { ...withTraits(message, traits), type: 'screen', name: properties.$screen_name ?? null, properties }
    default:
      return { ...withTraits(message, traits), type: 'track', event: event.event, properties }
  }
}

function identity(event: JsonObject, properties: JsonObject): JsonObject {
  const distinct = event.distinct_id ?? properties.distinct_id ?? null
  const device = properties.$device_id ?? properties.$anon_distinct_id ?? null
  // The server library invents an id for the group where no person is at hand.
  if (event.event === '$groupidentify' && distinct === `$${properties.$group_type}_${properties.$group_key}`) {
    return { context: { externalIds: [{ type: 'posthog_group', id: distinct }] } }
  }
  const anonymous = properties.$is_identified === false || (distinct === device && (properties.$user_id ?? null) === null)
  if (anonymous) return { anonymousId: distinct }
  return { userId: distinct, anonymousId: event.$anon_distinct_id ?? properties.$anon_distinct_id ?? (device === distinct ? null : device) }
}

function withTraits(message: JsonObject, traits: JsonObject): JsonObject {
  if (Object.keys(traits).length === 0) return message
  return { ...message, context: { ...(isObject(message.context) ? message.context : {}), traits } }
}

function page(p: JsonObject): JsonObject {
  return {
    ...p,
    ...(p.$current_url === undefined ? {} : { url: p.$current_url }),
    ...(p.$pathname === undefined ? {} : { path: p.$pathname }),
    ...(p.$referrer === undefined ? {} : { referrer: p.$referrer }),
  }
}
