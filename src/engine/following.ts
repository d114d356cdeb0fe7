// What a process of a cluster does about the others: hears of their definitions, looks at all partitions now and then, and says again to
// its own partitions what was not said to all. Owns the loops; what is seen is the overview's.
//
// 1. A definition is activated, and the manual clock moved, by a record in each partition, which whoever began it may be killed in the
//    midst of. The owner of a partition that is behind says it again, which does no harm.
import type { Clock } from '../core/clock.ts'
import { encodeClock, encodeDefinitions } from './inputs.ts'
import type { Overview, Told } from './overview.ts'
import type { Registry } from './registry.ts'

export interface FollowingPorts {
  readonly clock: Clock
  readonly registry: Pick<Registry, 'follow' | 'version'>
  readonly overview: Pick<Overview, 'look'>
  /** This process's name among the members. */
  readonly self: () => string | undefined
  /** Is shown all partitions; answers where the manual clock stands, if there is one. */
  readonly seen: (partitions: readonly Told[]) => number | undefined
  /** Appends a record to the events of these partitions. */
  readonly append: (partitions: readonly number[], payload: Buffer) => Promise<unknown>
  /** Definitions can't be followed any more. */
  readonly failed: (error: Error) => void
}

const LOOK_MS = 1000

export class Following {
  readonly #ports: FollowingPorts
  #isClosed = false
  #cancel = (): void => {}
  /** Partitions that were behind at the last look. */
  #behind: ReadonlySet<number> = new Set()

  constructor(ports: FollowingPorts) {
    this.#ports = ports
  }

  begin(): void {
    this.#ports.registry.follow().catch((error: Error) => {
      if (!this.#isClosed) this.#ports.failed(error)
    })
    this.#lookAgain()
  }

  close(): void {
    this.#isClosed = true
    this.#cancel()
  }

  /** As long as the engine is open. A failure to look is none of the engine's: the next one may succeed. */
  #lookAgain(): void {
    const again = (): void => {
      if (!this.#isClosed) this.#cancel = this.#ports.clock.after(LOOK_MS, () => this.#lookAgain())
    }
    this.#look().then(again, again)
  }

  async #look(): Promise<void> {
    const { overview, self, seen } = this.#ports
    const partitions = await overview.look()
    const manualNow = seen(partitions)
    await this.#repair(
      partitions.filter(({ owner, phase }) => owner === self() && phase === 'running'),
      manualNow,
    )
  }

  /** (1) */
  async #repair(partitions: readonly Told[], manualNow: number | undefined): Promise<void> {
    const { registry, append } = this.#ports
    const { version } = registry
    const those = (are: (told: Told) => boolean): number[] => partitions.filter(are).map(({ partition }) => partition)
    const inactive = those(({ activeVersion }) => activeVersion < version)
    const early = manualNow === undefined ? [] : those(({ now }) => now < manualNow)
    // What is under way has got there by the next look.
    if (inactive.some((p) => this.#behind.has(p))) await append(inactive, encodeDefinitions(version))
    if (manualNow !== undefined && early.some((p) => this.#behind.has(p))) await append(early, encodeClock(manualNow))
    this.#behind = new Set([...inactive, ...early])
  }
}
