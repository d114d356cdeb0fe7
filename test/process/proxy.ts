// A proxy in front of the server that makes faults: one per request, as the test says.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export const FAULTS = ['500', '503', '429', '429 with Retry-After', 'dropped before', 'dropped after', 'cut in the middle'] as const
export type Fault = (typeof FAULTS)[number] | 'none'

export interface Proxy {
  readonly url: string
  /** What was done to each request, in order. */
  readonly done: readonly Fault[]
  close(): Promise<void>
}

/** `next` is asked for each request. */
export async function startProxy(target: string, next: (nth: number) => Fault): Promise<Proxy> {
  const done: Fault[] = []
  const server = createServer((request, response) => {
    const fault = next(done.length)
    done.push(fault)
    answer(request, response, { target, fault }).catch(() => response.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, done, close: () => close(server) }
}

function close(server: Server): Promise<void> {
  server.closeAllConnections()
  return new Promise((resolve) => server.close(() => resolve()))
}

async function answer(request: IncomingMessage, response: ServerResponse, how: { target: string; fault: Fault }): Promise<void> {
  const { target, fault } = how
  const chunks: Buffer[] = []
  for await (const chunk of request) {
    chunks.push(chunk)
    // The server sees half a request and then nothing.
    if (fault === 'cut in the middle') return void response.destroy()
  }
  if (fault === 'dropped before') return void response.destroy()
  if (fault === '429 with Retry-After') response.setHeader('retry-after', '1')
  if (/^\d/.test(fault)) return void response.writeHead(Number.parseInt(fault, 10)).end('{"success":false}')
  const { authorization, ...rest } = request.headers
  const headers = { 'content-type': String(rest['content-type']), ...(authorization === undefined ? {} : { authorization }) }
  const reply = await fetch(target + request.url, { method: String(request.method), headers, body: Buffer.concat(chunks) })
  const text = await reply.text()
  // It was taken, and the client doesn't know.
  if (fault === 'dropped after') return void response.destroy()
  response.writeHead(reply.status, { 'content-type': 'application/json' }).end(text)
}
