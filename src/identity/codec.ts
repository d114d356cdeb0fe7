// Bytes of identity: the identity part of a profile row, leaf rows, messages of the exchange. Owns these layouts.
//
// 1. Each begins with a byte of which the upper half is the version; what a row has not under way takes no space.
// 2. Decoding what was encoded yields the same; decoded events are views into the row or message.
import { InvariantError, invariant, must } from '../core/assert.ts'
import { Reader, Writer } from '../core/bytes.ts'
import { decodeEvent } from '../core/event.ts'
import {
  founderOf,
  IDENTIFIER_KEY_BYTES,
  type Identifier,
  type IdentifierKey,
  PROFILE_KEY_BYTES,
  type ProfileKey,
} from '../core/identifier.ts'
import type {
  CarriedEvent,
  CauseRef,
  CountedIdentifier,
  HandedRoot,
  HeldIdentifier,
  IdentityMessage,
  Link,
  Propose,
  WaitingEvent,
} from './messages.ts'
import { type Doing, IDLE, isIdle, type Leaf, Root, type Want } from './root.ts'

const VERSION = 1
const FIRST_FLAG = 0x10

function putHead(w: Writer, flags: number): void {
  w.u8(VERSION * FIRST_FLAG + flags)
}

function takeHead(r: Reader): number {
  const head = r.u8()
  if (head >> 4 !== VERSION) throw new InvariantError(`identity bytes of unknown version ${head >> 4}`)
  return head & 0x0f
}

// ---- leaves: head (flag: moved) · key 19 · v where moved

const MOVED = 1

export function encodeLeaf({ key, v }: Leaf): Buffer {
  const w = new Writer(PROFILE_KEY_BYTES + 2)
  putHead(w, v === 1 ? 0 : MOVED)
  w.binary(key)
  if (v !== 1) w.varint(v)
  return w.take()
}

export function decodeLeaf(bytes: Buffer, from = 0, to = bytes.length): Leaf {
  const r = new Reader(bytes, from, to)
  const flags = takeHead(r)
  return { key: r.binary(PROFILE_KEY_BYTES), v: flags & MOVED ? r.varint() : 1 }
}

// ---- pieces

/** Namespaces that are written as one byte; others are 0 and their name. Only ever add at the end. */
const NAMESPACES = ['', 'user_id', 'email', 'phone', 'anonymous_id'] as const
const NAMESPACE_CODES: ReadonlyMap<string, number> = new Map(NAMESPACES.map((name, code) => [name, code]))
const NAMESPACE_MASK = 0x0f
/** The identifier's key is the founder's. */
const IS_FOUNDER = 0x10
const HAS_VERSION = 0x20

const key = (r: Reader): ProfileKey => r.binary(PROFILE_KEY_BYTES)
const idKey = (r: Reader): IdentifierKey => r.binary(IDENTIFIER_KEY_BYTES)

function putNamespace(w: Writer, namespace: string, flags: number): void {
  const code = NAMESPACE_CODES.get(namespace) ?? 0
  w.u8(code + flags)
  if (code === 0) w.text(namespace)
}

function takeNamespace(r: Reader, code: number): string {
  return code === 0 ? r.text() : must(NAMESPACES[code], 'a namespace code that was written')
}

function putIdentifier(w: Writer, x: Identifier): void {
  putNamespace(w, x.namespace, 0)
  w.binary(x.key).text(x.value)
}

function takeIdentifier(r: Reader): Identifier {
  const namespace = takeNamespace(r, r.u8())
  return { key: idKey(r), namespace, value: r.text() }
}

function putHeld(w: Writer, { identifier, v }: HeldIdentifier, founder: IdentifierKey): void {
  const isFounder = identifier.key === founder
  putNamespace(w, identifier.namespace, (isFounder ? IS_FOUNDER : 0) + (v === 1 ? 0 : HAS_VERSION))
  if (!isFounder) w.binary(identifier.key)
  w.text(identifier.value)
  if (v !== 1) w.varint(v)
}

function takeHeld(r: Reader, founder: IdentifierKey): HeldIdentifier {
  const head = r.u8()
  const namespace = takeNamespace(r, head & NAMESPACE_MASK)
  const identifier = { key: head & IS_FOUNDER ? founder : idKey(r), namespace, value: r.text() }
  return { identifier, v: head & HAS_VERSION ? r.varint() : 1 }
}

function putCause(w: Writer, { partition, position, stamp, messageId }: CauseRef): void {
  w.varint(partition).varint(position).varint(stamp).text(messageId)
}

function takeCause(r: Reader): CauseRef {
  return { partition: r.varint(), position: r.varint(), stamp: r.varint(), messageId: r.text() }
}

function takeEvent(r: Reader): CarriedEvent {
  const bytes = r.bytes()
  return { record: decodeEvent(bytes), bytes }
}

function putAll<T>(
  w: Writer,
  list: { readonly [Symbol.iterator]: () => Iterator<T> },
  count: number,
  put: (w: Writer, one: T) => void,
): void {
  w.varint(count)
  for (const one of list) put(w, one)
}

function takeAll<T>(r: Reader, take: (r: Reader) => T): T[] {
  const all: T[] = []
  for (let n = r.varint(); n > 0; n--) all.push(take(r))
  return all
}

function putCounted(w: Writer, x: CountedIdentifier): void {
  putNamespace(w, x.namespace, 0)
  w.binary(x.key)
}

function takeCounted(r: Reader): CountedIdentifier {
  const namespace = takeNamespace(r, r.u8())
  return { key: idKey(r), namespace }
}

const putKey = (w: Writer, x: IdentifierKey): void => void w.binary(x)

function putLink(w: Writer, { x, cause }: Link): void {
  putIdentifier(w, x)
  putCause(w, cause)
}

function takeLink(r: Reader): Link {
  return { x: takeIdentifier(r), cause: takeCause(r) }
}

function putWaiting(w: Writer, { event, cause }: WaitingEvent): void {
  w.bytes(event.bytes)
  putCause(w, cause)
}

function takeWaiting(r: Reader): WaitingEvent {
  return { event: takeEvent(r), cause: takeCause(r) }
}

function putWant(w: Writer, { x, asker, cause }: Want): void {
  putIdentifier(w, x)
  w.binary(asker)
  putCause(w, cause)
}

function takeWant(r: Reader): Want {
  return { x: takeIdentifier(r), asker: key(r), cause: takeCause(r) }
}

// ---- roots: head (flags) · ids · refused, where there are any · what is under way, where there is anything

const BORN = 1
const HAS_REFUSED = 2
const BUSY = 4
const STATES = ['idle', 'asked', 'proposed', 'offered'] as const

/** The identity part of a profile row. The key and the public id are written by the row's owner. */
export function encodeRoot(root: Root, w: Writer): void {
  const busy = !isIdle(root)
  const { ids, hasRefused } = root
  putHead(w, (root.isBorn ? BORN : 0) + (hasRefused ? HAS_REFUSED : 0) + (busy ? BUSY : 0))
  const founder = founderOf(root.key)
  putAll(w, ids.values(), ids.size, (_, held) => putHeld(w, held, founder))
  if (hasRefused) putAll(w, root.refused, root.refused.size, putKey)
  if (busy) putUnderWay(w, root)
}

export function decodeRoot(rootKey: ProfileKey, r: Reader, publicId: string | undefined): Root {
  const flags = takeHead(r)
  invariant(((flags & BORN) !== 0) === (publicId !== undefined), 'a root is born exactly when its row has a public id')
  const root = new Root(rootKey, publicId)
  const founder = founderOf(rootKey)
  for (const held of takeAll(r, () => takeHeld(r, founder))) root.ids.set(held.identifier.key, held)
  if (flags & HAS_REFUSED) for (const x of takeAll(r, idKey)) root.refused.add(x)
  if (flags & BUSY) takeUnderWay(r, root)
  return root
}

function putUnderWay(w: Writer, { doing, granted, links, wants, held, waiting }: Root): void {
  w.u8(STATES.indexOf(doing.state))
  if (doing.state !== 'idle') {
    putIdentifier(w, doing.x)
    if (doing.state === 'asked') w.u8(doing.by === undefined ? 0 : 1).binary(doing.by ?? '')
    else w.binary(doing.to)
    putCause(w, doing.cause)
  }
  w.varint(granted.size)
  for (const [from, { ids, causes }] of granted) {
    w.binary(from)
    putAll(w, ids, ids.length, putCounted)
    putAll(w, causes, causes.length, putCause)
  }
  putAll(w, links, links.length, putLink)
  putAll(w, wants, wants.length, putWant)
  putAll(w, held, held.length, putMessage)
  putAll(w, waiting, waiting.length, putWaiting)
}

function takeDoing(r: Reader): Doing {
  const state = must(STATES[r.u8()], 'a state that was written')
  if (state === 'idle') return IDLE
  const x = takeIdentifier(r)
  if (state === 'asked') return { state, x, by: r.u8() === 1 ? key(r) : undefined, cause: takeCause(r) }
  return { state, x, to: key(r), cause: takeCause(r) }
}

function takeUnderWay(r: Reader, root: Root): void {
  root.doing = takeDoing(r)
  for (let n = r.varint(); n > 0; n--) root.granted.set(key(r), { ids: takeAll(r, takeCounted), causes: takeAll(r, takeCause) })
  root.links = takeAll(r, takeLink)
  root.wants = takeAll(r, takeWant)
  root.held = takeAll(r, takeProposal)
  root.waiting = takeAll(r, takeWaiting)
}

function takeProposal(r: Reader): Propose {
  const m = takeMessage(r)
  invariant(m.kind === 'propose', 'only proposals are held')
  return m
}

function putHanded(w: Writer, { publicId, ids, refused, links, waiting }: HandedRoot, founder: IdentifierKey): void {
  w.u8(publicId === undefined ? 0 : 1)
  if (publicId !== undefined) w.varint(publicId.length).binary(publicId)
  putAll(w, ids, ids.length, (_, held) => putHeld(w, held, founder))
  putAll(w, refused, refused.length, putKey)
  putAll(w, links, links.length, putLink)
  putAll(w, waiting, waiting.length, putWaiting)
}

function takeHanded(r: Reader, founder: IdentifierKey): HandedRoot {
  const publicId = r.u8() === 1 ? r.binary(r.varint()) : undefined
  const ids = takeAll(r, () => takeHeld(r, founder))
  return { publicId, ids, refused: takeAll(r, idKey), links: takeAll(r, takeLink), waiting: takeAll(r, takeWaiting) }
}

// ---- messages: head · kind · fields · cause

/** Only ever add at the end. */
const KINDS = ['arrive', 'event', 'link', 'linked', 'known', 'meet', 'propose', 'accept', 'refuse', 'again', 'handover', 'repoint'] as const

const writer = new Writer(1024)

export function encodeMessage(m: IdentityMessage): Buffer {
  writer.reset()
  putMessage(writer, m)
  return writer.take()
}

export function decodeMessage(bytes: Buffer): IdentityMessage {
  return takeMessage(new Reader(bytes))
}

function putMessage(w: Writer, m: IdentityMessage): void {
  putHead(w, 0)
  w.u8(KINDS.indexOf(m.kind))
  putFields(w, m)
  putCause(w, m.cause)
}

function putFields(w: Writer, m: IdentityMessage): void {
  switch (m.kind) {
    case 'arrive':
      return void w.bytes(m.event.bytes)
    case 'event':
      return void w.binary(m.to).binary(m.via).bytes(m.event.bytes)
    case 'link':
      putIdentifier(w, m.x)
      return void w.binary(m.asker)
    case 'linked':
      return void w.binary(m.to).binary(m.x).varint(m.v)
    case 'known':
      return void w.binary(m.to).binary(m.x).binary(m.by)
    case 'meet':
      w.binary(m.to).binary(m.asker)
      return putIdentifier(w, m.x)
    case 'propose':
      w.binary(m.to).binary(m.x).binary(m.from).u8(Number(m.own))
      return putAll(w, m.ids, m.ids.length, putCounted)
    case 'accept':
      return void w.binary(m.to).binary(m.x).binary(m.by).u8(Number(m.own))
    case 'refuse':
      return void w.binary(m.to).binary(m.x).u8(Number(m.own)).text(m.reason)
    case 'again':
      return void w.binary(m.to).binary(m.x)
    case 'handover':
      w.binary(m.to).binary(m.x).binary(m.from).u8(Number(m.own))
      putHanded(w, m.root, founderOf(m.from))
      return void w.bytes(m.state)
    case 'repoint':
      return void w.binary(m.x).binary(m.was).binary(m.to)
  }
}

function takeMessage(r: Reader): IdentityMessage {
  takeHead(r)
  const kind = must(KINDS[r.u8()], 'a kind of message that was written')
  switch (kind) {
    case 'arrive':
      return { kind, event: takeEvent(r), cause: takeCause(r) }
    case 'event':
      return { kind, to: key(r), via: key(r), event: takeEvent(r), cause: takeCause(r) }
    case 'link':
      return { kind, x: takeIdentifier(r), asker: key(r), cause: takeCause(r) }
    case 'linked':
      return { kind, to: key(r), x: idKey(r), v: r.varint(), cause: takeCause(r) }
    case 'known':
      return { kind, to: key(r), x: idKey(r), by: key(r), cause: takeCause(r) }
    case 'meet':
      return { kind, to: key(r), asker: key(r), x: takeIdentifier(r), cause: takeCause(r) }
    case 'propose':
      return { kind, to: key(r), x: idKey(r), from: key(r), own: r.u8() === 1, ids: takeAll(r, takeCounted), cause: takeCause(r) }
    case 'accept':
      return { kind, to: key(r), x: idKey(r), by: key(r), own: r.u8() === 1, cause: takeCause(r) }
    case 'refuse':
      return { kind, to: key(r), x: idKey(r), own: r.u8() === 1, reason: r.text(), cause: takeCause(r) }
    case 'again':
      return { kind, to: key(r), x: idKey(r), cause: takeCause(r) }
    case 'handover':
      return takeHandover(r)
    case 'repoint':
      return { kind, x: idKey(r), was: key(r), to: key(r), cause: takeCause(r) }
  }
}

function takeHandover(r: Reader): IdentityMessage {
  const to = key(r)
  const x = idKey(r)
  const from = key(r)
  const own = r.u8() === 1
  const root = takeHanded(r, founderOf(from))
  return { kind: 'handover', to, x, from, own, root, state: r.bytes(), cause: takeCause(r) }
}
