// What is durable on the simulated disks, read by an independent reader, and the invariants that can be held against it at every step.
// Owns the numbers of the invariants (README.md explains them); `broken` is the first that was seen broken.
import { must } from '../../src/core/assert.ts'
import { decodeEvent, type EventRecord } from '../../src/core/event.ts'
import type { ProfileKey } from '../../src/core/identifier.ts'
import type { ProfileView } from '../../src/engine/engine.ts'
import type { FromHost } from '../../src/engine/host.ts'
import { decodeInput, positionOf } from '../../src/engine/inputs.ts'
import { decodeCommit } from '../../src/engine/journal.ts'
import { META_KEY, profileKeyOf } from '../../src/engine/keys.ts'
import { decodeBlock, readJsonEntries, readTransitions, STREAMS, type Stream, type TransitionEntry } from '../../src/engine/outbox.ts'
import { decodeProfileRow, Forward, type Profile } from '../../src/engine/profile.ts'
import { publicIdText } from '../../src/engine/public-id.ts'
import { decodeTaskState, emptyTaskState, type TaskState } from '../../src/engine/task-state.ts'
import type { Appended, Watch } from './disk.ts'
import type { Op, Tape } from './tape.ts'

/** The invariants, by number. */
export const INVARIANTS = {
  1: 'an acknowledged event is durable, and counted once',
  2: 'transitions are gap-free and alternate, per profile and segment',
  3: 'forwards strictly descend',
  4: 'at rest an identifier resolves to one root, exactly as the accepted links connect it',
  5: 'guards are never exceeded',
  6: 'one writer counts per partition, and its commits have no gaps',
  7: 'nothing is visible before its commit is durable',
  8: 'merges conserve counted messages',
  9: 'every transition is the one that the oracle foretells, those that are due by time included',
  10: 'exchange and outputs drain, and everything comes to rest',
  11: 'behind a finished position nothing is unapplied',
  12: "no profile's time runs backwards",
  13: 'time does not overtake an accepted event',
  14: 'no partition stops and nothing fails without a fault that explains it',
  15: 'output logs get every block once, in order',
  16: 'at rest profiles, memberships, sizes, timelines and traits are those of the oracle',
  17: 'bad input is set aside once, and says so',
} as const

export type InvariantNumber = keyof typeof INVARIANTS

export interface Broken {
  readonly invariant: InvariantNumber
  readonly what: string
}

interface PartitionModel {
  claim: number
  n: number
  durable: TaskState
  /** The newest stamp among the events that durable commits have read. */
  stamp: number
  readonly events: { readonly position: number; readonly record: EventRecord }[]
  /** How many of them the durable commits have read. */
  read: number
}

const isPoison = (record: EventRecord): boolean => record.messageId.startsWith('poison')

export class Model implements Watch {
  broken: Broken | undefined
  tape: Tape | undefined
  /** Time follows a wall clock that was never set back: then (13) holds. */
  isClockSteady = true
  readonly partitions: PartitionModel[]
  /** Durable events by hash; repeats are several. */
  readonly accepted = new Map<string, EventRecord[]>()
  readonly counted = new Map<string, Op & { kind: 'event' }>()
  /** Counted operations by profile key, in order. */
  readonly history = new Map<ProfileKey, Op[]>()
  readonly #asOf = new Map<ProfileKey, number>()
  /** When a profile last changed, by public id, as far as commits are durable. */
  readonly #updated = new Map<string, number>()
  readonly #blocks: Readonly<Record<Stream, Appended[]>> = { transitions: [], merges: [], deadLetters: [] }
  #lastSeqs: Readonly<Record<Stream, Map<number, number>>> = emptySeqs()
  #memberships = new Map<string, number>()

  constructor(partitions: number) {
    this.partitions = Array.from({ length: partitions }, () => ({
      claim: 0,
      n: 0,
      durable: emptyTaskState(partitions),
      stamp: 0,
      events: [],
      read: 0,
    }))
  }

  fail(invariant: InvariantNumber, what: string): void {
    this.broken ??= { invariant, what }
  }

  // ---- what happens to logs

  appended(log: string, record: Appended): void {
    if (isStream(log)) this.#block(log, record)
  }

  durable(log: string, record: Appended): void {
    if (log === 'events') this.#accepted(record)
    else if (log.startsWith('journal')) this.#commit(record)
  }

  cut(log: string, records: number): void {
    if (!isStream(log)) return
    const blocks = this.#blocks[log].splice(0)
    this.#lastSeqs[log].clear()
    if (log === 'transitions') this.#memberships = new Map()
    for (const block of blocks.slice(0, records)) this.#block(log, block)
  }

  #accepted({ partition, position, payload }: Appended): void {
    const input = decodeInput(payload)
    if (input.kind !== 'events') return
    for (const [i, bytes] of input.events.entries()) {
      const record = decodeEvent(bytes)
      const known = this.accepted.get(record.messageHash)
      if (known) known.push(record)
      else this.accepted.set(record.messageHash, [record])
      this.#partition(partition).events.push({ position: positionOf(position, i), record })
    }
  }

  #partition(p: number): PartitionModel {
    return must(this.partitions[p], `there is a partition ${p}`)
  }

  // ---- commits

  #commit({ partition, payload }: Appended): void {
    const p = this.#partition(partition)
    const commit = decodeCommit(payload)
    const isNext = commit.n === p.n + 1 && commit.claim >= p.claim
    if (!isNext) {
      this.fail(6, `commit ${commit.n} of claim ${commit.claim} follows commit ${p.n} of claim ${p.claim} in partition ${partition}`)
      return
    }
    p.n = commit.n
    p.claim = commit.claim
    for (const [key, value] of commit.rows) {
      if (key === META_KEY && value) this.#moved(p, decodeTaskState(Buffer.from(value), this.partitions.length))
      else if (key.startsWith('p') && value) this.#changed(decodeProfileRow(profileKeyOf(key), Buffer.from(value)))
    }
    for (const op of must(this.tape, 'there is a tape').committed(partition, commit.claim, commit.n)) this.#counts(op, p)
  }

  #changed(row: Profile | Forward): void {
    if (row instanceof Forward) return
    const id = publicIdText(row.publicId)
    this.#updated.set(id, Math.max(row.updatedAt, this.#updated.get(id) ?? 0))
  }

  #moved(p: PartitionModel, state: TaskState): void {
    if (state.now < p.durable.now) this.fail(12, `the time of a partition goes from ${p.durable.now} to ${state.now}`)
    p.durable = state
    for (; p.read < p.events.length; p.read++) {
      const event = must(p.events[p.read], 'index in range')
      if (event.position >= state.input) break
      p.stamp = Math.max(p.stamp, event.record.acceptedAt)
    }
  }

  #counts(op: Op, p: PartitionModel): void {
    const ops = this.history.get(op.key)
    if (ops) ops.push(op)
    else this.history.set(op.key, [op])
    if (op.version === undefined) return
    const own = this.#asOf.get(op.key) ?? 0
    const before = op.kind === 'absorb' ? Math.max(own, this.#asOf.get(op.from) ?? 0) : own
    if (op.now < before) this.fail(12, `the time of ${shortKey(op.key)} goes from ${before} to ${op.now}`)
    this.#asOf.set(op.key, op.now)
    if (op.kind !== 'event') return
    const { messageHash, messageId, acceptedAt } = op.record
    if (this.counted.has(messageHash)) this.fail(1, `${messageId} is counted twice`)
    this.counted.set(messageHash, op)
    if (this.isClockSteady && op.now > Math.max(acceptedAt, p.stamp, before))
      this.fail(13, `${messageId}, accepted at ${acceptedAt}, is applied at ${op.now}, when no event was accepted`)
  }

  // ---- outputs

  #block(stream: Stream, record: Appended): void {
    this.#blocks[stream].push(record)
    const { partition, payload } = record
    const block = decodeBlock(payload)
    const last = this.#lastSeqs[stream].get(partition) ?? 0
    if (block.firstSeq !== last + 1)
      this.fail(15, `${stream}: a block from seq ${block.firstSeq} of partition ${partition} follows seq ${last}`)
    const end = block.firstSeq + block.count - 1
    this.#lastSeqs[stream].set(partition, end)
    const p = this.partitions[partition]
    if (p && end > p.durable.seqs[stream])
      this.fail(7, `${stream} shows seq ${end} of partition ${partition}, whose commits reach seq ${p.durable.seqs[stream]}`)
    if (stream === 'transitions') readTransitions(block.entries, (entry) => this.#transition(entry))
  }

  #transition({ publicId, segment, seq, entered, at, decidedAt }: TransitionEntry): void {
    const who = `${segment} ${publicId}`
    const next = (this.#memberships.get(who) ?? 0) + 1
    if (seq !== next || entered !== (seq % 2 === 1))
      this.fail(2, `transition ${seq} (${entered ? 'entered' : 'exited'}) where ${next} was to come, of segment ${segment}`)
    if (at > decidedAt) this.fail(2, `a transition at ${at} was decided at ${decidedAt}`)
    this.#memberships.set(who, seq)
  }

  /** All entries of a stream of JSON, by partition. */
  entries(stream: 'merges' | 'deadLetters'): unknown[] {
    return this.#blocks[stream].flatMap(({ payload }) => readJsonEntries(decodeBlock(payload).entries))
  }

  transitions(): TransitionEntry[] {
    const all: TransitionEntry[] = []
    for (const { payload } of this.#blocks.transitions) readTransitions(decodeBlock(payload).entries, (entry) => all.push(entry))
    return all
  }

  // ---- messages and answers (7, 11)

  said(message: FromHost): void {
    if (message.t === 'exchange') {
      const sent = this.#partition(message.origin).durable.sent[message.target] ?? 0
      if (message.seq > sent)
        this.fail(7, `message ${message.seq} of partition ${message.origin} to ${message.target} left, but commits reach ${sent}`)
    } else if (message.t === 'confirm') {
      const mark = this.#partition(message.target).durable.marks[message.origin] ?? 0
      if (message.seq > mark)
        this.fail(7, `partition ${message.target} confirms message ${message.seq} of ${message.origin}, but its commits reach ${mark}`)
    }
  }

  /** A reader was shown the state of a partition as of this input position. */
  shown(position: string): void {
    const [partition, input] = position.split(':').map(Number)
    const { durable } = this.#partition(partition ?? -1)
    if ((input ?? 0) > durable.input)
      this.fail(7, `an answer shows input ${input} of partition ${partition}; commits reach ${durable.input}`)
  }

  /** A reader was shown a profile. */
  shownProfile({ id, position, updatedAt }: ProfileView): void {
    this.shown(position)
    const durableAt = this.#updated.get(id) ?? 0
    if (Date.parse(updatedAt) > durableAt) this.fail(7, `an answer shows ${id} of ${updatedAt}; commits have it of ${durableAt}`)
  }

  acknowledged(records: readonly EventRecord[]): void {
    for (const { messageHash, messageId } of records)
      if (!this.accepted.has(messageHash)) this.fail(1, `${messageId} is acknowledged and not durable`)
  }

  /** Everything accepted before these positions is said to be applied. */
  finished(ends: readonly (readonly [partition: number, position: number])[]): void {
    for (const [partition, end] of ends) {
      for (const { position, record } of this.#partition(partition).events) {
        if (position < end && !isPoison(record) && !this.counted.has(record.messageHash))
          this.fail(11, `${record.messageId} at ${partition}:${position} is not applied, though everything before ${end} is said to be`)
      }
    }
  }

  /** The ends of all durable events. */
  get ends(): [number, number][] {
    return this.partitions.map(({ events }, p) => [p, (events.at(-1)?.position ?? -1) + 1])
  }
}

const isStream = (log: string): log is Stream => (STREAMS as readonly string[]).includes(log)
const emptySeqs = (): Record<Stream, Map<number, number>> => ({ transitions: new Map(), merges: new Map(), deadLetters: new Map() })
export const shortKey = (key: ProfileKey): string => Buffer.from(key, 'latin1').toString('hex').slice(0, 8)
