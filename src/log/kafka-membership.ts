// Which partitions this process should own, by a consumer group that is used for nothing else. Owns the membership: joining, heartbeats,
// and what it means when they fail. The group says who *should* own a partition; who does, the journal decides (claimed.ts).
//
//   outside ──joined──▶ member ──evicted, silent for a session, connection lost──▶ outside
//                         └──joined again: what is no longer assigned is revoked, what is new is assigned; the rest goes on
//
// 1. No record ever comes through the group: every topic is paused before each join, and nothing is committed.
// 2. `assigned`, `revoked` and `lost` are told in the turn in which they are known, and each partition is told `assigned` once before it
//    is told `revoked` or `lost` once.
// 3. `lost` says that somebody else may own the partition already; `revoked` that somebody else will from now on.
// 4. `heardMs` is when the last heartbeat that was answered was sent, so it is never too young.
import kafkajs, { type Consumer, type PartitionAssigner } from 'kafkajs'
import { invariant } from '../core/assert.ts'
import type { Clock } from '../core/clock.ts'
import type { TributaryError } from '../core/errors.ts'
import { assignSticky, decodeAddress, decodeClaims, encodeClaims } from './kafka-assigner.ts'
import { kafkaClient } from './kafka-client.ts'
import { kafkaError, mayPass } from './kafka-errors.ts'
import type { KafkaSettings } from './kafka-settings.ts'
import { type TopicKind, topicName } from './kafka-topics.ts'

export interface MembershipListener {
  assigned(partitions: readonly number[]): void
  revoked(partitions: readonly number[]): void
  lost(partitions: readonly number[]): void
  /** Trying again can't help: a right or a login is missing. */
  failed(error: TributaryError): void
  /** It does not become a member, and goes on trying. */
  troubled?(error: Error): void
}

export interface MembershipOptions {
  readonly settings: KafkaSettings
  readonly clock: Clock
  readonly partitions: number
  readonly listener: MembershipListener
  /** A member that is silent for so long is taken for dead: what it owned goes to others. */
  readonly sessionMs?: number
  readonly heartbeatMs?: number
  /** Where this process answers the others. */
  readonly address?: string
}

/** As the group's coordinator shows one. */
export interface GroupMember {
  readonly id: string
  readonly address: string
  readonly partitions: readonly number[]
}

const SESSION_MS = 6000
const HEARTBEAT_MS = 500
/** The client's loop turns over at least so often, and notices then that the group changes. */
const TURN_MS = 250
const RETRY_MS = 500
/** Tries in a row that are nothing to speak of: a cluster that starts has no coordinator yet. */
const QUIET_TRIES = 2
/** Partition p of all of them moves as one; their numbers of partitions were checked at start. */
const TOPICS: readonly TopicKind[] = ['events', 'exchange', 'journal']
const ASSIGNER = 'tributary-sticky'
// The package is CommonJS: Node.js finds these behind its default export only.
const { MemberMetadata, MemberAssignment } = kafkajs.AssignerProtocol

export class KafkaMembership {
  readonly #options: MembershipOptions
  readonly #topics: string[]
  readonly #sessionMs: number
  readonly #heartbeatMs: number
  #consumer: Consumer | undefined
  #memberId = ''
  /** What the group last gave to `#memberId`. */
  #assignment: readonly number[] = []
  /** What the listener was told it has. */
  #owned: readonly number[] = []
  #heardMs = Number.NEGATIVE_INFINITY
  #isClosed = false
  /** Tries in a row that failed. */
  #tries = 0
  #cancel: () => void = () => {}

  constructor(options: MembershipOptions) {
    this.#options = options
    this.#topics = TOPICS.map((kind) => topicName(options.settings, kind))
    this.#sessionMs = options.sessionMs ?? SESSION_MS
    this.#heartbeatMs = options.heartbeatMs ?? HEARTBEAT_MS
    invariant(this.#heartbeatMs * 3 <= this.#sessionMs, 'three heartbeats fit into a session')
  }

  get owned(): readonly number[] {
    return this.#owned
  }

  /** The name that the group knows this process by; an empty text while it is no member. */
  get memberId(): string {
    return this.#memberId
  }

  /** All members as the group last settled; undefined while it is settling. */
  async members(): Promise<readonly GroupMember[] | undefined> {
    const consumer = this.#consumer
    if (!consumer) return undefined
    const { state, members } = await consumer.describeGroup()
    if (state !== 'Stable') return undefined
    return members.map(({ memberId, memberMetadata, memberAssignment }) => {
      const userData = MemberMetadata.decode(memberMetadata)?.userData ?? Buffer.alloc(0)
      const assignment = MemberAssignment.decode(memberAssignment)?.assignment ?? {}
      const partitions = (assignment[this.#topics[0] ?? ''] ?? []).toSorted((a, b) => a - b)
      return { id: memberId, address: decodeAddress(userData), partitions }
    })
  }

  /** When this process was last known to be a member (4), on the monotonic clock. */
  get heardMs(): number {
    return this.#heardMs
  }

  /** Joins, and stays until `close`. Resolves before anything is assigned. */
  async open(): Promise<void> {
    await this.#begin()
    this.#watch()
  }

  /** Leaves the group, so that others need not wait for the session to end. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#cancel()
    const owned = this.#owned
    this.#owned = []
    if (owned.length > 0) this.#options.listener.revoked(owned)
    await this.#consumer?.disconnect().catch(() => undefined)
  }

  async #begin(): Promise<void> {
    const { settings, clock } = this.#options
    const kafka = kafkaClient(settings, { name: 'members', clock })
    const consumer = kafka.consumer({
      groupId: `${settings.prefix}.members`,
      sessionTimeout: this.#sessionMs,
      rebalanceTimeout: this.#sessionMs,
      heartbeatInterval: this.#heartbeatMs,
      maxWaitTimeInMs: TURN_MS,
      allowAutoTopicCreation: false,
      partitionAssigners: [this.#assigner],
      retry: { initialRetryTime: 100, maxRetryTime: RETRY_MS, retries: 5, restartOnFailure: async () => !this.#isClosed },
    })
    this.#consumer = consumer
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => this.#joined(consumer, payload))
    // The client tells of a heartbeat's success without its instant; the request before has it (4).
    let sentMs = this.#heardMs
    consumer.on(consumer.events.REQUEST, ({ payload }) => {
      if (payload.apiName === 'Heartbeat') sentMs = clock.monotonicMs() - payload.duration
    })
    consumer.on(consumer.events.HEARTBEAT, () => this.#heard(consumer, sentMs))
    consumer.on(consumer.events.CRASH, ({ payload }) => this.#crashed(consumer, payload))
    try {
      await consumer.connect()
      await consumer.subscribe({ topics: this.#topics, fromBeginning: false })
      // Nothing comes (1): a batch here would be a pause that didn't hold.
      await consumer.run({ autoCommit: false, eachBatch: async () => invariant(false, 'no record comes through the group (1)') })
    } catch (error) {
      await consumer.disconnect().catch(() => undefined)
      throw kafkaError(error, `joining ${settings.prefix}.members`)
    }
  }

  /** The factory that the client wants. What it makes is asked to speak for this member before each join. */
  readonly #assigner: PartitionAssigner = () => ({
    name: ASSIGNER,
    version: 1,
    protocol: ({ topics }) => {
      // Whatever the client forgot since the last time, a record must not come (1).
      this.#consumer?.pause(this.#topics.map((topic) => ({ topic })))
      const userData = encodeClaims(this.#memberId, this.#owned, this.#options.address)
      return { name: ASSIGNER, metadata: MemberMetadata.encode({ version: 1, topics, userData }) }
    },
    assign: async ({ members, topics }) => {
      const told = members.map(({ memberId, memberMetadata }) => {
        const metadata = MemberMetadata.decode(memberMetadata)
        return { id: memberId, ...decodeClaims(metadata?.userData ?? Buffer.alloc(0)) }
      })
      return [...assignSticky(told, this.#options.partitions)].map(([memberId, partitions]) => {
        const assignment = Object.fromEntries(topics.map((topic) => [topic, partitions]))
        const memberAssignment = MemberAssignment.encode({ version: 1, assignment, userData: Buffer.alloc(0) })
        return { memberId, memberAssignment }
      })
    },
  })

  #joined(consumer: Consumer, joined: { memberId: string; memberAssignment: Record<string, number[]>; duration: number }): void {
    if (consumer !== this.#consumer || this.#isClosed) return
    const lists = this.#topics.map((topic) => (joined.memberAssignment[topic] ?? []).toSorted((a, b) => a - b))
    const [assignment = []] = lists
    invariant(
      lists.every((list) => String(list) === String(assignment)),
      'partition p of all topics moves as one',
    )
    // Another name: this member was evicted in between, and others may have owned what it had (3).
    if (joined.memberId !== this.#memberId) this.#lose()
    this.#memberId = joined.memberId
    this.#tries = 0
    this.#assignment = assignment
    this.#heardMs = Math.max(this.#heardMs, this.#options.clock.monotonicMs() - joined.duration)
    this.#own(assignment)
  }

  /** Tells the listener what changes (2). */
  #own(partitions: readonly number[]): void {
    const before = this.#owned
    const revoked = before.filter((p) => !partitions.includes(p))
    const assigned = partitions.filter((p) => !before.includes(p))
    this.#owned = partitions
    if (revoked.length > 0) this.#options.listener.revoked(revoked)
    if (assigned.length > 0) this.#options.listener.assigned(assigned)
  }

  #lose(): void {
    const lost = this.#owned
    this.#owned = []
    if (lost.length > 0) this.#options.listener.lost(lost)
  }

  #heard(consumer: Consumer, sentMs: number): void {
    if (consumer !== this.#consumer || this.#isClosed) return
    this.#heardMs = Math.max(this.#heardMs, sentMs)
    // It was silent long enough to be given up here, but the brokers had not done so.
    if (this.#owned.length < this.#assignment.length) this.#own(this.#assignment)
  }

  #crashed(consumer: Consumer, crash: { error: Error; restart: boolean }): void {
    if (consumer !== this.#consumer || this.#isClosed) return
    // The client joins anew, under another name, if it does.
    this.#memberId = ''
    this.#assignment = []
    this.#lose()
    if (!crash.restart) this.#again(crash.error)
  }

  /** The client has given up: begins anew with another one, unless that is of no use. */
  #again(error: unknown): void {
    if (this.#isClosed) return
    if (!mayPass(error) && !mayPass((error as { cause?: unknown }).cause)) {
      this.#options.listener.failed(kafkaError(error, 'membership'))
      return
    }
    if (++this.#tries > QUIET_TRIES) this.#options.listener.troubled?.(this.#trouble(error))
    this.#options.clock.after(RETRY_MS, () => {
      if (!this.#isClosed) this.#begin().catch((failure: TributaryError) => this.#again(failure))
    })
  }

  /** The client says that it finds no coordinator where the brokers say that the account may not use the group. */
  #trouble(error: unknown): Error {
    const { prefix } = this.#options.settings
    const { message } = kafkaError(error, `joining ${prefix}.members`)
    return new Error(`${message}; is there a coordinator, and may the account read the group?`, { cause: error })
  }

  /** A session without a heartbeat: the brokers give this member up about now. */
  #watch(): void {
    this.#cancel = this.#options.clock.after(this.#heartbeatMs, () => {
      if (this.#options.clock.monotonicMs() - this.#heardMs > this.#sessionMs) this.#lose()
      if (!this.#isClosed) this.#watch()
    })
  }
}
