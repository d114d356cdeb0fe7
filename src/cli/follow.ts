// Follows the transitions of a server for ever: reconnects with Last-Event-ID, so nothing after the first connection is missed or
// shown twice.
import type { Clock } from '../core/clock.ts'
import type { Cause } from '../core/transition.ts'
import { type Client, ServerError } from './client.ts'
import { readEventStream } from './event-stream.ts'
import { sleepUnless } from './sender.ts'

/** A transition as the API shows it. */
export interface ShownTransition {
  readonly id: string
  readonly segment: string
  readonly version: number
  readonly profile: string
  readonly userId?: string
  readonly transition: 'entered' | 'exited'
  readonly cause: Cause
  readonly causeId?: string
  readonly seq: number
  readonly at: string
  readonly decidedAt: string
}

export interface FollowOptions {
  readonly client: Client
  readonly clock: Clock
  readonly signal: AbortSignal
  readonly segment?: string
  /** A transition's id; absent: from now on. */
  readonly after?: string
  readonly onConnected?: () => void
  readonly onLost?: (why: string) => void
}

const PAUSE_MS = 1000

/** Yields until `signal` aborts. Fails only when the first connection does, or when the server refuses the question. */
export async function* follow(options: FollowOptions): AsyncGenerator<ShownTransition> {
  const { client, clock, signal, segment } = options
  let last = options.after
  let connected = false
  const query = segment === undefined ? '' : `?segment=${encodeURIComponent(segment)}`
  while (!signal.aborted) {
    try {
      const headers = { accept: 'text/event-stream', ...(last === undefined ? {} : { 'last-event-id': last }) }
      const reply = await client.fetch(`/v1/transitions${query}`, { headers, signal })
      if (!reply.ok || !reply.body) throw new ServerError(reply.status, (await reply.json().catch(() => ({}))) as object, undefined)
      connected = true
      options.onConnected?.()
      for await (const { id, data } of readEventStream(reply.body)) {
        if (id !== '') last = id
        if (data !== '') yield JSON.parse(data) as ShownTransition
      }
      options.onLost?.('the server ended the stream')
    } catch (error) {
      if (signal.aborted) return
      const refused = error instanceof ServerError && error.status < 500 && error.status !== 429
      if (!connected || refused) throw error
      options.onLost?.(error instanceof Error ? error.message : String(error))
    }
    await sleepUnless(clock, PAUSE_MS, signal).catch(() => {})
  }
}
