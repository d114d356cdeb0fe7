// Cross-origin rules. Ingestion is for every web page. Reading is for pages too, but each needs a key, unless the server is open:
// then any page that somebody on this machine visits could read everything, so only pages from this machine may.
import type { FastifyReply, FastifyRequest } from 'fastify'
import { isLoopback } from '../config.ts'
import { TributaryError } from '../core/errors.ts'
import type { Access } from './keys.ts'

const METHODS = 'GET, HEAD, POST, PUT, DELETE, OPTIONS'
const HEADERS = 'authorization, content-type, content-encoding, last-event-id, min-position, x-write-key'
const PREFLIGHT_SECONDS = '86400'

/** Sets the headers that let a page see the reply. */
export function allowOrigin(request: FastifyRequest, reply: FastifyReply, access: Access): void {
  const { origin } = request.headers
  if (origin === undefined) return
  reply.header('vary', 'origin').header('access-control-allow-origin', origin).header('access-control-expose-headers', 'retry-after')
  // Beacons and some clients send with credentials, and refuse a reply that doesn't allow them. We set no cookies.
  if (access === 'write') reply.header('access-control-allow-credentials', 'true')
}

export function replyPreflight(request: FastifyRequest, reply: FastifyReply): void {
  const asked = request.headers['access-control-request-headers']
  allowOrigin(request, reply, 'write')
  reply
    .header('access-control-allow-methods', METHODS)
    .header('access-control-allow-headers', asked ?? HEADERS)
    .header('access-control-max-age', PREFLIGHT_SECONDS)
    .code(204)
    .send()
}

/** On an open server: throws forbidden for a page from elsewhere, also one that reached this machine under a name of its own. */
export function demandLocalPage(request: FastifyRequest): void {
  const { origin, host } = request.headers
  if ((origin === undefined || isLoopback(hostOf(origin))) && (host === undefined || isLoopback(hostOf(`http://${host}`)))) return
  throw new TributaryError('forbidden', 'A server without keys answers pages and names of this machine only.')
}

function hostOf(url: string): string {
  return URL.parse(url)?.hostname ?? ''
}
