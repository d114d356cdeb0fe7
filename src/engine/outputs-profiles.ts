// The topic of profiles: the state of each, under its public id, as of some commit at or after the last one that changed it. Owns what
// waits to be looked up; changes come as keys (outbox.ts), and what is written is the state that the engine shows by then.
//
// 1. Of one partition changes are taken in order, many at once: of a profile that has changed again meanwhile the newest state is written,
//    under the seq of its last change.
// 2. A change is told by the partition that the root was in; once the root isn't there any more it is passed over, as whoever has the
//    root tells it. A hand-over leaves after this topic has all earlier changes (relay.ts 2): so states of a profile lie in their order.
// 3. While a partition doesn't answer (it opens, has moved, or is slow), its changes wait, however long, and those behind them too: a later
//    one that is told says that all before it are, to the outbox and to consumers. Where it has moved, its outbox is read again elsewhere.
// 4. Nothing is said from memory: a state whose look-up, which asks the owner, was begun longer than `freshMs` ago isn't written, and after
//    a write in doubt the same changes are looked up again, under the same seqs. So whoever was overtaken finds that out, and says nothing.
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
  /** So long after a look-up was begun its states may be written (4). */
  readonly freshMs: number
  /**
   * Resolves when the entries are there for good; they keep their order. After `untilMs` of the monotonic clock they are not sent any more.
   * Rejects with append_in_doubt where it is in doubt whether all are there.
   */
  write(entries: readonly OutputEntry[], untilMs: number): Promise<void>
  /** A write was in doubt; its states are looked up again. */
  troubled(error: Error): void
  /** Something that a person must look at. */
  alarm(message: string): void
}

/** Looked up at once. */
const PROFILES_AT_ONCE = 500
const RETRY_MS = 100
const LONGEST_RETRY_MS = 1000
/** A state that takes more can't be a record. */
const VALUE_BYTES = 1_000_000

interface Waiting {
  readonly changes: readonly ProfileChange[]
  readonly firstSeq: number
  readonly done: PromiseWithResolvers<void>
}

/** A change, under the seq that its state is written with. */
type Numbered = ProfileChange & { readonly seq: number }

interface LookedUp {
  readonly entries: readonly OutputEntry[]
  readonly untilMs: number
}

export class ProfilesTopic {
  readonly #ports: ProfilesTopicPorts
  readonly #waiting = new Map<number, Waiting[]>()
  readonly #running = new Set<number>()
  #isClosed = false

  constructor(ports: ProfilesTopicPorts) {
    this.#ports = ports
  }

  /** Resolves when the states are there; not while the partition is elsewhere (3). */
  take(partition: number, payload: Buffer): Promise<void> {
    const { firstSeq, entries } = decodeBlock(payload)
    const waiting = { firstSeq, changes: readProfileChanges(entries), done: Promise.withResolvers<void>() }
    const list = this.#waiting.get(partition) ?? []
    this.#waiting.set(partition, list)
    list.push(waiting)
    if (!this.#running.has(partition)) {
      this.#running.add(partition)
      void this.#run(partition, list)
    }
    return waiting.done.promise
  }

  async #run(partition: number, list: Waiting[]): Promise<void> {
    while (list.length > 0 && !this.#isClosed) {
      const taken = takeSome(list)
      try {
        await this.#tell(partition, lastChanges(taken))
        for (const { done } of taken) done.resolve()
      } catch (error) {
        for (const { done } of taken) done.reject(error)
      }
    }
    this.#running.delete(partition)
  }

  /** Looks up and writes until all is there (4). */
  async #tell(partition: number, changes: readonly Numbered[]): Promise<void> {
    const { clock } = this.#ports
    let atOnce = changes.length
    for (let told = 0; told < changes.length; ) {
      const some = changes.slice(told, told + atOnce)
      const found = await this.#lookUp(partition, some)
      if (clock.monotonicMs() < found.untilMs) {
        if (await this.#isWritten(found)) told += some.length
        else await sleep(clock, RETRY_MS)
      } else {
        // Stopped meanwhile, or too slow for so many.
        atOnce = Math.ceil(some.length / 2)
      }
    }
  }

  /** False where that is in doubt. */
  async #isWritten({ entries, untilMs }: LookedUp): Promise<boolean> {
    try {
      this.#mustBeOpen()
      await this.#ports.write(entries, untilMs)
      this.#mustBeOpen()
      return true
    } catch (error) {
      // What fails because of the closing has failed for no other reason.
      this.#mustBeOpen()
      if (!(error instanceof TributaryError) || error.code !== 'append_in_doubt') throw error
      this.#ports.troubled(error)
      return false
    }
  }

  /** What is not confirmed when the outputs close stays so: it is said again after the next start. */
  #mustBeOpen(): void {
    if (this.#isClosed) throw new TributaryError('shutting_down', 'the outputs are closed')
  }

  /** Waits for the partition (3). */
  async #lookUp(partition: number, changes: readonly Numbered[]): Promise<LookedUp> {
    const { clock, freshMs } = this.#ports
    const first = changes.find(({ key }) => key !== undefined)
    for (let retryMs = RETRY_MS; ; retryMs = Math.min(2 * retryMs, LONGEST_RETRY_MS)) {
      this.#mustBeOpen()
      const untilMs = clock.monotonicMs() + freshMs
      try {
        // While it doesn't answer, one question at a time is enough.
        if (retryMs > RETRY_MS && first) await this.#entry(partition, first)
        const entries = await Promise.all(changes.map((change) => this.#entry(partition, change)))
        return { entries: entries.filter((entry) => entry !== undefined), untilMs }
      } catch (error) {
        if (!(error instanceof TributaryError) || error.code === 'internal') throw error
        await sleep(clock, retryMs)
      }
    }
  }

  async #entry(origin: number, { publicId, key, seq }: Numbered): Promise<OutputEntry | undefined> {
    const id = publicIdText(publicId)
    // Whose id is gone never comes back: that stays true, whoever says it.
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
function lastChanges(taken: readonly Waiting[]): Numbered[] {
  const last = new Map<string, Numbered>()
  for (const { changes, firstSeq } of taken) {
    for (const [i, change] of changes.entries()) {
      last.delete(change.publicId)
      last.set(change.publicId, { ...change, seq: firstSeq + i })
    }
  }
  return [...last.values()]
}
