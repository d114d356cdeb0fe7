import type { Static } from '@sinclair/typebox'
import type { Routes } from '../app.ts'
import { PAGE_QUERY, pageOf } from '../requests.ts'
import { MERGE, pageSchema } from '../schemas.ts'

export const mergeRoutes: Routes = (app, { engine }) => {
  app.get<{ Querystring: Static<typeof PAGE_QUERY> }>('/v1/merges', {
    config: { access: 'read' },
    schema: {
      tags: ['profiles'],
      summary: 'Which profile became part of which',
      querystring: PAGE_QUERY,
      response: { 200: pageSchema(MERGE) },
    },
    handler: ({ query }) => engine.merges(pageOf(query)),
  })
}
