// A profile decoded in memory and its row. Owns the layout of the profile row and the rules of traits; the identity part of
// the row belongs to identity/, the segment part to segment-state.ts.
//
// 1. A root has segments exactly when it is born, and then a public id.
// 2. Traits are a function of the set of events: last write wins by (event time, source priority, message hash); a removed
//    trait stays as a tombstone, so that an older event can't bring it back.
// 3. Events dated in the future wait in `future`, ordered by their instant, and count from then on.
import { must } from '../core/assert.ts'
import { Reader, Writer } from '../core/bytes.ts'
import { TributaryError } from '../core/errors.ts'
import { decodeEvent, type EventRecord, type Json, type JsonObject, messageOf } from '../core/event.ts'
import { PROFILE_KEY_BYTES, type ProfileKey } from '../core/identifier.ts'
import { decodeRoot, encodeRoot } from '../identity/codec.ts'
import type { CarriedEvent } from '../identity/messages.ts'
import { Root } from '../identity/root.ts'
import { decodeState, encodeState, readMemberships, type SegmentState, type SplitRows } from './segment-state.ts'

export interface Trait {
  /** Undefined: removed. */
  readonly value: Json | undefined
  readonly at: number
  readonly sourcePriority: number
  /** The first 8 characters of the message hash: a tie-break, the same everywhere. */
  readonly tie: string
}

export interface FutureEvent {
  readonly record: EventRecord
  readonly bytes: Buffer
}

/** A row of a timeline or audit trail, as the key behind the profile's and the value. */
export type Suffixed = readonly [suffix: string, value: Buffer]

export const NEVER = Number.POSITIVE_INFINITY

export class Profile {
  readonly root: Root
  /** The root is newer than the row. */
  isRootFresh = true
  createdAt = 0
  updatedAt = 0
  /** The last `now` at which it was touched: its time never runs backwards, also across hand-overs. */
  asOf = 0
  armedAt: number = NEVER
  timelineCount = 0
  /** Events before this instant may be missing from the timeline. */
  timelineFrom = 0
  /** No event of the timeline is older. */
  timelineOldest: number = NEVER
  auditSeq = 0
  appliedSeq = 0
  traits = new Traits()
  future: FutureEvent[] = []
  segments: SegmentState | undefined
  // Below: in memory only.
  dirty = false
  busy = false
  /** The whole timeline and audit trail, where an input needs them; dropped at the end of the batch. */
  timeline: Suffixed[] | undefined
  audit: Suffixed[] | undefined

  /** The row that it was read from, and where identity's part lies there. */
  readonly #row: Buffer | undefined
  readonly #rootFrom: number
  readonly #rootTo: number

  constructor(root: Root, row?: { readonly bytes: Buffer; readonly rootFrom: number; readonly rootTo: number }) {
    this.root = root
    this.#row = row?.bytes
    this.#rootFrom = row?.rootFrom ?? 0
    this.#rootTo = row?.rootTo ?? 0
    this.isRootFresh = row === undefined
  }

  encodeRoot(w: Writer): void {
    if (this.isRootFresh || this.#row === undefined) encodeRoot(this.root, w)
    else w.range(this.#row, this.#rootFrom, this.#rootTo)
  }

  /** Binary; empty while unborn. */
  get publicId(): string {
    return this.root.publicId ?? ''
  }

  set publicId(id: string) {
    this.root.publicId = id
    this.isRootFresh = true
  }

  get key(): ProfileKey {
    return this.root.key
  }

  get userId(): string {
    for (const { identifier } of this.root.ids.values()) if (identifier.namespace === 'user_id') return identifier.value
    return ''
  }

  trait(name: string): Json | undefined {
    return this.traits.get(name)?.value
  }
}

export class Forward {
  readonly to: ProfileKey
  dirty = false
  constructor(to: ProfileKey) {
    this.to = to
  }
}

/** Most traits that one profile keeps, tombstones included. */
export const TRAITS_PER_PROFILE = 1000

const isNewer = (a: Trait, b: Trait): boolean =>
  a.at !== b.at ? a.at > b.at : a.sourcePriority !== b.sourcePriority ? a.sourcePriority < b.sourcePriority : a.tie > b.tie

/** Sets a trait if it is newer; true when its value has changed. */
function setTrait(profile: Profile, name: string, trait: Trait): boolean {
  const old = profile.traits.get(name)
  if (old === undefined ? profile.traits.size >= TRAITS_PER_PROFILE : !isNewer(trait, old)) return false
  profile.traits.set(name, trait)
  return !isSame(old?.value, trait.value)
}

function isSame(a: Json | undefined, b: Json | undefined): boolean {
  return a === b || (typeof a === 'object' && typeof b === 'object' && JSON.stringify(a) === JSON.stringify(b))
}

/** Two at most. */
function traitSources(message: JsonObject): JsonObject[] {
  const sources: JsonObject[] = []
  const context = message.context
  const inContext = context !== null && typeof context === 'object' && !Array.isArray(context) ? context.traits : undefined
  for (const traits of [inContext, message.type === 'identify' ? message.traits : undefined]) {
    if (traits !== null && typeof traits === 'object' && !Array.isArray(traits)) sources.push(traits)
  }
  return sources
}

/** Sets the traits that an event carries (2); returns the names whose value changed. */
export function applyTraits(profile: Profile, event: EventRecord, message: JsonObject): string[] {
  const changed: string[] = []
  const { at, sourcePriority } = event
  const tie = event.messageHash.slice(0, 8)
  const sources = traitSources(message)
  const last = sources.at(-1)
  for (const values of sources) {
    for (const name of Object.keys(values)) {
      // What the event says in two places counts as the last of them has it.
      if (last !== undefined && values !== last && Object.hasOwn(last, name)) continue
      const value = values[name]
      if (setTrait(profile, name, { value: value === null ? undefined : value, at, sourcePriority, tie })) changed.push(name)
    }
  }
  return changed
}

/** Merges the traits of an absorbed profile; returns the names that changed. */
export function mergeTraits(into: Profile, from: Iterable<[string, Trait]>): string[] {
  const changed: string[] = []
  for (const [name, trait] of from) if (setTrait(into, name, trait)) changed.push(name)
  return changed
}

/** Keeps `future` in order (3). */
export function addFuture(profile: Profile, event: FutureEvent): void {
  const at = event.record.at
  let i = profile.future.length
  while (i > 0 && isBefore(at, event.record.messageHash, must(profile.future[i - 1], 'index in range').record)) i--
  profile.future.splice(i, 0, event)
}

function isBefore(at: number, hash: string, other: EventRecord): boolean {
  return at < other.at || (at === other.at && hash < other.messageHash)
}

const VERSION = 2
const FORWARD = 0
const UNBORN = 1
const BORN = 2

export function encodeForward(to: ProfileKey): Buffer {
  return new Writer(32).u8(VERSION).u8(FORWARD).binary(to).take()
}

function encodeTraits(traits: ReadonlyMap<string, Trait>, w: Writer): void {
  let last: Trait | undefined
  for (const [name, t] of traits) {
    w.text(name)
    // Traits set by one event share its stamp.
    if (last && last.at === t.at && last.tie === t.tie && last.sourcePriority === t.sourcePriority) w.u8(t.value === undefined ? 1 : 0)
    else
      w.u8(t.value === undefined ? 3 : 2)
        .varint(t.at)
        .u8(t.sourcePriority)
        .binary(t.tie)
    if (t.value !== undefined) w.text(typeof t.value === 'string' ? `"${t.value}` : JSON.stringify(t.value))
    last = t
  }
}

/** A text is written behind a lone quote, without escaping: shorter and quicker than JSON. */
const traitValue = (text: string): Json => (text.startsWith('"') ? text.slice(1) : (JSON.parse(text) as Json))

/** Names of traits recur in every profile: one text serves them all. */
const NAMES = new Map<string, string>()
const MOST_NAMES = 10_000

function interned(name: string): string {
  const known = NAMES.get(name)
  if (known !== undefined) return known
  if (NAMES.size < MOST_NAMES) NAMES.set(name, name)
  return name
}

function decodeTraits(r: Reader): Map<string, Trait> {
  const traits = new Map<string, Trait>()
  let at = 0
  let sourcePriority = 0
  let tie = ''
  while (!r.done) {
    const name = interned(r.text())
    const kind = r.u8()
    if (kind >= 2) {
      at = r.varint()
      sourcePriority = r.u8()
      tie = r.binary(8)
    }
    traits.set(name, { value: kind % 2 === 1 ? undefined : traitValue(r.text()), at, sourcePriority, tie })
  }
  return traits
}

const encodedTraits = new Writer(1024)

/** The traits of one profile: bytes until somebody asks, and still bytes for the next row unless one has changed. */
export class Traits {
  #bytes: Buffer | undefined
  #from = 0
  #to = 0
  #map: Map<string, Trait> | undefined

  /** Keeps a view of the row. */
  static read(r: Reader): Traits {
    const traits = new Traits()
    const size = r.varint()
    traits.#bytes = r.buffer
    traits.#from = r.at
    r.at += size
    traits.#to = r.at
    return traits
  }

  #read(): Map<string, Trait> {
    this.#map ??= this.#bytes === undefined ? new Map() : decodeTraits(new Reader(this.#bytes, this.#from, this.#to))
    return this.#map
  }

  get size(): number {
    return this.#read().size
  }

  get(name: string): Trait | undefined {
    return this.#read().get(name)
  }

  set(name: string, trait: Trait): void {
    this.#read().set(name, trait)
    this.#bytes = undefined
  }

  [Symbol.iterator](): Iterator<[string, Trait]> {
    return this.#read()[Symbol.iterator]()
  }

  encode(w: Writer): void {
    if (this.#bytes !== undefined) {
      w.varint(this.#to - this.#from).range(this.#bytes, this.#from, this.#to)
      return
    }
    encodeTraits(this.#read(), encodedTraits.reset())
    w.varint(encodedTraits.length).writer(encodedTraits)
  }
}

/** All of a profile but identity and public id: what a hand-over carries too. */
function encodeContents(p: Profile, w: Writer, split: SplitRows): void {
  encodeState(must(p.segments, 'a born root has segments (1)'), w, split)
  w.varint(p.createdAt).varint(p.updatedAt).varint(p.asOf).varint(p.timelineCount).varint(p.timelineFrom).varint(p.appliedSeq)
  w.varint(p.timelineOldest === NEVER ? 0 : Math.max(0, p.timelineOldest) + 1)
  p.traits.encode(w)
  w.varint(p.future.length)
  for (const { bytes } of p.future) w.bytes(bytes)
}

function decodeContents(p: Profile, r: Reader): void {
  p.segments = decodeState(r)
  p.createdAt = r.varint()
  p.updatedAt = r.varint()
  p.asOf = r.varint()
  p.timelineCount = r.varint()
  p.timelineFrom = r.varint()
  p.appliedSeq = r.varint()
  const oldest = r.varint()
  p.timelineOldest = oldest === 0 ? NEVER : oldest - 1
  p.traits = Traits.read(r)
  for (let n = r.varint(); n > 0; n--) {
    const bytes = r.bytes()
    p.future.push({ bytes, record: decodeEvent(bytes) })
  }
}

/** Writes the profile's row. */
export function encodeProfile(p: Profile, w: Writer, split: SplitRows): void {
  w.u8(VERSION).u8(p.segments ? BORN : UNBORN)
  if (p.segments) w.binary(p.publicId).text(p.userId)
  w.varint(p.auditSeq).varint(p.armedAt === NEVER ? 0 : p.armedAt + 1)
  p.encodeRoot(w)
  if (p.segments) encodeContents(p, w, split)
}

interface RowHead {
  readonly publicId: string
  readonly userId: string
  readonly profile: Profile
  /** At the profile's segments: its memberships come first. */
  readonly rest: Reader
}

/** The start of a born root's row: enough to list members. Undefined for a forward or an unborn root. */
export function readRowHead(key: ProfileKey, row: Buffer): RowHead | undefined {
  const head = readHead(key, new Reader(row))
  return head instanceof Forward || head.publicId === '' ? undefined : head
}

function readHead(key: ProfileKey, r: Reader): RowHead | Forward {
  const version = r.u8()
  if (version !== VERSION) throw new TributaryError('data_corrupt', `profile row of unknown version ${version}`)
  const kind = r.u8()
  if (kind === FORWARD) return new Forward(r.binary(PROFILE_KEY_BYTES))
  const publicId = kind === BORN ? r.binary(16) : ''
  const userId = kind === BORN ? r.text() : ''
  const auditSeq = r.varint()
  const armed = r.varint()
  const rootFrom = r.at
  const root = decodeRoot(key, r, publicId === '' ? undefined : publicId)
  const profile = new Profile(root, { bytes: r.buffer, rootFrom, rootTo: r.at })
  profile.auditSeq = auditSeq
  profile.armedAt = armed === 0 ? NEVER : armed - 1
  return { publicId, userId, profile, rest: r }
}

/** Where the row at `from` forwards to; undefined if it is a root. */
export function forwardIn(bytes: Buffer, from: number): ProfileKey | undefined {
  return bytes[from + 1] === FORWARD ? bytes.latin1Slice(from + 2, from + 2 + PROFILE_KEY_BYTES) : undefined
}

/** Keeps views of the row. */
export function decodeProfileRow(key: ProfileKey, row: Buffer, from = 0, to = row.length): Profile | Forward {
  const head = readHead(key, new Reader(row, from, to))
  if (head instanceof Forward) return head
  if (head.publicId !== '') decodeContents(head.profile, head.rest)
  return head.profile
}

/** What a hand-over carries besides the identity part: the contents, the timeline and the audit trail. */
export function encodeHandedOver(p: Profile): Buffer {
  const w = new Writer(4096).u8(VERSION).u8(p.segments ? BORN : UNBORN)
  if (p.segments) {
    w.binary(p.publicId)
    encodeContents(p, w, { bytes: NEVER, putGroup: () => {} })
  }
  for (const rows of [must(p.timeline, 'a hand-over has the timeline loaded'), must(p.audit, 'a hand-over has the audit trail loaded')]) {
    w.varint(rows.length)
    for (const [suffix, value] of rows) w.varint(suffix.length).binary(suffix).bytes(value)
  }
  return w.take()
}

/** The definitions version that a handed-over profile is filled to; 0 when it was unborn. */
export function versionHandedOver(state: Buffer): number {
  const r = new Reader(state)
  r.u8()
  if (r.u8() !== BORN) return 0
  r.binary(16)
  readMemberships(r)
  return r.varint()
}

export interface HandedOver {
  /** Undefined when it was unborn. */
  readonly contents: Profile | undefined
  readonly timeline: Suffixed[]
  readonly audit: Suffixed[]
}

/** `contents` hangs on a root of its own, which only carries the key and the public id. */
export function decodeHandedOver(state: Buffer, key: ProfileKey): HandedOver {
  const r = new Reader(state)
  r.u8()
  let contents: Profile | undefined
  if (r.u8() === BORN) {
    contents = new Profile(new Root(key, r.binary(16)))
    decodeContents(contents, r)
  }
  const [timeline, audit] = [readSuffixed(r), readSuffixed(r)]
  return { contents, timeline, audit }
}

function readSuffixed(r: Reader): Suffixed[] {
  const rows: Suffixed[] = []
  for (let n = r.varint(); n > 0; n--) rows.push([r.binary(r.varint()), r.bytes()])
  return rows
}

/** A timeline row's value: when and as which event of the profile it was applied, then the event record. */
export function encodeTimelineRow(appliedAt: number, appliedSeq: number, event: Buffer): Buffer {
  return scratch.reset().varint(appliedAt).varint(appliedSeq).raw(event).take()
}

const scratch = new Writer(4096)

export function decodeTimelineRow(value: Buffer): { appliedAt: number; appliedSeq: number; record: EventRecord; bytes: Buffer } {
  const r = new Reader(value)
  const appliedAt = r.varint()
  const appliedSeq = r.varint()
  const bytes = value.subarray(r.at)
  return { appliedAt, appliedSeq, record: decodeEvent(bytes), bytes }
}

/** An event of the log on its way; what is parsed once serves whoever looks at it next. */
export class InputEvent implements CarriedEvent {
  readonly record: EventRecord
  readonly bytes: Buffer
  readonly view: AppliedEvent
  constructor(record: EventRecord, bytes: Buffer) {
    this.record = record
    this.bytes = bytes
    this.view = new AppliedEvent(record)
  }
}

export function viewOf(event: CarriedEvent): AppliedEvent {
  return event instanceof InputEvent ? event.view : new AppliedEvent(event.record)
}

/** An event as conditions see it; its message is parsed when first asked for. */
export class AppliedEvent {
  readonly name: string
  readonly at: number
  readonly #record: EventRecord
  #message: JsonObject | undefined
  constructor(record: EventRecord) {
    this.#record = record
    this.name = record.name
    this.at = record.at
  }
  message(): JsonObject {
    this.#message ??= messageOf(this.#record)
    return this.#message
  }
}
