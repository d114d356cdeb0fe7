// A built API over the fake engine.
import type { FastifyInstance } from 'fastify'
import { buildApi } from '../../src/api/api.ts'
import { checkConfig } from '../../src/config-load.ts'
import { type Clock, systemClock } from '../../src/core/clock.ts'
import { Namespaces } from '../../src/core/namespace.ts'
import { FakeEngine } from './fake-engine.ts'

export interface Harness {
  readonly app: FastifyInstance
  readonly engine: FakeEngine
  readonly stop: AbortController
}

export function harness(options: { [name: string]: unknown } = {}, clock: Clock = systemClock): Harness {
  const config = checkConfig({ clock: 'manual', ...options })
  const engine = new FakeEngine()
  const stop = new AbortController()
  const app = buildApi(engine, { config, namespaces: new Namespaces(config.identity), stopping: stop.signal, clock })
  return { app, engine, stop }
}

export function basic(key: string): string {
  return `Basic ${Buffer.from(`${key}:`).toString('base64')}`
}
