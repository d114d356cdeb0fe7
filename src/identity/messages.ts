// The messages of identity: between homes of identifiers and roots, in one partition or across (DESIGN section 5).
// Owns their shape and their address; not what they do (rules.ts), nor how they travel.
//
// 1. A message is addressed by a key; the partition that is the key's home gets it. Messages of one origin to one target keep their order.
// 2. Messages are never changed once sent: within a partition they are handed over as they are.
// 3. Each message carries the cause of what it stands for; a hand-over also carries links and events with causes of their own.
import { must } from '../core/assert.ts'
import type { EventRecord } from '../core/event.ts'
import type { Identifier, IdentifierKey, ProfileKey } from '../core/identifier.ts'

/** The accepted event that set something off: where it stands in the events log, and its acceptance stamp. */
export interface CauseRef {
  readonly partition: number
  readonly position: number
  readonly stamp: number
  /** For audit entries and transitions. */
  readonly messageId: string
}

/** An event on its way to its profile: decoded, and as it was read. */
export interface CarriedEvent {
  readonly record: EventRecord
  readonly bytes: Buffer
}

/** As far as guards need it. */
export type CountedIdentifier = Pick<Identifier, 'key' | 'namespace'>

/** An identifier that a root holds, with the version under which its leaf gave it. */
export interface HeldIdentifier {
  readonly identifier: Identifier
  readonly v: number
}

export interface Link {
  readonly x: Identifier
  readonly cause: CauseRef
}

export interface WaitingEvent {
  readonly event: CarriedEvent
  readonly cause: CauseRef
}

/** What identity itself hands over with a root. */
export interface HandedRoot {
  /** Undefined: not born. */
  readonly publicId: string | undefined
  readonly ids: readonly HeldIdentifier[]
  readonly refused: readonly IdentifierKey[]
  readonly links: readonly Link[]
  readonly waiting: readonly WaitingEvent[]
}

/** An event at the home of its smallest identifier: fresh from the log, or sent back by a root that does not hold that identifier. */
export interface Arrive {
  readonly kind: 'arrive'
  readonly event: CarriedEvent
  readonly cause: CauseRef
}

/** An event on its way to the root. `via` is the key that the leaf named when it set out. */
export interface EventMessage {
  readonly kind: 'event'
  readonly to: ProfileKey
  readonly event: CarriedEvent
  readonly via: ProfileKey
  readonly cause: CauseRef
}

/** A root asks the home of x for it. */
export interface LinkMessage {
  readonly kind: 'link'
  readonly x: Identifier
  readonly asker: ProfileKey
  readonly cause: CauseRef
}

/** The leaf of x points to the asker. */
export interface Linked {
  readonly kind: 'linked'
  readonly to: ProfileKey
  readonly x: IdentifierKey
  readonly v: number
  readonly cause: CauseRef
}

/** x belongs to `by`, which is smaller than the asker. */
export interface Known {
  readonly kind: 'known'
  readonly to: ProfileKey
  readonly x: IdentifierKey
  readonly by: ProfileKey
  readonly cause: CauseRef
}

/** The asker, smaller than the leaf's key, asks for x. */
export interface Meet {
  readonly kind: 'meet'
  readonly to: ProfileKey
  readonly x: Identifier
  readonly asker: ProfileKey
  readonly cause: CauseRef
}

/** The larger root offers itself to the smaller. `own`: it is the one that asked for x; else the smaller one did. */
export interface Propose {
  readonly kind: 'propose'
  readonly to: ProfileKey
  readonly x: IdentifierKey
  readonly from: ProfileKey
  readonly ids: readonly CountedIdentifier[]
  readonly own: boolean
  readonly cause: CauseRef
}

export interface Accept {
  readonly kind: 'accept'
  readonly to: ProfileKey
  readonly by: ProfileKey
  readonly x: IdentifierKey
  readonly own: boolean
  readonly cause: CauseRef
}

/** The answer no, to a proposal or to an asker who found a queue full. */
export interface Refuse {
  readonly kind: 'refuse'
  readonly to: ProfileKey
  readonly x: IdentifierKey
  readonly own: boolean
  readonly reason: string
  readonly cause: CauseRef
}

/** The root that a proposal was made to does not hold x: ask its home again. */
export interface Again {
  readonly kind: 'again'
  readonly to: ProfileKey
  readonly x: IdentifierKey
  readonly cause: CauseRef
}

/** Everything that a root holds, sent in the step in which it becomes a forward. */
export interface Handover {
  readonly kind: 'handover'
  readonly to: ProfileKey
  readonly from: ProfileKey
  readonly x: IdentifierKey
  readonly own: boolean
  readonly root: HandedRoot
  /** The profile itself, opaque to identity. */
  readonly state: Buffer
  readonly cause: CauseRef
}

/** The leaf of x is to point to `to`, if it still points to `was`. */
export interface Repoint {
  readonly kind: 'repoint'
  readonly x: IdentifierKey
  readonly was: ProfileKey
  readonly to: ProfileKey
  readonly cause: CauseRef
}

export type HomeMessage = Arrive | LinkMessage | Repoint
export type RootMessage = EventMessage | Linked | Known | Meet | Propose | Accept | Refuse | Again | Handover
export type IdentityMessage = HomeMessage | RootMessage

/** One row of a profile's audit trail, as far as identity knows it. */
export interface AuditAction {
  readonly action: 'created' | 'linked' | 'merged' | 'refused' | 'blocked'
  readonly identifier?: { readonly namespace: string; readonly value: string }
  /** The public id (binary, as the root has it) that the profile absorbed. */
  readonly profile?: string
  /** Of a refusal: `guard:NAMESPACE`, `guard:*` for the total, `limit` where a queue was full. */
  readonly reason?: string
}

export function smallestOf(event: CarriedEvent): Identifier {
  return must(event.record.identifiers[0], 'an event has an identifier')
}

/** The key whose home partition gets the message (1). */
export function addressOf(m: IdentityMessage): IdentifierKey | ProfileKey {
  switch (m.kind) {
    case 'arrive':
      return smallestOf(m.event).key
    case 'link':
      return m.x.key
    case 'repoint':
      return m.x
    default:
      return m.to
  }
}

export interface Rows {
  readonly leaf?: IdentifierKey
  readonly row?: ProfileKey
  /** If its leaf turns out to be unknown, a root of this founder is created: the row of generation 0 tells which is free. */
  readonly founding?: IdentifierKey
}

/** What must be in memory before the message is handled. */
export function rowsOf(m: IdentityMessage): Rows {
  switch (m.kind) {
    case 'arrive': {
      const { key } = smallestOf(m.event)
      return { leaf: key, founding: key }
    }
    case 'link':
      return { leaf: m.x.key }
    case 'repoint':
      return { leaf: m.x }
    default:
      return { row: m.to }
  }
}

/** Every cause that a message keeps open (3); its own comes first. */
export function causesIn(m: IdentityMessage): CauseRef[] {
  const causes = [m.cause]
  if (m.kind === 'handover') for (const { cause } of [...m.root.links, ...m.root.waiting]) causes.push(cause)
  return causes
}
