// All profiles together: identity and segments, event by event, as a settled feed under the manual clock must see them.
// An engine test feeds the same records in the same order, settles after each, and compares transition by transition.
import { type EventRecord, messageOf } from '../../src/core/event.ts'
import type { Where } from '../../src/operators/definition.ts'
import { type Birth, IdentityOracle, type IdentityRules, type IdentityStep, type OracleIdentifier, type Person } from './identity.ts'
import { type ExpectedTransition, type OracleEvent, SegmentOracle } from './segments.ts'

/** A transition and the public profile that it is about. */
export interface WorldTransition extends ExpectedTransition {
  readonly profile: Birth
}

export interface WorldMerge {
  readonly survivor: Birth
  readonly absorbed: Birth
  readonly messageId: string
}

/** Key order and age of public ids as the engine has them. Without limits this is the plain union policy. */
export function unionRules(priorities: readonly string[]): IdentityRules {
  const priority = (id: OracleIdentifier): number => {
    const place = priorities.indexOf(id.namespace)
    return place < 0 ? 255 : place
  }
  const keyOf = (id: OracleIdentifier): string => ('key' in id && typeof id.key === 'string' ? id.key : `${id.namespace}:${id.value}`)
  // Public ids sort by the time of founding, then by the hash of the founder.
  const ageOf = (birth: Birth): string => String(birth.at).padStart(16, '0') + keyOf(birth.founder).slice(1)
  return {
    order: (a, b) => priority(a) - priority(b) || (keyOf(a) < keyOf(b) ? -1 : keyOf(a) > keyOf(b) ? 1 : 0),
    limit: () => undefined,
    sharedDevice: () => 'first',
    isOlder: (a, b) => ageOf(a) < ageOf(b),
  }
}

export class WorldOracle {
  readonly identity: IdentityOracle
  readonly #segments = new Map<Person, SegmentOracle>()
  readonly #definitions = new Map<string, Where>()
  readonly #seen = new Set<string>()
  readonly transitions: WorldTransition[] = []
  readonly merges: WorldMerge[] = []

  constructor(rules: IdentityRules) {
    this.identity = new IdentityOracle(rules)
  }

  /** The segments and facts of a profile. */
  segmentsOf(person: Person): SegmentOracle {
    const known = this.#segments.get(person)
    if (known) return known
    const fresh = new SegmentOracle()
    for (const [id, where] of this.#definitions) fresh.define(id, where, Number.NEGATIVE_INFINITY)
    this.#segments.set(person, fresh)
    return fresh
  }

  /** Applies one record at `now`; returns the transitions that it causes, in order. Repeats count once. */
  accept(record: EventRecord, now: number): WorldTransition[] {
    if (this.#seen.has(record.messageHash)) return []
    this.#seen.add(record.messageHash)
    const event: OracleEvent = {
      name: record.name,
      at: record.at,
      message: messageOf(record),
      messageId: record.messageId,
      messageHash: record.messageHash,
      sourcePriority: record.sourcePriority,
    }
    const steps = this.identity.take({ messageId: record.messageId, identifiers: record.identifiers, at: record.acceptedAt })
    return steps.flatMap((step) => this.#follow(step, event, now))
  }

  /** Moves time to `now` for everyone; transitions in the order of their instants. */
  advance(now: number): WorldTransition[] {
    const all = this.#born().flatMap(([birth, segments]) => segments.advance(now).map((t) => ({ ...t, profile: birth })))
    return this.#record(all.sort((a, b) => a.at - b.at))
  }

  /** Saves a definition, or deletes it where `where` is undefined, and fills everyone at `now`. */
  define(id: string, where: Where | undefined, now: number): WorldTransition[] {
    if (where === undefined) this.#definitions.delete(id)
    else this.#definitions.set(id, where)
    const all = this.#born().flatMap(([birth, segments]) => segments.define(id, where, now).map((t) => ({ ...t, profile: birth })))
    return this.#record(all)
  }

  #born(): [Birth, SegmentOracle][] {
    return this.identity.people.flatMap((person) =>
      person.birth ? [[person.birth, this.segmentsOf(person)] as [Birth, SegmentOracle]] : [],
    )
  }

  #follow(step: IdentityStep, event: OracleEvent, now: number): WorldTransition[] {
    switch (step.kind) {
      case 'apply':
        return this.#record(labelled(this.segmentsOf(step.person).apply(event, now), step.birth))
      case 'adopted':
        this.#segments.set(step.into, this.segmentsOf(step.from))
        return []
      case 'merged': {
        const { into, from, keep, survivor, absorbed } = step
        this.merges.push({ survivor, absorbed, messageId: event.messageId })
        const out = this.segmentsOf(into).merge(this.segmentsOf(from), now, keep, event.messageId)
        return this.#record([...labelled(out.absorbed, absorbed), ...labelled(out.survivor, survivor)])
      }
      default:
        return []
    }
  }

  #record(transitions: WorldTransition[]): WorldTransition[] {
    this.transitions.push(...transitions)
    return transitions
  }
}

const labelled = (transitions: readonly ExpectedTransition[], profile: Birth): WorldTransition[] =>
  transitions.map((t) => ({ ...t, profile }))
