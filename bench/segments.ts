// What segments cost by themselves: the workload's events applied to states in memory, one profile per identifier, each state encoded
// after every event (as if every event were a commit of its own). No identity, no store, no log; messages are parsed beforehand.
//
//   node bench/segments.ts [--n 200000] [--users 20000] [--segments 50] [--others 0] [--json]
//
// --others adds so many segments that look at the same events but never match: what they cost is the index's affair.
import { parseArgs } from 'node:util'
import { must } from '../src/core/assert.ts'
import { Writer } from '../src/core/bytes.ts'
import type { Json, JsonObject } from '../src/core/event.ts'
import { Definitions } from '../src/engine/definitions.ts'
import type { Plan } from '../src/engine/plan.ts'
import type { EventView } from '../src/engine/plan-group.ts'
import { applyEvent, encodeState, flipsDue, SegmentState } from '../src/engine/segment-state.ts'
import { printed, type Result, rounded } from './report.ts'
import { eventLines } from './workload/events.ts'
import { definitionsOf, messageOf, type WorkloadEvent } from './workload/map.ts'
import { segmentFile } from './workload/segments.ts'
import { EVENT_NAMES, TRAITS } from './workload/vocabulary.ts'

export interface SegmentBench {
  readonly n: number
  readonly users: number
  readonly segments: number
  /** Segments that never match. */
  readonly others: number
}

interface Customer {
  readonly traits: Map<string, Json>
  state: SegmentState
}

interface Arrival {
  readonly who: string
  readonly view: EventView
  readonly traits: JsonObject
}

function planOf(b: SegmentBench): Plan {
  const definitions = new Definitions()
  const put = (id: string, where: Parameters<Definitions['holdsForEmpty']>[0]): void =>
    definitions.apply(definitions.version + 1, { put: { id, where } })
  for (const { id, where } of definitionsOf(segmentFile({ n: b.segments }))) put(id, where)
  for (let i = 0; i < b.others; i++) {
    const event = must(EVENT_NAMES[i % EVENT_NAMES.length], 'index in range')
    put(`other${i}`, { event, where: { 'properties.category': `none ${i}` }, within: '7d', count: { gte: 1 } })
  }
  return definitions.planAt(definitions.version)
}

function arrivals({ n, users }: SegmentBench): Arrival[] {
  const list: Arrival[] = []
  for (const line of eventLines({ n, users })) {
    const event = JSON.parse(line) as WorkloadEvent
    const message = messageOf(event)
    const view = { name: event.event, at: Date.parse(event.timestamp), message: () => message }
    const traits = (message.context as { traits: JsonObject }).traits
    list.push({ who: must(event.userId ?? event.anonymousId, 'somebody did it'), view, traits })
  }
  return list
}

/** Applies all events once to fresh customers; the first part warms up and isn't timed. */
export function segmentCost(b: SegmentBench): Result {
  const plan = planOf(b)
  const customers = new Map<string, Customer>()
  const w = new Writer(16_384)
  const split = { bytes: Number.POSITIVE_INFINITY, putGroup: () => {} }
  let transitions = 0
  const emit = (): void => void transitions++
  let now = 0
  let [applying, encoding, bytes, timed] = [0, 0, 0, 0]
  let cpu = process.threadCpuUsage()
  const list = arrivals(b)
  const warm = Math.floor(list.length / 3)
  for (const [i, { who, view, traits }] of list.entries()) {
    if (i === warm) {
      ;[applying, encoding, bytes, transitions, timed] = [0, 0, 0, 0, 0]
      cpu = process.threadCpuUsage()
    }
    now = Math.max(now, view.at)
    const known = customers.get(who)
    const c = known ?? { traits: new Map<string, Json>(), state: SegmentState.empty(plan, emit, now) }
    if (known === undefined) customers.set(who, c)
    const changedTraits = TRAITS.filter((name) => traits[name] !== undefined && c.traits.get(name) !== traits[name])
    for (const name of changedTraits) c.traits.set(name, traits[name] as Json)
    const start = performance.now()
    flipsDue(plan, c.state, { traits: c.traits, now, emit })
    applyEvent(plan, c.state, { event: view, traits: c.traits, changedTraits, now, emit })
    const middle = performance.now()
    encodeState(c.state, w.reset(), split)
    applying += middle - start
    encoding += performance.now() - middle
    bytes += w.length
    timed++
  }
  const { user, system } = process.threadCpuUsage(cpu)
  const cpuUsPerEvent = (user + system) / timed
  return {
    name: 'segments',
    events: timed,
    eventsPerSecond: Math.round(1e6 / cpuUsPerEvent),
    cpuUsPerEvent: rounded(cpuUsPerEvent),
    rssMB: Math.round(process.memoryUsage.rss() / 2 ** 20),
    // By the wall: what share each has, on a machine that may be busy.
    applyShare: rounded(applying / (applying + encoding)),
    transitionsPerEvent: rounded(transitions / timed),
    rowBytes: Math.round(bytes / timed),
    segments: b.segments,
    others: b.others,
    profiles: customers.size,
  }
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      n: { type: 'string', default: '200000' },
      users: { type: 'string', default: '20000' },
      segments: { type: 'string', default: '50' },
      others: { type: 'string', default: '0' },
      json: { type: 'boolean', default: false },
    },
  })
  const [n, users, segments, others] = [Number(values.n), Number(values.users), Number(values.segments), Number(values.others)]
  process.stdout.write(`${printed(segmentCost({ n, users, segments, others }), values.json)}\n`)
}
