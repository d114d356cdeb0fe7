import { Type } from '@sinclair/typebox'
import { TributaryError } from '../../core/errors.ts'
import type { Routes } from '../app.ts'
import { sourceMetrics } from '../source-metrics.ts'

export const statusRoutes: Routes = (app, { engine, metrics, sources, stopping, version }) => {
  app.get('/v1/status', {
    config: { access: 'read' },
    schema: {
      tags: ['operation'],
      summary: 'Partitions, positions, lag',
      response: { 200: Type.Object({}, { additionalProperties: true }) },
    },
    handler: async () => {
      const facts = sources()
      return { version, ...(await engine.status()), ...(facts.length === 0 ? {} : { sources: facts }) }
    },
  })
  app.get('/healthz', {
    config: { access: 'open' },
    schema: { tags: ['operation'], summary: 'The process is alive', response: { 200: Type.Object({ ok: Type.Boolean() }) } },
    handler: () => ({ ok: true }),
  })
  app.get('/readyz', {
    config: { access: 'open' },
    schema: { tags: ['operation'], summary: 'The engine takes events', response: { 200: Type.Object({ ready: Type.Boolean() }) } },
    handler: async () => {
      if (stopping.aborted) throw new TributaryError('shutting_down', 'The server is stopping.')
      if (!(await engine.isReady())) throw new TributaryError('not_ready', 'The engine is not ready.')
      return { ready: true }
    },
  })
  app.get('/metrics', {
    config: { access: 'read' },
    schema: { tags: ['operation'], summary: 'Figures for Prometheus', produces: ['text/plain'] },
    handler: async (_, reply) => {
      const text = `${(await engine.metrics()).trimEnd()}\n${await sourceMetrics(sources())}${await metrics.text()}`
      return reply.type('text/plain; version=0.0.4; charset=utf-8').send(text.trimStart())
    },
  })
}
