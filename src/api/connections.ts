// The connections of one server, and which of them have a request under way. Node ends those that have had one, when the server
// closes, but waits for those that have not said anything yet (browsers open them in advance) or no more than half a request.
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

export class Connections {
  readonly #open = new Set<Socket>()
  readonly #busy = new Set<Socket>()

  constructor(server: Server) {
    server.on('connection', (socket: Socket) => {
      this.#open.add(socket)
      socket.once('close', () => this.#open.delete(socket))
    })
    server.on('request', ({ socket }: IncomingMessage, response: ServerResponse) => {
      this.#busy.add(socket)
      response.once('close', () => this.#busy.delete(socket))
    })
  }

  /** Closes all that nobody waits for an answer on. */
  endIdle(): void {
    for (const socket of this.#open) if (!this.#busy.has(socket)) socket.destroySoon()
  }
}
