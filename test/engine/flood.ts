// Floods of events at once for an engine and its oracle, with links between them and crashes in the middle.
import fc from 'fast-check'
import { expect } from 'vitest'
import { must } from '../../src/core/assert.ts'
import type { EventRecord, JsonObject } from '../../src/core/event.ts'
import type { Where } from '../../src/operators/definition.ts'
import { type Random, seeded } from '../identity/random.ts'
import { type Facts, holds } from '../oracle/evaluate.ts'
import { type EventSketch, identifier, NAMESPACES, recordOf, START_MS } from '../oracle/events-arbitrary.ts'
import type { Person } from '../oracle/identity.ts'
import { WorldOracle } from '../oracle/world.ts'
import { crashed, turns } from './disk.ts'
import type { Harness } from './harness.ts'
import { narrowEvent, narrowWhere } from './narrow-arbitrary.ts'
import { checkStream } from './stream-checks.ts'
import { type Layout, open, restOf, rulesOf } from './world-run.ts'

/** Events all at once, then the clock moves on. */
interface Wave {
  readonly events: readonly EventSketch[]
  readonly crash: number | undefined
  readonly waitMs: number
  readonly put: { readonly id: string; readonly where: Where } | undefined
}

const waveArbitrary: fc.Arbitrary<Wave> = fc.record({
  events: fc.array(narrowEvent, { minLength: 1, maxLength: 40, size: 'max' }),
  crash: fc.oneof({ weight: 2, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: fc.integer({ min: 0, max: 40 }) }),
  waitMs: fc.constantFrom(0, 1, 10, 49, 50, 100),
  put: fc.option(fc.record({ id: fc.constantFrom('s0', 's1', 's2'), where: narrowWhere }), { nil: undefined }),
})

class Flood {
  readonly layout: Layout
  readonly random: Random
  readonly oracle: WorldOracle
  readonly definitions = new Map<string, Where>()
  engine: Harness
  now = START_MS

  constructor(layout: Layout, random: Random, engine: Harness) {
    this.layout = layout
    this.random = random
    this.engine = engine
    this.oracle = new WorldOracle(rulesOf(layout.guarded))
  }

  async wave({ events, crash, waitMs, put }: Wave): Promise<void> {
    const records = events.map((sketch) => recordOf(sketch, this.now))
    for (const record of records) this.oracle.accept(record, this.now)
    let chunks = this.#chunks(records)
    const defined = put && this.#define(put.id, put.where)
    defined?.catch(() => undefined)
    if (crash === undefined) {
      await restOf(this.engine, Promise.all([...this.#ingest(chunks, () => undefined), defined]))
    } else chunks = await this.#ingestAndCrash(chunks, crash)
    // What was not acknowledged is sent again.
    await restOf(this.engine, Promise.all(this.#ingest(chunks, () => undefined)))
    if (put) await restOf(this.engine, this.#define(put.id, put.where))
    this.now += waitMs
    this.oracle.advance(this.now)
    await restOf(this.engine, this.engine.engine.setClock(this.now))
  }

  #chunks(records: readonly EventRecord[]): EventRecord[][] {
    const chunks: EventRecord[][] = []
    for (const record of records) {
      const last = chunks.at(-1)
      if (last && this.random() < 0.6) last.push(record)
      else chunks.push([record])
    }
    return chunks
  }

  #ingest(chunks: readonly EventRecord[][], acknowledged: (chunk: EventRecord[]) => void): Promise<void>[] {
    return chunks.map((chunk) => this.engine.engine.ingest(chunk, []).then(() => acknowledged(chunk)))
  }

  /** Returns what was not acknowledged. */
  async #ingestAndCrash(chunks: readonly EventRecord[][], after: number): Promise<EventRecord[][]> {
    const acknowledged = new Set<EventRecord[]>()
    for (const sent of this.#ingest(chunks, (chunk) => acknowledged.add(chunk))) sent.catch(() => undefined)
    await turns(after)
    const dying = this.engine
    expect(dying.stopped).toEqual([])
    dying.abandon()
    this.engine = await open(this.layout, this.random, crashed(dying.disk, this.random), dying.clock.now())
    return chunks.filter((chunk) => !acknowledged.has(chunk))
  }

  async #define(id: string, where: Where): Promise<void> {
    this.definitions.set(id, where)
    await this.engine.engine.putSegment(id, { where })
  }

  async check(): Promise<void> {
    const { engine } = this.engine
    await restOf(this.engine, this.engine.filled())
    for (const [id, where] of this.definitions) this.oracle.define(id, where, this.now)
    const members = checkStream(await this.engine.transitions())
    const seen = new Set<string>()
    for (const namespace of NAMESPACES) {
      for (let n = 0; n < 4; n++) {
        const view = await engine.profile({ namespace, value: `${namespace[0]}${n}` })
        if (!view || seen.has(view.id)) continue
        seen.add(view.id)
        await this.#checkProfile(view, members)
      }
    }
    expect((await engine.status()).profiles).toBe(seen.size)
    for (const [segment, list] of members)
      for (const id of list) expect(seen.has(id), `${id}, a member of ${segment}, is a profile`).toBe(true)
    if (!this.layout.guarded) expect(seen.size).toBe(this.oracle.identity.people.length)
    expect((await engine.deadLetters({ limit: 10 })).items).toEqual([])
    await this.#checkMerges()
  }

  async #checkProfile(
    view: { id: string; traits: JsonObject; segments: string[]; identifiers: { namespace: string; value: string }[] },
    members: Map<string, Set<string>>,
  ): Promise<void> {
    const { engine } = this.engine
    const page = must(await engine.profileEvents({ namespace: 'profile_id', value: view.id }, { limit: 10_000 }), 'it was just seen')
    const events = page.items.map(({ event, timestamp, message }) => ({ name: event, at: Date.parse(timestamp), message }))
    const facts: Facts = { events, traits: new Map(Object.entries(view.traits)) }
    const naive = [...this.definitions].filter(([, where]) => holds(where, facts, this.now)).map(([id]) => id)
    expect(view.segments, `segments of ${view.id} as its timeline has it`).toEqual(naive.sort())
    expect(
      [...members]
        .filter(([, list]) => list.has(view.id))
        .map(([id]) => id)
        .sort(),
      `segments of ${view.id} as the stream has it`,
    ).toEqual(naive)
    if (this.layout.guarded) return
    const texts = (list: Iterable<{ namespace: string; value: string }>): string[] =>
      [...list].map((id) => `${id.namespace}:${id.value}`).sort()
    const first = must(view.identifiers[0], 'a profile has an identifier')
    const person: Person = must(this.oracle.identity.ownerOf(identifier(first.namespace, first.value)), 'its owner')
    const expected = this.oracle.segmentsOf(person)
    expect(texts(view.identifiers)).toEqual(texts(person.identifiers.values()))
    expect(view.traits).toEqual(Object.fromEntries(expected.traits))
    const idsOf = (list: readonly { messageId: string }[]): string[] => list.map((e) => e.messageId).sort()
    expect(idsOf(page.items)).toEqual(idsOf(expected.all))
    expect(view.segments).toEqual([...expected.segments].sort())
  }

  async #checkMerges(): Promise<void> {
    const { items } = await this.engine.engine.merges({ limit: 10_000 })
    const absorbed = new Set(items.map((m) => m.absorbed))
    expect(absorbed.size, 'each id is absorbed once').toBe(items.length)
    for (const m of items) {
      const [a, b] = await Promise.all(
        [m.absorbed, m.survivor].map((value) => this.engine.engine.profile({ namespace: 'profile_id', value })),
      )
      expect(a?.id).toBe(b?.id)
      expect(absorbed.has(a?.id ?? '')).toBe(false)
    }
  }
}

export async function flood(layout: Layout, first: readonly Where[], waves: readonly Wave[]): Promise<void> {
  const random = seeded(layout.seed)
  const run = new Flood(layout, random, await open(layout, random))
  await restOf(run.engine, run.engine.engine.setClock(START_MS))
  for (const [i, where] of first.entries()) {
    run.definitions.set(`s${i}`, where)
    await restOf(run.engine, run.engine.engine.putSegment(`s${i}`, { where }))
  }
  for (const wave of waves) await run.wave(wave)
  await restOf(run.engine, run.check())
  await restOf(run.engine, run.engine.close())
  expect(run.engine.stopped).toEqual([])
}

export type Waves = readonly [layout: Layout, first: readonly Where[], waves: readonly Wave[]]

export function wavesArbitrary(layout: fc.Arbitrary<Layout>): fc.Arbitrary<Waves> {
  return fc.tuple(
    layout,
    fc.array(narrowWhere, { minLength: 1, maxLength: 3, size: 'max' }),
    fc.array(waveArbitrary, { minLength: 1, maxLength: 4, size: 'max' }),
  )
}
