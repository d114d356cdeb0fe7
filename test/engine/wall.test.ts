// The wall clock running while events come: whenever an event was applied, what is seen is what the oracle sees when it applies the
// same events at those instants. TRIBUTARY_ORACLE_RUNS says how many feeds, TRIBUTARY_ORACLE_SEED which.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import { type EventRecord, messageOf } from '../../src/core/event.ts'
import type { Where } from '../../src/operators/definition.ts'
import { type Random, seeded } from '../identity/random.ts'
import { type EventSketch, identifier, recordOf, START_MS } from '../oracle/events-arbitrary.ts'
import { SegmentOracle } from '../oracle/segments.ts'
import { crashed, testDisk, turns, within } from './disk.ts'
import { type Harness, harness } from './harness.ts'
import { layoutArbitrary } from './layout-arbitrary.ts'
import { narrowEvent, narrowWhere } from './narrow-arbitrary.ts'
import { freshSeed, oracleRuns } from './runs.ts'
import { checkStream } from './stream-checks.ts'
import type { Layout } from './world-run.ts'

interface Step {
  readonly user: number
  readonly event: EventSketch | undefined
  readonly advanceMs: number
  readonly turns: number
  readonly crash: boolean
}

const stepArbitrary: fc.Arbitrary<Step> = fc.record({
  user: fc.integer({ min: 0, max: 4 }),
  event: fc.option(narrowEvent, { nil: undefined, freq: 4 }),
  advanceMs: fc.constantFrom(0, 0, 1, 3, 10, 50, 99),
  turns: fc.constantFrom(0, 0, 1, 3, 10),
  crash: fc.constantFrom(...new Array<boolean>(30).fill(false), true),
})

interface Sent {
  record: EventRecord
  isAcknowledged: boolean
}

function opened({ partitions, hosts, ...limits }: Layout, disk = testDisk(partitions, hosts), clockMs = START_MS): Promise<Harness> {
  return within(harness({ clock: 'wall', partitions, hosts, limits: { ...limits, timelineEvents: 1e6 }, disk, clockMs }))
}

class Feed {
  engine: Harness
  readonly sent: Sent[] = []
  readonly #layout: Layout
  readonly #random: Random

  constructor(layout: Layout, random: Random, engine: Harness) {
    this.#layout = layout
    this.#random = random
    this.engine = engine
  }

  async step({ user, event, advanceMs, turns: n, crash }: Step): Promise<void> {
    if (event) {
      const identifiers = [identifier('user_id', `u${user}`)]
      const acceptedAt = this.engine.engine.acceptanceTime()
      const sent = { record: recordOf({ ...event, id: this.sent.length, identifiers }, acceptedAt), isAcknowledged: false }
      this.sent.push(sent)
      this.#ingest(sent)
    }
    this.engine.clock.advance(advanceMs)
    await turns(n)
    expect(this.engine.stopped).toEqual([])
    if (crash) await this.#crash()
  }

  #ingest(sent: Sent): void {
    this.engine.engine.ingest([sent.record], []).then(
      () => {
        sent.isAcknowledged = true
      },
      () => undefined,
    )
  }

  async #crash(): Promise<void> {
    const { disk, clock } = this.engine
    this.engine.abandon()
    this.engine = await opened(this.#layout, crashed(disk, this.#random), clock.now() + 20)
    // Clients try again; intake stamps what it gets when it gets it.
    for (const sent of this.sent) {
      if (sent.isAcknowledged) continue
      sent.record = { ...sent.record, acceptedAt: this.engine.engine.acceptanceTime() }
      this.#ingest(sent)
    }
  }

  /** Lets everything happen that has been set off. */
  async rest(): Promise<void> {
    for (let i = 0; i < 100 && this.sent.some((s) => !s.isAcknowledged); i++) await this.engine.run(5)
    await this.engine.run(300)
    this.engine.clock.advance(1000)
    await this.engine.run(300)
    expect(this.sent.every((s) => s.isAcknowledged)).toBe(true)
    expect(this.engine.stopped).toEqual([])
  }
}

const bySegment = (a: { segment: string; seq: number }, b: { segment: string; seq: number }): number =>
  a.segment < b.segment ? -1 : a.segment > b.segment ? 1 : a.seq - b.seq

async function checkUser(feed: Feed, user: string, definitions: readonly Where[]): Promise<void> {
  const { engine } = feed.engine
  const sent = feed.sent.filter(({ record }) => record.identifiers[0]?.value === user)
  if (sent.length === 0) return
  const ref = { namespace: 'user_id', value: user }
  const profile = must(await engine.profile(ref), `the profile of ${user}`)
  const page = must(await engine.profileEvents(ref, { limit: 10_000 }), `the timeline of ${user}`)
  const appliedAt = new Map(page.items.map((e) => [e.messageId, Date.parse(e.appliedAt)]))
  expect(appliedAt.size).toBe(sent.length)
  const oracle = new SegmentOracle()
  for (const [i, where] of definitions.entries()) oracle.define(`s${i}`, where, Number.NEGATIVE_INFINITY)
  const expected = sent.flatMap(({ record }) => {
    const { name, at, messageId, messageHash, sourcePriority } = record
    const event = { name, at, message: messageOf(record), messageId, messageHash, sourcePriority }
    return oracle.apply(event, must(appliedAt.get(messageId), `${messageId} in the timeline`))
  })
  expected.push(...oracle.advance(feed.engine.clock.now() - 100))
  const seen = (await feed.engine.transitions()).filter((t) => t.profile === profile.id)
  const shown = seen.map(({ segment, transition, seq, at, cause, causeId }) => ({ segment, transition, seq, at, cause, causeId }))
  expect(shown.sort(bySegment)).toEqual(expected.map((t) => ({ causeId: undefined, ...t })).sort(bySegment))
}

async function play(layout: Layout, definitions: readonly Where[], steps: readonly Step[]): Promise<void> {
  const random = seeded(layout.seed)
  const disk = testDisk(layout.partitions, layout.hosts, layout.slow ? random : undefined)
  const feed = new Feed(layout, random, await opened(layout, disk))
  for (const [i, where] of definitions.entries()) {
    const put = feed.engine.engine.putSegment(`s${i}`, { where })
    await feed.engine.run(100)
    await within(put)
  }
  for (const step of steps) await feed.step(step)
  await feed.rest()
  checkStream(await feed.engine.transitions())
  for (let user = 0; user <= 4; user++) await checkUser(feed, `u${user}`, definitions)
  feed.engine.abandon()
}

test.each([20260503, freshSeed()])('seed %i', { timeout: 3_600_000 }, async (seed) => {
  const first = fc.array(narrowWhere, { minLength: 1, maxLength: 4, size: 'max' })
  const steps = fc.array(stepArbitrary, { minLength: 5, maxLength: 60, size: 'max' })
  await fc.assert(fc.asyncProperty(layoutArbitrary, first, steps, play), { seed, numRuns: oracleRuns(20) })
})
