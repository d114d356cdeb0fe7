// The rules of identity: what each message does to the rows of its partition and which messages follow. Owns no state and knows
// no traits, segments, logs or partitions; the task hands in the rows (Context) and routes what is sent.
//
// 1. Keys have one total order. The larger root proposes, the smaller decides; a forward points to a smaller key.
// 2. Equality is decided at the root at the end of the forwards, never at a leaf, whose key may be stale.
// 3. One link at a time per root, in key order within an event, in order of events.
// 4. Clean: a root proposes only with no accepted hand-over outstanding and no other link out. So a hand-over meets a root, and
//    carries nothing that others wait for.
// 5. While frozen (proposed, offered) a root holds new links and proposals; one that has merely asked answers at once.
// 6. Every link ends exactly once: linked, merged, or refused and audited.
// 7. An event is applied once, in the profile of its smallest identifier. It waits only in a root that isn't born.
// 8. A root is born when its links are settled, or takes over the public id of a born one that is handed to it.
// 9. Queues are bounded (limits below), and a full one never blocks: a link is refused without being remembered, so that a later
//    event tries again; a root with too many events waiting is born at once, and may have to merge later.
//
// Why it ends: who is frozen waits for a strictly smaller root, which answers unless it is frozen itself; the chain descends, and
// its last root answers. Who asked waits for a home, which always answers, or for a larger root to get clean, whose own action
// ends first. A granted hand-over is sent in the step that receives the acceptance.
import { invariant, must } from '../core/assert.ts'
import { founderOf, type Identifier, type IdentifierKey, type ProfileKey } from '../core/identifier.ts'
import { type Limits, refusalOf } from './guards.ts'
import {
  type Accept,
  type Again,
  type Arrive,
  type AuditAction,
  type CarriedEvent,
  type CauseRef,
  type EventMessage,
  type Handover,
  type HeldIdentifier,
  type IdentityMessage,
  type Known,
  type Linked,
  type LinkMessage,
  type Meet,
  type Propose,
  type Refuse,
  type Repoint,
  type RootMessage,
  smallestOf,
  type WaitingEvent,
} from './messages.ts'
import { become, counted, covers, type Doing, type Forward, grantOf, holdIdentifier, holds, IDLE, type Leaf, Root } from './root.ts'

/** Links queued in one root: as many as one burst of events about one person brings. */
export const LINKS_PER_ROOT = 1000
/** Proposals held, and roots that await one. */
export const HELD_PER_ROOT = 1000
export const WANTS_PER_ROOT = 1000
/** Refusals remembered; a forgotten one costs four messages and an audit entry when it recurs. */
export const REFUSED_PER_ROOT = 256
/** Events that wait for a birth. They travel with a hand-over. */
export const WAITING_PER_ROOT = 1000
export const WAITING_BYTES_PER_ROOT = 4_000_000

/** Reason of a refusal by a full queue; guards give their own (guards.ts). */
export const QUEUE_FULL = 'limit'

/** A root that was handed over, as the one that takes it in sees it. */
export interface Absorbed {
  readonly from: ProfileKey
  /** Undefined: it wasn't born. */
  readonly publicId: string | undefined
  readonly ids: readonly HeldIdentifier[]
  readonly state: Buffer
}

/** What the rules ask of the task. Rows that `rowsOf` names for the message are in memory. */
export interface Context {
  readonly limits: Limits
  leaf(x: IdentifierKey): Leaf | undefined
  setLeaf(x: IdentifierKey, leaf: Leaf): void
  root(key: ProfileKey): Root | Forward | undefined
  /** An unborn root of the next free generation, without ids, registered. */
  createRoot(founder: IdentifierKey): Root
  /** To the home of `addressOf(message)`; to the own partition in the same step or later, in order of sending. */
  send(message: IdentityMessage): void
  /** The persistent part of the root has changed. Called last, when it is final. */
  touch(root: Root): void
  /** A born root applies an event: dedupe is done, traits and segments are the task's. */
  apply(root: Root, event: CarriedEvent, cause: CauseRef): void
  /** Mints the public id and sets it. */
  born(root: Root, first: CarriedEvent): void
  /** The profile's opaque part, in the very step that sends it. */
  takeState(root: Root): Buffer
  becameForward(root: Root, to: ProfileKey): void
  /** Takes in what was handed over; sets the root's public id to the older one of those that are born. The ids are merged by then. */
  absorb(root: Root, from: Absorbed, cause: CauseRef): void
  audit(root: Root, entry: AuditAction, cause: CauseRef): void
}

/** Handles one message. Synchronous and pure over what the context has in memory. */
export function handle(m: IdentityMessage, c: Context): void {
  switch (m.kind) {
    case 'arrive':
      return onArrive(m, c)
    case 'link':
      return onLink(m, c)
    case 'repoint':
      return onRepoint(m, c)
    default:
      return atKey(m, c)
  }
}

// ---- at the home of an identifier

function onArrive({ event, cause }: Arrive, c: Context): void {
  const smallest = smallestOf(event)
  const leaf = c.leaf(smallest.key)
  if (leaf) {
    c.send({ kind: 'event', to: leaf.key, event, via: leaf.key, cause })
    return
  }
  const root = c.createRoot(smallest.key)
  holdIdentifier(root, { identifier: smallest, v: 1 })
  c.setLeaf(smallest.key, { key: root.key, v: 1 })
  root.waiting.push({ event, cause })
  queueLinks(root, event, cause, c)
  pump(root, c)
  c.touch(root)
}

function onLink({ x, asker, cause }: LinkMessage, c: Context): void {
  const leaf = c.leaf(x.key)
  if (!leaf) c.setLeaf(x.key, { key: asker, v: 1 })
  const { key, v } = leaf ?? { key: asker, v: 1 }
  if (key === asker) c.send({ kind: 'linked', to: asker, x: x.key, v, cause })
  else if (key < asker) c.send({ kind: 'known', to: asker, x: x.key, by: key, cause })
  else c.send({ kind: 'meet', to: key, x, asker, cause })
}

/** Compare-and-set: a late repoint must not undo what happened since. */
function onRepoint({ x, was, to }: Repoint, c: Context): void {
  const leaf = must(c.leaf(x), 'a leaf that was followed stays')
  if (leaf.key === was) c.setLeaf(x, { key: to, v: leaf.v })
}

// ---- at a profile key

function atKey(m: RootMessage, c: Context): void {
  const row = must(c.root(m.to), 'a key that is named has a row')
  if (!(row instanceof Root)) return passOn(m, row.forward, c)
  if (m.kind === 'event') return onEvent(row, m, c)
  if (m.kind === 'accept') return onAccept(row, m, c)
  react(row, m, c)
  pump(row, c)
  c.touch(row)
}

function react(root: Root, m: Exclude<RootMessage, EventMessage | Accept>, c: Context): void {
  switch (m.kind) {
    case 'linked':
      return onLinked(root, m, c)
    case 'known':
      return onKnown(root, m)
    case 'meet':
      return onMeet(root, m, c)
    case 'propose':
      return onPropose(root, m, c)
    case 'refuse':
      return onRefuse(root, m, c)
    case 'again':
      return onAgain(root, m, c)
    case 'handover':
      return onHandover(root, m, c)
  }
}

/** Whoever awaits an answer or a hand-over stays a root meanwhile (4), so only these can meet a forward. */
function passOn(m: RootMessage, to: ProfileKey, c: Context): void {
  invariant(to < m.to, 'forwards descend (1)')
  invariant(m.kind === 'event' || m.kind === 'meet' || m.kind === 'propose', `no ${m.kind} meets a forward (4)`)
  c.send({ ...m, to })
}

// ---- events

function onEvent(root: Root, { event, via, cause }: EventMessage, c: Context): void {
  const x = smallestOf(event).key
  if (!holds(root, x)) {
    c.send({ kind: 'arrive', event, cause })
    return
  }
  if (via !== root.key) c.send({ kind: 'repoint', x, was: via, to: root.key, cause })
  if (root.isBorn) {
    // Nothing to link: nothing of the root changes, whatever it has under way.
    if (!applyEvent(root, event, cause, c)) return
  } else awaitBirth(root, [{ event, cause }], c)
  pump(root, c)
  c.touch(root)
}

/** Applies an event and queues the links that it asks for; false when there are none. */
function applyEvent(root: Root, event: CarriedEvent, cause: CauseRef, c: Context): boolean {
  c.apply(root, event, cause)
  return queueLinks(root, event, cause, c)
}

function awaitBirth(root: Root, events: readonly WaitingEvent[], c: Context): void {
  root.waiting.push(...events)
  let bytes = 0
  for (const { event } of root.waiting) bytes += event.bytes.length
  if (root.waiting.length > WAITING_PER_ROOT || bytes > WAITING_BYTES_PER_ROOT) birth(root, c)
}

function birth(root: Root, c: Context): void {
  const first = must(root.waiting[0], 'an unborn root has an event waiting (7)')
  c.born(root, first.event)
  invariant(root.isBorn, 'the task mints a public id')
  auditFounder(root, { key: root.key, action: 'created' }, first.cause, c)
  applyWaiting(root, c)
}

function applyWaiting(root: Root, c: Context): void {
  const { waiting } = root
  root.waiting = []
  for (const { event, cause } of waiting) applyEvent(root, event, cause, c)
}

/** The identifier that a key was founded with gets its audit entry when its profile is born, or when it joins another. */
function auditFounder(root: Root, { key, action }: { key: ProfileKey; action: 'created' | 'linked' }, cause: CauseRef, c: Context): void {
  const founder = root.ids.get(founderOf(key))
  if (founder) c.audit(root, { action, identifier: shown(founder.identifier) }, cause)
}

const shown = ({ namespace, value }: Identifier): { namespace: string; value: string } => ({ namespace, value })

// ---- links

/** Queues a link for each identifier of the event that the root doesn't have; true when there is any to speak of. */
function queueLinks(root: Root, event: CarriedEvent, cause: CauseRef, c: Context): boolean {
  let queued = false
  for (const x of event.record.identifiers) {
    if (root.ids.has(x.key) || (root.hasRefused && root.refused.has(x.key))) continue
    queueLink(root, x, cause, c)
    queued = true
  }
  return queued
}

function queueLink(root: Root, x: Identifier, cause: CauseRef, c: Context): void {
  const { doing } = root
  if ((doing.state === 'asked' || doing.state === 'proposed') && doing.x.key === x.key && covers(doing.cause, cause)) return
  for (const link of root.links) if (link.x.key === x.key && covers(link.cause, cause)) return
  if (root.links.length < LINKS_PER_ROOT) root.links.push({ x, cause })
  else c.audit(root, { action: 'refused', identifier: shown(x), reason: QUEUE_FULL }, cause)
}

/** Does what can be done next, until the root waits for an answer or has nothing left to do. */
function pump(root: Root, c: Context): void {
  while (!root.isFrozen) {
    const proposal = root.held.shift()
    if (proposal) decide(root, proposal, c)
    else if (root.doing.state === 'asked') {
      const { x, by, cause } = root.doing
      if (by === undefined || root.hasGranted) return
      become(root, { state: 'proposed', x, to: by, cause })
      propose(root, c)
    } else if (root.wants.length > 0 && !root.hasGranted) offer(root, c)
    else if (root.links.length > 0) ask(root, c)
    else if (!root.isBorn && !root.hasGranted) birth(root, c)
    else return
  }
}

function ask(root: Root, c: Context): void {
  const { x, cause } = must(root.links.shift(), 'a link is queued')
  if (root.ids.has(x.key) || (root.hasRefused && root.refused.has(x.key))) return
  const grant = grantOf(root, x.key)
  if (grant) {
    if (!grant.causes.some((other) => covers(other, cause))) grant.causes.push(cause)
    return
  }
  const reason = refusalOf(c.limits, counted(root), [x])
  if (reason !== undefined) return noteRefusal(root, { x, reason, cause }, c)
  become(root, { state: 'asked', x, by: undefined, cause })
  c.send({ kind: 'link', x, asker: root.key, cause })
}

function noteRefusal(root: Root, { x, reason, cause }: { x: Identifier; reason: string; cause: CauseRef }, c: Context): void {
  c.audit(root, { action: 'refused', identifier: shown(x), reason }, cause)
  if (reason !== QUEUE_FULL) refuseFromNowOn(root, [x.key])
}

function refuseFromNowOn(root: Root, keys: readonly IdentifierKey[]): void {
  for (const key of keys) if (!root.ids.has(key)) root.refused.add(key)
  for (const oldest of root.refused) {
    if (root.refused.size <= REFUSED_PER_ROOT) return
    root.refused.delete(oldest)
  }
}

function onLinked(root: Root, { x, v }: Linked, c: Context): void {
  const asked = askedFor(root, x)
  const isNew = !root.ids.has(x)
  holdIdentifier(root, { identifier: asked.x, v })
  if (isNew) c.audit(root, { action: 'linked', identifier: shown(asked.x) }, asked.cause)
  become(root, IDLE)
}

function onKnown(root: Root, { x, by }: Known): void {
  const asked = askedFor(root, x)
  invariant(by < root.key, 'known means known by a smaller root (1)')
  become(root, { ...asked, by })
}

function onMeet(root: Root, { x, asker, cause }: Meet, c: Context): void {
  if (asker === root.key) {
    askedFor(root, x.key)
    become(root, IDLE)
  } else if (!holds(root, x.key)) c.send({ kind: 'link', x, asker, cause })
  else if (root.key < asker) c.send({ kind: 'known', to: asker, x: x.key, by: root.key, cause })
  else if (root.wants.length < WANTS_PER_ROOT) root.wants.push({ x, asker, cause })
  else c.send({ kind: 'refuse', to: asker, x: x.key, own: true, reason: QUEUE_FULL, cause })
}

/** The link that the root has out, which must be that of x: answers come once and find the asker asking (6). */
function askedFor(root: Root, x: IdentifierKey): Doing & { state: 'asked' } {
  const { doing } = root
  invariant(doing.state === 'asked' && doing.x.key === x, 'an answer finds its link asked (6)')
  return doing
}

// ---- merges

/** A smaller root awaits our proposal. */
function offer(root: Root, c: Context): void {
  const { x, asker, cause } = must(root.wants.shift(), 'a root awaits our proposal')
  if (!holds(root, x.key)) return c.send({ kind: 'link', x, asker, cause })
  become(root, { state: 'offered', x, to: asker, cause })
  propose(root, c)
}

function propose(root: Root, c: Context): void {
  const { doing } = root
  invariant(doing.state === 'proposed' || doing.state === 'offered', 'the state comes before the message')
  invariant(doing.to < root.key, 'the larger root proposes (1)')
  invariant(!root.hasGranted, 'a proposal is clean (4)')
  const ids: { key: IdentifierKey; namespace: string }[] = []
  for (const { identifier } of root.ids.values()) ids.push({ key: identifier.key, namespace: identifier.namespace })
  const { x, to, cause } = doing
  c.send({ kind: 'propose', to, x: x.key, from: root.key, ids, own: doing.state === 'proposed', cause })
}

function onPropose(root: Root, m: Propose, c: Context): void {
  if (!root.isFrozen) return decide(root, m, c)
  invariant(m.own, 'an offer finds its asker asking (6)')
  if (root.held.length < HELD_PER_ROOT) root.held.push(m)
  else c.send({ kind: 'refuse', to: m.from, x: m.x, own: true, reason: QUEUE_FULL, cause: m.cause })
}

function decide(root: Root, { x, from, ids, own, cause }: Propose, c: Context): void {
  invariant(root.key < from, 'the smaller root decides (1)')
  if (own && !holds(root, x)) return c.send({ kind: 'again', to: from, x, cause })
  const reason = refusalOf(c.limits, counted(root), ids)
  if (reason === undefined) {
    root.granted.set(from, { ids, causes: [] })
    return c.send({ kind: 'accept', to: from, by: root.key, x, own, cause })
  }
  c.send({ kind: 'refuse', to: from, x, own, reason, cause })
  if (!own) endRefused(root, x, reason, c)
}

/** Our link of x ends in a refusal. */
function endRefused(root: Root, x: IdentifierKey, reason: string, c: Context): void {
  const { doing } = root
  invariant((doing.state === 'asked' || doing.state === 'proposed') && doing.x.key === x, 'a refusal finds its link (6)')
  become(root, IDLE)
  noteRefusal(root, { x: doing.x, reason, cause: doing.cause }, c)
}

function onRefuse(root: Root, { x, own, reason }: Refuse, c: Context): void {
  if (own) return endRefused(root, x, reason, c)
  invariant(root.doing.state === 'offered' && root.doing.x.key === x, 'a refusal finds its offer (6)')
  become(root, IDLE)
}

function onAgain(root: Root, { x }: Again, c: Context): void {
  const { doing } = root
  invariant(doing.state === 'proposed' && doing.x.key === x, 'an answer finds its proposal (6)')
  become(root, { state: 'asked', x: doing.x, by: undefined, cause: doing.cause })
  c.send({ kind: 'link', x: doing.x, asker: root.key, cause: doing.cause })
}

/** The larger root hands over everything and becomes a forward, in one step. */
function onAccept(root: Root, { by, x, own, cause }: Accept, c: Context): void {
  const { doing, held, wants } = root
  invariant(doing.state === (own ? 'proposed' : 'offered') && doing.x.key === x, 'an acceptance finds its proposal (6)')
  invariant(by < root.key, 'forwards descend (1)')
  invariant(!root.hasGranted, 'a hand-over is clean (4)')
  const { publicId, links, waiting } = root
  const handed = { publicId, ids: [...root.ids.values()], refused: [...root.refused], links, waiting }
  c.send({ kind: 'handover', to: by, from: root.key, x, own, root: handed, state: c.takeState(root), cause })
  c.becameForward(root, by)
  for (const proposal of held) c.send({ ...proposal, to: by })
  for (const want of wants) c.send({ kind: 'meet', to: by, ...want })
}

function onHandover(root: Root, m: Handover, c: Context): void {
  const { root: handed, cause } = m
  const grant = must(root.granted.get(m.from), 'a hand-over was granted')
  invariant(handed.ids.length <= grant.ids.length, 'no more is handed over than was granted')
  root.granted.delete(m.from)
  for (const held of handed.ids) holdIdentifier(root, held)
  refuseFromNowOn(root, handed.refused)
  const before = root.publicId
  c.absorb(root, { from: m.from, publicId: handed.publicId, ids: handed.ids, state: m.state }, cause)
  invariant(root.isBorn === (before !== undefined || handed.publicId !== undefined), 'a born root stays born (8)')
  auditMerge(root, m, before, c)
  if (!m.own) {
    askedFor(root, m.x)
    become(root, IDLE)
  }
  for (const { x, cause } of handed.links) queueLink(root, x, cause, c)
  if (before !== undefined) for (const { event, cause } of handed.waiting) applyEvent(root, event, cause, c)
  else if (root.isBorn) applyWaiting(root, c)
  else awaitBirth(root, handed.waiting, c)
}

/** Two people become one; or one gains what an unborn root was founded with. */
function auditMerge(root: Root, { x, from, root: handed, cause }: Handover, before: string | undefined, c: Context): void {
  const identifier = root.ids.get(x)?.identifier
  if (before !== undefined && handed.publicId !== undefined) {
    const profile = root.publicId === before ? handed.publicId : before
    c.audit(root, { action: 'merged', profile, ...(identifier && { identifier: shown(identifier) }) }, cause)
  } else auditFounder(root, { key: handed.publicId === undefined ? from : root.key, action: 'linked' }, cause, c)
}
