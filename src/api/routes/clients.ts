// What some clients ask for before they send: their settings and feature flags. They get the least that keeps them going.
import type { Routes } from '../app.ts'

const FLAGS = { featureFlags: {}, featureFlagPayloads: {}, flags: {}, errorsWhileComputingFlags: false, supportedCompression: ['gzip-js'] }

export const clientRoutes: Routes = (app) => {
  const options = { config: { access: 'write' }, schema: { hide: true } } as const
  for (const url of ['/flags', '/decide']) app.post(url, { ...options, handler: () => FLAGS })
  app.get('/array/:key/config', { ...options, handler: () => FLAGS })
  app.get('/array/:key/config.js', { ...options, handler: (_, reply) => reply.type('application/javascript').send('') })
  app.get<{ Querystring: { writeKey?: string } }>('/sourceConfig', {
    ...options,
    handler: (request) => ({
      source: {
        id: 'tributary',
        name: 'tributary',
        writeKey: request.query.writeKey ?? '',
        enabled: true,
        workspaceId: 'tributary',
        config: { statsCollection: { errors: { enabled: false }, metrics: { enabled: false } } },
        connections: [],
        destinations: [],
        dataplanes: {},
        updatedAt: '2024-01-01T00:00:00.000Z',
        sourceDefinition: { name: 'Javascript' },
      },
    }),
  })
}
