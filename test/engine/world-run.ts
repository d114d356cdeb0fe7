// Drives an engine in memory and the world oracle with the same steps and compares them: after every step all transitions, now and
// then everything that can be read.
import { expect } from 'vitest'
import { must } from '../../src/core/assert.ts'
import type { EventRecord } from '../../src/core/event.ts'
import { profileKey } from '../../src/core/identifier.ts'
import { Namespaces } from '../../src/core/namespace.ts'
import type { Transition } from '../../src/core/transition.ts'
import { mintPublicId, publicIdText } from '../../src/engine/public-id.ts'
import type { Where } from '../../src/operators/definition.ts'
import { type Random, seeded } from '../identity/random.ts'
import { nextFlip } from '../oracle/evaluate.ts'
import { type EventSketch, identifier, NAMESPACES, recordOf, START_MS } from '../oracle/events-arbitrary.ts'
import type { Birth, IdentityRules, Person } from '../oracle/identity.ts'
import { unionRules, WorldOracle, type WorldTransition } from '../oracle/world.ts'
import { crashed, testDisk, turns, within } from './disk.ts'
import { type Harness, harness } from './harness.ts'

/** How the engine is cut up; nothing of it may show in the results. */
export interface Layout {
  readonly partitions: number
  readonly hosts: number
  /** Most events in one ingestion. */
  readonly burst: number
  readonly batchEvents: number
  readonly batchBytes: number
  /** 0: others run in the middle of every batch. */
  readonly sliceMs: number
  readonly splitBytes: number
  readonly timerHorizonMs: number
  readonly cacheBytes: number
  readonly applyMs: number
  readonly applyBytes: number
  /** Logs take their time to sync. */
  readonly slow: boolean
  readonly guarded: boolean
  /** Of delays, and of what a crash leaves. */
  readonly seed: number
}

export type Step =
  | { readonly kind: 'event'; readonly event: EventSketch }
  | { readonly kind: 'wait'; readonly ms: number }
  /** To the next instant at which a truth flips, or just before or after it. */
  | { readonly kind: 'boundary'; readonly offsetMs: number }
  | { readonly kind: 'put'; readonly id: string; readonly where: Where | undefined }

/** Undefined: it goes through. A number: the process is killed so many turns after the step was begun, and the step done again. */
export type Crash = number | undefined

const ROOMY = NAMESPACES.map((name) => ({ name, limit: 1000 }))
const NARROW = [
  { name: 'user_id', unique: true },
  { name: 'email', limit: 2 },
  { name: 'anonymous_id', limit: 3 },
]
// Steps may jump by months, and the oracle forgets nothing.
const FOR_EVER = { timelineEvents: 1e6, timelineRetentionMs: 1e12, dedupeWindowMs: 1e12 }
const MARKER = 'marker'
const NOBODY: Where = { any: [] }

export function namespacesOf(guarded: boolean): Namespaces {
  return guarded ? new Namespaces({ namespaces: NARROW, limit: 5 }) : new Namespaces({ namespaces: ROOMY })
}

export function rulesOf(guarded: boolean): IdentityRules {
  const rules = unionRules(NAMESPACES)
  return guarded ? { ...rules, total: 5, limit: (namespace) => (namespace === 'user_id' ? 1 : namespace === 'email' ? 2 : 3) } : rules
}

export function open(
  layout: Layout,
  random: Random,
  disk = testDisk(layout.partitions, layout.hosts, layout.slow ? random : undefined),
  clockMs = 0,
): Promise<Harness> {
  const { partitions, hosts, batchEvents, batchBytes, sliceMs, splitBytes, timerHorizonMs, cacheBytes, applyMs, applyBytes, guarded } =
    layout
  const limits = { batchEvents, batchBytes, sliceMs, splitBytes, timerHorizonMs, cacheBytes, applyMs, applyBytes, ...FOR_EVER }
  return within(harness({ partitions, hosts, limits, namespaces: namespacesOf(guarded), disk, clockMs }))
}

export const publicIdOf = ({ founder, at }: Birth): string =>
  publicIdText(mintPublicId(profileKey(identifier(founder.namespace, founder.value).key, 0), at))

/** Waits until the work is done. A partition that stops may leave questions without an answer. */
export async function restOf<T>(h: Harness, work: Promise<T>): Promise<T> {
  try {
    return await within(work, () => h.stopped.length > 0)
  } finally {
    expect(h.stopped, 'partitions that stopped').toEqual([])
  }
}

interface Shown {
  readonly profile: string
  readonly segment: string
  readonly transition: string
  readonly seq: number
  readonly at: number
  readonly cause: string
  readonly causeId: string | undefined
}

const inOrder = (shown: Shown[]): Shown[] =>
  shown.sort((a, b) =>
    a.profile < b.profile ? -1 : a.profile > b.profile ? 1 : a.segment < b.segment ? -1 : a.segment > b.segment ? 1 : a.seq - b.seq,
  )

const shownOf = ({ profile, segment, transition, seq, at, cause, causeId }: Transition): Shown => ({
  profile,
  segment,
  transition,
  seq,
  at,
  cause,
  causeId,
})

const shownOfExpected = ({ profile, segment, transition, seq, at, cause, causeId }: WorldTransition): Shown => ({
  profile: publicIdOf(profile),
  segment,
  transition,
  seq,
  at,
  cause,
  causeId,
})

export class WorldRun {
  readonly oracle: WorldOracle
  engine: Harness
  now = START_MS
  crashes = 0
  readonly #layout: Layout
  readonly #random: Random
  #burst: EventRecord[] = []
  #expected: WorldTransition[] = []
  #lastId: string | undefined
  #marks = 0
  readonly #versions = new Map<string, number>()
  readonly #definitions = new Map<string, Where>()

  private constructor(layout: Layout, random: Random, engine: Harness) {
    this.#layout = layout
    this.#random = random
    this.engine = engine
    this.oracle = new WorldOracle(rulesOf(layout.guarded))
  }

  static async open(layout: Layout): Promise<WorldRun> {
    const random = seeded(layout.seed)
    const run = new WorldRun(layout, random, await open(layout, random))
    await run.#moveTo(START_MS, undefined)
    return run
  }

  async step(step: Step, crash?: Crash): Promise<void> {
    if (step.kind === 'event') {
      const record = recordOf(step.event, this.now)
      if (this.#burst.length >= this.#layout.burst || !this.#isIndependent(record)) await this.flush()
      this.#burst.push(record)
      if (crash !== undefined) await this.flush(crash)
      return
    }
    await this.flush()
    if (step.kind === 'put') await this.#put(step.id, step.where, crash)
    else await this.#moveTo(step.kind === 'wait' ? this.now + step.ms : this.#boundary(step.offsetMs), crash)
    await this.check()
  }

  /** True if it doesn't matter whether this event comes before or after those of the burst. */
  #isIndependent(record: EventRecord): boolean {
    const owner = this.#ownerOf(record)
    if (owner === undefined) return false
    const smallest = must(record.identifiers[0], 'an event has an identifier')
    return this.#burst.every((other) => {
      const theirs = this.#ownerOf(other)
      return theirs !== undefined && (theirs !== owner || other.identifiers[0]?.key === smallest.key)
    })
  }

  /** What the event is about, if it links nothing: a person, or a single identifier that nobody has. */
  #ownerOf(record: EventRecord): Person | string | undefined {
    const owners = new Set(
      record.identifiers.map((id) => this.oracle.identity.ownerOf(id) ?? (record.identifiers.length === 1 ? id.key : undefined)),
    )
    return owners.size === 1 ? [...owners][0] : undefined
  }

  /** Sends the burst, settles, compares. */
  async flush(crash?: Crash): Promise<void> {
    const burst = this.#burst
    if (burst.length === 0) return
    this.#burst = []
    for (const record of burst) this.#expected.push(...this.oracle.accept(record, this.now))
    await this.#surviving(crash, async ({ engine }) => {
      await engine.ingest(burst, [])
      await engine.settle()
    })
    await this.check()
  }

  async #moveTo(now: number, crash: Crash): Promise<void> {
    this.now = Math.max(this.now, now)
    this.#expected.push(...this.oracle.advance(this.now))
    await this.#surviving(crash, ({ engine }) => engine.setClock(this.now))
  }

  #boundary(offsetMs: number): number {
    let next = Number.POSITIVE_INFINITY
    for (const person of this.oracle.identity.people) {
      const { facts } = this.oracle.segmentsOf(person)
      for (const where of this.#definitions.values()) next = Math.min(next, nextFlip(where, facts, this.now)?.at ?? next)
    }
    return Number.isFinite(next) ? next + offsetMs : this.now
  }

  async #put(id: string, where: Where | undefined, crash: Crash): Promise<void> {
    this.#expected.push(...this.oracle.define(id, where, this.now))
    if (where === undefined) this.#definitions.delete(id)
    else this.#definitions.set(id, where)
    this.#versions.delete(id)
    const name = `mark ${this.#marks++}`
    await this.#surviving(crash, async (h) => {
      if (where !== undefined) this.#versions.set(id, (await h.engine.putSegment(id, { where })).version)
      else {
        await h.engine.deleteSegment(id)
        // Nothing says when a deletion is done; a definition after it does.
        await h.engine.putSegment(MARKER, { name, where: NOBODY })
      }
      await h.filled()
    })
  }

  async #surviving(crash: Crash, work: (h: Harness) => Promise<unknown>): Promise<void> {
    if (crash === undefined) {
      await restOf(this.engine, work(this.engine))
      return
    }
    const dying = this.engine
    work(dying).catch(() => undefined)
    await turns(crash)
    expect(dying.stopped, 'before the crash').toEqual([])
    dying.abandon()
    this.crashes++
    this.engine = await open(this.#layout, this.#random, crashed(dying.disk, this.#random), dying.clock.now())
    await restOf(this.engine, work(this.engine))
  }

  /** Compares the transitions since the last check. */
  async check(): Promise<void> {
    const seen = await this.engine.transitions(this.#lastId)
    this.#lastId = seen.at(-1)?.id ?? this.#lastId
    const expected = this.#expected
    this.#expected = []
    expect(inOrder(seen.map(shownOf))).toEqual(inOrder(expected.map(shownOfExpected)))
    for (const t of seen) {
      expect(t.decidedAt, `decided at, of ${t.id}`).toBe(this.now)
      const version = this.#versions.get(t.segment)
      if (version !== undefined) expect(t.version, `version, of ${t.id}`).toBe(version)
    }
    expect(this.engine.stopped).toEqual([])
  }

  /** Compares all that can be read. */
  async checkAll(): Promise<void> {
    const { engine } = this.engine
    const people = this.oracle.identity.people
    for (const person of people) await this.#checkPerson(person)
    for (const id of this.#definitions.keys()) {
      const expected = people
        .filter((person) => this.oracle.segmentsOf(person).segments.includes(id))
        .map((p) => publicIdOf(must(p.birth, 'born when settled')))
      const members = await engine.segmentMembers(id, { limit: 1000 })
      expect(members?.items.map((m) => m.profile).sort(), `members of ${id}`).toEqual(expected.sort())
      expect((await engine.segment(id))?.size, `size of ${id}`).toBe(expected.length)
    }
    const { items: merges } = await engine.merges({ limit: 10_000 })
    const mergesOf = (list: { survivor: string; absorbed: string; messageId?: string }[]): string[] =>
      list.map((m) => `${m.absorbed} into ${m.survivor} by ${m.messageId}`).sort()
    expect(mergesOf(merges)).toEqual(
      mergesOf(
        this.oracle.merges.map(({ survivor, absorbed, messageId }) => ({
          survivor: publicIdOf(survivor),
          absorbed: publicIdOf(absorbed),
          messageId,
        })),
      ),
    )
    for (const { absorbed, survivor } of merges) {
      const [a, b] = await Promise.all([absorbed, survivor].map((value) => engine.profile({ namespace: 'profile_id', value })))
      expect(a?.id, `what ${absorbed} has become`).toBe(b?.id)
    }
    const status = await engine.status()
    expect(status.profiles, 'profiles').toBe(people.length)
    expect((await engine.deadLetters({ limit: 10 })).items).toEqual([])
  }

  async #checkPerson(person: Person): Promise<void> {
    const { engine } = this.engine
    const ids = [...person.identifiers.values()]
    const texts = (list: readonly { namespace: string; value: string }[]): string[] =>
      list.map(({ namespace, value }) => `${namespace}:${value}`).sort()
    const segments = this.oracle.segmentsOf(person)
    const events = segments.all.map((e) => `${e.messageId} ${e.at}`).sort()
    for (const { namespace, value } of ids) {
      const ref = { namespace, value }
      const view = must(await engine.profile(ref), `the profile of ${namespace}:${value}`)
      expect(view.id).toBe(publicIdOf(must(person.birth, 'born when settled')))
      expect(texts(view.identifiers)).toEqual(texts(ids))
      expect(view.segments).toEqual([...segments.segments].sort())
      expect(view.traits).toEqual(Object.fromEntries(segments.traits))
    }
    const ref = must(ids[0], 'a profile has an identifier')
    const timeline = await engine.profileEvents(ref, { limit: 10_000 })
    expect(timeline?.items.map((e) => `${e.messageId} ${Date.parse(e.timestamp)}`).sort(), 'the timeline').toEqual(events)
    const memberships = await engine.profileMemberships(ref, { limit: 1000 })
    expect(new Map(memberships?.items.map((m) => [m.segment, { in: m.member, seq: m.seq }]))).toEqual(segments.memberships)
  }
}
