// An engine in memory for tests: one call sends Segment messages through intake, time is moved by hand.
import { VirtualClock } from '../../src/core/clock.ts'
import type { EventRecord } from '../../src/core/event.ts'
import { Namespaces } from '../../src/core/namespace.ts'
import type { Transition } from '../../src/core/transition.ts'
import type { TaskLimits } from '../../src/engine/config.ts'
import type { EmbeddedEngine } from '../../src/engine/embedded.ts'
import { type MemoryDisk, memoryDisk, openInMemory } from '../../src/engine/open.ts'
import { readAndMap } from '../../src/intake/intake.ts'

export const DAY = 86_400_000
export const HOUR = 3_600_000

export interface HarnessOptions {
  partitions?: number
  hosts?: number
  clock?: 'wall' | 'manual'
  limits?: Partial<TaskLimits>
  namespaces?: Namespaces
  disk?: MemoryDisk
}

export interface Harness {
  readonly engine: EmbeddedEngine
  readonly clock: VirtualClock
  readonly disk: MemoryDisk
  readonly stopped: string[]
  /** Maps messages as intake does; all must be good. */
  map(messages: object[]): EventRecord[]
  /** Sends messages in one ingestion; all must be good. */
  send(...messages: object[]): Promise<{ position: string }>
  /** All transitions so far, in their total order. */
  transitions(): Promise<Transition[]>
  close(): Promise<void>
}

export async function harness(options: HarnessOptions = {}): Promise<Harness> {
  const partitions = options.partitions ?? 4
  const hosts = options.hosts ?? 1
  const namespaces = options.namespaces ?? new Namespaces({})
  const disk = options.disk ?? memoryDisk(partitions, hosts)
  const clock = new VirtualClock(options.clock === 'wall' ? 1_700_000_000_000 : 0)
  const stopped: string[] = []
  const limits: TaskLimits = {
    partitions,
    clock: options.clock ?? 'manual',
    identity: namespaces.limits,
    dedupeWindowMs: 3 * DAY,
    timelineRetentionMs: 400 * DAY,
    timelineEvents: 10_000,
    futureLimitMs: DAY,
    batchEvents: 1000,
    batchBytes: 4 << 20,
    sliceMs: 1e9,
    skewLimitMs: 2000,
    splitBytes: 4096,
    timerHorizonMs: 60_000,
    cacheBytes: 64 << 20,
    applyMs: 1000,
    applyBytes: 4 << 20,
    ...options.limits,
  }
  const engine = await openInMemory({
    limits,
    namespaces,
    hosts,
    clock,
    disk,
    minFreeBytes: 0,
    maxLagEvents: 1e9,
    readTimeoutMs: 10_000,
    stopped: (partition, reason) => stopped.push(`${partition}: ${reason}`),
    fatal: (error) => stopped.push(String(error)),
  })
  const map = (messages: object[]): EventRecord[] => {
    const body = Buffer.from(JSON.stringify({ batch: messages }))
    const context = { acceptedAt: engine.acceptanceTime(), sourcePriority: 100, namespaces, futureLimitMs: limits.futureLimitMs }
    const { events, rejected } = readAndMap(body, { dialect: 'segment', type: undefined }, context)
    if (rejected.length > 0) throw new Error(`rejected: ${JSON.stringify(rejected)}`)
    return events
  }
  return {
    engine,
    clock,
    disk,
    stopped,
    map,
    send: (...messages) => engine.ingest(map(messages), []),
    async transitions() {
      const all: Transition[] = []
      for (let after: string | undefined; ; ) {
        const page = await engine.transitions({ limit: 1000, ...(after === undefined ? {} : { after }) })
        all.push(...page.items)
        if (page.next === undefined) return all
        after = page.next
      }
    },
    close: () => engine.close(),
  }
}
