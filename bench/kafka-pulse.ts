// How long partitions stand still while processes come and go: to each partition messages are sent again and again, one at a time, through
// any process that is there, and looked for in the profile. A pause is the time between two that were found. (`min-position` would not do:
// it waits for what a message may have set off elsewhere, so it stands still as long as any partition does.)
import { homeOf, identifierKey } from '../src/core/identifier.ts'
import { wallMs } from './latency.ts'
import type { ServerProcess } from './server.ts'

const EVERY_MS = 50
/** Between two looks at a profile. */
const LOOK_MS = 20
/** Of one request: beyond it, it is given up and sent anew. */
const REQUEST_MS = 2000
/** Namespaces by default: user_id comes first. */
const PRIORITY = 0

/** A user whose home is the partition. */
export function userOf(partition: number, partitions: number): string {
  for (let n = 0; ; n++) {
    const user = `pulse-${partition}-${n}`
    if (homeOf(identifierKey(PRIORITY, 'user_id', user), partitions) === partition) return user
  }
}

interface Beat {
  readonly partition: number
  readonly user: string
  lastMs: number
  longestMs: number
  count: number
}

export class Pulse {
  /** Whom to ask; asked each time, since they come and go. */
  readonly #servers: () => readonly ServerProcess[]
  readonly #beats: readonly Beat[]
  #isStopped = false
  readonly #running: Promise<unknown>

  constructor(partitions: number, servers: () => readonly ServerProcess[]) {
    this.#servers = servers
    const now = wallMs()
    this.#beats = Array.from({ length: partitions }, (_, partition) => ({
      ...{ partition, user: userOf(partition, partitions), lastMs: now, longestMs: 0, count: 0 },
    }))
    this.#running = Promise.all(this.#beats.map((beat) => this.#run(beat)))
  }

  /** Forgets the pauses so far; those under way count from their beginning. */
  reset(): void {
    for (const beat of this.#beats) beat.longestMs = 0
  }

  /** Resolves once each partition has answered an event that was sent after the call. */
  async all(): Promise<void> {
    // The one under way may have been sent before; the one after it was not.
    const wanted = this.#beats.map((beat) => beat.count + 2)
    while (this.#beats.some((beat, i) => beat.count < (wanted[i] ?? 0))) await pause(EVERY_MS)
  }

  /** Of each partition the longest pause since `reset`. */
  longestMs(): number[] {
    return this.#beats.map((beat) => Math.round(beat.longestMs))
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    await this.#running
  }

  async #run(beat: Beat): Promise<void> {
    for (let turn = beat.partition; !this.#isStopped; turn++) {
      const servers = this.#servers()
      const server = servers[turn % Math.max(1, servers.length)]
      if (server && (await comesBack(server, beat.user, turn))) {
        const now = wallMs()
        beat.longestMs = Math.max(beat.longestMs, now - beat.lastMs)
        beat.lastMs = now
        beat.count++
      }
      await pause(EVERY_MS)
    }
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Sends a trait and looks until the profile has it. */
async function comesBack({ url }: ServerProcess, userId: string, beat: number): Promise<boolean> {
  const signal = AbortSignal.timeout(REQUEST_MS)
  try {
    const headers = { 'content-type': 'application/json' }
    const sent = await fetch(`${url}/v1/identify`, { method: 'POST', headers, body: JSON.stringify({ userId, traits: { beat } }), signal })
    await sent.arrayBuffer()
    for (; sent.ok && !signal.aborted; await pause(LOOK_MS)) {
      const reply = await fetch(`${url}/v1/profiles/user_id:${userId}`, { signal })
      if (reply.ok && ((await reply.json()) as { traits: { beat?: number } }).traits.beat === beat) return true
    }
    return false
  } catch {
    // Gone, or busy with what this measures.
    return false
  }
}
