// HTTP at the least cost for who makes load: requests are ready bytes, connections are kept, and a reply is read only as far as its
// status, unless somebody wants more. One request at a time on each connection; what finds none free waits in line.
import { connect, type Socket } from 'node:net'

/** What became of a request. `body` is there on success and failure alike. */
export type Done = (status: number, body: Buffer) => void

interface Waiting {
  readonly request: Uint8Array
  readonly done: Done
}

const HEAD_END = Buffer.from('\r\n\r\n')

export function requestBytes(method: string, path: string, body?: string | Buffer): Buffer {
  const content = body === undefined ? Buffer.alloc(0) : Buffer.from(body)
  const type = body === undefined ? '' : `Content-Type: application/json\r\nContent-Length: ${content.length}\r\n`
  return Buffer.concat([Buffer.from(`${method} ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n${type}\r\n`), content])
}

export class Wire {
  readonly #free: Connection[] = []
  readonly #all: Connection[]
  readonly #line: Waiting[] = []

  constructor(port: number, connections: number) {
    this.#all = Array.from({ length: connections }, () => new Connection(port, (c) => this.#next(c)))
    this.#free.push(...this.#all)
  }

  send(request: Uint8Array, done: Done): void {
    const connection = this.#free.pop()
    if (connection) connection.send(request, done)
    else this.#line.push({ request, done })
  }

  #next(connection: Connection): void {
    const next = this.#line.shift()
    if (next) connection.send(next.request, next.done)
    else this.#free.push(connection)
  }

  close(): void {
    for (const c of this.#all) c.close()
  }
}

class Connection {
  readonly #socket: Socket
  readonly #idle: (c: Connection) => void
  #received: Buffer = Buffer.alloc(0)
  #done: Done | undefined

  constructor(port: number, idle: (c: Connection) => void) {
    this.#idle = idle
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true })
    this.#socket.on('data', (bytes) => this.#take(bytes))
    this.#socket.on('error', () => this.#fail())
    this.#socket.on('close', () => this.#fail())
  }

  send(request: Uint8Array, done: Done): void {
    if (this.#socket.destroyed) done(0, this.#received)
    else {
      this.#done = done
      this.#socket.write(request)
    }
  }

  #take(bytes: Buffer): void {
    this.#received = this.#received.length === 0 ? bytes : Buffer.concat([this.#received, bytes])
    const headEnd = this.#received.indexOf(HEAD_END)
    if (headEnd < 0) return
    const head = this.#received.latin1Slice(0, headEnd)
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? Number.NaN)
    if (Number.isNaN(length)) throw new Error(`a reply without content-length: ${head}`)
    const end = headEnd + HEAD_END.length + length
    if (this.#received.length < end) return
    const body = this.#received.subarray(headEnd + HEAD_END.length, end)
    this.#received = this.#received.subarray(end)
    this.#finish(Number(head.slice(9, 12)), body)
  }

  #finish(status: number, body: Buffer): void {
    const done = this.#done
    this.#done = undefined
    done?.(status, body)
    this.#idle(this)
  }

  /** Status 0: the connection broke before the reply. */
  #fail(): void {
    const done = this.#done
    this.#done = undefined
    done?.(0, Buffer.alloc(0))
  }

  close(): void {
    this.#socket.destroy()
  }
}
