// Everything that the server shows, read through its public interface, and the laws that must hold between the parts.
import type { ShownTransition } from '../../src/cli/follow.ts'
import type { EngineStatus, MembershipView, MergeRecord, ProfileView, SegmentView, TimelineEvent } from '../../src/engine/engine.ts'
import { type CountedEvent, type Facts, holds, timelineOfTruth } from '../oracle/evaluate.ts'
import { call, listOf, lookUp } from './client.ts'

export interface SeenProfile extends ProfileView {
  readonly events: readonly TimelineEvent[]
  readonly memberships: readonly MembershipView[]
}

export interface World {
  readonly status: EngineStatus
  readonly segments: readonly SegmentView[]
  readonly members: ReadonlyMap<string, readonly string[]>
  readonly transitions: readonly ShownTransition[]
  readonly merges: readonly MergeRecord[]
  readonly profiles: ReadonlyMap<string, SeenProfile>
}

/** Readings at once. */
const PARALLEL = 8

export async function readWorld(url: string, identifiers: Iterable<string>): Promise<World> {
  const profiles = new Map<string, SeenProfile>()
  const queue = [...identifiers]
  const reader = async (): Promise<void> => {
    for (let ref = queue.pop(); ref !== undefined; ref = queue.pop()) {
      const view = await lookUp<ProfileView>(url, `/v1/profiles/${encodeURIComponent(ref)}`)
      if (!view || profiles.has(view.id)) continue
      profiles.set(view.id, { ...view, events: [], memberships: [] })
      const path = `/v1/profiles/profile_id:${view.id}`
      const [events, memberships] = [
        await listOf<TimelineEvent>(url, `${path}/events`),
        await listOf<MembershipView>(url, `${path}/memberships`),
      ]
      profiles.set(view.id, { ...view, events, memberships })
    }
  }
  await Promise.all(Array.from({ length: PARALLEL }, reader))
  const { items: segments } = await call<{ items: SegmentView[] }>(url, '/v1/segments')
  const members = new Map<string, string[]>()
  for (const { id } of segments)
    members.set(
      id,
      (await listOf<{ profile: string }>(url, `/v1/segments/${id}/members`)).map((m) => m.profile),
    )
  return {
    status: await call<EngineStatus>(url, '/v1/status'),
    segments,
    members,
    transitions: await listOf<ShownTransition>(url, '/v1/transitions'),
    merges: await listOf<MergeRecord>(url, '/v1/merges'),
    profiles,
  }
}

export function counted(e: TimelineEvent): CountedEvent {
  return { name: e.event, at: Date.parse(e.timestamp), message: e.message }
}

export function factsOf(profile: SeenProfile): Facts {
  return { events: profile.events.map(counted), traits: new Map(Object.entries(profile.traits)) }
}

/** Every acknowledged message is in one timeline, once; none is there twice; all are whole. */
export function timelineFaults(world: World, sent: ReadonlyMap<string, object>, acknowledged: Iterable<string>): string[] {
  const places = new Map<string, string[]>()
  for (const { id, events } of world.profiles.values()) {
    for (const { messageId } of events) places.set(messageId, [...(places.get(messageId) ?? []), id])
  }
  const lost = [...acknowledged].filter((id) => !places.has(id)).map((id) => `${id} was acknowledged and is nowhere`)
  const repeated = [...places].filter(([, at]) => at.length > 1).map(([id, at]) => `${id} is in the timelines of ${at.join(', ')}`)
  const strange = [...places.keys()].filter((id) => !sent.has(id)).map((id) => `${id} was never sent`)
  const known = world.status.profiles
  const unseen = known === world.profiles.size ? [] : [`the status counts ${known} profiles, ${world.profiles.size} can be found`]
  return [...lost, ...repeated, ...strange, ...unseen]
}

const pairOf = (profile: string, segment: string): string => `${profile} in ${segment}`

/** Sequence numbers without gaps, entries and exits in turn, ids unique; the last of each pair is the membership that is shown. */
export function sequenceFaults(world: World): string[] {
  const faults: string[] = []
  const ids = new Set<string>()
  const last = new Map<string, ShownTransition>()
  for (const t of world.transitions) {
    if (ids.has(t.id)) faults.push(`the id ${t.id} is there twice`)
    ids.add(t.id)
    const pair = pairOf(t.profile, t.segment)
    const before = last.get(pair)
    if (t.seq !== (before?.seq ?? 0) + 1) faults.push(`${pair}: ${t.seq} follows ${before?.seq ?? 0}`)
    if (t.transition === (before?.transition ?? 'exited')) faults.push(`${pair}: ${t.transition} twice, at ${t.seq}`)
    last.set(pair, t)
  }
  const inside = new Set([...last].filter(([, t]) => t.transition === 'entered').map(([pair]) => pair))
  const shown = new Set([...world.profiles.values()].flatMap(({ id, segments }) => segments.map((s) => pairOf(id, s))))
  faults.push(...differences('after the transitions', inside, 'in the profiles', shown))
  const listed = new Set([...world.members].flatMap(([segment, profiles]) => profiles.map((p) => pairOf(p, segment))))
  faults.push(...differences('in the profiles', shown, 'among the members', listed))
  for (const { id, size } of world.segments) {
    const real = world.members.get(id)?.length
    if (size !== real) faults.push(`${id} shows the size ${size} and has ${real} members`)
  }
  for (const { id, memberships } of world.profiles.values()) {
    for (const { segment, member, seq } of memberships) {
      const t = last.get(pairOf(id, segment))
      if (seq !== (t?.seq ?? 0) || member !== (t?.transition === 'entered')) {
        faults.push(`${pairOf(id, segment)}: shown as ${member} at ${seq}, last transition ${t?.transition} ${t?.seq}`)
      }
    }
  }
  return faults
}

function differences(left: string, a: ReadonlySet<string>, right: string, b: ReadonlySet<string>): string[] {
  return [
    ...[...a].filter((x) => !b.has(x)).map((x) => `${x}: ${left}, not ${right}`),
    ...[...b].filter((x) => !a.has(x)).map((x) => `${x}: ${right}, not ${left}`),
  ]
}

/** What the follower saw, without repeats, is the list of the pages; a repeat says the same. */
export function followerFaults(world: World, received: readonly ShownTransition[]): string[] {
  const seen = new Map<string, string>()
  const faults: string[] = []
  for (const t of received) {
    const text = JSON.stringify(t)
    const before = seen.get(t.id)
    if (before !== undefined && before !== text) faults.push(`${t.id} came as ${before} and as ${text}`)
    seen.set(t.id, text)
  }
  const ids = [...seen.keys()]
  const pages = world.transitions.map((t) => t.id)
  const at = pages.findIndex((id, i) => ids[i] !== id)
  if (at >= 0 || ids.length !== pages.length) {
    faults.push(`the stream has ${ids.length} transitions, the pages ${pages.length}; at ${at}: ${ids[at]}, ${pages[at]}`)
  }
  for (const t of world.transitions)
    if (seen.has(t.id) && seen.get(t.id) !== JSON.stringify(t)) faults.push(`${t.id} differs from its page`)
  return faults
}

/** Memberships equal a naive recomputation at `now`. */
export function membershipFaults(world: World, now: number): string[] {
  const faults: string[] = []
  for (const profile of world.profiles.values()) {
    const facts = factsOf(profile)
    for (const { id, where } of world.segments) {
      const expected = holds(where, facts, now)
      if (profile.segments.includes(id) !== expected) faults.push(`${pairOf(profile.id, id)}: ${!expected}, recomputed ${expected}`)
    }
  }
  return faults
}

/** The traits are those of the newest message per name (where no two are equally new). */
export function traitFaults(world: World, now: number): string[] {
  const faults: string[] = []
  for (const { id, events, traits } of world.profiles.values()) {
    const newest = new Map<string, { at: number; values: unknown[] }>()
    for (const e of events) {
      const at = Date.parse(e.timestamp)
      const context = e.message.context as { traits?: object } | undefined
      if (at > now) continue
      for (const [name, value] of Object.entries({ ...context?.traits, ...(e.type === 'identify' ? (e.message.traits as object) : {}) })) {
        const best = newest.get(name)
        if (best && best.at > at) continue
        newest.set(name, { at, values: best?.at === at ? [...best.values, value] : [value] })
      }
    }
    for (const [name, { values }] of newest) {
      if (!values.includes(traits[name])) faults.push(`${id}: ${name} is ${traits[name]}, the newest says ${values.join(' or ')}`)
    }
    for (const name of Object.keys(traits)) if (!newest.has(name)) faults.push(`${id}: nothing says ${name}`)
  }
  return faults
}

/** The last merge that a profile took part in, by public id, ms. */
function mergeInstants(world: World): Map<string, number> {
  const instants = new Map<string, number>()
  for (const { survivor, absorbed, at } of world.merges) {
    for (const id of [survivor, absorbed]) instants.set(id, Math.max(instants.get(id) ?? 0, Date.parse(at)))
  }
  return instants
}

/**
 * Every transition of the given segments up to `until`, from the instants at which events were applied. Only for segments that
 * further events move one way only: the order of events applied at one instant is not shown. A profile that took part in a merge
 * is looked at from there on.
 */
export function historyFaults(world: World, segments: readonly string[], until: number): { faults: string[]; checked: number } {
  const faults: string[] = []
  const merged = mergeInstants(world)
  const byPair = Map.groupBy(world.transitions, (t) => pairOf(t.profile, t.segment))
  let checked = 0
  for (const profile of world.profiles.values()) {
    for (const { id, where } of world.segments) {
      if (!segments.includes(id)) continue
      const actual = byPair.get(pairOf(profile.id, id)) ?? []
      const from = merged.get(profile.id)
      const history = { profile, where, from, until, actual }
      faults.push(...pairFaults(history).map((f) => `${pairOf(profile.id, id)}: ${f}`))
      checked += actual.filter((t) => Date.parse(t.at) > (from ?? 0)).length
    }
  }
  return { faults, checked }
}

interface History {
  readonly profile: SeenProfile
  readonly where: Parameters<typeof holds>[0]
  readonly from: number | undefined
  readonly until: number
  readonly actual: readonly ShownTransition[]
}

function pairFaults({ profile, where, from, until, actual }: History): string[] {
  const traits: Facts['traits'] = new Map(Object.entries(profile.traits))
  const groups = [...Map.groupBy(profile.events, (e) => Date.parse(e.appliedAt))].sort(([a], [b]) => a - b)
  const events: CountedEvent[] = []
  const applied = groups.filter(([at]) => from !== undefined && at <= from)
  events.push(...applied.flatMap(([, list]) => list.map(counted)))
  let at = from ?? groups[0]?.[0] ?? 0
  const done = from === undefined ? [] : actual.filter((t) => Date.parse(t.at) <= from)
  const rest = [...actual.slice(done.length)]
  let inside = done.at(-1)?.transition === 'entered'
  if (from !== undefined && holds(where, { events, traits }, from) !== inside)
    return [`after the merge at ${from}: ${inside}, recomputed ${!inside}`]
  const faults: string[] = []
  for (const [instant, list] of [...groups.slice(applied.length), [until, []] as const]) {
    if (instant > until) break
    // What time does in between, at its own instants.
    for (const flip of events.length === 0 ? [] : timelineOfTruth(where, { events, traits }, at, instant).flips) {
      const t = rest.shift()
      inside = flip.holds
      if (!t || Date.parse(t.at) !== flip.at || (t.transition === 'entered') !== flip.holds) {
        return [...faults, `a flip to ${flip.holds} at ${flip.at}, shown is ${JSON.stringify(t)}`]
      }
    }
    at = instant
    // The first event founds the profile and may bring it in; the others of that instant then move it.
    const most = events.length === 0 ? 2 : 1
    events.push(...list.map(counted))
    let moves = 0
    while (list.length > 0 && rest[0] && Date.parse(rest[0].at) === instant && rest[0].cause === 'event') {
      inside = rest.shift()?.transition === 'entered'
      moves++
    }
    const expected = events.length > 0 && holds(where, { events, traits }, instant)
    if (inside !== expected || moves > most) return [...faults, `at ${instant}, after ${moves} moves: ${inside}, recomputed ${expected}`]
  }
  return rest.filter((t) => Date.parse(t.at) <= until).map((t) => `nothing explains ${JSON.stringify(t)}`)
}
