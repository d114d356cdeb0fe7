// Profile look-ups on a fixed schedule, a process of its own: drawn evenly from the given identifiers, so most are cold.
// A latency runs from the scheduled instant. It is told what to do by one message, and answers with one.
import { must } from '../src/core/assert.ts'
import { answerParent } from './children.ts'
import { Latencies, onSchedule, type Percentiles, wallMs } from './latency.ts'
import { requestBytes, Wire } from './wire.ts'
import { randomOf } from './workload/random.ts'

export interface Lookups {
  readonly port: number
  /** Each `namespace:value`. */
  readonly refs: readonly string[]
  readonly startMs: number
  readonly everyMs: number
  readonly count: number
  /** Look-ups that don't count. */
  readonly warm: number
  readonly connections: number
  readonly seed: number
}

export interface LookupResult {
  readonly latency: Percentiles
  readonly found: number
  readonly missing: number
  /** Answered otherwise than 200 and 404. */
  readonly failed: number
  readonly cpuUs: number
}

async function run(o: Lookups): Promise<LookupResult> {
  const random = randomOf(o.seed)
  const wire = new Wire(o.port, o.connections)
  const latency = new Latencies()
  const requests = o.refs.map((ref) => requestBytes('GET', `/v1/profiles/${encodeURIComponent(ref)}`))
  let [found, missing, failed, answered] = [0, 0, 0, 0]
  const cpu = process.cpuUsage()
  let allAnswered = (): void => {}
  const answers = new Promise<void>((resolve) => {
    allAnswered = resolve
  })
  await onSchedule(o.startMs, o.everyMs, o.count, (k, dueMs) => {
    wire.send(must(requests[Math.floor(random() * requests.length)], 'index in range'), (status) => {
      if (k >= o.warm) latency.add(wallMs() - dueMs)
      if (status === 200) found++
      else if (status === 404) missing++
      else failed++
      if (++answered === o.count) allAnswered()
    })
  })
  await answers
  wire.close()
  const { user, system } = process.cpuUsage(cpu)
  return { latency: latency.percentiles(), found, missing, failed, cpuUs: user + system }
}

if (import.meta.main) answerParent(run)
