// The schemas of the output topics in a registry that speaks Confluent's protocol: under the subject `<topic>-value`, one for each topic.
// Owns what is known of their numbers.
//
// 1. Ours are registered before anything is written. A registry that refuses one, as incompatible with what it has, is an error.
// 2. A number that isn't known is asked for, as a newer process may write a newer schema, and is an error until it is known.
import type { Schema } from 'avsc'
import { must } from '../core/assert.ts'
import { TributaryError } from '../core/errors.ts'
import type { OutboxStream } from './outbox.ts'
import type { SchemaNumbers } from './outputs-avro.ts'
import { SCHEMAS } from './outputs-schemas.ts'

export interface RegistryAccess {
  readonly url: string
  readonly username?: string
  readonly password?: string
  /** Instead of a login. */
  readonly token?: string
}

const REQUEST_MS = 10_000
const TYPE = 'application/vnd.schemaregistry.v1+json'

export class OutputSchemas implements SchemaNumbers {
  readonly #access: RegistryAccess
  readonly #subjects: Readonly<Partial<Record<OutboxStream, string>>>
  readonly #ours = new Map<OutboxStream, number>()
  readonly #known = new Map<number, Schema>()
  readonly #asked = new Map<number, Promise<void>>()

  private constructor(access: RegistryAccess, subjects: Readonly<Partial<Record<OutboxStream, string>>>) {
    this.#access = access
    this.#subjects = subjects
  }

  /** Registers the schemas of some streams, each under the subject given for it (1). */
  static async register(access: RegistryAccess, subjects: Readonly<Partial<Record<OutboxStream, string>>>): Promise<OutputSchemas> {
    const schemas = new OutputSchemas(access, subjects)
    for (const stream of Object.keys(subjects) as OutboxStream[]) await schemas.#register(stream)
    return schemas
  }

  async #register(stream: OutboxStream): Promise<void> {
    const path = this.#path(stream)
    const { id } = await this.#ask('POST', path, { schema: JSON.stringify(SCHEMAS[stream]) })
    if (typeof id !== 'number') throw failed(`${path} gives no number`)
    this.#ours.set(stream, id)
    this.#known.set(id, SCHEMAS[stream] as unknown as Schema)
  }

  #path(stream: OutboxStream): string {
    return `/subjects/${encodeURIComponent(must(this.#subjects[stream], 'only streams in Avro are asked for'))}/versions`
  }

  numberOf(stream: OutboxStream): number {
    return must(this.#ours.get(stream), 'what is written in Avro was registered')
  }

  schemaOf(stream: OutboxStream, number: number): Schema {
    const known = this.#known.get(number)
    if (known) return known
    if (!this.#asked.has(number))
      this.#asked.set(
        number,
        this.#learn(number).finally(() => this.#asked.delete(number)),
      )
    throw failed(`the schema ${number} of ${stream} is not known yet`)
  }

  /** (2) */
  async #learn(number: number): Promise<void> {
    const { schema } = await this.#ask('GET', `/schemas/ids/${number}`).catch((): Record<string, unknown> => ({}))
    if (typeof schema === 'string') this.#known.set(number, JSON.parse(schema) as Schema)
  }

  async #ask(method: 'GET' | 'POST', path: string, body?: object): Promise<Record<string, unknown>> {
    const url = `${this.#access.url.replace(/\/+$/, '')}${path}`
    try {
      const reply = await fetch(url, {
        method,
        headers: this.#headers(),
        signal: AbortSignal.timeout(REQUEST_MS),
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      })
      const text = await reply.text()
      if (!reply.ok) throw failed(`${url} answers ${reply.status}: ${text.slice(0, 200)}`)
      return JSON.parse(text) as Record<string, unknown>
    } catch (error) {
      if (error instanceof TributaryError) throw error
      throw new TributaryError('registry_failed', `${url} does not answer: ${(error as Error).message}`, { cause: error })
    }
  }

  #headers(): Record<string, string> {
    const { username, password = '', token } = this.#access
    const common = { accept: `${TYPE}, application/json`, 'content-type': TYPE }
    if (token !== undefined) return { ...common, authorization: `Bearer ${token}` }
    if (username === undefined) return common
    return { ...common, authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}` }
  }
}

const failed = (message: string): TributaryError => new TributaryError('registry_failed', message)
