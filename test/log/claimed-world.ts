// Owners that take a log over from one another at random, on a log that is as bad as it can be; everything that happens is drawn
// from a seed. Owns the processes and the story of what each was told; what must hold is judged by claimed.test.ts.
import { VirtualClock } from '../../src/core/clock.ts'
import type { Base, SharedLog } from '../../src/log/claimed.ts'
import { ClaimedLog, type ClaimOptions, type Opening } from '../../src/log/claimed-log.ts'
import { below, pick, type Random, seeded } from '../identity/random.ts'
import { type Fate, UnreliableLog } from './unreliable-log.ts'

/** What an owner does, as far as this world can tell: mutants behave otherwise. */
export interface Owner {
  open(opening: Opening): Promise<Base>
  commit(payload: Uint8Array): Promise<number>
}

export type MakeOwner = (options: ClaimOptions) => Owner

export interface Told {
  readonly owner: string
  /** -1 from owners that don't know. */
  readonly position: number
  readonly payload: string
}

/** One opening of the log by some process. */
export interface Tenure {
  readonly owner: string
  /** Payloads of the commits that counted before it began. */
  readonly visited: string[]
  base: Base | undefined
  committed: number
  end: Error | undefined
}

const TIMING = { waitMs: 50, repeatMs: 40, retryMs: 10, freshMs: 150 }
/** Larger than a record, so that it takes parts; not often, as it costs time. */
const LARGE_BYTES = 520_000
/** What must be achieved once nothing goes wrong any more, in so many steps. */
const CALM_COMMITS = 4
const CALM_STEPS = 3000

class Process {
  readonly steps: (() => void)[] = []
  isAsleep = false
  tenure: Tenure | undefined
}

export class World {
  readonly log: UnreliableLog
  readonly told: Told[] = []
  readonly tenures: Tenure[] = []
  readonly unexpected: Error[] = []
  readonly #random: Random
  readonly #make: MakeOwner
  readonly #clock = new VirtualClock()
  readonly #cluster: (() => void)[] = []
  readonly #processes: Process[]
  /** From here on nothing goes wrong any more. */
  #isCalm = false

  constructor(seed: number, make: MakeOwner = (options) => new ClaimedLog(options)) {
    this.#random = seeded(seed)
    this.#make = make
    this.#processes = Array.from({ length: 2 + below(this.#random, 2) }, () => new Process())
    this.log = new UnreliableLog({ schedule: (_, run) => this.#cluster.push(run), fate: () => this.#fate() })
  }

  #fate(): Fate {
    if (this.#isCalm) return { arrivals: 1, isAnswered: true }
    return { arrivals: pick(this.#random, [0, 1, 1, 1, 1, 2, 3]), isAnswered: this.#random() < 0.7 }
  }

  async run(steps: number): Promise<void> {
    for (let i = 0; i < steps; i++) await this.#step()
  }

  /** Nothing goes wrong any more: one more owner opens the log, whoever owns it then commits, and whatever was on its way arrives. */
  async settle(): Promise<void> {
    this.#isCalm = true
    for (const process of this.#processes) process.isAsleep = false
    const last = new Process()
    this.#processes.push(last)
    this.#begin(last)
    const enough = this.told.length + CALM_COMMITS
    for (let i = 0; i < CALM_STEPS && (this.told.length < enough || !last.tenure?.base); i++) await this.#step()
    if (this.told.length < enough) throw new Error('nobody gets to commit')
    while (this.#cluster.length > 0) this.#cluster.shift()?.()
  }

  async #step(): Promise<void> {
    const awake = this.#processes.filter((p) => !p.isAsleep && p.steps.length > 0)
    const dice = this.#random()
    if (dice < 0.03 && !this.#isCalm) this.#mishap()
    else if (dice < 0.1 || (awake.length === 0 && this.#cluster.length === 0)) this.#clock.advance(1 + below(this.#random, 30))
    else if (dice < 0.5 && this.#cluster.length > 0) take(this.#random, this.#cluster)()
    else if (awake.length > 0) take(this.#random, pick(this.#random, awake).steps)()
    await new Promise(setImmediate)
  }

  #mishap(): void {
    const process = pick(this.#random, this.#processes)
    const dice = this.#random()
    if (dice < 0.4) process.isAsleep = !process.isAsleep
    else if (dice < 0.5) this.log.changeLeader(below(this.#random, this.log.unreplicated + 1))
    else if (process.isAsleep) process.isAsleep = false
    else {
      // Killed: what it had to do is forgotten, what it had sent arrives.
      process.steps.length = 0
      this.#begin(process)
    }
  }

  #begin(process: Process): void {
    const owner = `owner ${this.tenures.length + 1}`
    const tenure: Tenure = { owner, visited: [], base: undefined, committed: 0, end: undefined }
    this.tenures.push(tenure)
    process.tenure = tenure
    this.#tenure(process, tenure).catch((error: Error) => {
      tenure.end = error
      if ((error as { code?: string }).code !== 'fenced') this.unexpected.push(error)
    })
  }

  async #tenure(process: Process, tenure: Tenure): Promise<void> {
    const { owner } = tenure
    const step = (run: () => void): void => {
      // Nothing of an earlier life.
      if (process.tenure === tenure) process.steps.push(run)
    }
    const clock = { ...this.#clockOf(step) }
    const failsToRead = (): boolean => !this.#isCalm && this.#random() < 0.05
    const log: SharedLog = this.log.connect({ schedule: (_, run) => step(run), clock, failsToRead })
    const journal = this.#make({ log, owner, clock, timing: TIMING })
    tenure.base = await journal.open({
      from: 0,
      base: { claim: 0, n: 0 },
      visit: (_, payload) => void tenure.visited.push(textOf(payload)),
      lost: (error) => {
        tenure.end = error
      },
    })
    for (;;) {
      const text = `${owner} ${tenure.committed + 1}`
      const position = await journal.commit(payloadOf(text, this.#random() < 0.02 ? LARGE_BYTES : 0))
      this.told.push({ owner, position, payload: text })
      tenure.committed++
    }
  }

  #clockOf(step: (run: () => void) => void): Pick<VirtualClock, 'now' | 'monotonicMs' | 'after'> {
    const clock = this.#clock
    return {
      now: () => clock.now(),
      monotonicMs: () => clock.monotonicMs(),
      after: (delayMs, run) => {
        const state = { isCancelled: false }
        const cancel = clock.after(delayMs, () => step(() => state.isCancelled || run()))
        return () => {
          state.isCancelled = true
          cancel()
        }
      },
    }
  }
}

function take(random: Random, steps: (() => void)[]): () => void {
  // Mostly in order, so that something gets done; any order is possible.
  const at = random() < 0.7 ? 0 : below(random, steps.length)
  return steps.splice(at, 1)[0] as () => void
}

function payloadOf(text: string, bytes: number): Buffer {
  return Buffer.from(`${text}\n${'.'.repeat(bytes)}`)
}

export function textOf(payload: Buffer): string {
  return payload.latin1Slice(0, payload.indexOf(10))
}
