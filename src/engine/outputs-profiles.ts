// The topic of profiles: the state of each, under its public id, as of some commit at or after the last one that changed it. Owns what
// waits to be looked up; changes come as keys (outbox.ts), and what is written is the state that the engine shows by then.
//
// 1. Of one partition changes are taken in order, many at once: of a profile that has changed again meanwhile the newest state is written,
//    under the seq of its last change.
// 2. A change is told by the partition that the root was in; once the root isn't there any more it is passed over, as whoever has the
//    root tells it. A hand-over leaves after this topic has all earlier changes (relay.ts 2): so states of a profile lie in their order.
// 3. While a partition doesn't answer (it opens, or has moved), its changes wait, FORGET_MS at most: then it runs elsewhere, where its
//    outbox is read again.
import { type Clock, sleep } from '../core/clock.ts'
import { TributaryError } from '../core/errors.ts'
import type { OutputEntry } from '../log/kafka-outputs.ts'
import type { ProfileView } from './engine.ts'
import { decodeBlock, type ProfileChange, readProfileChanges } from './outbox.ts'
import { publicIdText } from './public-id.ts'

export interface ProfilesTopicPorts {
  readonly clock: Clock
  /** The profile of a root, if it is in this partition, which is in this process. */
  profileAt(partition: number, key: string): Promise<ProfileView | undefined>
  encode(profile: ProfileView): Buffer
  /** Resolves when the entries are there for good; they keep their order. */
  write(partition: number, entries: readonly OutputEntry[]): Promise<void>
  /** Something that a person must look at. */
  alarm(message: string): void
}

/** Looked up at once. */
const PROFILES_AT_ONCE = 500
const RETRY_MS = 100
const FORGET_MS = 60_000
/** A state that takes more can't be a record. */
const VALUE_BYTES = 1_000_000

interface Waiting {
  readonly changes: readonly ProfileChange[]
  readonly firstSeq: number
  readonly done: PromiseWithResolvers<void>
}

export class ProfilesTopic {
  readonly #ports: ProfilesTopicPorts
  readonly #waiting = new Map<number, Waiting[]>()
  readonly #running = new Set<number>()
  #isClosed = false

  constructor(ports: ProfilesTopicPorts) {
    this.#ports = ports
  }

  /** Resolves when the states are there; never, when the partition has moved (3). */
  take(partition: number, payload: Buffer): Promise<void> {
    const { firstSeq, entries } = decodeBlock(payload)
    const waiting = { firstSeq, changes: readProfileChanges(entries), done: Promise.withResolvers<void>() }
    const list = this.#waiting.get(partition) ?? []
    this.#waiting.set(partition, list)
    list.push(waiting)
    if (!this.#running.has(partition)) {
      this.#running.add(partition)
      void this.#run(partition, list).finally(() => this.#running.delete(partition))
    }
    return waiting.done.promise
  }

  async #run(partition: number, list: Waiting[]): Promise<void> {
    while (list.length > 0 && !this.#isClosed) {
      const taken = takeSome(list)
      try {
        const entries = await this.#entries(partition, lastChanges(taken))
        if (entries !== undefined) await this.#ports.write(partition, entries)
        if (entries !== undefined) for (const { done } of taken) done.resolve()
      } catch (error) {
        for (const { done } of taken) done.reject(error)
      }
    }
  }

  /** Undefined when the partition isn't here any more. */
  async #entries(partition: number, changes: ReadonlyMap<string, ProfileChange & { seq: number }>): Promise<OutputEntry[] | undefined> {
    const { clock } = this.#ports
    for (const giveUpAt = clock.monotonicMs() + FORGET_MS; clock.monotonicMs() < giveUpAt && !this.#isClosed; ) {
      try {
        const entries = await Promise.all([...changes.values()].map((change) => this.#entry(partition, change)))
        return entries.filter((entry) => entry !== undefined)
      } catch (error) {
        if (!(error instanceof TributaryError) || error.code === 'internal') throw error
        await sleep(clock, RETRY_MS)
      }
    }
    return undefined
  }

  async #entry(origin: number, { publicId, key, seq }: ProfileChange & { seq: number }): Promise<OutputEntry | undefined> {
    const id = publicIdText(publicId)
    if (key === undefined) return { key: id, origin, seq, value: null }
    const profile = await this.#ports.profileAt(origin, key)
    // (2): handed over, or under the id that it has got by a merge, which is a change of its own.
    if (profile?.id !== id) return undefined
    const value = this.#ports.encode(profile)
    if (value.length > VALUE_BYTES) {
      this.#ports.alarm(`profile ${id} takes ${value.length} bytes, more than a record may: its topic keeps an older state`)
      return undefined
    }
    return { key: id, origin, seq, value }
  }

  close(): void {
    this.#isClosed = true
  }
}

function takeSome(list: Waiting[]): Waiting[] {
  let count = 0
  let blocks = 0
  for (const { changes } of list) {
    if (blocks > 0 && count + changes.length > PROFILES_AT_ONCE) break
    count += changes.length
    blocks++
  }
  return list.splice(0, blocks)
}

/** (1): by public id, in the order of the last changes. */
function lastChanges(taken: readonly Waiting[]): Map<string, ProfileChange & { seq: number }> {
  const last = new Map<string, ProfileChange & { seq: number }>()
  for (const { changes, firstSeq } of taken) {
    for (const [i, change] of changes.entries()) {
      last.delete(change.publicId)
      last.set(change.publicId, { ...change, seq: firstSeq + i })
    }
  }
  return last
}
