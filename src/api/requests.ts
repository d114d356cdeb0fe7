// What several routes read from a request in the same way.
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyRequest } from 'fastify'
import { TributaryError } from '../core/errors.ts'
import type { PageQuery, ProfileRef, ReadOptions } from '../engine/engine.ts'
import { inflate, parseBody } from '../intake/body.ts'
import type { IdentifierSource } from '../intake/identifiers.ts'

export const MAX_PAGE = 1000
const DEFAULT_PAGE = 100
/** In a cluster a cursor has an offset for each partition of a topic. */
export const MAX_CURSOR = 8192

export const PAGE_QUERY = Type.Object({
  limit: Type.Integer({ minimum: 1, maximum: MAX_PAGE, default: DEFAULT_PAGE, description: 'Items of a page at most.' }),
  after: Type.Optional(Type.String({ maxLength: MAX_CURSOR, description: 'The cursor that a page gave as next.' })),
})

export const REF_PARAMS = Type.Object({
  ref: Type.String({ description: 'namespace:value, URL-encoded; the first colon separates. profile_id:… takes a public profile id.' }),
})

export const READ_HEADERS = Type.Object({
  'min-position': Type.Optional(
    Type.String({ maxLength: 8192, description: 'A position from an ingestion reply: answer once all that it set off is applied.' }),
  ),
})

export function pageOf({ limit, after }: Static<typeof PAGE_QUERY>): PageQuery {
  return after === undefined || after === '' ? { limit } : { limit, after }
}

export function readOptions(request: FastifyRequest): ReadOptions {
  const minPosition = request.headers['min-position']
  return typeof minPosition === 'string' && minPosition !== '' ? { minPosition } : {}
}

/** The profile that a path names; undefined when the value can't be an identifier (it is blocked), so nobody has it. */
export function refOf(text: string, namespaces: IdentifierSource): ProfileRef | undefined {
  const colon = text.indexOf(':')
  if (colon < 1 || colon === text.length - 1) throw new TributaryError('invalid_request', 'A profile is named by namespace:value.')
  const namespace = text.slice(0, colon)
  const value = text.slice(colon + 1)
  if (namespace === 'profile_id') return { namespace, value }
  const identifier = namespaces.identifierOf(namespace, value)
  return 'blocked' in identifier ? undefined : { namespace, value: identifier.value }
}

/** The JSON body of a call that is no ingestion; undefined when there is none. */
export async function readJson(body: unknown, encoding: string | undefined): Promise<unknown> {
  if (!Buffer.isBuffer(body) || body.length === 0) return undefined
  return parseBody(await inflate(body, encoding))
}

export function notFound(what: string): TributaryError {
  return new TributaryError('not_found', `There is no ${what}.`)
}

/** `x`, or not_found. */
export function found<T>(x: T | undefined, what: string): T {
  if (x === undefined) throw notFound(what)
  return x
}
