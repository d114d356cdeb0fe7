import type { Static } from '@sinclair/typebox'
import type { Routes } from '../app.ts'
import { PAGE_QUERY, pageOf } from '../requests.ts'
import { DEAD_LETTER, pageSchema } from '../schemas.ts'

export const deadLetterRoutes: Routes = (app, { engine }) => {
  app.get<{ Querystring: Static<typeof PAGE_QUERY> }>('/v1/dead-letters', {
    config: { access: 'read' },
    schema: {
      tags: ['operation'],
      summary: 'Messages that were set aside, and why',
      querystring: PAGE_QUERY,
      response: { 200: pageSchema(DEAD_LETTER) },
    },
    handler: ({ query }) => engine.deadLetters(pageOf(query)),
  })
}
