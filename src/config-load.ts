// Where option values come from: the file, then the environment, then flags; the later wins.
// An unknown name anywhere is an error with a suggestion, so that a typing mistake never silently means "default".
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import type { TSchema } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { parse as parseYaml } from 'yaml'
import {
  assertRelations,
  CONFIG_SCHEMA,
  type Config,
  DEFAULT_SOURCE_PRIORITY,
  defaultHosts,
  describeOptions,
  type KeyConfig,
  parseQuantity,
  type Unit,
} from './config.ts'
import { TributaryError } from './core/errors.ts'

export interface ConfigSources {
  /** Flags only: `--a.b=c`, `--a-b c`. */
  readonly argv?: readonly string[]
  readonly env?: { readonly [name: string]: string | undefined }
  /** Where `tributary.yaml` is looked for, and what relative paths mean. */
  readonly cwd?: string
}

type Raw = { [key: string]: unknown }

const PREFIX = 'TRIBUTARY_'
/** Options whose values are not to be shown, here or below. */
const SECRET = /^(keys|kafka\.sasl|kafka\.secret|kafka\.tls|kafka$|sources\.\d+\.(sasl|tls|schemaRegistry)|sources(\.\d+)?$)/
/** Environment variables of the command line and the tests: no options. */
const RESERVED = new Set(['TRIBUTARY_CONFIG', 'TRIBUTARY_URL', 'TRIBUTARY_KEY', 'TRIBUTARY_FUZZ_CASES', 'TRIBUTARY_KAFKA_CACHE'])
// Kubernetes sets these for a service named "tributary".
const FOREIGN = /^TRIBUTARY_(SERVICE_(HOST|PORT)|PORT_\d+_)/

/** All options, checked and frozen. Throws invalid_config. */
export function loadConfig(sources: ConfigSources = {}): Config {
  const env = sources.env ?? {}
  const flags = readFlags(sources.argv ?? [])
  const raw = readFile(flags.file ?? env.TRIBUTARY_CONFIG, sources.cwd ?? '.')
  for (const [name, text] of Object.entries(env)) {
    if (text === undefined || !name.startsWith(PREFIX) || RESERVED.has(name) || FOREIGN.test(name)) continue
    if (name === 'TRIBUTARY_PORT' && text.startsWith('tcp://')) continue
    setOption(raw, name, name.slice(PREFIX.length).replaceAll('__', '.'), text)
  }
  for (const { flag, text } of flags.options) setOption(raw, `--${flag}`, flag, text)
  return checkConfig(raw, sources.cwd)
}

/** Completes and checks options given as an object, such as tests do. */
export function checkConfig(raw: Raw, cwd = '.'): Config {
  const coerced = coerce(CONFIG_SCHEMA, raw, '') as Raw
  const completed = Value.Default(CONFIG_SCHEMA, coerced) as Raw
  if (coerced.hosts === undefined && typeof completed.partitions === 'number') completed.hosts = defaultHosts(completed.partitions)
  const error = Value.Errors(CONFIG_SCHEMA, completed).First()
  if (error) {
    const path = error.path.slice(1).replaceAll('/', '.')
    const expected = Array.isArray(error.schema.enum) ? `Expected ${error.schema.enum.join(', ')}` : error.message
    // Keys are secrets, and error messages end up in logs.
    throw invalid(`${path}: ${expected}${SECRET.test(path) ? '' : `, not ${JSON.stringify(error.value)}`}.`)
  }
  const loaded = completed as unknown as Omit<Config, 'keys'> & { keys: readonly RawKey[] }
  const { kafka, sources } = loaded
  const config: Config = {
    ...loaded,
    keys: loaded.keys.map(hashed),
    ...(kafka?.tls ? { kafka: { ...kafka, tls: withTexts(kafka.tls, cwd, 'kafka') } } : {}),
    sources: sources.map((source) => withFiles(source, cwd)),
  }
  assertRelations(config)
  return freeze(config)
}

/** Names of files become what is in them. */
function withTexts(tls: Readonly<Record<string, string>>, cwd: string, where: string): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(tls).map(([name, text]) => {
      if (text.trimStart().startsWith('-----BEGIN ')) return [name, text]
      try {
        return [name, readFileSync(resolve(cwd, text), 'utf8')]
      } catch (cause) {
        throw new TributaryError('invalid_config', `${where}.tls.${name} is neither PEM text nor a file that can be read.`, { cause })
      }
    }),
  )
}

/** Relative names of files are told from where the configuration was looked for. */
function withFiles(source: Config['sources'][number], cwd: string): Config['sources'][number] {
  const { name, tls, schema } = source
  return {
    ...source,
    ...(tls ? { tls: withTexts(tls, cwd, `sources.${name}`) } : {}),
    ...(schema === undefined || /^\s*[{["]/.test(schema) ? {} : { schema: resolve(cwd, schema) }),
  }
}

interface RawKey extends Omit<KeyConfig, 'hash' | 'priority'> {
  readonly hash?: string
  readonly key?: string
  readonly priority?: number
}

export function hashKey(key: string): string {
  return createHash('sha256').update(key).digest('hex')
}

function hashed({ name, role, hash, key, priority }: RawKey): KeyConfig {
  if ((hash === undefined) === (key === undefined)) throw invalid(`keys: ${name} needs either hash or key.`)
  return { name, role, hash: hash ?? hashKey(key ?? ''), priority: priority ?? DEFAULT_SOURCE_PRIORITY }
}

function readFile(named: string | undefined, cwd: string): Raw {
  const path = resolve(cwd, named ?? 'tributary.yaml')
  if (named === undefined && !existsSync(path)) return {}
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    throw new TributaryError('invalid_config', `The configuration file ${path} cannot be read.`, { cause })
  }
  const parsed = yaml(text, path) ?? {}
  if (!isRaw(parsed)) throw invalid(`${path} holds no options.`)
  return parsed
}

function readFlags(argv: readonly string[]): { file: string | undefined; options: { flag: string; text: string }[] } {
  const options: { flag: string; text: string }[] = []
  let file: string | undefined
  for (let i = 0; i < argv.length; i++) {
    const argument = argv[i] ?? ''
    if (!argument.startsWith('--')) throw invalid(`Unexpected argument ${argument}.`)
    const equals = argument.indexOf('=')
    const flag = argument.slice(2, equals === -1 ? undefined : equals)
    let text: string | undefined = equals === -1 ? undefined : argument.slice(equals + 1)
    if (text === undefined) {
      const next = argv[i + 1]
      if (next === undefined || next.startsWith('--')) throw invalid(`--${flag} needs a value.`)
      text = next
      i++
    }
    if (flag === 'config') file = text
    else options.push({ flag, text })
  }
  return { file, options }
}

/** Every place of the schema that can be set by name, squashed: `dataDir`, `data-dir` and `DATA_DIR` are one. */
const PLACES: ReadonlyMap<string, readonly string[]> = new Map(placesOf(CONFIG_SCHEMA, []).map((path) => [squash(path.join('')), path]))

function placesOf(schema: TSchema, above: readonly string[]): (readonly string[])[] {
  return Object.entries(schema.properties as Record<string, TSchema>).flatMap(([name, option]) => {
    const path = [...above, name]
    return option.type === 'object' ? [path, ...placesOf(option, path)] : [path]
  })
}

function squash(name: string): string {
  return name.replace(/[-_.]/g, '').toLowerCase()
}

function setOption(raw: Raw, source: string, name: string, text: string): void {
  const path = PLACES.get(squash(name))
  if (path === undefined) {
    const known = describeOptions().map((option) => option.path)
    throw invalid(`${source} is no option.${suggestion(name, known)}`)
  }
  const option = schemaAt(path)
  const value = option.type === 'object' || option.type === 'array' ? yaml(text, source) : text
  let place = raw
  for (const step of path.slice(0, -1)) {
    const next = place[step]
    const inner = isRaw(next) ? next : {}
    place[step] = inner
    place = inner
  }
  place[path.at(-1) ?? ''] = value
}

function schemaAt(path: readonly string[]): TSchema {
  return path.reduce((schema: TSchema, step) => (schema.properties as Record<string, TSchema>)[step] as TSchema, CONFIG_SCHEMA)
}

/** Texts become what the schema asks for; unknown names are refused. Values that don't fit are left for the check. */
function coerce(schema: TSchema, value: unknown, path: string): unknown {
  if (schema.type === 'object' && isRaw(value)) {
    const options = schema.properties as Record<string, TSchema>
    return Object.fromEntries(
      Object.entries(value).map(([name, inner]) => {
        const place = path === '' ? name : `${path}.${name}`
        const option = Object.hasOwn(options, name) ? options[name] : undefined
        if (option === undefined) throw invalid(`${place} is no option.${suggestion(name, Object.keys(options))}`)
        return [name, coerce(option, inner, place)]
      }),
    )
  }
  if (schema.type === 'array' && Array.isArray(value)) return value.map((item, i) => coerce(schema.items as TSchema, item, `${path}[${i}]`))
  if (schema.means !== undefined && Object.hasOwn(schema.means, String(value))) return schema.means[String(value)]
  if (typeof value !== 'string') return value
  if (schema.unit !== undefined) return quantity(schema.unit as Unit, value, path)
  if (schema.type === 'number' || schema.type === 'integer')
    return value.trim() === '' || Number.isNaN(Number(value)) ? value : Number(value)
  if (schema.type === 'boolean') return value === 'true' ? true : value === 'false' ? false : value
  return value
}

function quantity(unit: Unit, text: string, path: string): number {
  const value = parseQuantity(unit, text)
  if (Number.isNaN(value)) throw invalid(`${path}: ${text} is no ${unit === 'bytes' ? 'size such as 64MB' : 'duration such as 3d'}.`)
  return value
}

/** " Did you mean …?" where something is near. */
function suggestion(name: string, known: readonly string[]): string {
  let best: string | undefined
  let least = 4
  for (const candidate of known) {
    const distance = editDistance(squash(name), squash(candidate))
    if (distance < least) {
      least = distance
      best = candidate
    }
  }
  return best === undefined ? '' : ` Did you mean ${best}?`
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}

function yaml(text: string, source: string): unknown {
  try {
    return parseYaml(text)
  } catch (cause) {
    throw new TributaryError('invalid_config', `${source} is not valid YAML.`, {
      detail: cause instanceof Error ? cause.message : '',
      cause,
    })
  }
}

function isRaw(x: unknown): x is Raw {
  return typeof x === 'object' && x !== null && !Array.isArray(x)
}

function invalid(message: string): TributaryError {
  return new TributaryError('invalid_config', message)
}

function freeze<T>(x: T): T {
  if (typeof x === 'object' && x !== null && !Object.isFrozen(x)) {
    Object.freeze(x)
    for (const inner of Object.values(x)) freeze(inner)
  }
  return x
}
