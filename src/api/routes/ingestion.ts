// Ingestion in the dialects of several clients. A reply means durable.
import { Type } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { DEFAULT_SOURCE_PRIORITY, type KeyConfig } from '../../config.ts'
import { type ErrorCode, TributaryError } from '../../core/errors.ts'
import type { EventType } from '../../core/event.ts'
import type { RejectedMessage } from '../../engine/engine.ts'
import type { Dialect } from '../../intake/dialects.ts'
import { type Intake, type Rejection, takeIn, UnreadableBody } from '../../intake/intake.ts'
import type { Api, Routes } from '../app.ts'
import { RetryLater } from '../failures.ts'
import { presentedKey } from '../keys.ts'

/** Bytes of bodies that are being taken in at once; beyond it, callers wait. */
const MAX_INFLIGHT_BYTES = 128 * 1024 * 1024

interface Call {
  readonly dialect: Dialect
  readonly type?: EventType
}

const PATHS: readonly (readonly [path: string, call: Call])[] = [
  ...(['track', 'identify', 'page', 'screen', 'group', 'alias'] as const).flatMap((type) => [
    [`/v1/${type}`, { dialect: 'segment', type }] as const,
    [`/v1/${type[0]}`, { dialect: 'segment', type }] as const,
    [`/api/s/${type}`, { dialect: 'jitsu', type }] as const,
    [`/api/s/s2s/${type}`, { dialect: 'jitsu', type }] as const,
  ]),
  ...['/v1/batch', '/v1/import', '/v1/b'].map((path) => [path, { dialect: 'segment' }] as const),
  ...['/batch', '/capture', '/e', '/track', '/i/v0/e'].map((path) => [path, { dialect: 'posthog' }] as const),
  ['/com.snowplowanalytics.snowplow/tp2', { dialect: 'snowplow' }],
]

const REPLY = Type.Object({
  success: Type.Literal(true),
  position: Type.String({ description: 'For the min-position header of a read.' }),
  rejected: Type.Optional(
    Type.Array(Type.Object({ index: Type.Integer(), code: Type.String(), message: Type.String() }), {
      description: 'Members of a batch that were dead-lettered.',
    }),
  ),
})

export const ingestionRoutes: Routes = (app, api) => {
  const ingestion = new Ingestion(api)
  for (const [url, call] of PATHS) {
    const own = call.dialect === 'segment'
    app.post(url, {
      config: { access: 'write' },
      schema: {
        hide: !own,
        tags: ['ingestion'],
        summary: own ? `Take in ${call.type ?? 'a batch of messages'}` : '',
        response: { 200: REPLY },
      },
      handler: (request, reply) => ingestion.take(request, reply, call),
    })
  }
}

class Ingestion {
  readonly #api: Api
  #inflightBytes = 0

  constructor(api: Api) {
    this.#api = api
  }

  async take(request: FastifyRequest, reply: FastifyReply, call: Call): Promise<FastifyReply> {
    const raw = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0)
    if (this.#inflightBytes + raw.length > MAX_INFLIGHT_BYTES)
      throw new RetryLater('back_pressure', 'Too much is being taken in at once.', 1)
    this.#inflightBytes += raw.length
    this.#api.metrics.bytes.inc(raw.length)
    try {
      return await this.#takeBody(raw, request, reply, call)
    } finally {
      this.#inflightBytes -= raw.length
    }
  }

  async #takeBody(raw: Buffer, request: FastifyRequest, reply: FastifyReply, call: Call): Promise<FastifyReply> {
    const { engine, keys } = this.#api
    const headerKey = presentedKey(request.headers)
    const source = keys.open || headerKey === undefined ? undefined : keys.demand(headerKey, 'write')
    const intake = await this.#read(raw, request, call, source)
    const events = source || keys.open ? intake.events : bySource(intake, keys.demand(intake.writeKey, 'write'))
    const { rejected } = intake
    const { position } = await engine.ingest(events, rejected.map(deadLetter))
    this.#count(events.length, rejected)
    const bad = rejected[0]
    if (intake.single && bad) throw new TributaryError(bad.code, bad.message)
    const answer = {
      success: true,
      // What PostHog's clients look for.
      ...(call.dialect === 'posthog' ? { status: 1 } : {}),
      position,
      ...(rejected.length === 0 ? {} : { rejected: rejected.map(({ index, code, message }) => ({ index, code, message })) }),
    }
    return reply.type('application/json; charset=utf-8').send(JSON.stringify(answer))
  }

  async #read(raw: Buffer, request: FastifyRequest, { dialect, type }: Call, source: KeyConfig | undefined): Promise<Intake> {
    const { engine, config, namespaces, keys, readElsewhere } = this.#api
    const context = {
      acceptedAt: engine.acceptanceTime(),
      sourcePriority: source?.priority ?? DEFAULT_SOURCE_PRIORITY,
      futureLimit: config.futureLimit,
      namespaces,
    }
    try {
      return await takeIn({ raw, encoding: request.headers['content-encoding'], dialect, type }, context, readElsewhere)
    } catch (error) {
      if (!(error instanceof TributaryError)) throw error
      // Where the key would have been in the body, nobody has proved that they may write.
      if (!source && !keys.open) throw new TributaryError('unauthorized', 'No key was sent that could be read.')
      if (error.code === 'unreadable') await this.#setAside(error, raw)
      throw error
    }
  }

  async #setAside(error: TributaryError, raw: Buffer): Promise<void> {
    const message = error instanceof UnreadableBody ? error.kept : `(${raw.length} bytes that could not be inflated)`
    await this.#api.engine.ingest([], [{ code: error.code, reason: error.message, message }])
    this.#count(0, [{ code: error.code }])
  }

  #count(accepted: number, rejected: readonly { readonly code: ErrorCode }[]): void {
    const { metrics } = this.#api
    if (accepted > 0) metrics.accepted.inc(accepted)
    for (const { code } of rejected) metrics.rejected.inc({ code })
  }
}

function bySource(intake: Intake, { priority }: KeyConfig): Intake['events'] {
  return priority === DEFAULT_SOURCE_PRIORITY ? intake.events : intake.events.map((event) => ({ ...event, sourcePriority: priority }))
}

function deadLetter({ code, message, original }: Rejection): RejectedMessage {
  return { code, reason: message, message: original }
}
