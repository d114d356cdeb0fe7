// The one schema of all options: types, defaults, units, descriptions (docs/configuration.md shows the same; a test compares).
// Durations and sizes may be written as texts ("3d", "64MB"); loaded, they are milliseconds and bytes.
// Where values come from is config-load.ts's business.
import { availableParallelism } from 'node:os'
import { type Static, type TSchema, Type } from '@sinclair/typebox'
import { TributaryError } from './core/errors.ts'
import { MAX_PARTITIONS, UNLISTED_PRIORITY } from './core/identifier.ts'
import { DEFAULT_LIMIT, DEFAULT_NAMESPACES, DEFAULT_TOTAL } from './core/namespace.ts'

/** What a number counts, where it may be written as a text with a unit. */
export type Unit = 'duration' | 'bytes'

const FACTORS = {
  duration: { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 },
  bytes: { B: 1, kB: 1e3, KB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 },
} as const

/** "3d" or "64MB" as a number; NaN when it is neither that nor a plain number. */
export function parseQuantity(unit: Unit, text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(text.trim())
  if (!match) return Number.NaN
  const factors: { readonly [suffix: string]: number } = FACTORS[unit]
  const suffix = match[2] ?? ''
  const factor = suffix === '' ? 1 : Object.hasOwn(factors, suffix) ? factors[suffix] : undefined
  return factor === undefined ? Number.NaN : Math.round(Number(match[1]) * factor)
}

export const DEFAULT_SOURCE_PRIORITY = 100

const STRICT = { additionalProperties: false }

function duration(text: string, description: string, minimum = 0) {
  return Type.Number({ minimum, default: parseQuantity('duration', text), unit: 'duration', shown: text, description })
}

function bytes(text: string, description: string, minimum = 0) {
  return Type.Integer({ minimum, default: parseQuantity('bytes', text), unit: 'bytes', shown: text, description })
}

function count(value: number, description: string, minimum = 1) {
  return Type.Integer({ minimum, default: value, description })
}

function choice<const T extends string>(values: readonly T[], value: T, description: string) {
  return Type.Unsafe<T>({ ...oneOf(values, description), default: value })
}

/** False where none is wanted; true means the first, as there was once only one. */
function choiceOrNone<const T extends string>(values: readonly [T, ...T[]], description: string) {
  const literals = [false, ...values].map((value) => Type.Literal(value))
  const means = { true: values[0], false: false }
  return Type.Unsafe<T | false>(Type.Union(literals, { enum: [false, ...values], default: false, means, description }))
}

function oneOf<const T extends string>(values: readonly T[], description: string) {
  return Type.Unsafe<T>(Type.String({ pattern: `^(${values.join('|')})$`, enum: [...values], description }))
}

export const ROLES = ['write', 'read', 'admin'] as const
export type Role = (typeof ROLES)[number]

const KEY = Type.Object(
  {
    name: Type.String({ minLength: 1, description: 'Shown in logs; not secret.' }),
    role: oneOf(ROLES, 'write ingests, read reads, admin does everything.'),
    hash: Type.Optional(Type.String({ pattern: '^[0-9a-f]{64}$', description: 'SHA-256 of the key, in hex. Give this or `key`.' })),
    key: Type.Optional(Type.String({ minLength: 1, description: 'The key itself; hashed at once when loaded.' })),
    priority: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 255,
        description: 'Of this source: the smaller wins where two set a trait at one instant (100).',
      }),
    ),
  },
  STRICT,
)

const NAMESPACE = Type.Object(
  {
    name: Type.String({
      minLength: 1,
      maxLength: 64,
      description: 'As in context.externalIds; user_id, anonymous_id, email and phone are known.',
    }),
    unique: Type.Optional(Type.Boolean({ description: 'Two of these never share a profile.' })),
    limit: Type.Optional(
      Type.Integer({
        minimum: 1,
        description: `At most so many of them per profile (email, phone 5; anonymous_id 100; else ${DEFAULT_LIMIT}).`,
      }),
    ),
    blocked: Type.Optional(
      Type.Array(Type.String(), {
        description: 'Values that identify nobody, beyond the defaults: exact after normalisation, or /pattern/.',
      }),
    ),
    sharedDevice: Type.Optional(
      oneOf(['first', 'last'], 'Who keeps it when a link is refused: its first owner, or the latest known user.'),
    ),
  },
  STRICT,
)

const IDENTITY = Type.Object(
  {
    namespaces: Type.Array(NAMESPACE, {
      default: DEFAULT_NAMESPACES,
      description: 'In order of priority. Fixed for the life of the data.',
    }),
    others: Type.Object(
      {
        limit: Type.Optional(
          Type.Integer({ minimum: 1, description: `At most so many per profile of each namespace that is not listed (${DEFAULT_LIMIT}).` }),
        ),
      },
      { ...STRICT, default: {} },
    ),
    limit: count(DEFAULT_TOTAL, 'At most so many identifiers per profile, all namespaces together.'),
  },
  { ...STRICT, default: {} },
)

const RETENTION = Type.Object(
  {
    events: duration('1d', 'How long the events log is kept behind what is committed.'),
    outputs: duration('30d', 'How long transitions, merges and dead letters are kept.'),
  },
  { ...STRICT, default: {} },
)

const secret = (description: string) => Type.String({ minLength: 1, description })

const TLS = Type.Object(
  {
    authority: Type.Optional(
      Type.String({ description: 'Authorities to trust: PEM text, or a file with it. None: those that Node.js trusts.' }),
    ),
    certificate: Type.Optional(Type.String({ description: 'For mutual TLS: PEM text, or a file with it.' })),
    key: Type.Optional(Type.String({ description: 'For mutual TLS: PEM text, or a file with it.' })),
  },
  STRICT,
)

const SASL = Type.Object(
  {
    mechanism: oneOf(['plain', 'scram-sha-256', 'scram-sha-512'], 'plain only with TLS, except on loopback.'),
    username: Type.String({ minLength: 1, description: 'Login.' }),
    password: secret('Login. Rather in the environment than in the file.'),
  },
  STRICT,
)

const REGISTRY = Type.Object(
  {
    url: Type.String({ pattern: '^https?://', description: 'Of a registry that speaks Confluent’s protocol.' }),
    username: Type.Optional(Type.String({ minLength: 1, description: 'Login, if it wants one.' })),
    password: Type.Optional(secret('Login.')),
    token: Type.Optional(secret('Sent as Bearer token, instead of a login.')),
  },
  STRICT,
)

const FORMATS = ['json', 'avro'] as const

const KAFKA_OUTPUTS = Type.Object(
  {
    transitions: choice(FORMATS, 'json', 'How values are written; what is there already is read in any format.'),
    merges: choice(FORMATS, 'json', 'As transitions.'),
    deadLetters: choice(FORMATS, 'json', 'As transitions.'),
    profiles: choiceOrNone(FORMATS, 'How the state of each profile that has changed is written to `<prefix>.profiles`; true means json.'),
    registry: Type.Optional({ ...REGISTRY, description: 'Where schemas of avro are registered. None: values say theirs as Avro does.' }),
  },
  { ...STRICT, default: {} },
)

const KAFKA = Type.Object(
  {
    brokers: Type.Array(Type.String({ minLength: 1 }), { minItems: 1, description: '`host:port` of some brokers; the others are learnt.' }),
    prefix: Type.String({ default: 'tributary', minLength: 1, description: 'Topics and the group begin with it: one per deployment.' }),
    replicas: Type.Integer({
      default: -1,
      shown: "the cluster's",
      minimum: -1,
      description: 'Copies of each record in topics that are made here.',
    }),
    tls: Type.Optional(TLS),
    sasl: Type.Optional(SASL),
    sessionTimeoutMs: count(6000, 'A process that is silent for so long loses its partitions to the others, ms.', 1000),
    advertise: Type.Optional(
      Type.String({
        pattern: '^https?://',
        description: 'Where the other processes reach this one, `http://host:port`. None: the address it listens on.',
      }),
    ),
    secret: Type.Optional(secret('What the processes of a deployment show one another. Needed beyond loopback.')),
    standby: Type.Boolean({ default: false, description: 'Follow the journals of partitions that others own, to take over faster.' }),
    deleteEveryMs: count(30_000, "How often what is no longer needed is deleted of the engine's topics, ms; 0: never.", 0),
    outputs: KAFKA_OUTPUTS,
  },
  STRICT,
)

const REFERENCE = (description: string) => Type.Optional(Type.String({ minLength: 1, description }))
const REFERENCES = (description: string) => Type.Optional(Type.Any({ description, shownType: 'text or map' }))

/** What the references are, docs/sources.md says; intake/sources/mapping.ts reads them. */
const MAPPING = Type.Object(
  {
    type: REFERENCE('Of the message: a constant such as track, or a reference such as $.kind.'),
    event: REFERENCE('Name of a track call.'),
    name: REFERENCE('Name of a page or screen.'),
    userId: REFERENCE('Such as $.customer.id, or $key.'),
    anonymousId: REFERENCE('As userId.'),
    previousId: REFERENCE('Of an alias.'),
    groupId: REFERENCE('Of a group call.'),
    messageId: REFERENCE('Absent: made from where the record lies.'),
    timestamp: REFERENCE("When it happened. Absent: the record's own instant."),
    properties: REFERENCES('A reference to an object, or a map of references.'),
    traits: REFERENCES('As properties.'),
    context: REFERENCES('As properties.'),
  },
  STRICT,
)

const SOURCE = Type.Object(
  {
    name: Type.String({
      pattern: '^[A-Za-z0-9._-]{1,100}$',
      description: 'In metrics, in dead letters, and in the ids of messages without one: keep it.',
    }),
    topics: Type.Array(Type.String({ minLength: 1, maxLength: 249 }), { minItems: 1, description: 'Topics to read.' }),
    brokers: Type.Optional(
      Type.Array(Type.String({ minLength: 1 }), { minItems: 1, description: '`host:port` of some brokers. None: those of `kafka`.' }),
    ),
    tls: Type.Optional(TLS),
    sasl: Type.Optional(SASL),
    group: Type.Optional(
      Type.String({ minLength: 1, maxLength: 200, description: 'Consumer group that keeps the positions. None: `<prefix>.<name>`.' }),
    ),
    from: choice(['earliest', 'latest'], 'earliest', 'Where a group without positions begins.'),
    format: choice(['json', 'avro', 'msgpack'], 'json', 'Of the values.'),
    schema: Type.Optional(Type.String({ minLength: 1, description: 'Of avro without a registry: the schema, or a file with it.' })),
    schemaRegistry: Type.Optional(REGISTRY),
    mapping: Type.Optional(MAPPING),
    timestampUnit: choice(['ms', 's', 'us', 'ns'], 'ms', 'Of a timestamp that is a number, in a mapping.'),
    priority: Type.Integer({
      default: DEFAULT_SOURCE_PRIORITY,
      minimum: 0,
      maximum: 255,
      description: 'The smaller wins where two sources set a trait at one instant.',
    }),
  },
  STRICT,
)

export const CONFIG_SCHEMA = Type.Object(
  {
    host: Type.String({ default: '127.0.0.1', minLength: 1, description: 'Address to listen on. Beyond loopback only with keys.' }),
    port: Type.Integer({
      default: 8080,
      minimum: 0,
      maximum: 65535,
      description: 'Port to listen on; 0 takes any free one, printed at start.',
    }),
    dataDir: Type.String({ default: 'data', minLength: 1, description: 'Directory of logs and stores.' }),
    partitions: count(16, 'Partitions, a power of two. Fixed for the life of the data.'),
    hosts: Type.Integer({
      default: defaultHosts(16),
      shown: 'cores − 1',
      minimum: 1,
      description: 'Worker threads that run the partitions; at most as many as there are partitions.',
    }),
    clock: choice(['wall', 'manual'], 'wall', 'manual: time moves by POST /v1/admin/clock only.'),
    durability: choice(['fsync', 'none'], 'fsync', 'none is for benchmarks: data may not survive the machine.'),
    store: choice(
      ['rocksdb', 'nxt', 'native', 'memory'],
      'rocksdb',
      'Where profiles are kept: rocksdb picks a binding, nxt and native name one, memory forgets.',
    ),
    keys: Type.Array(KEY, {
      default: [],
      description: 'Keys of the API. None: open to everyone who can connect, which only loopback may.',
    }),
    identity: IDENTITY,
    dedupeWindow: duration('3d', 'For how long at least a repeated messageId is recognised.', 1000),
    timelineRetention: duration('400d', 'How long a profile keeps its events.', 1000),
    timelineEvents: count(10_000, 'How many events a profile keeps at most.'),
    futureLimit: duration('24h', 'Events dated further ahead than this are rejected.'),
    cacheBytes: bytes('256MB', 'Rows of profiles and identifiers in memory, per host.', 1_000_000),
    batchEvents: count(1000, 'Inputs of one commit at most.'),
    batchBytes: bytes('4MB', 'Bytes of inputs of one commit at most.', 1_000_000),
    sliceMs: Type.Number({
      default: 2,
      exclusiveMinimum: 0,
      description: 'Longest computation of a host before others get their turn, ms.',
    }),
    skewLimitMs: count(2000, "How far an acceptance stamp may run ahead of a task's own clock, ms.", 0),
    clockStepLimit: duration('1h', 'A forward step of the machine clock beyond this stops time until it is confirmed.', 1),
    applyMs: count(1000, 'Committed rows wait at most this long before the store gets them, ms.'),
    applyBytes: bytes('16MB', 'Committed rows that wait for the store, per partition, at most half of it at rest.', 100_000),
    journalBytes: bytes('64MB', 'Journal kept for a restart, per host.', 1_000_000),
    splitBytes: bytes('4096B', 'Above this, the accumulators of a profile get rows of their own.', 256),
    // Without any, a look for due timers would never be seen to have reached past the present (gather.ts).
    timerHorizonMs: count(60_000, 'Timers due within this are held in memory, ms.', 1),
    minFreeBytes: bytes('256MB', 'Below this much free disk, intake answers 429.'),
    maxLagEvents: count(100_000, 'Above this many unprocessed events in a partition, intake answers 429.'),
    positionWaitMs: count(10_000, 'How long a read with min-position waits, ms.'),
    retention: RETENTION,
    kafka: Type.Optional(KAFKA),
    sources: Type.Array(SOURCE, { default: [], description: 'Kafka topics of yours to read events from.' }),
    logLevel: choice(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'], 'info', 'Least severe log line to print.'),
  },
  STRICT,
)

type Loaded = Static<typeof CONFIG_SCHEMA>

/** A key as it is held in memory: never in plain. */
export interface KeyConfig {
  readonly name: string
  readonly role: Role
  /** SHA-256, hex. */
  readonly hash: string
  readonly priority: number
}

type Frozen<T> = T extends (infer U)[] ? readonly Frozen<U>[] : T extends object ? { readonly [K in keyof T]: Frozen<T[K]> } : T

/** All options, checked and frozen. Durations are milliseconds. */
export type Config = Frozen<Omit<Loaded, 'keys'>> & { readonly keys: readonly KeyConfig[] }

export function defaultHosts(partitions: number): number {
  return Math.max(1, Math.min(availableParallelism() - 1, partitions))
}

/** Throws invalid_config unless the limits fit one another. */
export function assertRelations(c: Config): void {
  const rules: readonly (readonly [holds: boolean, rule: string])[] = [
    [
      c.partitions <= MAX_PARTITIONS && Number.isInteger(Math.log2(c.partitions)),
      `partitions is a power of two, at most ${MAX_PARTITIONS}`,
    ],
    [c.hosts <= c.partitions, 'hosts is at most partitions'],
    [c.identity.namespaces.length <= UNLISTED_PRIORITY, `identity.namespaces lists at most ${UNLISTED_PRIORITY}`],
    [areDistinct(c.identity.namespaces.map((n) => n.name)), 'identity.namespaces have distinct names'],
    [c.identity.namespaces.every((n) => n.name !== 'profile_id'), 'profile_id names profiles, not a namespace'],
    [c.identity.namespaces.every((n) => !(n.unique && (n.limit ?? 1) > 1)), 'a unique namespace has no limit above 1'],
    [areDistinct(c.keys.map((k) => k.name)), 'keys have distinct names'],
    [areDistinct(c.keys.map((k) => k.hash)), 'keys are distinct'],
    [areDistinct(c.sources.map((x) => x.name)), 'sources have distinct names'],
    [c.batchBytes <= c.applyBytes, 'batchBytes is at most applyBytes'],
    [2 * c.applyBytes <= c.journalBytes, 'applyBytes is at most half of journalBytes'],
    [c.splitBytes < c.batchBytes, 'splitBytes is below batchBytes'],
    [c.sliceMs < c.applyMs, 'sliceMs is below applyMs'],
    [c.skewLimitMs < c.clockStepLimit, 'skewLimitMs is below clockStepLimit'],
    [c.futureLimit < c.timelineRetention, 'futureLimit is below timelineRetention'],
    [!c.kafka || isLoopback(c.host) || c.kafka.secret !== undefined, 'kafka.secret is set where others than this machine can connect'],
  ]
  for (const [holds, rule] of rules) {
    if (!holds) throw new TributaryError('invalid_config', `The configuration breaks a rule: ${rule}.`)
  }
}

function areDistinct(texts: readonly string[]): boolean {
  return new Set(texts).size === texts.length
}

export function isLoopback(host: string): boolean {
  const address = host.toLowerCase().replace(/^\[(.*)\]$/, '$1')
  return address === 'localhost' || address === '::1' || /^(::ffff:)?127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(address)
}

/** Throws open_beyond_loopback when everyone on the network could read and write. */
export function assertSafeToListen(config: Pick<Config, 'host' | 'keys'>): void {
  if (config.keys.length > 0 || isLoopback(config.host)) return
  throw new TributaryError('open_beyond_loopback', `Without keys the server does not listen on ${config.host}.`)
}

export interface OptionDescription {
  /** Dotted. */
  readonly path: string
  readonly type: string
  readonly default: string
  readonly description: string
}

/** Every option, for the docs and the command line. */
export function describeOptions(schema: TSchema = CONFIG_SCHEMA, prefix = ''): OptionDescription[] {
  return Object.entries(schema.properties as Record<string, TSchema>).flatMap(([name, option]) => {
    const path = prefix + name
    if (option.type === 'object') return describeOptions(option, `${path}.`)
    const own: OptionDescription = { path, type: typeOf(option), default: defaultOf(option), description: option.description ?? '' }
    return option.type === 'array' && option.items.type === 'object' ? [own, ...describeOptions(option.items, `${path}[].`)] : [own]
  })
}

function typeOf(option: TSchema): string {
  if (Array.isArray(option.enum)) return option.enum.join(' \\| ')
  if (option.unit !== undefined) return option.unit
  if (option.shownType !== undefined) return option.shownType
  return option.type === 'array' ? 'list' : String(option.type)
}

function defaultOf(option: TSchema): string {
  if (option.shown !== undefined) return String(option.shown)
  if (option.default === undefined) return ''
  return Array.isArray(option.default)
    ? option.default.map((x) => (typeof x === 'object' ? x.name : x)).join(', ') || 'none'
    : String(option.default)
}
