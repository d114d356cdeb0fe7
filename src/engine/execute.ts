// Executing inputs: identity's rules and apply.ts over what is in memory. Synchronous; no I/O, no clock, no random.
// Owns what an input needs in memory and what it leaves in the batch; does not load, commit or send anything.
//
// 1. An input whose rows aren't all in memory changes nothing and says what it wants.
// 2. Messages to the own partition are taken in the same step, in order. One that wants a row goes the way of the exchange, and
//    so do all behind it in that step; a later one overtakes it unless it has the same address.
// 3. An event is counted once: its hash, and what was taken in of its origin (origins.ts), are rows of the same commit.
// 4. The partition's `now` moves by stamps (wall clock) or by control records (manual clock), and never back.
import { invariant, must } from '../core/assert.ts'
import { homeOf, type IdentifierKey, type ProfileKey, profileKey } from '../core/identifier.ts'
import { encodeMessage } from '../identity/codec.ts'
import {
  type AuditAction,
  addressOf,
  type CarriedEvent,
  type CauseRef,
  causesIn,
  type IdentityMessage,
  rowsOf,
  smallestOf,
} from '../identity/messages.ts'
import { holdIdentifier, isIdle, type Leaf, newRoot, type Root } from '../identity/root.ts'
import { type Absorbed, type Context, handle } from '../identity/rules.ts'
import { inexactTimes } from '../operators/inexact.ts'
import { Apply, type Surroundings, segmentsOf } from './apply.ts'
import type { EventInput } from './event-input.ts'
import { generationAt, turning } from './generations.ts'
import { auditKey, busyKey, dedupeKey, groupKey, prefixRange, publicKey } from './keys.ts'
import { Absent, type Memory } from './memory.ts'
import { mayNeedTimeline, mergeNeedsTimeline } from './merge-needs.ts'
import type { Origins } from './origins.ts'
import { AppliedEvent, decodeHandedOver, encodeHandedOver, Forward, type HandedOver, type InputEvent, Profile, viewOf } from './profile.ts'
import { mintPublicId, publicIdText } from './public-id.ts'
import * as segmentState from './segment-state.ts'

export type Input =
  | EventInput
  | { readonly kind: 'unreadable'; readonly next: number; readonly stamp: number; readonly reason: string; readonly bytes: Buffer }
  | { readonly kind: 'exchange'; readonly origin: number; readonly seq: number; readonly message: IdentityMessage }
  | { readonly kind: 'clock'; readonly next: number; readonly now: number }
  | { readonly kind: 'definitions'; readonly next: number; readonly version: number }
  | { readonly kind: 'timer'; readonly due: number; readonly key: ProfileKey }
  | { readonly kind: 'fill'; readonly key: ProfileKey }
  | { readonly kind: 'swept'; readonly target: number; readonly cursor: string; readonly done: boolean }
  | {
      readonly kind: 'trim'
      readonly key: ProfileKey
      readonly through: string
      readonly count: number
      readonly from: number
      readonly oldest: number
    }

/** Rows that an input wants in memory before it can be executed. */
export class Wanted {
  readonly leaves = new Set<IdentifierKey>()
  readonly rows = new Set<ProfileKey>()
  readonly groups = new Map<ProfileKey, readonly number[]>()
  readonly timelines = new Set<ProfileKey>()
  readonly audits = new Set<ProfileKey>()

  get isEmpty(): boolean {
    return this.leaves.size === 0 && this.rows.size === 0 && this.groups.size === 0 && this.timelines.size === 0 && this.audits.size === 0
  }

  /** True when it must be read by a scan, which sees committed rows only. */
  get needsScan(): boolean {
    return this.timelines.size + this.audits.size > 0
  }
}

const EMPTY = Buffer.alloc(0)

export interface ExecutorSurroundings extends Surroundings {
  readonly partition: number
  readonly memory: Memory
  /** What sources have brought. */
  readonly origins: Origins
  /** Roots with protocol work under way. */
  readonly busy: Map<ProfileKey, Profile>
  /** Message hashes counted by the batch before, whose rows a prefetch may not have seen. */
  seenBefore: ReadonlySet<string>
  /** The newest acceptance stamp executed. */
  lastStamp: number
}

export class Executor implements Context {
  readonly apply_: Apply
  readonly limits: Context['limits']
  readonly #s: ExecutorSurroundings
  #local: IdentityMessage[] = []
  #wanted = new Wanted()
  /** Addresses of messages to the own partition that go the way of the exchange, and how many each. */
  readonly #underWay = new Map<string, number>()
  #decoded = new WeakMap<Buffer, HandedOver>()

  constructor(surroundings: ExecutorSurroundings) {
    this.#s = surroundings
    this.limits = surroundings.limits.identity
    this.apply_ = new Apply(surroundings)
  }

  /** Executes one input, or says what it wants (1). */
  execute(input: Input): Wanted | undefined {
    if (this.#lacks(input)) return this.#takeWanted()
    const { batch } = this.#s
    batch.inputs++
    const cause = input.kind === 'event' ? input.cause : input.kind === 'exchange' ? input.message.cause : undefined
    if (cause && cause.stamp < batch.oldestStamp) batch.oldestStamp = cause.stamp
    const inexact = inexactTimes()
    this.#run(input)
    if (input.kind === 'event') input.forget()
    batch.inexact += inexactTimes() - inexact
    return undefined
  }

  /** What these inputs want in memory, as far as it can be told before any of them is executed. */
  wants(inputs: readonly Input[]): Wanted {
    for (const input of inputs) this.#lacks(input)
    return this.#takeWanted()
  }

  #takeWanted(): Wanted {
    const wanted = this.#wanted
    this.#wanted = new Wanted()
    return wanted
  }

  #run(input: Input): void {
    const { state, batch } = this.#s
    switch (input.kind) {
      case 'event':
        state.input = input.next
        if (input.stamp > this.#s.lastStamp) this.#s.lastStamp = input.stamp
        if (!this.#isRepeat(input)) this.#event(input)
        return
      case 'unreadable':
        state.input = input.next
        batch.deadLetters.add({
          code: 'execution_failed',
          reason: input.reason,
          at: Math.max(state.now, input.stamp),
          message: readable(input.bytes),
        })
        return
      case 'exchange':
        invariant(input.seq === (state.marks[input.origin] ?? 0) + 1, 'exchange messages of one origin come without gaps')
        state.marks[input.origin] = input.seq
        batch.taken.push(input.message)
        if (input.origin === this.#s.partition) this.#arrived(addressOf(input.message))
        this.#deliver(input.message)
        return
      case 'clock':
        state.input = input.next
        this.moveTo(input.now)
        return
      case 'definitions':
        state.input = input.next
        state.activeVersion = Math.max(state.activeVersion, input.version)
        return
      case 'timer': {
        const row = this.#s.memory.row(input.key)
        if (row instanceof Profile && row.armedAt === input.due) this.apply_.timer(row)
        return
      }
      case 'fill': {
        const row = this.#s.memory.row(input.key)
        if (row instanceof Profile && row.segments) this.apply_.bringUp(row, this.apply_.nowFor(row))
        return
      }
      case 'swept':
        state.sweepTarget = input.target
        state.sweepCursor = input.cursor
        if (input.done) state.sweptVersion = input.target
        return
      case 'trim':
        this.#trim(input)
    }
  }

  // ---- events and time

  #isRepeat(input: EventInput): boolean {
    const hash = input.messageHash
    const isReadAgain = input.read !== undefined && !this.#s.origins.take(input.read.reading, input.read.place)
    if (!isReadAgain && !input.repeated && !this.#s.batch.seen.has(hash) && !this.#s.seenBefore.has(hash)) return false
    this.#s.state.repeated++
    return true
  }

  #event(input: EventInput): void {
    if (this.#s.limits.clock === 'wall') this.moveTo(input.stamp)
    const { event, cause, messageHash } = input
    this.#s.batch.seen.add(messageHash)
    this.#s.batch.rows.put(dedupeKey(this.#s.state.generation, messageHash), EMPTY)
    this.#s.batch.events++
    this.#deliver({ kind: 'arrive', event, cause })
  }

  /** Moves the partition's time on, never back (4), and turns the dedupe generations by it. */
  moveTo(now: number): void {
    const { state, batch, limits } = this.#s
    if (now <= state.now) return
    const since = { generation: state.generation, now: state.now === 0 ? now : state.now }
    state.turning = turning(state.turning, limits.dedupeWindowMs, since)
    state.now = now
    const generation = generationAt(state.turning, now)
    if (generation <= state.generation) return
    state.generation = generation
    if (generation >= 2) batch.deletedRanges.push([dedupeKey(0, ''), dedupeKey(generation - 1, '')])
  }

  #trim(input: Input & { kind: 'trim' }): void {
    const row = this.#s.memory.row(input.key)
    if (!(row instanceof Profile)) return
    this.#s.batch.deletedRanges.push([`t${input.key}`, `t${input.key}${input.through}\u0000`])
    row.timelineCount = Math.max(0, row.timelineCount - input.count)
    row.timelineFrom = Math.max(row.timelineFrom, input.from)
    row.timelineOldest = Math.max(row.timelineOldest, input.oldest)
    this.apply_.touch(row)
  }

  // ---- what an input needs (1)

  #lacks(input: Input): boolean {
    switch (input.kind) {
      case 'event':
        return !input.repeated && this.#lacksForEvent(input.event, input.stamp)
      case 'exchange':
        return this.#lacksForMessage(input.message)
      case 'timer':
      case 'fill':
      case 'trim': {
        const row = this.#s.memory.row(input.key)
        if (row === undefined) this.#wanted.rows.add(input.key)
        else if (row instanceof Profile && row.segments && input.kind !== 'trim') this.#lacksToApply(row, [], this.#s.state.now)
        return !this.#wanted.isEmpty
      }
      default:
        return false
    }
  }

  /** Follows leaf and forwards as far as they stay in this partition, so that the usual event is applied in one step. */
  #lacksForEvent(event: InputEvent, stamp: number): boolean {
    const { memory, partition, limits, state } = this.#s
    const smallest = smallestOf(event).key
    const leaf = memory.leaf(smallest)
    if (leaf === null) {
      this.#wanted.leaves.add(smallest)
      if (memory.row(profileKey(smallest, 0)) === undefined) this.#wanted.rows.add(profileKey(smallest, 0))
      return true
    }
    let key = leaf?.key ?? profileKey(smallest, 0)
    while (homeOf(key, limits.partitions) === partition) {
      const row = memory.row(key)
      if (row === undefined) {
        this.#wanted.rows.add(key)
        return true
      }
      if (row instanceof Forward) {
        key = row.to
        continue
      }
      if (row instanceof Profile && row.segments) this.#lacksToApply(row, [event], Math.max(state.now, limits.clock === 'wall' ? stamp : 0))
      return !this.#wanted.isEmpty
    }
    return false
  }

  #lacksToApply(p: Profile, arriving: readonly CarriedEvent[], atLeastNow: number): boolean {
    const segments = segmentsOf(p)
    const plan = this.apply_.plan
    const now = Math.max(atLeastNow, p.asOf)
    const events: AppliedEvent[] = []
    for (const f of p.future) if (f.record.at <= now) events.push(new AppliedEvent(f.record))
    const due = events.length
    for (const event of arriving) if (event.record.at <= now) events.push(viewOf(event))
    if (p.timeline === undefined && mayNeedTimeline(plan, segments, { due, events })) this.#wanted.timelines.add(p.key)
    if (segmentState.isReady(plan, segments, events)) return !this.#wanted.isEmpty
    let needs = segmentState.needs(plan, segments, { events, now })
    if (needs.groups.length > 0 && this.#attach(p, needs.groups)) needs = segmentState.needs(plan, segments, { events, now })
    if (needs.timeline && p.timeline === undefined) this.#wanted.timelines.add(p.key)
    return !this.#wanted.isEmpty
  }

  /** Attaches split-off groups that are in memory, and wants the others; true when none was missing. */
  #attach(p: Profile, groups: readonly number[]): boolean {
    const missing: number[] = []
    for (const group of groups) {
      const body = this.#s.memory.group(p.key, group)
      if (body === undefined) missing.push(group)
      else segmentState.attachGroup(segmentsOf(p), group, body)
    }
    if (missing.length > 0) this.#wanted.groups.set(p.key, missing)
    return missing.length === 0
  }

  #lacksForMessage(message: IdentityMessage): boolean {
    const { memory } = this.#s
    const { leaf, row, founding } = rowsOf(message)
    if (leaf !== undefined && !memory.hasLeaf(leaf)) this.#wanted.leaves.add(leaf)
    if (founding !== undefined && memory.row(profileKey(founding, 0)) === undefined) this.#wanted.rows.add(profileKey(founding, 0))
    if (row !== undefined) {
      const entry = memory.row(row)
      if (entry === undefined) this.#wanted.rows.add(row)
      else if (entry instanceof Profile && entry.segments) this.#lacksForRoot(entry, message)
      else if (entry instanceof Profile && message.kind === 'accept') this.#wantRows(entry)
    }
    return !this.#wanted.isEmpty
  }

  #lacksForRoot(p: Profile, message: IdentityMessage): void {
    if (message.kind === 'event') this.#lacksToApply(p, [message.event], this.apply_.nowAt(p, message.cause.stamp))
    else if (message.kind === 'accept' || message.kind === 'handover') {
      const isAttached = this.#attach(p, segmentState.missingGroups(segmentsOf(p)))
      if (message.kind === 'accept') this.#wantRows(p)
      else if (isAttached) this.#lacksToTakeIn(p, message)
    }
  }

  #lacksToTakeIn(p: Profile, { state, to, root }: IdentityMessage & { kind: 'handover' }): void {
    const other = this.#handedOver(state, to).contents
    const newest = root.waiting.reduce((at, { cause }) => Math.max(at, this.apply_.nowAt(p, cause.stamp)), this.apply_.nowFor(p))
    const now = Math.max(newest, other?.asOf ?? 0)
    const waiting = root.waiting.map(({ event }) => event)
    this.#lacksToApply(p, waiting, now)
    if (!other || p.timeline !== undefined) return
    const due = [p, other].some(({ future }) => future[0] !== undefined && future[0].record.at <= now)
    if (due || mergeNeedsTimeline(this.apply_.plan, segmentsOf(p), segmentsOf(other), now)) this.#wanted.timelines.add(p.key)
  }

  /** A hand-over is looked at before it is taken in; it is decoded once. */
  #handedOver(state: Buffer, key: ProfileKey): HandedOver {
    const known = this.#decoded.get(state)
    if (known) return known
    const handed = decodeHandedOver(state, key)
    this.#decoded.set(state, handed)
    return handed
  }

  #wantRows(p: Profile): void {
    if (p.timeline === undefined) this.#wanted.timelines.add(p.key)
    if (p.audit === undefined) this.#wanted.audits.add(p.key)
  }

  // ---- messages (2)

  #arrived(address: string): void {
    const left = (this.#underWay.get(address) ?? 0) - 1
    if (left > 0) this.#underWay.set(address, left)
    else this.#underWay.delete(address)
  }

  /** Starts over with these messages to the own partition under way (opening, or after a failed batch). */
  begin(underWay: Iterable<IdentityMessage>): void {
    this.#underWay.clear()
    // A failed batch may have taken in, and so changed, what was decoded for it.
    this.#decoded = new WeakMap()
    for (const message of underWay) {
      const address = addressOf(message)
      this.#underWay.set(address, (this.#underWay.get(address) ?? 0) + 1)
    }
  }

  #deliver(first: IdentityMessage): void {
    this.#local = [first]
    for (let i = 0; i < this.#local.length; i++) {
      const message = must(this.#local[i], 'index in range')
      if (i > 0) {
        if (this.#lacksForMessage(message)) {
          this.#takeWanted()
          for (const rest of this.#local.slice(i)) this.#post(rest)
          break
        }
      }
      handle(message, this)
    }
    this.#local = []
  }

  /** Puts a message into the outbox of the exchange. */
  #post(message: IdentityMessage): void {
    const { state, batch, limits } = this.#s
    const address = addressOf(message)
    const target = homeOf(address, limits.partitions)
    if (target === this.#s.partition) this.#underWay.set(address, (this.#underWay.get(address) ?? 0) + 1)
    const seq = (state.sent[target] ?? 0) + 1
    state.sent[target] = seq
    batch.sent.push({ target, seq, bytes: encodeMessage(message), causes: causesIn(message) })
  }

  // ---- what the rules of identity ask for (Context)

  leaf(x: IdentifierKey): Leaf | undefined {
    const leaf = this.#s.memory.leaf(x)
    invariant(leaf !== null, 'the leaf was loaded')
    return leaf
  }

  setLeaf(x: IdentifierKey, leaf: Leaf): void {
    this.#s.memory.setLeaf(x, leaf, this.#s.state.n + 1)
    this.#s.batch.leaves.set(x, leaf)
  }

  root(key: ProfileKey): Root | { readonly forward: ProfileKey } | undefined {
    const row = must(this.#s.memory.row(key), 'the row was loaded')
    if (row instanceof Profile) return row.root
    return row instanceof Forward ? { forward: row.to } : undefined
  }

  createRoot(founder: IdentifierKey): Root {
    let generation = 0
    while (!((this.#s.memory.row(profileKey(founder, generation)) ?? new Absent()) instanceof Absent)) generation++
    const root = newRoot(profileKey(founder, generation))
    const p = new Profile(root)
    this.#s.memory.setRow(root.key, p)
    this.touch(root)
    return root
  }

  send(message: IdentityMessage): void {
    const { partition, limits } = this.#s
    const address = addressOf(message)
    if (homeOf(address, limits.partitions) === partition && !this.#underWay.has(address)) this.#local.push(message)
    else this.#post(message)
  }

  touch(root: Root): void {
    const p = this.#profile(root.key)
    p.isRootFresh = true
    this.apply_.touch(p)
    const busy = !isIdle(root)
    if (busy === p.busy) return
    p.busy = busy
    this.#s.batch.rows.put(busyKey(root.key), busy ? EMPTY : undefined)
    if (busy) this.#s.busy.set(root.key, p)
    else this.#s.busy.delete(root.key)
  }

  apply(root: Root, event: CarriedEvent, cause: CauseRef): void {
    this.apply_.event(this.#profile(root.key), event, cause)
  }

  born(root: Root, first: CarriedEvent): void {
    const p = this.#profile(root.key)
    p.publicId = mintPublicId(root.key, first.record.acceptedAt)
    this.#s.batch.rows.put(publicKey(p.publicId), Buffer.from(root.key, 'latin1'))
    this.apply_.touch(p)
  }

  takeState(root: Root): Buffer {
    const p = this.#profile(root.key)
    if (p.segments) this.apply_.leave(p)
    return encodeHandedOver(p)
  }

  becameForward(root: Root, to: ProfileKey): void {
    const { memory, batch, busy } = this.#s
    const p = this.#profile(root.key)
    const forward = new Forward(to)
    forward.dirty = true
    memory.setRow(root.key, forward)
    p.dirty = false
    batch.forwards.set(root.key, forward)
    if (p.busy) {
      busy.delete(root.key)
      batch.rows.put(busyKey(root.key), undefined)
    }
    // Its rows go with it; those of this very batch too.
    const ranges = [`t${root.key}`, `u${root.key}`, groupKey(root.key, 0).slice(0, 1 + root.key.length)].map(prefixRange)
    for (const { gte, lt } of ranges) batch.deletedRanges.push([gte, lt])
    batch.rows.drop(ranges)
  }

  absorb(root: Root, from: Absorbed, cause: CauseRef): void {
    const p = this.#profile(root.key)
    p.isRootFresh = true
    const handed = this.#handedOver(from.state, root.key)
    // So that its last transitions tell whose they are.
    if (handed.contents) for (const held of from.ids) holdIdentifier(handed.contents.root, held)
    const merged = this.apply_.absorb(p, handed, cause)
    if (!merged) return
    this.#s.batch.merges.add({
      survivor: publicIdText(merged.survivor),
      absorbed: publicIdText(merged.absorbed),
      at: this.apply_.nowFor(p),
      messageId: cause.messageId,
    })
    if (this.#s.limits.tellsProfiles) this.#s.batch.profileChanges.gone(merged.absorbed)
  }

  audit(root: Root, entry: AuditAction, cause: CauseRef): void {
    const p = this.#profile(root.key)
    p.auditSeq++
    const { action, identifier, reason } = entry
    const profile = entry.profile === undefined ? undefined : publicIdText(entry.profile)
    const value = Buffer.from(
      JSON.stringify({ action, identifier, profile, reason, at: this.apply_.nowFor(p), messageId: cause.messageId }),
    )
    const key = auditKey(root.key, p.auditSeq)
    this.#s.batch.rows.put(key, value)
    p.audit?.push([key.slice(1 + root.key.length), value])
    this.apply_.touch(p)
  }

  #profile(key: ProfileKey): Profile {
    const row = this.#s.memory.row(key)
    invariant(row instanceof Profile, 'a root is a profile in memory')
    return row
  }
}

function readable(bytes: Buffer): string {
  return bytes.toString('utf8').slice(0, 2000)
}
