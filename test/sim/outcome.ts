// What running one world came to, of whatever kind it is. Owns nothing.
import type { Broken, Model } from './model.ts'
import type { Scheduler } from './scheduler.ts'
import { record } from './tape.ts'
import { Failure } from './world.ts'

/** Of a world with several processes. */
export interface SharedOutcome<Plan, Seen extends string> {
  readonly plan: Plan
  readonly broken: Broken | undefined
  readonly steps: number
  /** Of all steps: equal runs have equal ones. */
  readonly hash: number
  readonly events: number
  readonly transitions: number
  readonly seen: ReadonlyMap<Seen, number>
  readonly trail: readonly string[]
}

interface SharedWorld<Plan, Seen extends string> {
  readonly plan: Plan
  readonly scheduler: Scheduler
  readonly model: Model
  readonly seen: ReadonlyMap<Seen, number>
  run(): Promise<void>
}

export async function outcomeOf<Plan, Seen extends string>(world: SharedWorld<Plan, Seen>): Promise<SharedOutcome<Plan, Seen>> {
  const broken = await brokenBy(() => world.run())
  const { plan, model, seen } = world
  const { steps, hash, trail } = world.scheduler
  return { plan, broken, steps, hash, trail, events: model.accepted.size, transitions: model.transitions().length, seen }
}

/** Runs a world; nothing is recorded of it any more afterwards. */
export async function brokenBy(run: () => Promise<void>): Promise<Broken | undefined> {
  try {
    await run()
    return undefined
  } catch (error) {
    if (error instanceof Failure) return error.broken
    // Whatever else is thrown is a failure too, of the world if not of the engine.
    return { invariant: 14, what: String(error instanceof Error ? error.stack : error) }
  } finally {
    record(undefined)
  }
}
