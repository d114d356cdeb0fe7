// A world to run the rules in: partitions that own rows and consume one message per step, FIFO channels between them, and a
// profile body that only counts events. Messages that wait in a channel are bytes.
import { InvariantError, must } from '../../src/core/assert.ts'
import { Reader, Writer } from '../../src/core/bytes.ts'
import { type EventRecord, encodeEvent } from '../../src/core/event.ts'
import { founderOf, homeOf, type Identifier, type IdentifierKey, type ProfileKey, profileKey } from '../../src/core/identifier.ts'
import { decodeLeaf, decodeMessage, decodeRoot, encodeLeaf, encodeMessage, encodeRoot } from '../../src/identity/codec.ts'
import type { Limits } from '../../src/identity/guards.ts'
import { type AuditAction, addressOf, type CarriedEvent, type CauseRef, type IdentityMessage, rowsOf } from '../../src/identity/messages.ts'
import { type Forward, type Leaf, newRoot, Root } from '../../src/identity/root.ts'
import { type Absorbed, type Context, handle } from '../../src/identity/rules.ts'

export class Violation extends Error {}

export function fail(message: string): never {
  throw new Violation(message)
}

export interface Universe {
  readonly partitions: number
  /** In key order; events name them by their place. */
  readonly identifiers: readonly Identifier[]
  /** Home partition by place; undefined: by the key, as the product does. */
  readonly homes?: readonly number[]
  readonly limits: Limits
}

export interface EventSpec {
  readonly id: number
  /** Places of identifiers, in any order. */
  readonly ids: readonly number[]
}

export const UNLIMITED: Limits = { total: Number.POSITIVE_INFINITY, of: new Map(), others: Number.POSITIVE_INFINITY }

/** What a mutation may change, so that tests can show that they would notice (mutations.test.ts). */
export interface Mutation {
  readonly onSend?: (m: IdentityMessage) => IdentityMessage
  /** Undefined: the message is taken care of. */
  readonly onReceive?: (m: IdentityMessage, at: Partition) => IdentityMessage | undefined
  readonly limits?: (during: IdentityMessage, limits: Limits) => Limits
  readonly onCreate?: (root: Root) => void
  readonly afterStep?: (world: World) => void
  readonly youngerSurvives?: boolean
  readonly takesRepeats?: boolean
}

export interface WorldOptions {
  /** Messages to the own partition are handled in the same step. */
  readonly inline?: boolean
  /** Only what was encoded when the rules said `touch` survives a step. */
  readonly persist?: boolean
  readonly mutation?: Mutation
}

interface Channel {
  readonly target: number
  readonly origin: string
  readonly queue: { readonly seq: number; readonly bytes: Buffer }[]
  sent: number
}

interface Body {
  applied: number[]
  publicIds: { id: string; key: ProfileKey }[]
}

export interface AuditRecord extends AuditAction {
  readonly key: ProfileKey
  readonly cause: CauseRef
}

const MAX_INLINE = 100_000

export class Partition implements Context {
  readonly leaves = new Map<IdentifierKey, Leaf>()
  readonly rows = new Map<ProfileKey, Root | Forward>()
  readonly marks = new Map<string, number>()
  readonly #world: World
  readonly #number: number
  #local: IdentityMessage[] = []
  #during: IdentityMessage | undefined
  readonly #stored = new Map<ProfileKey, { bytes: Buffer; publicId: string | undefined }>()
  readonly #used = new Set<ProfileKey>()

  constructor(world: World, number: number) {
    this.#world = world
    this.#number = number
  }

  get limits(): Limits {
    const { limits } = this.#world.universe
    return this.#world.options.mutation?.limits?.(must(this.#during, 'limits are asked for during a message'), limits) ?? limits
  }

  /** One step: a message, and what it sends to this partition where that is handled inline. */
  step(first: IdentityMessage): void {
    this.#local = [first]
    for (let i = 0; i < this.#local.length; i++) {
      if (i > MAX_INLINE) fail('a step without end')
      const m = this.#local[i] as IdentityMessage
      const received = this.#world.options.mutation?.onReceive ? this.#world.options.mutation.onReceive(m, this) : m
      if (!received) continue
      this.#during = received
      this.#checkRows(received)
      handle(received, this)
    }
    this.#local = []
    if (this.#world.options.persist) this.#restore()
  }

  /** Everything the rules ask for is among the rows that `rowsOf` announces. */
  #checkRows(m: IdentityMessage): void {
    const { leaf, row, founding } = rowsOf(m)
    for (const key of [leaf, row, founding]) {
      if (key !== undefined && this.#world.home(key) !== this.#number) fail(`${m.kind} wants a row of another partition`)
    }
  }

  #restore(): void {
    for (const key of this.#used) {
      const stored = this.#stored.get(key)
      if (stored) this.rows.set(key, decodeRoot(key, new Reader(stored.bytes), stored.publicId))
    }
    this.#used.clear()
  }

  leaf(x: IdentifierKey): Leaf | undefined {
    if (x !== rowsOf(must(this.#during, 'in a step')).leaf) fail('a leaf that was not announced')
    return this.leaves.get(x)
  }

  setLeaf(x: IdentifierKey, leaf: Leaf): void {
    this.leaves.set(x, decodeLeaf(encodeLeaf(leaf)))
  }

  root(key: ProfileKey): Root | Forward | undefined {
    if (key !== rowsOf(must(this.#during, 'in a step')).row) fail('a row that was not announced')
    this.#used.add(key)
    return this.rows.get(key)
  }

  createRoot(founder: IdentifierKey): Root {
    let generation = 0
    while (this.rows.has(profileKey(founder, generation))) generation++
    const root = newRoot(profileKey(founder, generation))
    this.#world.options.mutation?.onCreate?.(root)
    this.rows.set(root.key, root)
    this.#used.add(root.key)
    this.#world.bodies.set(root.key, { applied: [], publicIds: [] })
    return root
  }

  send(message: IdentityMessage): void {
    const m = this.#world.options.mutation?.onSend?.(message) ?? message
    this.#world.messages++
    const target = this.#world.home(addressOf(m))
    if (this.#world.options.inline && target === this.#number) this.#local.push(m)
    else this.#world.put(String(this.#number), target, m)
  }

  touch(root: Root): void {
    if (this.rows.get(root.key) !== root) fail('touch of what is no root here')
    this.#world.touches++
    if (!this.#world.options.persist) return
    const w = new Writer()
    encodeRoot(root, w)
    this.#stored.set(root.key, { bytes: w.take(), publicId: root.publicId })
  }

  apply(root: Root, { record }: CarriedEvent): void {
    if (!root.isBorn) fail('an event applied to an unborn root')
    const id = Number(record.messageId)
    this.#body(root.key).applied.push(id)
    this.#world.appliedAt.set(id, root.key)
  }

  born(root: Root, first: CarriedEvent): void {
    if (root.isBorn) fail('born twice')
    root.publicId = `${String(first.record.acceptedAt).padStart(9, '0')}.${this.#world.minted.length}`
    this.#world.minted.push(root.publicId)
    this.#body(root.key).publicIds.push({ id: root.publicId, key: root.key })
  }

  takeState(root: Root): Buffer {
    return Buffer.from(JSON.stringify(this.#body(root.key)))
  }

  becameForward(root: Root, to: ProfileKey): void {
    this.rows.set(root.key, { forward: to })
    this.#stored.delete(root.key)
    this.#world.bodies.delete(root.key)
  }

  absorb(root: Root, from: Absorbed): void {
    const body = this.#body(root.key)
    const handed = JSON.parse(from.state.toString()) as Body
    body.applied.push(...handed.applied)
    body.publicIds.push(...handed.publicIds)
    if (from.publicId === undefined) return
    if (root.publicId !== undefined) {
      this.#world.merges.push([root.publicId, from.publicId])
      const isOlder = from.publicId < root.publicId
      if (isOlder === (this.#world.options.mutation?.youngerSurvives ?? false)) return
    }
    root.publicId = from.publicId
  }

  audit(root: Root, entry: AuditAction, cause: CauseRef): void {
    this.#world.audits.push({ ...entry, key: root.key, cause })
  }

  #body(key: ProfileKey): Body {
    return must(this.#world.bodies.get(key), 'a root has a body')
  }
}

export class World {
  readonly universe: Universe
  readonly options: WorldOptions
  readonly partitions: Partition[]
  readonly channels = new Map<string, Channel>()
  readonly bodies = new Map<ProfileKey, Body>()
  readonly appliedAt = new Map<number, ProfileKey>()
  readonly audits: AuditRecord[] = []
  readonly minted: string[] = []
  readonly merges: [string, string][] = []
  readonly injected: EventSpec[] = []
  readonly places = new Map<IdentifierKey, number>()
  /** Messages that a mutation holds back. */
  readonly aside: { at: Partition; message: IdentityMessage }[] = []
  steps = 0
  messages = 0
  touches = 0

  constructor(universe: Universe, options: WorldOptions = {}) {
    this.universe = universe
    this.options = options
    this.partitions = Array.from({ length: universe.partitions }, (_, number) => new Partition(this, number))
    for (const [place, { key }] of universe.identifiers.entries()) this.places.set(key, place)
  }

  home(key: IdentifierKey | ProfileKey): number {
    const { homes, partitions } = this.universe
    return homes ? must(homes[this.placeOf(key)], 'an identifier of the universe') : homeOf(key, partitions)
  }

  placeOf(key: IdentifierKey | ProfileKey): number {
    return must(this.places.get(founderOf(key)), 'an identifier of the universe')
  }

  /** A short name of a key, for messages of failures. */
  name(key: IdentifierKey | ProfileKey): string {
    const place = this.placeOf(key)
    return `${(this.universe.identifiers[place] as Identifier).namespace.charAt(0)}${place}`
  }

  causeOf(event: EventSpec): CauseRef {
    const smallest = this.universe.identifiers[Math.min(...event.ids)] as Identifier
    return { partition: this.home(smallest.key), position: event.id, stamp: event.id, messageId: String(event.id) }
  }

  inject(event: EventSpec): void {
    this.injected.push(event)
    const identifiers = [...new Set(event.ids)].sort((a, b) => a - b).map((place) => this.universe.identifiers[place] as Identifier)
    const cause = this.causeOf(event)
    this.put('log', cause.partition, { kind: 'arrive', event: carried(event.id, identifiers), cause })
  }

  put(origin: string, target: number, m: IdentityMessage): void {
    const name = `${origin}>${target}`
    let channel = this.channels.get(name)
    if (!channel) {
      channel = { origin, target, queue: [], sent: 0 }
      this.channels.set(name, channel)
    }
    channel.sent++
    channel.queue.push({ seq: channel.sent, bytes: encodeMessage(m) })
  }

  liveChannels(): Channel[] {
    return [...this.channels.values()].filter(({ queue }) => queue.length > 0)
  }

  /** The target of the channel takes its first message; `repeat`: it will come once more. */
  deliver(channel: Channel, repeat = false): void {
    const first = must(channel.queue[0], 'a live channel')
    if (!repeat) channel.queue.shift()
    const partition = this.partitions[channel.target] as Partition
    const mark = partition.marks.get(channel.origin) ?? 0
    if (first.seq <= mark && !this.options.mutation?.takesRepeats) return
    if (first.seq > mark + 1) fail('a gap in a channel')
    partition.marks.set(channel.origin, first.seq)
    this.steps++
    partition.step(decodeMessage(first.bytes))
    this.options.mutation?.afterStep?.(this)
  }

  row(key: ProfileKey): Root | Forward {
    return this.partitions[this.home(key)]?.rows.get(key) ?? fail(`no row ${this.name(key)}`)
  }

  roots(): Root[] {
    return this.partitions.flatMap(({ rows }) => [...rows.values()].filter((row) => row instanceof Root))
  }

  resolve(key: ProfileKey): Root {
    for (let at = key; ; ) {
      const row = this.row(at)
      if (row instanceof Root) return row
      if (!(row.forward < at)) fail(`forward ascends from ${this.name(at)}`)
      at = row.forward
    }
  }

  rootOf(place: number): Root | undefined {
    const { key } = this.universe.identifiers[place] as Identifier
    const leaf = this.partitions[this.home(key)]?.leaves.get(key)
    return leaf && this.resolve(leaf.key)
  }
}

const writer = new Writer()

export function carried(id: number, identifiers: readonly Identifier[]): CarriedEvent {
  const record: EventRecord = {
    type: 'track',
    name: 'Seen',
    messageHash: String(id).padStart(16, '0'),
    messageId: String(id),
    acceptedAt: id + 1,
    at: id + 1,
    sourcePriority: 100,
    identifiers,
    hasTraits: false,
    body: Buffer.from('{}'),
  }
  encodeEvent(record, writer.reset())
  return { record, bytes: writer.take() }
}

/** True for what a run throws when a rule or invariant is broken, as opposed to a fault of the test. */
export function isBroken(error: unknown): error is Error {
  return error instanceof Violation || error instanceof InvariantError
}
