// The oracle's side of the tape: the naive SegmentOracle of every profile is led through what counted, and says what must have come out.
// Shares no code with src/engine, identity and operators beyond the spelling of public ids.
import { must } from '../../src/core/assert.ts'
import { type EventRecord, messageOf } from '../../src/core/event.ts'
import type { ProfileKey } from '../../src/core/identifier.ts'
import type { DefinitionChange } from '../../src/engine/definitions.ts'
import { mintPublicId, publicIdText } from '../../src/engine/public-id.ts'
import type { Where } from '../../src/operators/definition.ts'
import { type ExpectedTransition, type OracleEvent, SegmentOracle } from '../oracle/segments.ts'
import type { Op } from './tape.ts'

export interface Foretold extends ExpectedTransition {
  /** Public id, as text. */
  readonly profile: string
}

export interface ReplayedMerge {
  readonly survivor: string
  readonly absorbed: string
  readonly messageId: string
}

/** One profile, as the oracle has it. */
export interface Replayed {
  readonly key: ProfileKey
  oracle: SegmentOracle
  /** Binary; empty while unborn. */
  publicId: string
  version: number
  /** It was handed over. */
  hasLeft: boolean
}

const hasFounded = (op: Op): boolean => op.kind === 'born'

export class Replay {
  readonly transitions: Foretold[] = []
  readonly merges: ReplayedMerge[] = []
  /** What is at odds with itself on the tape. */
  readonly oddities: string[] = []
  readonly #changes: readonly DefinitionChange[]
  readonly #profiles = new Map<ProfileKey, Replayed>()

  constructor(history: ReadonlyMap<ProfileKey, readonly Op[]>, changes: readonly DefinitionChange[]) {
    this.#changes = changes
    // Forwards descend: a profile is through before a smaller one takes it in.
    const keys = [...history.keys()].sort().reverse()
    for (const key of keys) for (const op of history.get(key) ?? []) this.#do(op)
  }

  /** Time goes on for everybody who is left. */
  advance(now: number): void {
    for (const profile of this.living) this.#tell(profile.publicId, profile.oracle.advance(Math.max(now, profile.oracle.now)))
  }

  get living(): Replayed[] {
    return [...this.#profiles.values()].filter((profile) => profile.publicId !== '' && !profile.hasLeft)
  }

  #of(key: ProfileKey): Replayed {
    const known = this.#profiles.get(key)
    if (known) return known
    const fresh = { key, oracle: new SegmentOracle(), publicId: '', version: 0, hasLeft: false }
    this.#profiles.set(key, fresh)
    return fresh
  }

  #do(op: Op): void {
    const profile = this.#of(op.key)
    if (profile.hasLeft) this.oddities.push(`${op.kind} of a profile that has left`)
    if (hasFounded(op)) return this.#born(profile, op as Op & { kind: 'born' })
    switch (op.kind) {
      case 'event':
        this.#fill(profile, must(op.version, 'events count in born profiles'), op.now)
        return this.#tell(profile.publicId, profile.oracle.apply(oracleEventOf(op.record), op.now))
      case 'touch':
        return this.#fill(profile, op.version ?? 0, op.now)
      case 'leave':
        if (op.version !== undefined) this.#fill(profile, op.version, op.now)
        profile.hasLeft = true
        return
      case 'absorb':
        return this.#absorb(profile, op)
      default:
    }
  }

  #born(profile: Replayed, { key, first }: Op & { kind: 'born' }): void {
    profile.publicId = mintPublicId(key, first.acceptedAt)
  }

  #absorb(into: Replayed, op: Op & { kind: 'absorb' }): void {
    const from = this.#of(op.from)
    if (!from.hasLeft) this.oddities.push('a profile was taken in that has not left')
    if (op.isBorn.from !== (from.publicId !== '') || op.isBorn.into !== (into.publicId !== ''))
      this.oddities.push('who is born is not clear')
    if (!op.isBorn.from || op.version === undefined) return
    if (!op.isBorn.into) {
      into.oracle = from.oracle
      into.publicId = from.publicId
      into.version = from.version
      return this.#fill(into, op.version, op.now)
    }
    this.#fill(into, op.version, op.now)
    this.#fill(from, op.version, op.now)
    const keep = into.publicId <= from.publicId ? 'mine' : 'theirs'
    const [survivor, absorbed] = keep === 'mine' ? [into.publicId, from.publicId] : [from.publicId, into.publicId]
    const seen = into.oracle.merge(from.oracle, op.now, keep, op.causeId)
    // What was due to them by then is told by `fill`, under their own ids.
    this.#tell(absorbed, seen.absorbed)
    this.#tell(survivor, seen.survivor)
    into.publicId = survivor
    this.merges.push({ survivor: publicIdText(survivor), absorbed: publicIdText(absorbed), messageId: op.causeId })
    if (into.oracle.all.length !== op.timelineCount)
      this.oddities.push(`a merge of ${into.oracle.all.length} messages left ${op.timelineCount} in the timeline`)
  }

  /** Brings a profile to a version of the definitions; what time owes it by then comes first. */
  #fill(profile: Replayed, version: number, now: number): void {
    const ids = new Set(this.#changes.slice(profile.version, version).map((change) => ('put' in change ? change.put.id : change.delete)))
    profile.version = Math.max(profile.version, version)
    if (profile.oracle.founded) this.#tell(profile.publicId, profile.oracle.advance(Math.max(now, profile.oracle.now)))
    const definitions = this.definitionsAt(profile.version)
    for (const id of ids)
      this.#tell(profile.publicId, profile.oracle.define(id, definitions.get(id), profile.oracle.founded ? now : Number.NEGATIVE_INFINITY))
  }

  definitionsAt(version: number): Map<string, Where> {
    const definitions = new Map<string, Where>()
    for (const change of this.#changes.slice(0, version)) {
      if ('put' in change) definitions.set(change.put.id, change.put.where)
      else definitions.delete(change.delete)
    }
    return definitions
  }

  #tell(publicId: string, transitions: readonly ExpectedTransition[]): void {
    for (const t of transitions) this.transitions.push({ ...t, profile: publicIdText(publicId) })
  }
}

export function oracleEventOf(record: EventRecord): OracleEvent {
  const { name, at, messageId, messageHash, sourcePriority } = record
  return { name, at, messageId, messageHash, sourcePriority, message: messageOf(record) }
}
