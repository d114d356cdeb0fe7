// Snowplow's tracker protocol (tp2): {"data":[…]} of flat events with short field names, all of them texts.
// Its trackers send no key; the application id (`aid`) stands for it.
import { TributaryError } from '../../core/errors.ts'
import type { Json, JsonObject } from '../../core/event.ts'
import { isoText } from '../../core/iso-text.ts'
import { type Envelope, isObject, textOf } from '../envelope.ts'

export function fromSnowplow(body: Json): Envelope {
  if (!isObject(body) || !Array.isArray(body.data))
    throw new TributaryError('unreadable', 'The body is no payload_data: data is not a list.')
  const first = body.data[0]
  const writeKey = isObject(first) ? textOf(first.aid) : undefined
  return { messages: body.data.map(translated), single: false, ...(writeKey === undefined ? {} : { writeKey }) }
}

function translated(e: Json): unknown {
  if (!isObject(e) || typeof e.e !== 'string') return e
  const message: JsonObject = {
    messageId: e.eid ?? null,
    userId: e.uid ?? null,
    anonymousId: e.duid ?? null,
    timestamp: instant(e.ttm ?? e.dtm),
    sentAt: instant(e.stm),
    context: contextOf(e),
  }
  switch (e.e) {
    case 'pv':
      return { ...message, type: 'page', name: e.page ?? null, properties: texts({ url: e.url, title: e.page, referrer: e.refr }) }
    case 'ue':
      return { ...message, type: 'track', ...selfDescribing(e) }
    case 'se':
      return {
        ...message,
        type: 'track',
        event: e.se_ac ?? null,
        properties: texts({ category: e.se_ca, label: e.se_la, property: e.se_pr, value: number(e.se_va) }),
      }
    case 'pp':
      return { ...message, type: 'track', event: 'Page Pinged', properties: texts({ url: e.url, title: e.page }) }
    case 'tr':
      return {
        ...message,
        type: 'track',
        event: 'Transaction',
        properties: texts({ order_id: e.tr_id, total: number(e.tr_tt), currency: e.tr_cu }),
      }
    case 'ti':
      return {
        ...message,
        type: 'track',
        event: 'Transaction Item',
        properties: texts({ order_id: e.ti_id, sku: e.ti_sk, name: e.ti_nm, price: number(e.ti_pr), quantity: number(e.ti_qu) }),
      }
    default:
      return { ...message, type: 'track', event: `snowplow ${e.e}`, properties: {} }
  }
}

function contextOf(e: JsonObject): JsonObject {
  const network = textOf(e.nuid)
  const contexts = decoded(e.co, e.cx)
  return {
    library: { name: 'snowplow', version: e.tv ?? null },
    ...texts({ appId: e.aid, platform: e.p, userAgent: e.ua, locale: e.lang, timezone: e.tz, ip: e.ip }),
    ...(network === undefined ? {} : { externalIds: [{ type: 'snowplow_network_id', id: network }] }),
    ...(contexts === undefined ? {} : { snowplow: contexts }),
  }
}

/** The event's name is its schema's: "iglu:com.acme/checkout/jsonschema/1-0-0" is `checkout`. */
function selfDescribing(e: JsonObject): JsonObject {
  const outer = decoded(e.ue_pr, e.ue_px)
  const inner = isObject(outer) ? outer.data : undefined
  if (!isObject(inner) || typeof inner.schema !== 'string') return { event: null, properties: {} }
  return {
    event: inner.schema.split('/')[1] ?? inner.schema,
    properties: isObject(inner.data) ? inner.data : { value: inner.data ?? null },
  }
}

function decoded(plain: unknown, base64: unknown): Json | undefined {
  const text = textOf(plain) ?? (typeof base64 === 'string' ? Buffer.from(base64, 'base64').toString('utf8') : undefined)
  if (text === undefined) return undefined
  try {
    return JSON.parse(text) as Json
  } catch {
    return undefined
  }
}

function instant(raw: unknown): Json {
  if (typeof raw !== 'string') return null
  const ms = Number(raw)
  return raw.trim() !== '' && Math.abs(ms) <= 8.64e15 ? isoText(ms) : raw
}

function number(raw: unknown): Json {
  const n = typeof raw === 'string' && raw.trim() !== '' ? Number(raw) : Number.NaN
  return Number.isFinite(n) ? n : null
}

function texts(fields: Record<string, Json | undefined>): JsonObject {
  const present: JsonObject = {}
  for (const [name, value] of Object.entries(fields)) if (value !== undefined && value !== null) present[name] = value
  return present
}
