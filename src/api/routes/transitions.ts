import { type Static, Type } from '@sinclair/typebox'
import { shown } from '../../engine/outputs-shown.ts'
import type { Routes } from '../app.ts'
import { MAX_CURSOR, PAGE_QUERY, pageOf } from '../requests.ts'
import { pageSchema, TRANSITION } from '../schemas.ts'
import { TransitionStreams } from '../stream.ts'

const QUERY = Type.Object({
  ...PAGE_QUERY.properties,
  after: Type.Optional(Type.String({ maxLength: MAX_CURSOR, description: 'A cursor, or the id of a transition.' })),
  segment: Type.Optional(Type.String({ maxLength: 128, description: 'Of this segment only.' })),
})

export const transitionRoutes: Routes = (app, api) => {
  const streams = new TransitionStreams(api)
  app.addHook('preClose', async () => streams.end())
  app.get<{ Querystring: Static<typeof QUERY> }>('/v1/transitions', {
    config: { access: 'read' },
    schema: {
      tags: ['transitions'],
      summary: 'Entries and exits in one total order; with Accept: text/event-stream a live stream, resumed by Last-Event-ID',
      querystring: QUERY,
      response: { 200: pageSchema(TRANSITION) },
    },
    handler: async (request, reply) => {
      const { segment } = request.query
      const only = segment === undefined || segment === '' ? {} : { segment }
      if (request.headers.accept?.includes('text/event-stream')) {
        if (request.method === 'HEAD') return reply.type('text/event-stream').send('')
        return streams.start(request, reply, only)
      }
      const { items, ...rest } = await api.engine.transitions({ ...pageOf(request.query), ...only })
      return { items: items.map(shown), ...rest }
    },
  })
}
