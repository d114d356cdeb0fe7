// Schemas from a registry that speaks Confluent's protocol, by the number in front of each value. Each is asked for once.
import type { Clock } from '../../core/clock.ts'
import { TributaryError } from '../../core/errors.ts'
import { avroDecoder } from './avro.ts'
import { type Decode, REGISTRY_HEADER_BYTES, unreadable } from './formats.ts'

export interface RegistryOptions {
  readonly url: string
  readonly username?: string
  readonly password?: string
  /** Instead of a login. */
  readonly token?: string
}

interface SchemaReply {
  readonly schema?: unknown
  readonly schemaType?: unknown
  readonly references?: readonly { readonly subject?: unknown; readonly version?: unknown }[]
}

type DecodeNow = Exclude<ReturnType<typeof avroDecoder>, undefined>

interface Known {
  /** The decoder, or why values of this schema can't be read. */
  readonly found: DecodeNow | TributaryError
  /** A schema that wasn't there may be there later. */
  readonly untilMs: number
}

const REQUEST_MS = 10_000
/** Schemas kept; beyond it the one that was asked for first is asked for again. */
const MAX_KNOWN = 1000
const UNKNOWN_MS = 30_000
const MAX_REFERENCES = 100
const SCHEMA_NOT_FOUND = 40403

export class SchemaRegistry {
  readonly #options: RegistryOptions
  readonly #clock: Clock
  readonly #known = new Map<number, Known>()
  readonly #asked = new Map<number, Promise<Known>>()

  constructor(options: RegistryOptions, clock: Clock) {
    this.#options = options
    this.#clock = clock
  }

  readonly decode: Decode = (value) => {
    if (value.length < REGISTRY_HEADER_BYTES || value[0] !== 0)
      throw unreadable('Avro of a schema registry', new Error('it does not begin with a zero and the number of a schema'))
    const id = value.readUInt32BE(1)
    const datum = value.subarray(REGISTRY_HEADER_BYTES)
    const known = this.#known.get(id)
    if (known && known.untilMs > this.#clock.monotonicMs()) return read(known, datum)
    return this.#ask(id).then((found) => read(found, datum))
  }

  #ask(id: number): Promise<Known> {
    const underWay = this.#asked.get(id)
    if (underWay) return underWay
    const asked = this.#learn(id).finally(() => this.#asked.delete(id))
    this.#asked.set(id, asked)
    return asked
  }

  async #learn(id: number): Promise<Known> {
    const found = await this.#find(id)
    const untilMs = found instanceof TributaryError ? this.#clock.monotonicMs() + UNKNOWN_MS : Number.POSITIVE_INFINITY
    const known = { found, untilMs }
    this.#known.delete(id)
    this.#known.set(id, known)
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= MAX_KNOWN) break
      this.#known.delete(oldest)
    }
    return known
  }

  /** A decoder, or what is wrong with the schema for good; rejects with registry_failed when that can't be known now. */
  async #find(id: number): Promise<DecodeNow | TributaryError> {
    const reply = await this.#get(`/schemas/ids/${id}`)
    if (reply === undefined) return unreadable('Avro of a schema registry', new Error(`the registry has no schema ${id}`))
    const schemas: string[] = []
    const refusal = await this.#collect(reply, schemas, new Set())
    if (refusal !== undefined) return unreadable('Avro of a schema registry', new Error(`schema ${id}: ${refusal}`))
    try {
      return avroDecoder(schemas)
    } catch (cause) {
      return unreadable('Avro of a schema registry', new Error(`schema ${id} can't be used: ${(cause as Error).message}`))
    }
  }

  /** Adds a schema after those that it refers to. Gives why it is none that we know. */
  async #collect(reply: SchemaReply, schemas: string[], seen: Set<string>): Promise<string | undefined> {
    const { schema, schemaType = 'AVRO', references = [] } = reply
    if (schemaType !== 'AVRO') return `its type is ${String(schemaType)}, not AVRO`
    if (typeof schema !== 'string') return 'the registry gives no text for it'
    for (const { subject, version } of references) {
      const path = `/subjects/${encodeURIComponent(String(subject))}/versions/${encodeURIComponent(String(version))}`
      if (seen.has(path)) continue
      seen.add(path)
      if (seen.size > MAX_REFERENCES) return `it refers to more than ${MAX_REFERENCES} others`
      const referred = await this.#get(path)
      const refusal = referred === undefined ? `it refers to ${path}, which is not there` : await this.#collect(referred, schemas, seen)
      if (refusal !== undefined) return refusal
    }
    schemas.push(schema)
    return undefined
  }

  /** Undefined when the registry says that it isn't there: any other answer may be that of a wrong address or a registry in trouble. */
  async #get(path: string): Promise<SchemaReply | undefined> {
    const { url } = this.#options
    const asked = `${url.replace(/\/+$/, '')}${path}`
    let reply: Response
    let text: string
    try {
      reply = await fetch(asked, { headers: this.#headers(), signal: AbortSignal.timeout(REQUEST_MS) })
      text = await reply.text()
    } catch (cause) {
      throw failed(`${asked} does not answer: ${reasonOf(cause)}`, cause)
    }
    const body = parsed(text)
    if (reply.ok && body) return body as SchemaReply
    const code = (body as { error_code?: unknown } | undefined)?.error_code
    // 40401, 40402: subject and version of a reference.
    if (reply.status === 404 && typeof code === 'number' && code >= 40401 && code <= SCHEMA_NOT_FOUND) return undefined
    throw failed(`${asked} answers ${reply.status}: ${text.slice(0, 200)}`, undefined)
  }

  #headers(): Record<string, string> {
    const { username, password = '', token } = this.#options
    const accept = { accept: 'application/vnd.schemaregistry.v1+json, application/json' }
    if (token !== undefined) return { ...accept, authorization: `Bearer ${token}` }
    if (username === undefined) return accept
    return { ...accept, authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}` }
  }
}

function read({ found }: Known, datum: Buffer): ReturnType<DecodeNow> {
  if (found instanceof TributaryError) throw found
  return found(datum)
}

function parsed(text: string): object | undefined {
  try {
    const body: unknown = JSON.parse(text)
    return typeof body === 'object' && body !== null ? body : undefined
  } catch {
    return undefined
  }
}

const failed = (message: string, cause: unknown): TributaryError => new TributaryError('registry_failed', message, { cause })

/** What fetch hides behind "fetch failed". */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause instanceof Error && error.cause.message !== '' ? error.cause.message : error.message
}
