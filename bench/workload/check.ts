// Recomputes the final memberships naively from the raw events, by the definitions alone; nothing is shared with an engine.
//   node bench/workload/check.ts --events E.ndjson --segments S.json --memberships M.ndjson [--at ISO] [--sums exact|buckets] [--ties hash|value]
// M.ndjson holds either final memberships, {"profile","segments":[…]} a line, or changes in order, {"profile","segment","change"} a line.
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { linesOf } from './lines.ts'
import type { WorkloadEvent } from './map.ts'
import { hashTies } from './records.ts'
import type { PropertyCondition, SegmentFile, SumCondition, WorkloadCondition, WorkloadSegment } from './segments.ts'

export interface CheckRules {
  /** The instant of the memberships, ms; no event is later. */
  readonly atMs: number
  /** Sums over (at - W, at], or over the newest 60 buckets of W/60 as WORKLOAD.md has it. */
  readonly sums: 'exact' | 'buckets'
  /** Of values seen at one instant, the one with the greater text wins. WORKLOAD.md: the value itself. */
  readonly tieOf?: (event: WorkloadEvent) => string
}

interface Seen {
  readonly name: string
  readonly ts: number
  readonly event: WorkloadEvent
}

/** Profiles by name, each with the segments it is in. */
export type Memberships = ReadonlyMap<string, ReadonlySet<string>>

export function expectedMemberships(lines: Iterable<string>, file: SegmentFile, rules: CheckRules): Memberships {
  const expected = new Map<string, Set<string>>()
  for (const [profile, seen] of profilesOf(lines)) {
    const holds = (c: WorkloadCondition) => test(c, seen, { ...rules, buckets: file.sumBuckets })
    const isIn = ({ op, conditions }: WorkloadSegment) => (op === 'or' ? conditions.some(holds) : conditions.every(holds))
    const segments = file.segments.filter(isIn).map((s) => s.id)
    expected.set(profile, new Set(segments))
  }
  return expected
}

/** Every event under the name of its profile: the user, else the user linked to the device or visitor, else that itself. */
function profilesOf(lines: Iterable<string>): Map<string, Seen[]> {
  const events = Array.from(lines, (line) => JSON.parse(line) as WorkloadEvent)
  const userOf = new Map<string, string>()
  for (const { userId, anonymousId } of events) {
    if (userId === undefined || anonymousId === undefined) continue
    if ((userOf.get(anonymousId) ?? userId) !== userId) throw new Error(`${anonymousId} has two users: the outcome depends on the order`)
    userOf.set(anonymousId, userId)
  }
  const profiles = new Map<string, Seen[]>()
  for (const event of events) {
    const anonymous = event.anonymousId ?? ''
    const profile = event.userId ?? userOf.get(anonymous) ?? anonymous
    const seen = profiles.get(profile) ?? []
    profiles.set(profile, seen)
    seen.push({ name: event.event, ts: Date.parse(event.timestamp), event })
  }
  return profiles
}

type TestRules = CheckRules & { readonly buckets: number }

function test(c: WorkloadCondition, seen: readonly Seen[], rules: TestRules): boolean {
  if (c.type === 'property') return lastValue(c, seen, rules) === c.equals
  const own = seen.filter((s) => s.name === c.event)
  if (c.type === 'sum') return cents(c, own, rules) >= Math.round(c.atLeast * 100)
  const recent = own.filter((s) => s.ts > rules.atMs - c.windowMs)
  if (c.type === 'notDone') return recent.length === 0
  const { where } = c
  return recent.filter((s) => where === undefined || s.event.properties[where.property] === where.equals).length >= c.atLeast
}

function cents(c: SumCondition, own: readonly Seen[], { atMs, sums, buckets }: TestRules): number {
  const bucketMs = c.windowMs / buckets
  const counts = (ts: number) =>
    sums === 'exact' ? ts > atMs - c.windowMs : Math.floor(ts / bucketMs) > Math.floor(atMs / bucketMs) - buckets
  let sum = 0
  for (const { ts, event } of own) {
    const amount = event.properties[c.property]
    if (typeof amount === 'number' && counts(ts)) sum += Math.round(amount * 100)
  }
  return sum
}

function lastValue(c: PropertyCondition, seen: readonly Seen[], { tieOf }: TestRules): string | undefined {
  let last: { ts: number; value: string; event: WorkloadEvent } | undefined
  for (const { ts, event } of seen) {
    const value = event.properties[c.property]
    if (typeof value !== 'string') continue
    const tie = (of: { value: string; event: WorkloadEvent }) => (tieOf ? tieOf(of.event) : of.value)
    if (!last || ts > last.ts || (ts === last.ts && tie({ value, event }) > tie(last))) last = { ts, value, event }
  }
  return last?.value
}

export interface Change {
  readonly profile: string
  readonly segment: string
  readonly change: 'entered' | 'exited'
}

/** The memberships that changes lead to, and how often an entry followed an entry or an exit an exit. */
export function afterChanges(changes: Iterable<Change>): { memberships: Memberships; notAlternating: number } {
  const memberships = new Map<string, Set<string>>()
  let notAlternating = 0
  for (const { profile, segment, change } of changes) {
    const segments = memberships.get(profile) ?? new Set()
    memberships.set(profile, segments)
    if (segments.has(segment) === (change === 'entered')) notAlternating++
    if (change === 'entered') segments.add(segment)
    else segments.delete(segment)
  }
  return { memberships, notAlternating }
}

export interface Comparison {
  readonly ok: boolean
  readonly profiles: number
  readonly memberships: number
  readonly missing: number
  readonly extra: number
  /** Some of what differs: -profile segment (missing), +profile segment (extra). */
  readonly sample: string[]
}

export function compare(expected: Memberships, got: Memberships): Comparison {
  const missing = difference(expected, got)
  const extra = difference(got, expected)
  let memberships = 0
  for (const segments of expected.values()) memberships += segments.size
  const sample = [...missing.slice(0, 3).map((k) => `-${k}`), ...extra.slice(0, 3).map((k) => `+${k}`)]
  const ok = missing.length === 0 && extra.length === 0
  return { ok, profiles: expected.size, memberships, missing: missing.length, extra: extra.length, sample }
}

function difference(a: Memberships, b: Memberships): string[] {
  const only: string[] = []
  for (const [profile, segments] of a) for (const segment of segments) if (!b.get(profile)?.has(segment)) only.push(`${profile} ${segment}`)
  return only
}

/** The name under which the workload knows a profile. */
export function profileName(identifiers: readonly { readonly namespace: string; readonly value: string }[]): string {
  const found = identifiers.find((i) => i.namespace === 'user_id') ?? identifiers.find((i) => i.namespace === 'anonymous_id')
  if (found === undefined) throw new Error('a profile without an identifier of the workload')
  return found.value
}

function readMemberships(path: string): { memberships: Memberships; notAlternating: number } {
  const rows = Array.from(linesOf(path), (line) => JSON.parse(line) as Change | { profile: string; segments: string[] })
  const changes = rows.filter((row) => 'change' in row)
  if (changes.length > 0) return afterChanges(changes)
  const final = rows.filter((row) => 'segments' in row)
  return { memberships: new Map(final.map(({ profile, segments }) => [profile, new Set(segments)])), notAlternating: 0 }
}

/** Runs the command line; returns what it prints. */
export function check(args: string[]): Comparison & { readonly notAlternating: number } {
  const text = { type: 'string' } as const
  const { values } = parseArgs({ args, options: { events: text, segments: text, memberships: text, at: text, sums: text, ties: text } })
  const { events, segments, memberships, at = '2026-06-01T00:00:00.000Z', sums = 'exact', ties = 'hash' } = values
  if (!events || !segments || !memberships || !/^(exact|buckets)$/.test(sums) || !/^(hash|value)$/.test(ties)) {
    throw new Error('usage: check.ts --events F --segments F --memberships F [--at ISO] [--sums exact|buckets] [--ties hash|value]')
  }
  const file = JSON.parse(readFileSync(segments, 'utf8')) as SegmentFile
  const rules = { atMs: Date.parse(at), sums: sums as CheckRules['sums'], ...(ties === 'hash' ? { tieOf: hashTies() } : {}) }
  const got = readMemberships(memberships)
  const compared = compare(expectedMemberships(linesOf(events), file, rules), got.memberships)
  return { ...compared, ok: compared.ok && got.notAlternating === 0, notAlternating: got.notAlternating }
}

if (import.meta.main) {
  const result = check(process.argv.slice(2))
  console.log(JSON.stringify(result))
  process.exitCode = result.ok ? 0 : 1
}
