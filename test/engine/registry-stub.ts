// As much of a registry of schemas, in Confluent's protocol, as those who write talk to. Owns its answers: numbers in the order in which
// schemas came, and a refusal where a reader of one version could not read another one of its subject.
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import avro, { type Schema } from 'avsc'

export class RegistryStub {
  readonly schemas: string[] = []
  readonly asked: string[] = []
  readonly #subjects = new Map<string, Set<string>>()
  readonly #server: Server = createServer((request, reply) => {
    void this.#answer(request).then(([status, body]) => reply.writeHead(status).end(JSON.stringify(body)))
  })

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/`
  }

  /** The number of a schema under a subject; undefined where it is refused. */
  register(subject: string, schema: string): number | undefined {
    const versions = this.#subjects.get(subject) ?? new Set()
    if (![...versions].every((other) => areCompatible(other, schema))) return undefined
    this.#subjects.set(subject, versions.add(schema))
    if (!this.schemas.includes(schema)) this.schemas.push(schema)
    return this.schemas.indexOf(schema) + 1
  }

  async #answer(request: IncomingMessage): Promise<[number, object]> {
    const { method, url = '', headers } = request
    this.asked.push(`${method} ${url} ${headers.authorization ?? ''}`.trim())
    if (method === 'POST') {
      const { schema } = JSON.parse(await text(request)) as { schema: string }
      const subject = decodeURIComponent(url.split('/')[2] ?? '')
      const id = this.register(subject, schema)
      return id === undefined ? [409, { error_code: 409, message: 'incompatible' }] : [200, { id }]
    }
    const schema = this.schemas[Number(url.split('/').at(-1)) - 1]
    return schema === undefined ? [404, { error_code: 40403 }] : [200, { schema }]
  }

  close(): void {
    this.#server.closeAllConnections()
    this.#server.close()
  }
}

/** In both directions, which registries call FULL. */
function areCompatible(one: string, other: string): boolean {
  const typeOf = (schema: string): avro.Type => avro.Type.forSchema(JSON.parse(schema) as Schema)
  const [a, b] = [typeOf(one), typeOf(other)]
  try {
    a.createResolver(b)
    b.createResolver(a)
    return true
  } catch {
    return false
  }
}
