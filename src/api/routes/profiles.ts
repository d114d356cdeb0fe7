import type { Static } from '@sinclair/typebox'
import type { ProfileRef } from '../../engine/engine.ts'
import type { Routes } from '../app.ts'
import { found, PAGE_QUERY, pageOf, READ_HEADERS, REF_PARAMS, readOptions, refOf } from '../requests.ts'
import { AUDIT_ENTRY, MEMBERSHIP, PROFILE, pageSchema, TIMELINE_EVENT } from '../schemas.ts'

type Params = Static<typeof REF_PARAMS>
type Query = Static<typeof PAGE_QUERY>

export const profileRoutes: Routes = (app, { engine, namespaces }) => {
  const ref = (text: string): ProfileRef => found(refOf(text, namespaces), 'such profile')

  app.get<{ Params: Params }>('/v1/profiles/:ref', {
    config: { access: 'read' },
    schema: {
      tags: ['profiles'],
      summary: 'A profile, by any of its identifiers',
      params: REF_PARAMS,
      headers: READ_HEADERS,
      response: { 200: PROFILE },
    },
    handler: async (request) => found(await engine.profile(ref(request.params.ref), readOptions(request)), 'such profile'),
  })
  app.get<{ Params: Params; Querystring: Query }>('/v1/profiles/:ref/events', {
    ...paged('The events of a profile, newest first', pageSchema(TIMELINE_EVENT)),
    handler: async (request) =>
      found(await engine.profileEvents(ref(request.params.ref), pageOf(request.query), readOptions(request)), 'such profile'),
  })
  app.get<{ Params: Params; Querystring: Query }>('/v1/profiles/:ref/memberships', {
    ...paged('The segments a profile is or was in', pageSchema(MEMBERSHIP)),
    handler: async (request) =>
      found(await engine.profileMemberships(ref(request.params.ref), pageOf(request.query), readOptions(request)), 'such profile'),
  })
  app.get<{ Params: Params; Querystring: Query }>('/v1/profiles/:ref/audit', {
    ...paged('What happened to a profile and its identifiers', pageSchema(AUDIT_ENTRY)),
    handler: async (request) =>
      found(await engine.profileAudit(ref(request.params.ref), pageOf(request.query), readOptions(request)), 'such profile'),
  })
}

function paged(summary: string, reply: ReturnType<typeof pageSchema>) {
  return {
    config: { access: 'read' },
    schema: { tags: ['profiles'], summary, params: REF_PARAMS, querystring: PAGE_QUERY, headers: READ_HEADERS, response: { 200: reply } },
  } as const
}
