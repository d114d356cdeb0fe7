import { type Static, Type } from '@sinclair/typebox'
import { TributaryError } from '../../core/errors.ts'
import { isObject } from '../../intake/envelope.ts'
import { parseSegment, parseWhere } from '../../operators/parse.ts'
import type { Routes } from '../app.ts'
import { found, notFound, PAGE_QUERY, pageOf } from '../requests.ts'
import { DONE, MEMBER, PREVIEW, pageSchema, SEGMENT, WHERE } from '../schemas.ts'

const PARAMS = Type.Object({ id: Type.String({ minLength: 1, maxLength: 128 }) })
type Params = Static<typeof PARAMS>
const DEFINITION = Type.Object({ name: Type.Optional(Type.String({ maxLength: 256 })), where: WHERE }, { additionalProperties: true })
const CANDIDATE = Type.Object({ where: WHERE })
const ID = /^[A-Za-z0-9_][A-Za-z0-9_.~:-]{0,127}$/

export const segmentRoutes: Routes = (app, { engine }) => {
  app.get('/v1/segments', {
    config: { access: 'read' },
    schema: { tags: ['segments'], summary: 'All segments', response: { 200: pageSchema(SEGMENT) } },
    handler: async () => ({ items: await engine.segments() }),
  })
  app.get<{ Params: Params }>('/v1/segments/:id', {
    config: { access: 'read' },
    schema: { tags: ['segments'], summary: 'A segment', params: PARAMS, response: { 200: SEGMENT } },
    handler: async ({ params }) => found(await engine.segment(params.id), 'such segment'),
  })
  app.put<{ Params: Params; Body: Static<typeof DEFINITION> }>('/v1/segments/:id', {
    config: { access: 'admin' },
    schema: { tags: ['segments'], summary: 'Save a segment', params: PARAMS, body: DEFINITION, response: { 200: SEGMENT } },
    // The parser's own messages say more than the schema's.
    attachValidation: true,
    handler: ({ params, body }) => {
      if (!ID.test(params.id) || params.id === 'preview') {
        throw new TributaryError(
          'invalid_definition',
          'The id of a segment is made of letters, digits and _ . ~ : -, and is not "preview".',
        )
      }
      const { name, where } = parseSegment(isObject(body) ? { ...body, id: params.id } : body)
      return engine.putSegment(params.id, name === undefined ? { where } : { name, where })
    },
  })
  app.delete<{ Params: Params }>('/v1/segments/:id', {
    config: { access: 'admin' },
    schema: { tags: ['segments'], summary: 'Delete a segment; its members exit', params: PARAMS, response: { 200: DONE } },
    handler: async ({ params }) => {
      if (!(await engine.deleteSegment(params.id))) throw notFound('such segment')
      return { success: true }
    },
  })
  app.post<{ Body: Static<typeof CANDIDATE> }>('/v1/segments/preview', {
    config: { access: 'read' },
    schema: { tags: ['segments'], summary: 'How many profiles a definition holds for', body: CANDIDATE, response: { 200: PREVIEW } },
    attachValidation: true,
    handler: ({ body }) => engine.previewSegment(parseWhere(isObject(body) ? body.where : undefined)),
  })
  app.get<{ Params: Params; Querystring: Static<typeof PAGE_QUERY> }>('/v1/segments/:id/members', {
    config: { access: 'read' },
    schema: {
      tags: ['segments'],
      summary: 'The members of a segment',
      params: PARAMS,
      querystring: PAGE_QUERY,
      response: { 200: pageSchema(MEMBER) },
    },
    handler: async ({ params, query }) => found(await engine.segmentMembers(params.id, pageOf(query)), 'such segment'),
  })
}
