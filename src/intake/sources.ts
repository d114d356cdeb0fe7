// The sources of a process: options checked and put together, all of them opened and closed as one.
import { readFileSync } from 'node:fs'
import type { Clock } from '../core/clock.ts'
import { TributaryError } from '../core/errors.ts'
import { checkKafkaSettings, type KafkaSettings } from '../log/kafka-settings.ts'
import { KafkaSource } from '../log/kafka-source.ts'
import type { IdentifierSource } from './identifiers.ts'
import { avroDecoder } from './sources/avro.ts'
import { type Decode, decodeJson, decodeMsgpack } from './sources/formats.ts'
import { compileMapping, type MappingOptions, type TimestampUnit } from './sources/mapping.ts'
import { type RegistryOptions, SchemaRegistry } from './sources/schema-registry.ts'
import { Source, type SourceEngine, type SourceFacts, type SourceLog } from './sources/source.ts'

/** A source as the configuration has it (config.ts). */
export interface SourceSettings {
  readonly name: string
  readonly topics: readonly string[]
  readonly brokers?: readonly string[]
  readonly tls?: KafkaSettings['tls']
  readonly sasl?: KafkaSettings['sasl']
  readonly group?: string
  readonly from: 'earliest' | 'latest'
  readonly format: 'json' | 'avro' | 'msgpack'
  readonly schema?: string
  readonly schemaRegistry?: RegistryOptions
  readonly mapping?: MappingOptions
  readonly timestampUnit: TimestampUnit
  readonly priority: number
}

export interface SourcesOptions {
  readonly sources: readonly SourceSettings[]
  /** Where a source without brokers of its own reads. */
  readonly kafka: KafkaSettings | undefined
  readonly namespaces: IdentifierSource
  readonly futureLimit: number
  readonly clock: Clock
  readonly log: SourceLog
}

const DEFAULT_PREFIX = 'tributary'

export class Sources {
  readonly #sources: readonly Source[]

  /** Throws invalid_config; connects to nothing yet. */
  constructor(options: SourcesOptions) {
    const groups = new Map<string, string>()
    this.#sources = options.sources.map((settings) => {
      const source = sourceOf(settings, options)
      const first = groups.get(source.group)
      // Members of a group must read the same topics: else some partitions are nobody's.
      if (first !== undefined) throw invalid(`sources.${settings.name} has the group ${source.group}, as ${first} has.`)
      groups.set(source.group, settings.name)
      return source.made
    })
  }

  start(engine: SourceEngine): void {
    for (const source of this.#sources) source.start(engine)
  }

  facts(): SourceFacts[] {
    return this.#sources.map((source) => source.facts())
  }

  async close(): Promise<void> {
    await Promise.all(this.#sources.map((source) => source.close()))
  }
}

function sourceOf(
  settings: SourceSettings,
  { kafka, namespaces, futureLimit, clock, log }: SourcesOptions,
): { group: string; made: Source } {
  const { name, topics, from, mapping, timestampUnit, priority } = settings
  const where = `sources.${name}`
  const cluster = clusterOf(settings, kafka, where)
  const group = settings.group ?? `${cluster.prefix}.${name}`
  const made = new Source({
    name,
    topics,
    open: () => new KafkaSource({ settings: cluster, clock, group, topics, from }),
    take: {
      source: name,
      decode: decoderOf(settings, clock, where),
      mapping: mapping && compileMapping(mapping, timestampUnit, `${where}.mapping`),
      priority,
      futureLimit,
      namespaces,
    },
    clock,
    log,
  })
  return { group, made }
}

function clusterOf({ brokers, tls, sasl }: SourceSettings, kafka: KafkaSettings | undefined, where: string): KafkaSettings {
  if (brokers === undefined) {
    if (tls || sasl) throw invalid(`${where}: tls and sasl go with brokers of its own.`)
    if (!kafka) throw invalid(`${where} needs brokers, as there is no section kafka.`)
    return kafka
  }
  const prefix = kafka?.prefix ?? DEFAULT_PREFIX
  const cluster: KafkaSettings = { brokers, prefix, ...(tls ? { tls } : {}), ...(sasl ? { sasl } : {}) }
  try {
    checkKafkaSettings(cluster)
  } catch (error) {
    throw error instanceof TributaryError ? invalid(error.message.replace(/^kafka\./, `${where}.`)) : error
  }
  return cluster
}

function decoderOf(settings: SourceSettings, clock: Clock, where: string): Decode {
  const { format, schema, schemaRegistry } = settings
  if (format !== 'avro') {
    if (schema !== undefined || schemaRegistry) throw invalid(`${where}: schema and schemaRegistry go with format avro.`)
    return format === 'json' ? decodeJson : decodeMsgpack
  }
  if (schemaRegistry) checkAddress(schemaRegistry.url, `${where}.schemaRegistry`)
  if (schemaRegistry && schema === undefined) return new SchemaRegistry(schemaRegistry, clock).decode
  if (schema === undefined || schemaRegistry) throw invalid(`${where}: format avro needs either schema or schemaRegistry.`)
  try {
    return avroDecoder([/^\s*[{["]/.test(schema) ? schema : readFileSync(schema, 'utf8')])
  } catch (cause) {
    throw new TributaryError('invalid_config', `${where}.schema is neither an Avro schema nor a file with one.`, {
      detail: (cause as Error).message,
      cause,
    })
  }
}

function checkAddress(url: string, where: string): void {
  if (!URL.canParse(url)) throw invalid(`${where}.url is no address.`)
  const { username, password } = new URL(url)
  if (username !== '' || password !== '') throw invalid(`${where}: the login goes into username and password, not into the url.`)
}

const invalid = (message: string): TributaryError => new TributaryError('invalid_config', message)
