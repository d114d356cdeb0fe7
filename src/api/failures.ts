// Errors as replies: one shape, {"code","message","detail?","hint"}, one registry (core/errors.ts).
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { type ErrorCode, TributaryError } from '../core/errors.ts'

/** An error that says when to come back. */
export class RetryLater extends TributaryError {
  readonly retryAfterSeconds: number
  constructor(code: ErrorCode, message: string, retryAfterSeconds: number) {
    super(code, message)
    this.retryAfterSeconds = Math.max(1, Math.ceil(retryAfterSeconds))
  }
}

const RETRY_AFTER_SECONDS = 1

export function replyError(error: FastifyError | Error, request: FastifyRequest, reply: FastifyReply): void {
  const known = error instanceof TributaryError ? error : translated(error)
  const { status } = known
  if (status >= 500 && status !== 503) request.log.error({ err: error, url: request.url }, known.message)
  if (status === 429 || status === 503)
    reply.header('retry-after', String(known instanceof RetryLater ? known.retryAfterSeconds : RETRY_AFTER_SECONDS))
  if (status === 401) reply.header('www-authenticate', 'Bearer realm="tributary"')
  reply.code(status).type('application/json; charset=utf-8').send(JSON.stringify(known))
}

function translated(error: FastifyError | Error): TributaryError {
  const { code, statusCode, validation } = error as Partial<FastifyError>
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') return new TributaryError('too_large', 'The body is too large.')
  if (validation !== undefined || (statusCode !== undefined && statusCode >= 400 && statusCode < 500)) {
    return new TributaryError('invalid_request', `The request is not valid: ${error.message}.`)
  }
  return new TributaryError('internal', 'The server failed to answer.', { cause: error })
}
