import { type Static, Type } from '@sinclair/typebox'
import { TributaryError } from '../../core/errors.ts'
import { isoText } from '../../core/iso-text.ts'
import { parseInstant } from '../../intake/timestamp.ts'
import type { Routes } from '../app.ts'
import { DONE } from '../schemas.ts'

const CLOCK = Type.Object({ now: Type.Unknown({ description: 'ISO 8601 text, or milliseconds since 1970.' }) })

export const adminRoutes: Routes = (app, { engine }) => {
  app.post<{ Body: Static<typeof CLOCK> }>('/v1/admin/clock', {
    config: { access: 'admin' },
    schema: { tags: ['operation'], summary: 'Move the manual clock', body: CLOCK, response: { 200: Type.Object({ now: Type.String() }) } },
    handler: async ({ body }) => {
      const now = instantOf(body.now)
      await engine.setClock(now)
      return { now: isoText(now) }
    },
  })
  app.post('/v1/admin/clock/confirm', {
    config: { access: 'admin' },
    schema: {
      tags: ['operation'],
      summary: "The machine's clock, which has stepped ahead, is right: time goes on",
      response: { 200: DONE },
    },
    handler: async () => {
      await engine.confirmClock()
      return { success: true }
    },
  })
  app.post('/v1/admin/settle', {
    config: { access: 'admin' },
    schema: {
      tags: ['operation'],
      summary: 'Answers when everything accepted before is processed, exchanged and relayed',
      response: { 200: DONE },
    },
    handler: async () => {
      await engine.settle()
      return { success: true }
    },
  })
}

/** Unlike an event's timestamp, a clock may stand at any millisecond from 0 on. */
function instantOf(raw: unknown): number {
  const ms = typeof raw === 'number' ? raw : parseInstant(raw)
  if (!Number.isInteger(ms) || ms < 0 || ms > 8.64e15)
    throw new TributaryError('invalid_request', 'now is neither an ISO 8601 text nor milliseconds since 1970.')
  return ms
}
