// The dialects that intake understands. A new one is a file in dialects/ and a line here.
import type { EventType, Json } from '../core/event.ts'
import { fromJitsu } from './dialects/jitsu.ts'
import { fromPosthog } from './dialects/posthog.ts'
import { fromSegment } from './dialects/segment.ts'
import { fromSnowplow } from './dialects/snowplow.ts'
import type { Envelope } from './envelope.ts'

export const DIALECTS = {
  segment: fromSegment,
  jitsu: fromJitsu,
  posthog: fromPosthog,
  snowplow: fromSnowplow,
} as const satisfies Record<string, (body: Json, type: EventType | undefined) => Envelope>

export type Dialect = keyof typeof DIALECTS
