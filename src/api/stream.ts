// Transitions as server-sent events, at the speed of whoever reads them: while a socket is full nothing more is read for it, so a
// reader that is behind costs the memory of one stretch. One that takes nothing at all for STALL_MS is cut off: it reconnects with
// Last-Event-ID, and goes on where it was. The first thing that it is told is the id of where it begins: so that holds from the start.
//
//   started ─▶ following ⇄ waiting (the socket is full) ─▶ ended
import type { OutgoingHttpHeaders } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { TributaryError } from '../core/errors.ts'
import type { Transition } from '../core/transition.ts'
import { shown } from '../engine/outputs-shown.ts'
import type { Api } from './app.ts'
import { RetryLater } from './failures.ts'

const MAX_STREAMS = 1000
const HEARTBEAT_MS = 15_000
/** How long a full socket may stay as it is. */
export const STALL_MS = 60_000
/** What a client waits before it reconnects. */
const RECONNECT_MS = 1000

interface Filter {
  readonly segment?: string
}

export class TransitionStreams {
  readonly #api: Api
  readonly #open = new Set<TransitionStream>()

  constructor(api: Api) {
    this.#api = api
    api.stopping.addEventListener('abort', () => this.end(), { once: true })
  }

  /** Answers with a stream. Fails as a page would while nothing has been sent. */
  async start(request: FastifyRequest, reply: FastifyReply, filter: Filter): Promise<FastifyReply> {
    if (this.#api.stopping.aborted) throw new TributaryError('shutting_down', 'The server is stopping.')
    if (this.#open.size >= MAX_STREAMS) throw new RetryLater('back_pressure', `${MAX_STREAMS} streams are open already.`, 10)
    const last = request.headers['last-event-id']
    const { after } = request.query as { after?: string }
    const given = (typeof last === 'string' && last) || after || undefined
    // A cursor that is not known is refused before the stream begins.
    if (given !== undefined) await this.#api.engine.transitions({ limit: 1, after: given, ...filter })
    const from = given ?? (await this.#api.engine.transitionsEnd())
    const stream = new TransitionStream(this.#api, reply, filter)
    this.#open.add(stream)
    this.#api.metrics.streams.set(this.#open.size)
    reply.hijack()
    stream.run(from, () => {
      this.#open.delete(stream)
      this.#api.metrics.streams.set(this.#open.size)
    })
    return reply
  }

  end(): void {
    for (const stream of this.#open) stream.end()
  }
}

class TransitionStream {
  readonly #api: Api
  readonly #reply: FastifyReply
  readonly #filter: Filter
  #ended = false
  #onEnd: () => void = () => {}
  #unfollow: () => void = () => {}
  #stopHeart: () => void = () => {}
  #drained: () => void = () => {}

  constructor(api: Api, reply: FastifyReply, filter: Filter) {
    this.#api = api
    this.#reply = reply
    this.#filter = filter
  }

  run(after: string, onEnd: () => void): void {
    this.#onEnd = onEnd
    const { raw } = this.#reply
    const own = this.#reply.getHeaders() as OutgoingHttpHeaders
    const headers = {
      ...own,
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache, no-transform',
      'x-accel-buffering': 'no',
      // A connection kept for another request would keep the server from stopping.
      connection: 'close',
    }
    raw.on('close', () => this.end())
    raw.on('error', () => this.end())
    raw.on('drain', () => this.#drained())
    raw.writeHead(200, headers)
    raw.write(`retry: ${RECONNECT_MS}\nid: ${after}\n\n`)
    this.#beat()
    this.#feed(after).catch((error: unknown) => {
      this.#reply.log.error({ err: error }, 'a transition stream failed')
      this.end()
    })
  }

  end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#stopHeart()
    this.#unfollow()
    this.#drained()
    const { raw } = this.#reply
    // What lies in a full socket may never be read: its reader goes on with Last-Event-ID.
    if (raw.writableNeedDrain) raw.destroy()
    else raw.end()
    this.#onEnd()
  }

  async #feed(after: string): Promise<void> {
    const query = { after, ...this.#filter }
    const unfollow = await this.#api.engine.followTransitions(query, (transitions, behind) => this.#write(transitions, behind))
    if (this.#ended) unfollow()
    else this.#unfollow = unfollow
  }

  /** Writes, and waits while the socket is full. */
  #write(transitions: readonly Transition[], behind?: readonly string[]): Promise<void> | undefined {
    if (this.#ended || this.#reply.raw.write(transitions.map((t, i) => eventOf(t, behind?.[i])).join(''))) return undefined
    return new Promise((resolve) => {
      const stopWatch = this.#watch()
      this.#drained = () => {
        stopWatch()
        resolve()
      }
    })
  }

  /** Cuts the reader off when a full socket stays as it is. */
  #watch(): () => void {
    const { raw } = this.#reply
    const unsent = raw.writableLength
    let stop = this.#api.clock.after(STALL_MS, () => {
      if (raw.writableLength < unsent) {
        stop = this.#watch()
        return
      }
      this.#api.metrics.slowStreams.inc()
      this.end()
    })
    return () => stop()
  }

  #beat(): void {
    this.#stopHeart = this.#api.clock.after(HEARTBEAT_MS, () => {
      this.#reply.raw.write(': \n\n')
      this.#beat()
    })
  }
}

/** No `event:` field, so that EventSource's onmessage gets it. */
function eventOf(t: Transition, behind = t.id): string {
  return `id: ${behind}\ndata: ${JSON.stringify(shown(t))}\n\n`
}
