// Recomputes every transition naively from the raw events, by the definitions alone; nothing is shared with an engine.
//
// A profile knows all its events. It looks at a segment again when one of its events or properties comes, and at each instant at
// which an event leaves a window; never in between, as nothing can change there.
import type { WorkloadEvent } from './map.ts'
import type { PropertyCondition, SegmentFile, SumCondition, WorkloadCondition, WorkloadSegment } from './segments.ts'
import { TRAITS } from './vocabulary.ts'

/** What has made somebody enter or leave: an event of theirs, time alone, or that two profiles became one. */
export type By = 'event' | 'time' | 'merge'

export interface Flip {
  /** The segment's place in the file. */
  readonly segment: number
  readonly entered: boolean
  readonly at: number
  readonly by: By
}

export interface FlipRules {
  /** As in check.ts. */
  readonly sums: 'exact' | 'buckets'
  readonly tieOf?: (event: WorkloadEvent) => string
}

interface Leaving {
  readonly at: number
  /** Segments that look at what leaves. */
  readonly segments: readonly number[]
}

const NONE: readonly number[] = []

/** Which segments an event, or its leaving of a window, can change. */
export class SegmentIndex {
  readonly segments: readonly WorkloadSegment[]
  readonly buckets: number
  readonly rules: FlipRules
  readonly #byEvent = new Map<string, number[]>()
  readonly #byProperty = new Map<string, number[]>()
  readonly #filters = new Map<string, Filter[]>()
  /** By event name, then by window; windows of sums apart, as their edges differ when they have buckets. */
  readonly #windows = new Map<string, Map<string, { windowMs: number; sum: boolean; segments: number[] }>>()

  constructor(file: SegmentFile, rules: FlipRules) {
    this.segments = file.segments
    this.buckets = file.sumBuckets
    this.rules = rules
    for (const [segment, { conditions }] of file.segments.entries()) for (const c of conditions) this.#add(segment, c)
  }

  #add(segment: number, c: WorkloadCondition): void {
    if (c.type === 'property') return addTo(this.#byProperty, c.property, segment)
    addTo(this.#byEvent, c.event, segment)
    if (c.type === 'count' && c.where) this.#filter(c.event, c.where)
    const windows = this.#windows.get(c.event) ?? new Map()
    this.#windows.set(c.event, windows)
    const sum = c.type === 'sum'
    const name = `${c.windowMs} ${sum}`
    const window = windows.get(name) ?? { windowMs: c.windowMs, sum, segments: [] }
    windows.set(name, window)
    if (!window.segments.includes(segment)) window.segments.push(segment)
  }

  #filter(event: string, where: Filter): void {
    const filters = this.#filters.get(event) ?? []
    this.#filters.set(event, filters)
    if (!filters.some((f) => keyOf(event, f) === keyOf(event, where))) filters.push(where)
  }

  /** Under which keys an event is kept: its name's, and those of the filters that it passes. */
  *keysOf(event: WorkloadEvent): Generator<string, void, undefined> {
    yield event.event
    for (const where of this.#filters.get(event.event) ?? []) {
      if (event.properties[where.property] === where.equals) yield keyOf(event.event, where)
    }
  }

  ofEvent(name: string): readonly number[] {
    return this.#byEvent.get(name) ?? NONE
  }

  ofProperty(name: string): readonly number[] {
    return this.#byProperty.get(name) ?? NONE
  }

  /** When an event of this instant leaves which windows. */
  *leavings(name: string, ts: number): Generator<Leaving, void, undefined> {
    for (const { windowMs, sum, segments } of this.#windows.get(name)?.values() ?? []) {
      const bucketMs = windowMs / this.buckets
      const at = sum && this.rules.sums === 'buckets' ? (Math.floor(ts / bucketMs) + this.buckets) * bucketMs : ts + windowMs
      yield { at, segments }
    }
  }

  /** Amounts older than or as old as this don't count. */
  sumsAfter({ windowMs }: SumCondition, now: number): number {
    const bucketMs = windowMs / this.buckets
    return this.rules.sums === 'exact' ? now - windowMs : (Math.floor(now / bucketMs) - this.buckets + 1) * bucketMs - 1
  }
}

type Filter = Pick<PropertyCondition, 'property' | 'equals'>

function keyOf(event: string, where?: Filter): string {
  return where === undefined ? event : `${event} ${where.property} ${where.equals}`
}

function addTo(index: Map<string, number[]>, key: string, segment: number): void {
  const segments = index.get(key) ?? []
  index.set(key, segments)
  if (!segments.includes(segment)) segments.push(segment)
}

interface Value {
  readonly ts: number
  readonly tie: string
  readonly value: string
}

interface Seen {
  readonly ts: number
  readonly event: WorkloadEvent
}

/** One profile by the rules of WORKLOAD.md, with every change at its own instant. */
export class NaiveProfile {
  readonly flips: Flip[] = []
  readonly members = new Set<number>()
  readonly #index: SegmentIndex
  /** By key, oldest first. */
  readonly #seen = new Map<string, Seen[]>()
  readonly #values = new Map<string, Value>()
  /** Latest first. */
  readonly #leavings: Leaving[] = []
  #bornMs: number | undefined

  constructor(index: SegmentIndex) {
    this.#index = index
  }

  /** When it counted its first event. */
  get bornMs(): number {
    return this.#bornMs ?? Number.POSITIVE_INFINITY
  }

  /** Lets time pass up to and including an instant. */
  pass(now: number): void {
    for (let next = this.#leavings.at(-1); next !== undefined && next.at <= now; next = this.#leavings.at(-1)) {
      const { at } = next
      const segments = new Set<number>()
      for (; next?.at === at; next = this.#leavings.at(-1)) {
        this.#leavings.pop()
        for (const segment of next.segments) segments.add(segment)
      }
      this.#look(segments, at, 'time')
    }
  }

  /** Counts an event of the instant `ts` (at most `now`), at `now`. */
  apply(event: WorkloadEvent, ts: number, now: number): void {
    this.pass(now)
    this.#count(event, ts, now)
    const segments = new Set(this.#index.ofEvent(event.event))
    for (const trait of TRAITS) if (this.#learn(event, trait, ts)) for (const s of this.#index.ofProperty(trait)) segments.add(s)
    this.#look(this.#bornMs === undefined ? this.#index.segments.keys() : segments, now, 'event')
    this.#bornMs ??= now
  }

  /** Takes in all that the other one has seen. The other leaves its segments, by its own `leave`. */
  absorb(other: NaiveProfile, now: number): void {
    this.pass(now)
    for (const [key, seen] of other.#seen) for (const { ts, event } of seen) if (key === event.event) this.#count(event, ts, now)
    for (const [trait, value] of other.#values) this.#keep(trait, value)
    this.#look(this.#index.segments.keys(), now, 'merge')
    this.#bornMs ??= now
  }

  /** The profile ends. */
  leave(now: number): void {
    this.pass(now)
    for (const segment of this.members) this.flips.push({ segment, entered: false, at: now, by: 'merge' })
    this.members.clear()
    this.#leavings.length = 0
  }

  #count(event: WorkloadEvent, ts: number, now: number): void {
    for (const key of this.#index.keysOf(event)) {
      const seen = this.#seen.get(key) ?? []
      this.#seen.set(key, seen)
      let at = seen.length
      while (at > 0 && (seen[at - 1] as Seen).ts > ts) at--
      seen.splice(at, 0, { ts, event })
    }
    for (const leaving of this.#index.leavings(event.event, ts)) if (leaving.at > now) this.#await(leaving)
  }

  #await(leaving: Leaving): void {
    const all = this.#leavings
    let low = 0
    let high = all.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((all[middle] as Leaving).at > leaving.at) low = middle + 1
      else high = middle
    }
    all.splice(low, 0, leaving)
  }

  #learn(event: WorkloadEvent, trait: string, ts: number): boolean {
    const value = event.properties[trait]
    if (typeof value !== 'string') return false
    return this.#keep(trait, { ts, tie: this.#index.rules.tieOf?.(event) ?? value, value })
  }

  #keep(trait: string, value: Value): boolean {
    const last = this.#values.get(trait)
    if (last && (last.ts > value.ts || (last.ts === value.ts && last.tie >= value.tie))) return false
    this.#values.set(trait, value)
    return last?.value !== value.value
  }

  #look(segments: Iterable<number>, at: number, by: By): void {
    for (const segment of segments) {
      const { op, conditions } = this.#index.segments[segment] as WorkloadSegment
      const holds = (c: WorkloadCondition) => this.#holds(c, at)
      const isIn = op === 'or' ? conditions.some(holds) : conditions.every(holds)
      if (isIn === this.members.has(segment)) continue
      if (isIn) this.members.add(segment)
      else this.members.delete(segment)
      this.flips.push({ segment, entered: isIn, at, by })
    }
  }

  #holds(c: WorkloadCondition, now: number): boolean {
    if (c.type === 'property') return this.#values.get(c.property)?.value === c.equals
    const seen = this.#seen.get(keyOf(c.event, c.type === 'count' ? c.where : undefined)) ?? []
    if (c.type === 'sum') return this.#sumHolds(c, seen, now)
    const atLeast = c.type === 'notDone' ? 1 : c.atLeast
    const isDone = seen.length >= atLeast && (seen[seen.length - atLeast] as Seen).ts > now - c.windowMs
    return isDone === (c.type === 'count')
  }

  #sumHolds(c: SumCondition, seen: readonly Seen[], now: number): boolean {
    const after = this.#index.sumsAfter(c, now)
    const atLeast = Math.round(c.atLeast * 100)
    let cents = 0
    for (let i = seen.length - 1; i >= 0 && (seen[i] as Seen).ts > after; i--) {
      const amount = (seen[i] as Seen).event.properties[c.property]
      if (typeof amount === 'number') cents += Math.round(amount * 100)
      if (cents >= atLeast) return true
    }
    return cents >= atLeast
  }
}

/** Somebody of the workload: their profiles, each with its flips in order. */
export interface Person {
  readonly profiles: NaiveProfile[]
  /** Has several identifiers. What they set off goes from partition to partition, so when it counts isn't given by the events alone. */
  isLinked: boolean
}

/**
 * Everybody, by name. Each event comes at the newest event time so far. One with both ids counts in the user's profile, or makes the
 * device's profile the user's; where each has one, the older takes in the other.
 */
export function expectedTransitions(lines: Iterable<string>, index: SegmentIndex, endMs: number): Map<string, Person> {
  const people = new People(index)
  let now = 0
  for (const line of lines) {
    const event = JSON.parse(line) as WorkloadEvent
    const ts = Date.parse(event.timestamp)
    now = Math.max(now, ts)
    people.apply(event, ts, now)
  }
  for (const { profiles } of people.byName.values()) for (const profile of profiles) profile.pass(endMs)
  return people.byName
}

class People {
  readonly byName = new Map<string, Person>()
  readonly #index: SegmentIndex
  /** By user, device and visitor. */
  readonly #profiles = new Map<string, NaiveProfile>()
  readonly #userOf = new Map<string, string>()

  constructor(index: SegmentIndex) {
    this.#index = index
  }

  apply(event: WorkloadEvent, ts: number, now: number): void {
    const { userId, anonymousId } = event
    const name = userId ?? this.#userOf.get(anonymousId ?? '') ?? anonymousId ?? ''
    const links = userId !== undefined && anonymousId !== undefined && !this.#userOf.has(anonymousId)
    if (links) this.#userOf.set(anonymousId, userId)
    if (links && !this.#profiles.has(userId)) this.#rename(anonymousId, userId)
    let profile = this.#profiles.get(name)
    if (profile === undefined) {
      profile = new NaiveProfile(this.#index)
      this.#profiles.set(name, profile)
      this.byName.set(name, { profiles: [profile], isLinked: false })
    }
    profile.apply(event, ts, now)
    if (!links) return
    this.#merge(userId, anonymousId, now)
    const person = this.byName.get(userId)
    if (person) person.isLinked = true
  }

  /** The device's profile, if there is one, becomes that of a user who has none. */
  #rename(device: string, user: string): void {
    const profile = this.#profiles.get(device)
    const person = this.byName.get(device)
    if (profile === undefined || person === undefined) return
    this.#profiles.delete(device)
    this.#profiles.set(user, profile)
    this.byName.delete(device)
    this.byName.set(user, person)
  }

  #merge(user: string, device: string, now: number): void {
    const [own, other] = [this.#profiles.get(user), this.#profiles.get(device)]
    const [person, absorbed] = [this.byName.get(user), this.byName.get(device)]
    if (own === undefined || other === undefined || person === undefined || absorbed === undefined) return
    const [survivor, gone] = own.bornMs <= other.bornMs ? [own, other] : [other, own]
    survivor.absorb(gone, now)
    gone.leave(now)
    this.#profiles.delete(device)
    this.#profiles.set(user, survivor)
    this.byName.delete(device)
    person.profiles.push(...absorbed.profiles)
  }
}

export interface Told {
  readonly profile: string
  readonly flip: Flip
}

export interface TransitionComparison {
  readonly ok: boolean
  readonly expected: number
  readonly got: number
  /** Of people with one identifier, of whom each transition must be the same, its instant included. */
  readonly sole: { readonly people: number; readonly expected: number; readonly missing: number; readonly extra: number }
}

/** Compares what an engine said, under the names of the people, with what is expected. */
export function compareTransitions(expected: ReadonlyMap<string, Person>, got: Iterable<Told>): TransitionComparison {
  const said = new Map<string, string[]>()
  let gotCount = 0
  for (const { profile, flip } of got) {
    gotCount++
    const flips = said.get(profile) ?? []
    said.set(profile, flips)
    flips.push(textOf(flip))
  }
  let count = 0
  const sole = { people: 0, expected: 0, missing: 0, extra: 0 }
  for (const [name, { profiles, isLinked }] of expected) {
    const flips = profiles.flatMap((p) => p.flips.map(textOf))
    count += flips.length
    if (isLinked) continue
    sole.people++
    sole.expected += flips.length
    const other = said.get(name) ?? []
    sole.missing += without(flips, other)
    sole.extra += without(other, flips)
  }
  for (const [name, flips] of said) if (!expected.has(name)) sole.extra += flips.length
  return { ok: sole.missing === 0 && sole.extra === 0, expected: count, got: gotCount, sole }
}

function textOf({ segment, entered, at, by }: Flip): string {
  return `${at} ${segment} ${entered} ${by}`
}

/** How many of these are not among the others. */
function without(these: readonly string[], others: readonly string[]): number {
  const left = new Map<string, number>()
  for (const text of others) left.set(text, (left.get(text) ?? 0) + 1)
  let missing = 0
  for (const text of these) {
    const n = left.get(text) ?? 0
    if (n === 0) missing++
    else left.set(text, n - 1)
  }
  return missing
}
