// What the tests know of the HTTP interface: JSON in and out, lists page by page, transitions as a stream.
import { readEventStream } from '../../src/cli/event-stream.ts'
import type { ShownTransition } from '../../src/cli/follow.ts'
import { pause } from './server.ts'

interface Page<T> {
  readonly items: T[]
  readonly next?: string
}

const REQUEST_LIMIT_MS = 30_000

/** The JSON of a reply that must be 200. */
export async function call<T>(url: string, path: string, request: { method?: string; body?: unknown } = {}): Promise<T> {
  const { method = 'GET', body } = request
  const signal = AbortSignal.timeout(REQUEST_LIMIT_MS)
  const reply = await fetch(url + path, { method, signal, ...(body === undefined ? {} : { body: JSON.stringify(body) }) })
  const text = await reply.text()
  if (reply.status !== 200) throw new Error(`${method} ${path}: ${reply.status} ${text}`)
  return JSON.parse(text) as T
}

/** As `call`; undefined for 404. */
export async function lookUp<T>(url: string, path: string): Promise<T | undefined> {
  const reply = await fetch(url + path, { signal: AbortSignal.timeout(REQUEST_LIMIT_MS) })
  const text = await reply.text()
  if (reply.status === 404) return undefined
  if (reply.status !== 200) throw new Error(`GET ${path}: ${reply.status} ${text}`)
  return JSON.parse(text) as T
}

/** All items of a list. */
export async function listOf<T>(url: string, path: string, limit = 1000): Promise<T[]> {
  const items: T[] = []
  for (let after: string | undefined; ; ) {
    const page: Page<T> = await call(url, `${path}?limit=${limit}${after === undefined ? '' : `&after=${encodeURIComponent(after)}`}`)
    items.push(...page.items)
    if (page.next === undefined) return items
    after = page.next
  }
}

export const settle = (url: string): Promise<unknown> => call(url, '/v1/admin/settle', { method: 'POST' })

export const setClock = (url: string, now: number): Promise<unknown> => call(url, '/v1/admin/clock', { method: 'POST', body: { now } })

export interface Received {
  readonly transition: ShownTransition
  /** By this machine's clock, ms. */
  readonly at: number
}

/** Follows the transitions over server-sent events and over restarts, as a browser does: with the last id it saw. */
export class Follower {
  readonly #urlOf: () => string
  readonly #stop = new AbortController()
  #last: string | undefined
  #done: Promise<void> | undefined
  /** Everything, repeats included, in the order of arrival. */
  readonly received: Received[] = []
  connections = 0

  constructor(urlOf: () => string) {
    this.#urlOf = urlOf
  }

  /** Resolves when connected. */
  async start(): Promise<void> {
    this.#done = this.#run()
    while (this.connections === 0) await pause(5)
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#done
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      await this.#connect(signal).catch(() => {})
      if (!signal.aborted) await pause(20)
    }
  }

  async #connect(signal: AbortSignal): Promise<void> {
    const headers = { accept: 'text/event-stream', ...(this.#last === undefined ? {} : { 'last-event-id': this.#last }) }
    const reply = await fetch(`${this.#urlOf()}/v1/transitions`, { headers, signal })
    if (reply.status !== 200 || !reply.body) return
    this.connections++
    for await (const { id, data } of readEventStream(reply.body)) {
      this.#last = id
      // At first only where the stream begins.
      if (data !== '') this.received.push({ transition: JSON.parse(data) as ShownTransition, at: Date.now() })
    }
  }
}
