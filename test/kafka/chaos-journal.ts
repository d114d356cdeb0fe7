// What the journals of a deployment say, by a reader of its own: which records count (test/sim/owners/judge.ts), what the commits that
// count have in their outboxes, and what they have done to profiles. Owns these books; judges nothing but the journals themselves.
import { createHash } from 'node:crypto'
import { must } from '../../src/core/assert.ts'
import type { ProfileKey } from '../../src/core/identifier.ts'
import { decodeOutboxRow } from '../../src/engine/commit.ts'
import { exchangePlaceOf, outboxSeqOf } from '../../src/engine/dead-rows.ts'
import { decodeCommit } from '../../src/engine/journal.ts'
import { META_KEY, profileKeyOf } from '../../src/engine/keys.ts'
import { type OutboxStream, readJsonEntries, readProfileChanges, readTransitions, STREAM_LETTER } from '../../src/engine/outbox.ts'
import { decodeHandedOver, decodeProfileRow, decodeTimelineRow, forwardIn, Profile } from '../../src/engine/profile.ts'
import { publicIdText } from '../../src/engine/public-id.ts'
import { decodeTaskState } from '../../src/engine/task-state.ts'
import { decodeMessage } from '../../src/identity/codec.ts'
import { unpackValue } from '../../src/log/kafka-pack.ts'
import { headOf, Judge } from '../sim/owners/judge.ts'
import type { SeenRecord } from './chaos-topics.ts'

/** An event in a timeline. */
export interface TimelineItem {
  readonly hash: string
  readonly appliedAt: number
  readonly appliedSeq: number
  /** The event's record. */
  readonly bytes: Buffer
}

/** What one commit did, in its order. */
export type Item =
  | { readonly t: 'timeline'; readonly key: ProfileKey; readonly item: TimelineItem }
  | {
      readonly t: 'audit'
      readonly key: ProfileKey
      readonly row: string
      readonly action: string
      readonly identifier: string | undefined
    }
  | { readonly t: 'born'; readonly key: ProfileKey; readonly publicId: string }

export interface MergeLine {
  readonly survivor: string
  readonly absorbed: string
  readonly at: number
  readonly messageId: string
}

export interface CommitFacts {
  readonly partition: number
  /** The partition's time before and after. */
  readonly before: number
  readonly after: number
  /** The version of the definitions that was active in the partition before and after. */
  readonly versions: { readonly before: number; readonly after: number }
  /** Up to which version profiles are filled whose rows it has. */
  readonly filled: ReadonlyMap<ProfileKey, number>
  /** When definitions made a profile enter or exit, by public id. */
  readonly defined: ReadonlyMap<string, number>
  readonly items: readonly Item[]
  readonly forwards: ReadonlyMap<ProfileKey, ProfileKey>
  /** What profiles that left had in their timelines, where that went to another partition or took the way there. */
  readonly handed: ReadonlyMap<ProfileKey, readonly TimelineItem[]>
  readonly merges: readonly MergeLine[]
}

/** An output as the outbox of a commit has it. */
export interface Told {
  /** What the record must say; of profiles the public id alone. */
  readonly value: string
  readonly key: string | undefined
}

const HASH_CHARACTERS = 16
export const messageName = (origin: number, target: number, seq: number): string => `${origin}>${target}:${seq}`
export const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('base64').slice(0, 16)
const iso = (ms: number): string => new Date(ms).toISOString()

interface Partition {
  readonly judge: Judge
  /** Those that count, in order: who, and where. */
  readonly claims: { readonly owner: string; readonly offset: number }[]
  now: number
  version: number
  n: number
}

/** Of a commit, what its rows say one after the other. */
interface Rows {
  readonly handed: Map<ProfileKey, readonly TimelineItem[]>
  readonly merges: MergeLine[]
  readonly defined: Map<string, number>
}

export class JournalBook {
  readonly partitions: readonly Partition[]
  readonly commits: CommitFacts[] = []
  /** By stream, then `<origin>-<seq>`. */
  readonly outbox: Readonly<Record<OutboxStream, Map<string, Told>>> = {
    transitions: new Map(),
    merges: new Map(),
    deadLetters: new Map(),
    profiles: new Map(),
  }
  /** Digests of messages to other partitions, by `<origin>><target>:<seq>`. */
  readonly sent = new Map<string, string>()
  readonly faults: string[] = []
  readonly #segments: readonly string[]

  /** `segments`: their ids in the order in which they were saved first; each is there before the commits that tell of it. */
  constructor(partitions: number, segments: readonly string[]) {
    this.partitions = Array.from({ length: partitions }, () => ({ judge: new Judge(), claims: [], now: 0, version: 0, n: 0 }))
    this.#segments = segments
  }

  take({ topic, partition, offset, value }: SeenRecord): void {
    const p = must(this.partitions[partition], 'the journal has as many partitions as the engine')
    const record = { position: offset, payload: unpackValue(value, `${topic}/${partition}/${offset}`) }
    const before = p.judge.claims
    const payload = p.judge.take(record, 0)
    if (p.judge.claims > before) p.claims.push({ owner: headOf(record).owner, offset })
    if (payload) this.#commit(p, partition, payload)
  }

  #commit(p: Partition, partition: number, payload: Buffer): void {
    const { n, rows } = decodeCommit(payload)
    if (n !== p.n + 1) this.faults.push(`commit ${n} of partition ${partition} follows ${p.n}`)
    p.n = n
    const before = { now: p.now, version: p.version }
    const items: Item[] = []
    const forwards = new Map<ProfileKey, ProfileKey>()
    const filled = new Map<ProfileKey, number>()
    const told: Rows = { handed: new Map(), merges: [], defined: new Map() }
    for (const [key, value] of rows) {
      if (value === undefined) continue
      const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
      if (key === META_KEY) this.#moved(p, partition, bytes)
      else if (key.startsWith('o')) this.#told(partition, [key, bytes], told)
      else if (key.startsWith('x')) this.#sent(partition, [key, bytes], told.handed)
      else if (key.startsWith('p')) {
        const to = forwardIn(bytes, 0)
        if (to !== undefined) forwards.set(profileKeyOf(key), to)
        else filled.set(profileKeyOf(key), versionOf(profileKeyOf(key), bytes))
      } else items.push(...itemsOf(key, bytes))
    }
    const versions = { before: before.version, after: p.version }
    this.commits.push({ partition, before: before.now, after: p.now, versions, filled, items, forwards, ...told })
  }

  #moved(p: Partition, partition: number, bytes: Buffer): void {
    const state = decodeTaskState(bytes, this.partitions.length)
    if (state.now < p.now) this.faults.push(`the time of partition ${partition} goes from ${p.now} back to ${state.now}`)
    p.now = state.now
    p.version = state.activeVersion
  }

  #told(partition: number, [rowKey, bytes]: readonly [string, Buffer], { merges, defined }: Rows): void {
    const block = decodeOutboxRow(outboxSeqOf(rowKey), bytes)
    const at = (place: number): string => `${partition}-${block.firstSeq + place}`
    const letter = rowKey.charAt(1)
    if (letter === STREAM_LETTER.transitions) {
      readTransitions(block.entries, ({ publicId, segment, version, userId, entered, cause, causeId, ...t }, place) => {
        const profile = publicIdText(publicId)
        if (cause === 'definition') defined.set(publicId, t.at)
        const transition = entered ? 'entered' : 'exited'
        const who = { id: at(place), segment: this.#segments[segment], version, profile, ...(userId === '' ? {} : { userId }) }
        const why = { transition, cause, ...(causeId === '' ? {} : { causeId }) }
        const when = { seq: t.seq, at: iso(t.at), decidedAt: iso(t.decidedAt) }
        this.#note('transitions', at(place), { key: profile, value: JSON.stringify({ ...who, ...why, ...when }) })
      })
    } else if (letter === STREAM_LETTER.profiles) {
      for (const [place, { publicId }] of readProfileChanges(block.entries).entries())
        this.#note('profiles', at(place), { key: publicIdText(publicId), value: '' })
    } else {
      const stream = letter === STREAM_LETTER.merges ? 'merges' : 'deadLetters'
      for (const [place, entry] of readJsonEntries(block.entries).entries()) {
        const line = entry as MergeLine
        if (stream === 'merges') merges.push(line)
        const value = JSON.stringify({ id: at(place), ...line, at: iso(line.at) })
        this.#note(stream, at(place), { key: stream === 'merges' ? line.survivor : undefined, value })
      }
    }
  }

  #note(stream: OutboxStream, id: string, told: Told): void {
    const known = this.outbox[stream].get(id)
    if (known && known.value !== told.value)
      this.faults.push(`two commits that count have ${id} of ${stream}: ${known.value}, ${told.value}`)
    this.outbox[stream].set(id, told)
  }

  #sent(origin: number, [rowKey, bytes]: readonly [string, Buffer], handed: Map<ProfileKey, readonly TimelineItem[]>): void {
    const { target, seq } = exchangePlaceOf(rowKey)
    const name = messageName(origin, target, seq)
    const own = digestOf(bytes)
    const known = this.sent.get(name)
    if (known !== undefined && known !== own) this.faults.push(`two commits that count have the message ${name}`)
    this.sent.set(name, own)
    // A row that was written again, so that what lies before may be deleted.
    if (known !== undefined) return
    const message = decodeMessage(bytes)
    if (message.kind !== 'handover') return
    const { timeline } = decodeHandedOver(message.state, message.from)
    handed.set(
      message.from,
      timeline.map(([suffix, value]) => itemOf(suffix.slice(-HASH_CHARACTERS), value)),
    )
  }
}

/** 0 where nothing was counted in it yet. */
function versionOf(key: ProfileKey, bytes: Buffer): number {
  const row = decodeProfileRow(key, bytes)
  return row instanceof Profile ? (row.segments?.version ?? 0) : 0
}

/** A copy: the commit's other bytes are let go. */
function itemOf(hash: string, value: Buffer): TimelineItem {
  const { appliedAt, appliedSeq, bytes } = decodeTimelineRow(value)
  return { hash, appliedAt, appliedSeq, bytes: Buffer.from(bytes) }
}

function itemsOf(rowKey: string, value: Buffer): Item[] {
  const key = profileKeyOf(rowKey)
  switch (rowKey.charAt(0)) {
    case 't':
      return [{ t: 'timeline', key, item: itemOf(rowKey.slice(-HASH_CHARACTERS), value) }]
    case 'u': {
      const { action, identifier } = JSON.parse(value.toString('utf8')) as Audit
      return [{ t: 'audit', key, row: rowKey, action, identifier: identifier && `${identifier.namespace}:${identifier.value}` }]
    }
    case 'b':
      return [{ t: 'born', key: value.toString('latin1'), publicId: rowKey.slice(1) }]
    default:
      return []
  }
}

interface Audit {
  readonly action: string
  readonly identifier?: { readonly namespace: string; readonly value: string }
}
