// From what commits did to profiles (chaos-journal.ts) to the history that the oracle is led through (test/sim/replay.ts): which profile
// was born, counted what and took in whom, in the order of the journals.
//
// 1. An event was applied to the profile under whose key its timeline row is new; a row that another profile had came by a hand-over.
// 2. A profile that leaves takes the rows of that very batch along, so that the journal has them only where they arrive: in the message
//    to another partition, or, in the same one, under the other key, right before the audit trail that comes with them and begins with
//    `created`. Those of a profile that was there before begin with its old rows, those of a new one with its first event.
// 3. Which definitions a profile was filled for is in its row, and which are active in the partition is in each commit. Where a commit
//    makes newer ones active it is open what of it came before that: all ways are given (chaos-ways.ts).
import { must } from '../../src/core/assert.ts'
import { decodeEvent, type EventRecord } from '../../src/core/event.ts'
import { founderOf, type ProfileKey } from '../../src/core/identifier.ts'
import { mintPublicId, publicIdText } from '../../src/engine/public-id.ts'
import type { Op } from '../sim/tape.ts'
import type { CommitFacts, Item, MergeLine, TimelineItem } from './chaos-journal.ts'
import { type Part, waysOf } from './chaos-ways.ts'

type Step = { readonly commit: CommitFacts } & Happening
type Happening =
  | { readonly t: 'born'; readonly publicId: string }
  | { readonly t: 'event'; readonly item: TimelineItem; readonly record: EventRecord }
  | { readonly t: 'absorb'; readonly from: ProfileKey; readonly rows: number }
  | { readonly t: 'leave' }
  | { readonly t: 'fill'; readonly version: number }

interface Known {
  readonly steps: Step[]
  /** Its timeline. */
  readonly rows: Map<string, TimelineItem>
  /** Of the definitions that it is filled for. */
  version: number
}

export interface History {
  readonly parts: ReadonlyMap<ProfileKey, readonly Part[]>
  /** By message hash. */
  readonly counted: ReadonlyMap<string, EventRecord>
  readonly faults: readonly string[]
  /** Hand-overs whose place among the events of their batch is not certain. */
  readonly unclear: number
}

export function historyOf(commits: readonly CommitFacts[]): History {
  return new HistoryReader(commits).read()
}

class HistoryReader {
  readonly #commits: readonly CommitFacts[]
  readonly #known = new Map<ProfileKey, Known>()
  readonly #counted = new Map<string, EventRecord>()
  readonly #faults: string[] = []
  /** What came from another partition, by the key that took it in and the hash. */
  readonly #handedTo = new Map<ProfileKey, Map<string, ProfileKey>>()
  readonly #absorbed = new Set<ProfileKey>()
  readonly #left = new Set<ProfileKey>()
  readonly #audits = new Set<string>()
  #unclear = 0
  /** Rows of one key, one behind the other, of which some may have come by a hand-over within the partition (2). */
  #run: { readonly key: ProfileKey; readonly items: TimelineItem[] } | undefined

  constructor(commits: readonly CommitFacts[]) {
    this.#commits = commits
  }

  read(): History {
    for (const { handed, forwards } of this.#commits)
      for (const [from, timeline] of handed) {
        const to = must(forwards.get(from), 'who hands over becomes a forward')
        const arriving = this.#handedTo.get(to) ?? new Map<string, ProfileKey>()
        this.#handedTo.set(to, arriving)
        for (const { hash } of timeline) arriving.set(hash, from)
      }
    for (const commit of this.#commits) this.#commit(commit)
    return { parts: this.#parts(), counted: this.#counted, faults: this.#faults, unclear: this.#unclear }
  }

  #of(key: ProfileKey): Known {
    const known = this.#known.get(key)
    if (known) return known
    const fresh = { steps: [], rows: new Map(), version: 0 }
    this.#known.set(key, fresh)
    return fresh
  }

  #commit(commit: CommitFacts): void {
    for (const item of commit.items) this.#item(commit, item)
    this.#flush(commit)
    for (const [from, timeline] of commit.handed) this.#leaves(commit, from, timeline)
    // A forward may be written again.
    for (const [from] of commit.forwards) {
      if (!this.#known.has(from) || this.#left.has(from)) continue
      this.#left.add(from)
      this.#of(from).steps.push({ t: 'leave', commit })
    }
    for (const [key, version] of commit.filled) this.#filled(commit, key, version)
  }

  /** (3) */
  #filled(commit: CommitFacts, key: ProfileKey, version: number): void {
    const known = this.#known.get(key)
    if (!known || version <= known.version) return
    known.version = version
    const isTold = known.steps.at(-1)?.commit === commit && commit.versions.before === commit.versions.after
    if (!isTold) known.steps.push({ t: 'fill', version, commit })
  }

  #item(commit: CommitFacts, item: Item): void {
    // Rows are written again, so that what lies before may be deleted.
    if (item.t === 'audit' && this.#audits.has(item.row)) return
    if (item.t === 'audit') this.#audits.add(item.row)
    const isInRun = this.#run !== undefined && item.t === 'timeline' && item.key === this.#run.key
    if (this.#run && !isInRun) {
      if (item.t === 'audit' && item.key === this.#run.key && item.action === 'created') this.#arrive(commit, item.identifier ?? '')
      else this.#flush(commit)
    }
    if (item.t === 'born') {
      if (!this.#of(item.key).steps.some((step) => step.t === 'born'))
        this.#of(item.key).steps.push({ t: 'born', publicId: item.publicId, commit })
      return
    }
    if (item.t !== 'timeline' || this.#of(item.key).rows.has(item.item.hash)) return
    const from = this.#handedTo.get(item.key)?.get(item.item.hash)
    if (from !== undefined) this.#take(commit, item.key, { item: item.item, from })
    else if (this.#leaving(commit, item.key).length === 0) this.#apply(commit, item.key, item.item)
    else {
      this.#run ??= { key: item.key, items: [] }
      this.#run.items.push(item.item)
    }
  }

  /** Born profiles that are handed over to `key` within the partition, by this commit. */
  #leaving({ forwards, handed }: CommitFacts, key: ProfileKey): ProfileKey[] {
    return [...forwards]
      .filter(([from, to]) => to === key && !handed.has(from) && !this.#left.has(from) && this.#known.has(from))
      .map(([from]) => from)
  }

  #apply(commit: CommitFacts, key: ProfileKey, item: TimelineItem): void {
    const record = decodeEvent(item.bytes)
    if (this.#counted.has(item.hash)) this.#faults.push(`${record.messageId} is counted twice`)
    this.#counted.set(item.hash, record)
    const known = this.#of(key)
    known.rows.set(item.hash, item)
    known.steps.push({ t: 'event', item, record, commit })
  }

  #take(commit: CommitFacts, key: ProfileKey, { item, from }: { item: TimelineItem; from: ProfileKey }): void {
    const known = this.#of(key)
    if (!this.#absorbed.has(from)) {
      this.#absorbed.add(from)
      known.steps.push({ t: 'absorb', from, commit, rows: 0 })
    }
    known.rows.set(item.hash, item)
    const at = known.steps.findLastIndex((step) => step.t === 'absorb' && step.from === from)
    const step = known.steps[at]
    if (step?.t === 'absorb') known.steps[at] = { ...step, rows: known.rows.size }
  }

  /** The run is of events that were applied. */
  #flush(commit: CommitFacts): void {
    const run = this.#run
    this.#run = undefined
    for (const item of run?.items ?? []) {
      const from = this.#leaving(commit, run?.key ?? '').find((key) => this.#of(key).rows.has(item.hash))
      // Rows that are known came with a profile whose audit trail is not where it should be.
      if (from !== undefined) this.#faults.push('a hand-over without an audit trail')
      this.#apply(commit, run?.key ?? '', item)
    }
  }

  /** The end of the run came with the profile that this identifier founded (2). */
  #arrive(commit: CommitFacts, founder: string): void {
    const { key, items } = must(this.#run, 'there is a run')
    this.#run = undefined
    const leaving = this.#leaving(commit, key)
    const from =
      leaving.find((k) => items.some(({ hash }) => this.#of(k).rows.has(hash))) ??
      leaving.find((k) => isFounder(k, founder, items)) ??
      leaving[0]
    if (from === undefined) return void this.#faults.push('an audit trail arrives, and nobody has left')
    const rows = this.#of(from).rows
    const old = items.findIndex(({ hash }) => rows.has(hash))
    const start = old >= 0 ? old : items.findLastIndex((item) => item.appliedSeq === 1)
    if (start < 0) this.#unclear++
    for (const item of items.slice(0, Math.max(0, start))) this.#apply(commit, key, item)
    const arrived = items.slice(Math.max(0, start))
    for (const item of arrived.filter(({ hash }) => !rows.has(hash)).sort((a, b) => a.appliedSeq - b.appliedSeq))
      this.#apply(commit, from, item)
    for (const item of arrived) this.#take(commit, key, { item, from })
  }

  /** What a profile took along to another partition: rows of the batch in which it left are told nowhere else (2). */
  #leaves(commit: CommitFacts, from: ProfileKey, timeline: readonly TimelineItem[]): void {
    const { rows } = this.#of(from)
    const fresh = timeline.filter(({ hash }) => !rows.has(hash)).sort((a, b) => a.appliedSeq - b.appliedSeq)
    for (const item of fresh) {
      const before = this.#handedTo.get(from)?.get(item.hash)
      if (before === undefined) this.#apply(commit, from, item)
      else {
        if (fresh.some(({ hash }) => !this.#handedTo.get(from)?.has(hash))) this.#unclear++
        this.#take(commit, from, { item, from: before })
      }
    }
  }

  // ---- for the oracle

  #parts(): Map<ProfileKey, Part[]> {
    const parts = new Map<ProfileKey, Part[]>()
    const publicIds = new Map<ProfileKey, string>()
    const merges = new Map(
      this.#commits.flatMap(({ merges: lines }) => lines.map((line) => [`${line.absorbed} ${line.survivor}`, line] as const)),
    )
    // Forwards descend: whoever leaves is looked at before whoever takes in.
    for (const key of [...this.#known.keys()].sort().reverse()) {
      const { steps } = this.#of(key)
      const list: Part[] = []
      let version = 0
      for (let from = 0; from < steps.length; ) {
        const { commit } = must(steps[from], 'index in range')
        const ops: Op[] = []
        for (; steps[from]?.commit === commit; from++)
          ops.push(this.#op(key, must(steps[from], 'index in range'), { publicIds, merges, next: steps.slice(from + 1) }))
        const ways = waysOf(commit, { publicId: publicIds.get(key), version }, ops)
        list.push({ ways, chosen: 0 })
        version = Math.max(version, commit.filled.get(key) ?? 0)
      }
      parts.set(key, list)
    }
    return parts
  }

  #op(
    key: ProfileKey,
    step: Step,
    { publicIds, merges, next }: { publicIds: Map<ProfileKey, string>; merges: ReadonlyMap<string, MergeLine>; next: readonly Step[] },
  ): Op {
    const { before, versions } = step.commit
    const version = versions.after
    switch (step.t) {
      case 'born': {
        const first = next.find((s) => s.t === 'event')?.record
        if (!first || mintPublicId(key, first.acceptedAt) !== step.publicId)
          this.#faults.push(`${publicIdText(step.publicId)} is not of its first event`)
        publicIds.set(key, step.publicId)
        return { kind: 'born', key, now: 0, version: undefined, first: must(first, 'a profile is born by an event') }
      }
      case 'event':
        return { kind: 'event', key, now: step.item.appliedAt, version, record: step.record, causeId: step.record.messageId }
      case 'leave':
        return { kind: 'leave', key, now: before, version: publicIds.has(key) ? version : undefined }
      case 'fill':
        return { kind: 'touch', key, now: step.commit.after, version: step.version }
      case 'absorb': {
        const { from, rows } = step
        const [mine, theirs] = [publicIds.get(key), publicIds.get(from)]
        const ids = [mine, theirs].filter((id) => id !== undefined).sort()
        const line = ids.length === 2 ? merges.get(`${publicIdText(ids[1] ?? '')} ${publicIdText(ids[0] ?? '')}`) : undefined
        if (ids.length === 2 && !line) this.#faults.push(`no merge record of ${ids.map(publicIdText).join(' and ')}`)
        if (ids[0] !== undefined) publicIds.set(key, ids[0])
        const isBorn = { into: mine !== undefined, from: theirs !== undefined }
        return { kind: 'absorb', key, now: line?.at ?? before, version, from, causeId: line?.messageId ?? '', isBorn, timelineCount: rows }
      }
    }
  }
}

function isFounder(key: ProfileKey, founder: string, items: readonly TimelineItem[]): boolean {
  const identifiers = items.flatMap(({ bytes }) => decodeEvent(bytes).identifiers)
  return identifiers.some((id) => `${id.namespace}:${id.value}` === founder && id.key === founderOf(key))
}
