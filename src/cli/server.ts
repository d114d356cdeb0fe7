// One process of the product: configuration in, engine and API running, and an orderly end.
//
//   opening ─▶ listening ─▶ stopping (ingestion answers 503) ─▶ closed
import type { Worker } from 'node:worker_threads'
import type { FastifyInstance } from 'fastify'
import { type Logger, pino } from 'pino'
import type { ApiOptions } from '../api/api.ts'
import { assertSafeToListen, type Config } from '../config.ts'
import { systemClock } from '../core/clock.ts'
import { TributaryError } from '../core/errors.ts'
import { Namespaces } from '../core/namespace.ts'
import type { Engine } from '../engine/engine.ts'
import type { DirectoryOptions } from '../engine/open.ts'
import type { Sources } from '../intake/sources.ts'
import { beginEngine } from './open-engine.ts'

/** Raised when the bytes of identifier or profile keys change. */
const KEY_ENCODING = 1
const STDERR = 2

export interface Server {
  /** `http://HOST:PORT`. */
  readonly url: string
  readonly log: Logger
  close(): Promise<void>
}

export interface ServerOptions {
  readonly version: string
  /** Called once, when the process can't go on. */
  readonly fatal: (error: Error) => void
  /** A thread that has begun to load (engine/start-worker.ts). */
  readonly spare?: Worker
}

/** Opens the engine on config.dataDir, builds the API in front of it and listens. */
export async function openServer(config: Config, { version, fatal, spare }: ServerOptions): Promise<Server> {
  assertSafeToListen(config)
  const log = pino({ level: config.logLevel }, pino.destination({ dest: STDERR, sync: true }))
  const namespaces = new Namespaces(config.identity)
  const sources = await sourcesOf(config, namespaces, log)
  const { engine, opened, listening } = await beginEngine(config, {
    ...engineOptions(config, namespaces),
    ...(spare ? { spare } : {}),
    stopped: (partition, reason) => log.error({ partition, reason }, 'a partition has stopped'),
    alarm: (message) => log.error(message),
    notice: (level, message) => log[level](message),
    fatal: (error) => {
      log.fatal({ err: error }, 'the engine cannot go on')
      fatal(error)
    },
  })
  const stopping = new AbortController()
  const options = { config, namespaces, sources: () => sources?.facts() ?? [], stopping: stopping.signal, logger: log, version }
  const [api] = await Promise.all([apiOf(engine, options), opened])
  const parts = { api, engine, sources, stopping }
  try {
    const url = await listen(api, config)
    log.info({ url, dataDir: config.dataDir, partitions: config.partitions, hosts: config.hosts, clock: config.clock, version }, 'started')
    await listening(url)
    sources?.start(engine)
    return { url, log, close: () => close(parts) }
  } catch (error) {
    await close(parts)
    throw error
  }
}

/** Made while the engine opens: half of what a start takes is to load and to compile it. */
async function apiOf(engine: Engine, options: ApiOptions): Promise<FastifyInstance> {
  const { buildApi } = await import('../api/api.ts')
  const api = buildApi(engine, options)
  await api.ready()
  return api
}

/** Checked before anything is opened; they begin to read once the server listens. */
async function sourcesOf(config: Config, namespaces: Namespaces, log: Logger): Promise<Sources | undefined> {
  const { sources, kafka, futureLimit } = config
  if (sources.length === 0) return undefined
  const { Sources } = await import('../intake/sources.ts')
  return new Sources({ sources, kafka, namespaces, futureLimit, clock: systemClock, log })
}

export function engineOptions(config: Config, namespaces: Namespaces): Omit<DirectoryOptions, 'stopped' | 'fatal' | 'alarm'> {
  return {
    dataDir: config.dataDir,
    store: config.store,
    durability: config.durability,
    hosts: config.hosts,
    namespaces,
    journalBytes: config.journalBytes,
    minFreeBytes: config.minFreeBytes,
    maxLagEvents: config.maxLagEvents,
    readTimeoutMs: config.positionWaitMs,
    eventsRetainMs: config.retention.events,
    outputsRetainMs: config.retention.outputs,
    clockStepLimitMs: config.clockStepLimit,
    fixed: {
      partitions: config.partitions,
      namespaces: config.identity.namespaces.map((n) => n.name).join(' '),
      keyEncoding: KEY_ENCODING,
    },
    limits: {
      partitions: config.partitions,
      clock: config.clock,
      identity: namespaces.limits,
      dedupeWindowMs: config.dedupeWindow,
      timelineRetentionMs: config.timelineRetention,
      timelineEvents: config.timelineEvents,
      batchEvents: config.batchEvents,
      batchBytes: config.batchBytes,
      sliceMs: config.sliceMs,
      skewLimitMs: config.skewLimitMs,
      splitBytes: config.splitBytes,
      timerHorizonMs: config.timerHorizonMs,
      cacheBytes: Math.floor((config.cacheBytes * config.hosts) / config.partitions),
      applyMs: config.applyMs,
      applyBytes: config.applyBytes,
    },
  }
}

async function listen(api: FastifyInstance, { host, port }: Config): Promise<string> {
  try {
    await api.listen({ host, port })
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    const why = code === 'EADDRINUSE' ? `Port ${port} of ${host} is in use.` : `The server cannot listen on ${host}:${port}: ${message}.`
    throw new TributaryError('cannot_listen', why, { cause })
  }
  const address = api.server.address()
  const bound = typeof address === 'object' && address !== null ? address.port : port
  return `http://${host.includes(':') && !host.startsWith('[') ? `[${host}]` : host}:${bound}`
}

/** How long requests under way may take once the server stops: uploads that don't go on, waits for what doesn't come. */
const GRACE_MS = 5000

interface Parts {
  readonly api: FastifyInstance
  readonly engine: Engine
  readonly sources: Sources | undefined
  readonly stopping: AbortController
}

async function close({ api, engine, sources, stopping }: Parts): Promise<void> {
  stopping.abort()
  const overdue = Promise.withResolvers<void>()
  const cancel = systemClock.after(GRACE_MS, () => {
    api.server.closeAllConnections()
    overdue.resolve()
  })
  // Brokers that don't answer keep nobody waiting: what they weren't told comes again.
  await Promise.all([api.close(), Promise.race([sources?.close(), overdue.promise])])
  cancel()
  await engine.close()
}
