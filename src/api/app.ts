// What every route is given, and the types that routes share.
import type { FastifyInstance } from 'fastify'
import type { Config } from '../config.ts'
import type { Clock } from '../core/clock.ts'
import type { Engine } from '../engine/engine.ts'
import type { IdentifierSource } from '../intake/identifiers.ts'
import type { ReadElsewhere } from '../intake/intake.ts'
import type { SourceFacts } from '../intake/sources/source.ts'
import type { Access, Keys } from './keys.ts'
import type { ApiMetrics } from './metrics.ts'

export interface Api {
  readonly engine: Engine
  readonly config: Config
  readonly clock: Clock
  readonly keys: Keys
  readonly namespaces: IdentifierSource
  readonly metrics: ApiMetrics
  readonly readElsewhere: ReadElsewhere
  /** What the topics that are read have come to. */
  readonly sources: () => readonly SourceFacts[]
  /** Aborts when the server begins to stop. */
  readonly stopping: AbortSignal
  readonly version: string
}

/** Adds the routes of one noun. */
export type Routes = (app: FastifyInstance, api: Api) => void

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access
  }
}
