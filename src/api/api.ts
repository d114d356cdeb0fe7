// The HTTP surface: one fastify instance over an Engine. Tested by `inject`, listened on by main.ts.
import swagger from '@fastify/swagger'
import Fastify, { type FastifyBaseLogger, type FastifyInstance, type FastifyReply, type FastifyRequest, LogController } from 'fastify'
import type { Config } from '../config.ts'
import { type Clock, systemClock } from '../core/clock.ts'
import { TributaryError } from '../core/errors.ts'
import type { Engine } from '../engine/engine.ts'
import { knowsSecret } from '../engine/remote.ts'
import type { IdentifierSource } from '../intake/identifiers.ts'
import { MAX_BODY_BYTES } from '../intake/limits.ts'
import { OffThread } from '../intake/off-thread.ts'
import type { SourceFacts } from '../intake/sources/source.ts'
import type { Api, Routes } from './app.ts'
import { Connections } from './connections.ts'
import { allowOrigin, demandLocalPage, replyPreflight } from './cors.ts'
import { RetryLater, replyError } from './failures.ts'
import { type Access, Keys, presentedKey } from './keys.ts'
import { ApiMetrics } from './metrics.ts'
import { readJson } from './requests.ts'
import { adminRoutes } from './routes/admin.ts'
import { clientRoutes } from './routes/clients.ts'
import { deadLetterRoutes } from './routes/dead-letters.ts'
import { ingestionRoutes } from './routes/ingestion.ts'
import { internalRoutes } from './routes/internal.ts'
import { mergeRoutes } from './routes/merges.ts'
import { profileRoutes } from './routes/profiles.ts'
import { segmentRoutes } from './routes/segments.ts'
import { statusRoutes } from './routes/status.ts'
import { transitionRoutes } from './routes/transitions.ts'
import { FAILURE } from './schemas.ts'

const ROUTES: readonly Routes[] = [
  ingestionRoutes,
  clientRoutes,
  profileRoutes,
  segmentRoutes,
  transitionRoutes,
  mergeRoutes,
  deadLetterRoutes,
  statusRoutes,
  adminRoutes,
  internalRoutes,
]

export interface ApiOptions {
  readonly config: Config
  readonly namespaces: IdentifierSource
  readonly sources?: () => readonly SourceFacts[]
  /** Aborted by whoever stops the server, before it closes: ingestion answers 503 from then on, streams end. */
  readonly stopping?: AbortSignal
  readonly clock?: Clock
  readonly logger?: FastifyBaseLogger
  readonly version?: string
}

const REQUEST_TIMEOUT_MS = 60_000
/** Longer than the usual idle time of load balancers, so that these close first. */
const KEEP_ALIVE_MS = 75_000
const MAX_PATH_PARAMETER = 4096
/** The content type is not trusted: every body is read alike (and an unknown or broken type would be refused). */
const ANY_CONTENT = 'application/octet-stream'

export function buildApi(engine: Engine, options: ApiOptions): FastifyInstance {
  const { config } = options
  const offThread = new OffThread(config.identity)
  const api: Api = {
    engine,
    config,
    clock: options.clock ?? systemClock,
    keys: new Keys(config.keys),
    namespaces: options.namespaces,
    metrics: new ApiMetrics(),
    sources: options.sources ?? (() => []),
    readElsewhere: (bytes, request, context) => offThread.read(bytes, request, context),
    stopping: options.stopping ?? new AbortController().signal,
    version: options.version ?? '0.0.0',
  }
  const app = Fastify({
    ...(options.logger ? { loggerInstance: options.logger } : {}),
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: MAX_BODY_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    routerOptions: { ignoreTrailingSlash: true, ignoreDuplicateSlashes: true, maxParamLength: MAX_PATH_PARAMETER },
    ajv: { customOptions: { coerceTypes: true, removeAdditional: false } },
    frameworkErrors: (error, request, reply) => replyError(error, request, reply as FastifyReply),
  })
  app.addHook('onClose', () => offThread.close())
  addEnd(app, api)
  addBodies(app)
  addGates(app, api)
  addFigures(app, api.metrics)
  app.setErrorHandler(replyError)
  app.setNotFoundHandler((request) => {
    throw new TributaryError('not_found', `There is no ${request.method} ${request.url.split('?', 1)[0]}.`)
  })
  app.setSerializerCompiler(() => (reply) => JSON.stringify(reply))
  addOpenApi(app, api)
  app.register(async (routes) => {
    for (const add of ROUTES) add(routes, api)
  })
  return app
}

/** Bodies arrive as bytes. Ingestion reads them itself; elsewhere they are JSON. */
function addBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_, body, done) => done(null, body))
  app.addHook('preValidation', async (request) => {
    if (accessOf(request) === 'write' || accessOf(request) === 'process') return
    request.body = await readJson(request.body, request.headers['content-encoding'])
  })
}

function accessOf(request: FastifyRequest): Access {
  return request.routeOptions.config.access ?? 'open'
}

/** What happens to every request before its body is read. */
function addGates(app: FastifyInstance, { engine, keys, stopping, config }: Api): void {
  app.addHook('onRequest', async (request, reply) => {
    const access = accessOf(request)
    if (request.method === 'OPTIONS') return
    request.raw.headers['content-type'] = ANY_CONTENT
    if (access === 'open') return allowOrigin(request, reply, access)
    if (access === 'process') return demandSecret(request, config.kafka?.secret)
    if (keys.open && access !== 'write') demandLocalPage(request)
    allowOrigin(request, reply, access)
    if (access !== 'write') return keys.open ? undefined : void keys.demand(presentedKey(request.headers), access)
    if (stopping.aborted) throw new TributaryError('shutting_down', 'The server is stopping.')
    const pressure = engine.pressure()
    if (pressure) throw new RetryLater(pressure.code, 'The engine takes no events right now.', pressure.retryAfterSeconds)
  })
  app.options('/*', { schema: { hide: true }, handler: replyPreflight })
}

/** Without a secret only this machine can connect (config.ts), which a page in a browser on it must not make use of. */
function demandSecret(request: FastifyRequest, secret: string | undefined): void {
  if (secret === undefined) demandLocalPage(request)
  if (!knowsSecret(request.headers.authorization, secret ?? '')) throw new TributaryError('unauthorized', 'The secret is not known.')
}

/** Once the server stops, a connection ends with the answer that is under way on it: kept alive, it would keep the server alive. */
function addEnd(app: FastifyInstance, { stopping }: Api): void {
  const connections = new Connections(app.server)
  app.addHook('preClose', async () => connections.endIdle())
  app.addHook('onSend', async (_, reply) => {
    if (stopping.aborted) reply.header('connection', 'close')
  })
}

function addFigures(app: FastifyInstance, metrics: ApiMetrics): void {
  app.addHook('onResponse', async (request, reply) => {
    const route = request.routeOptions.url ?? 'none'
    metrics.requests.inc({ method: request.method, route, status: String(reply.statusCode) })
    metrics.seconds.observe({ route }, reply.elapsedTime / 1000)
  })
}

function addOpenApi(app: FastifyInstance, { version }: Api): void {
  app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Tributary', version, description: 'A streaming customer data platform. Errors: docs/errors.md.' },
      components: {
        securitySchemes: {
          basic: { type: 'http', scheme: 'basic', description: 'The key as user name.' },
          bearer: { type: 'http', scheme: 'bearer' },
        },
      },
      security: [{ basic: [] }, { bearer: [] }],
    },
    transform: ({ schema, url }) => ({
      schema: { ...schema, response: { ...(schema?.response as object | undefined), '4xx': FAILURE, '5xx': FAILURE } },
      url,
    }),
  })
  app.register(async (routes) => {
    routes.get('/openapi.json', { config: { access: 'open' }, schema: { hide: true }, handler: () => app.swagger() })
  })
}
