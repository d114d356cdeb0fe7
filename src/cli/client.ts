// The HTTP client that the commands share. Errors of the server come back as the server told them.
import { TributaryError } from '../core/errors.ts'
import type { Io } from './command.ts'
import { CommandError, hintOf } from './failure.ts'
import type { Flags } from './flags.ts'

const DEFAULT_URL = 'http://127.0.0.1:8080'

export interface Request {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** Sent as JSON; a text is JSON already. */
  readonly body?: unknown
  readonly headers?: { readonly [name: string]: string }
  readonly signal?: AbortSignal
}

/** What the server answered, when that was an error. */
export class ServerError extends CommandError {
  readonly status: number
  /** From Retry-After. */
  readonly retryAfterMs: number | undefined
  constructor(
    status: number,
    body: { code?: unknown; message?: unknown; detail?: unknown; hint?: unknown },
    retryAfterMs: number | undefined,
  ) {
    const code = typeof body.code === 'string' ? body.code : `http_${status}`
    const message = typeof body.message === 'string' ? body.message : `The server answered ${status}.`
    const hint = typeof body.hint === 'string' ? body.hint : (hintOf(code) ?? 'Check that --url names a Tributary server; see its log.')
    super(code, message, hint, typeof body.detail === 'string' ? body.detail : undefined)
    this.status = status
    this.retryAfterMs = retryAfterMs
  }
}

export class Client {
  readonly url: string
  readonly #headers: { readonly [name: string]: string }

  constructor(url: string, key?: string) {
    if (!/^https?:$/.test(URL.parse(url)?.protocol ?? '')) {
      throw new CommandError('usage', `${JSON.stringify(url)} is no URL.`, `Give one such as --url ${DEFAULT_URL}.`)
    }
    this.url = url.replace(/\/+$/, '')
    this.#headers = key === undefined || key === '' ? {} : { authorization: `Bearer ${key}` }
  }

  /** The reply, whatever its status. Throws cannot_connect when there is none. */
  async fetch(path: string, { method = 'GET', body, headers, signal }: Request = {}): Promise<Response> {
    const init = {
      method,
      headers: { ...this.#headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      ...(signal === undefined ? {} : { signal }),
    }
    try {
      return await fetch(this.url + path, init)
    } catch (cause) {
      if (signal?.aborted) throw signal.reason
      throw this.#unreachable(cause)
    }
  }

  /** The JSON of a good reply. Throws a ServerError for another one. */
  async json<T>(path: string, request: Request = {}): Promise<T> {
    const reply = await this.fetch(path, request)
    const text = await reply.text().catch((cause: unknown) => {
      if (request.signal?.aborted) throw request.signal.reason
      throw this.#unreachable(cause)
    })
    const body = parsed(text)
    if (!reply.ok) throw new ServerError(reply.status, isObject(body) ? body : {}, retryAfterMs(reply))
    if (body === undefined)
      throw new CommandError('unreadable', `${this.url}${path} did not answer with JSON.`, 'Check that --url names a Tributary server.')
    return body as T
  }

  #unreachable(cause: unknown): TributaryError {
    const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause
    const detail = inner instanceof Error ? inner.message || String((inner as NodeJS.ErrnoException).code ?? '') : ''
    return new TributaryError('cannot_connect', `No server answers at ${this.url}.`, detail === '' ? { cause } : { detail, cause })
  }
}

export function clientOf(flags: Flags, env: Io['env']): Client {
  return new Client(flags.text('url') ?? env.TRIBUTARY_URL ?? DEFAULT_URL, flags.text('key') ?? env.TRIBUTARY_KEY)
}

/** `namespace:value` or a public profile id, as a path. */
export function profilePath(ref: string): string {
  return `/v1/profiles/${encodeURIComponent(ref.includes(':') ? ref : `profile_id:${ref}`)}`
}

function retryAfterMs(reply: Response): number | undefined {
  const seconds = Number(reply.headers.get('retry-after') ?? Number.NaN)
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : undefined
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function isObject(x: unknown): x is { [key: string]: unknown } {
  return typeof x === 'object' && x !== null
}
