// The shapes of replies, for /openapi.json. They document; replies are not filtered by them.
import { type TSchema, Type } from '@sinclair/typebox'
import { CAUSES } from '../core/transition.ts'

const INSTANT = Type.String({ format: 'date-time' })
const IDENTIFIER = Type.Object({ namespace: Type.String(), value: Type.String() })
const ANY_OBJECT = Type.Object({}, { additionalProperties: true })

export const FAILURE = Type.Object({
  code: Type.String(),
  message: Type.String(),
  detail: Type.Optional(Type.String()),
  hint: Type.Optional(Type.String()),
})

export function pageSchema(item: TSchema) {
  return Type.Object({
    items: Type.Array(item),
    next: Type.Optional(Type.String({ description: 'Cursor for `after`; absent on the last page.' })),
  })
}

export const PROFILE = Type.Object({
  id: Type.String(),
  identifiers: Type.Array(IDENTIFIER),
  traits: ANY_OBJECT,
  computedTraits: ANY_OBJECT,
  segments: Type.Array(Type.String()),
  createdAt: INSTANT,
  updatedAt: INSTANT,
  position: Type.String(),
})

export const TIMELINE_EVENT = Type.Object({
  messageId: Type.String(),
  type: Type.String(),
  event: Type.String(),
  timestamp: INSTANT,
  acceptedAt: INSTANT,
  appliedAt: INSTANT,
  message: ANY_OBJECT,
})

export const MEMBERSHIP = Type.Object({ segment: Type.String(), member: Type.Boolean(), seq: Type.Integer() })

export const AUDIT_ENTRY = Type.Object({
  seq: Type.Integer(),
  at: INSTANT,
  action: Type.String(),
  messageId: Type.Optional(Type.String()),
  identifier: Type.Optional(IDENTIFIER),
  profile: Type.Optional(Type.String()),
  reason: Type.Optional(Type.String()),
})

/** The grammar has a schema of its own (docs/segments.md); parsing checks it, with better messages. */
export const WHERE = Type.Unknown({ description: 'A condition; see docs/segments.md.' })

export const SEGMENT = Type.Object({
  id: Type.String(),
  name: Type.Optional(Type.String()),
  where: WHERE,
  version: Type.Integer(),
  status: Type.Union([Type.Literal('filling'), Type.Literal('live')]),
  progress: Type.Number(),
  size: Type.Integer(),
  warning: Type.Optional(Type.String()),
})

export const PREVIEW = Type.Object({ size: Type.Integer(), total: Type.Integer(), warning: Type.Optional(Type.String()) })
export const MEMBER = Type.Object({ profile: Type.String(), userId: Type.Optional(Type.String()) })

export const TRANSITION = Type.Object({
  id: Type.String(),
  segment: Type.String(),
  version: Type.Integer(),
  profile: Type.String(),
  userId: Type.Optional(Type.String()),
  transition: Type.Union([Type.Literal('entered'), Type.Literal('exited')]),
  cause: Type.Union(CAUSES.map((cause) => Type.Literal(cause))),
  causeId: Type.Optional(Type.String()),
  seq: Type.Integer(),
  at: INSTANT,
  decidedAt: INSTANT,
})

export const MERGE = Type.Object({
  id: Type.String(),
  survivor: Type.String(),
  absorbed: Type.String(),
  at: INSTANT,
  messageId: Type.Optional(Type.String()),
})

export const DEAD_LETTER = Type.Object({
  id: Type.String(),
  code: Type.String(),
  reason: Type.String(),
  at: INSTANT,
  message: Type.Optional(Type.Unknown()),
})

export const DONE = Type.Object({ success: Type.Literal(true) })
