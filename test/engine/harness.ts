// An engine in memory for tests: one call sends Segment messages through intake, time is moved by hand.
import type { Clock } from '../../src/core/clock.ts'
import type { EventRecord } from '../../src/core/event.ts'
import { Namespaces } from '../../src/core/namespace.ts'
import type { Transition } from '../../src/core/transition.ts'
import type { TaskLimits } from '../../src/engine/config.ts'
import type { EmbeddedEngine } from '../../src/engine/embedded.ts'
import { openInMemory } from '../../src/engine/open.ts'
import type { OutputPort } from '../../src/engine/outputs-port.ts'
import { readAndMap } from '../../src/intake/intake.ts'
import { type TestDisk, testDisk, turns } from './disk.ts'
import { LeapingClock } from './leaping-clock.ts'

export const DAY = 86_400_000
export const HOUR = 3_600_000
/** As often as a host looks at its timers. */
const RUN_STEP_MS = 5
const WALL_START_MS = 1_700_000_000_000

export interface HarnessOptions {
  partitions?: number
  hosts?: number
  clock?: 'wall' | 'manual'
  limits?: Partial<TaskLimits>
  namespaces?: Namespaces
  disk?: TestDisk
  /** In the stead of those on the disk. */
  outputs?: OutputPort
  /** Where the machine's clock begins. */
  clockMs?: number
  /** In its stead, the real one. */
  machine?: Clock
}

export interface Harness {
  readonly engine: EmbeddedEngine
  readonly clock: LeapingClock
  readonly disk: TestDisk
  readonly stopped: string[]
  /** Maps messages as intake does; all must be good. */
  map(messages: object[]): EventRecord[]
  /** Sends messages in one ingestion; all must be good. */
  send(...messages: object[]): Promise<{ position: string }>
  /** All transitions so far, in their total order. */
  transitions(after?: string): Promise<Transition[]>
  /** Resolves when every definition saved before the call is live. */
  filled(): Promise<void>
  /** Stops the machine's clock and forgets the engine, as if the process were gone. */
  abandon(): void
  /** Lets the machine's clock run on by `ms`, with turns of the loop in between. */
  run(ms: number): Promise<void>
  close(): Promise<void>
}

export function limitsOf(options: HarnessOptions & { readonly partitions: number; readonly namespaces: Namespaces }): TaskLimits {
  return {
    partitions: options.partitions,
    clock: options.clock ?? 'manual',
    identity: options.namespaces.limits,
    dedupeWindowMs: 3 * DAY,
    timelineRetentionMs: 400 * DAY,
    timelineEvents: 10_000,
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
}

export async function harness(options: HarnessOptions = {}): Promise<Harness> {
  const partitions = options.partitions ?? 4
  const hosts = options.hosts ?? 1
  const namespaces = options.namespaces ?? new Namespaces({})
  const disk = options.disk ?? testDisk(partitions, hosts)
  const clock = new LeapingClock(options.clockMs ?? (options.clock === 'wall' ? WALL_START_MS : 0))
  const stopped: string[] = []
  let isGone = false
  const note = (what: string): void => void (isGone || stopped.push(what))
  const limits = limitsOf({ ...options, partitions, namespaces })
  // Under the manual clock the machine's clock only drives ticks, retries and the store: it may run as it likes.
  const pump = (): void => {
    if (isGone) return
    clock.advance(1)
    setImmediate(pump)
  }
  if (limits.clock === 'manual') pump()
  const engine = await openInMemory({
    limits,
    namespaces,
    hosts,
    clock: options.machine ?? clock,
    disk,
    ...(options.outputs ? { outputs: options.outputs } : {}),
    minFreeBytes: 0,
    maxLagEvents: 1e9,
    readTimeoutMs: 10_000,
    stopped: (partition, reason) => note(`${partition}: ${reason}`),
    fatal: (error) => note(String(error)),
  })
  const map = (messages: object[]): EventRecord[] => {
    const body = Buffer.from(JSON.stringify({ batch: messages }))
    const context = { acceptedAt: engine.acceptanceTime(), sourcePriority: 100, namespaces, futureLimit: DAY }
    const { events, rejected } = readAndMap(body, { dialect: 'segment', type: undefined }, context)
    if (rejected.length > 0) throw new Error(`rejected: ${JSON.stringify(rejected)}`)
    return events
  }
  const run = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += Math.min(RUN_STEP_MS, ms - passed)) {
      clock.advance(Math.min(RUN_STEP_MS, ms - passed))
      await turns(3)
    }
  }
  return {
    engine,
    clock,
    disk,
    stopped,
    map,
    send: (...messages) => engine.ingest(map(messages), []),
    async transitions(since?: string) {
      const all: Transition[] = []
      for (let after = since; ; ) {
        const page = await engine.transitions({ limit: 1000, ...(after === undefined ? {} : { after }) })
        all.push(...page.items)
        if (page.next === undefined) return all
        after = page.next
      }
    },
    async filled() {
      for (;;) {
        const segments = await engine.segments()
        if (segments.every((s) => s.status === 'live')) break
        await turns(1)
      }
      await engine.settle()
    },
    abandon() {
      isGone = true
    },
    run,
    async close() {
      const closing = engine.close().finally(() => {
        isGone = true
      })
      // Where nobody else moves the clock, what is waited for would never be due.
      while (limits.clock === 'wall' && !options.machine && !isGone) await run(RUN_STEP_MS)
      await closing
    },
  }
}
