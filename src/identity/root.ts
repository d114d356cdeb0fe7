// Rows of identity in memory: leaves, and roots with what they have under way. Owns their shape and the questions that can be
// answered from one root alone; the rules that change them are in rules.ts, their bytes in codec.ts.
//
//               link sent            known, clean            accepted: becomes a forward
//      idle ───────────────▶ asked ───────────────▶ proposed ───────────────▶
//       │ ▲  linked, refused,  │  ▲       again        │ │
//       │ └────────────────────┘  └────────────────────┘ │ refused: idle
//       │      handed over                               ▼
//       └─── a smaller root wants us, clean ─────▶ offered (accepted: becomes a forward; refused: idle)
//
// 1. A root is born exactly when it has a public id; events wait in it only before.
// 2. At most one link is under way per root (`doing`); the others queue.
// 3. Proposals are held only while proposed or offered.
// 4. A root holds x when x is among its ids, asked for, or granted; guards count just these.
import { invariant } from '../core/assert.ts'
import type { Identifier, IdentifierKey, ProfileKey } from '../core/identifier.ts'
import type { CauseRef, CountedIdentifier, HeldIdentifier, Link, Propose, WaitingEvent } from './messages.ts'

/** identifier → profile key. `v` counts how often the identifier was moved on purpose. */
export interface Leaf {
  readonly key: ProfileKey
  readonly v: number
}

export interface Forward {
  readonly forward: ProfileKey
}

export type Doing =
  | { readonly state: 'idle' }
  /** `by`: the smaller root that x is known to belong to. */
  | { readonly state: 'asked'; readonly x: Identifier; readonly by: ProfileKey | undefined; readonly cause: CauseRef }
  | { readonly state: 'proposed'; readonly x: Identifier; readonly to: ProfileKey; readonly cause: CauseRef }
  | { readonly state: 'offered'; readonly x: Identifier; readonly to: ProfileKey; readonly cause: CauseRef }

export const IDLE: Doing = { state: 'idle' }

/** What a larger root will hand over, from the acceptance of its proposal on. */
export interface Grant {
  readonly ids: readonly CountedIdentifier[]
  /** Links that this grant takes care of: they are made when the hand-over arrives. */
  readonly causes: CauseRef[]
}

/** A smaller root asks for x, which we hold: we owe it a proposal. */
export interface Want {
  readonly x: Identifier
  readonly asker: ProfileKey
  readonly cause: CauseRef
}

export class Root {
  readonly key: ProfileKey
  /** As the task mints it; opaque here. */
  publicId: string | undefined
  readonly ids = new Map<IdentifierKey, HeldIdentifier>()
  /** Most roots refuse and grant nothing, so these are made when first asked for. */
  #refused: Set<IdentifierKey> | undefined
  #granted: Map<ProfileKey, Grant> | undefined
  doing: Doing = IDLE
  links: Link[] = []
  wants: Want[] = []
  held: Propose[] = []
  waiting: WaitingEvent[] = []

  constructor(key: ProfileKey, publicId?: string) {
    this.key = key
    this.publicId = publicId
  }

  /** The oldest is dropped when there are too many. */
  get refused(): Set<IdentifierKey> {
    this.#refused ??= new Set()
    return this.#refused
  }

  get hasRefused(): boolean {
    return this.#refused !== undefined && this.#refused.size > 0
  }

  get granted(): Map<ProfileKey, Grant> {
    this.#granted ??= new Map()
    return this.#granted
  }

  get hasGranted(): boolean {
    return this.#granted !== undefined && this.#granted.size > 0
  }

  get isBorn(): boolean {
    return this.publicId !== undefined
  }

  /** Proposed or offered: the set of its ids was told to another root and must not change. */
  get isFrozen(): boolean {
    return this.doing.state === 'proposed' || this.doing.state === 'offered'
  }
}

export function newRoot(key: ProfileKey): Root {
  return new Root(key)
}

/** No link, merge or event under way: nothing but the ids and refusals is left to remember. */
export function isIdle(root: Root): boolean {
  return (
    root.doing.state === 'idle' &&
    !root.hasGranted &&
    root.links.length === 0 &&
    root.wants.length === 0 &&
    root.held.length === 0 &&
    root.waiting.length === 0
  )
}

export function grantOf(root: Root, x: IdentifierKey): Grant | undefined {
  if (!root.hasGranted) return undefined
  for (const grant of root.granted.values()) for (const { key } of grant.ids) if (key === x) return grant
  return undefined
}

/** What a root has asked for and not yet got. */
function askedOf({ doing }: Root): Identifier | undefined {
  return doing.state === 'asked' || doing.state === 'proposed' ? doing.x : undefined
}

/** (4) */
export function holds(root: Root, x: IdentifierKey): boolean {
  return root.ids.has(x) || askedOf(root)?.key === x || grantOf(root, x) !== undefined
}

/** What guards count (4); may name one twice. */
export function counted(root: Root): CountedIdentifier[] {
  const all: CountedIdentifier[] = []
  for (const { identifier } of root.ids.values()) all.push(identifier)
  const asked = askedOf(root)
  if (asked) all.push(asked)
  if (root.hasGranted) for (const { ids } of root.granted.values()) all.push(...ids)
  return all
}

/** Adds to the ids; a refusal of the same identifier is moot from then on. */
export function holdIdentifier(root: Root, { identifier, v }: HeldIdentifier): void {
  const old = root.ids.get(identifier.key)
  if (!old || old.v < v) root.ids.set(identifier.key, { identifier, v })
  if (root.hasRefused) root.refused.delete(identifier.key)
}

/** True when `a` keeps open whatever `b` would: same origin, and not later by any measure. */
export function covers(a: CauseRef, b: CauseRef): boolean {
  return a.partition === b.partition && a.position <= b.position && a.stamp <= b.stamp
}

/** The causes of all that a root has under way; may name one twice. */
export function causesOf(root: Root): CauseRef[] {
  const causes: CauseRef[] = []
  if (root.doing.state !== 'idle') causes.push(root.doing.cause)
  if (root.hasGranted) for (const grant of root.granted.values()) causes.push(...grant.causes)
  for (const { cause } of root.links) causes.push(cause)
  for (const { cause } of root.wants) causes.push(cause)
  for (const { cause } of root.held) causes.push(cause)
  for (const { cause } of root.waiting) causes.push(cause)
  return causes
}

const NEXT: { readonly [state in Doing['state']]: readonly Doing['state'][] } = {
  idle: ['asked', 'offered'],
  asked: ['asked', 'proposed', 'idle'],
  proposed: ['asked', 'idle'],
  offered: ['idle'],
}

/** Every change of state goes this way. */
export function become(root: Root, doing: Doing): void {
  invariant(NEXT[root.doing.state].includes(doing.state), `a root goes from ${root.doing.state} to ${doing.state}`)
  root.doing = doing
}
