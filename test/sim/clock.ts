// The machine's clock of a simulation: moves when the scheduler says so. Wall and monotonic time are two things: the former may be set.
//
// 1. A timer that fell due while time leapt runs late, and once, as on a machine that slept.
import type { Clock } from '../../src/core/clock.ts'

interface Timer {
  readonly due: number
  readonly owner: object
  readonly run: () => void
}

export class SimClock {
  #monotonic = 0
  #wallOffset: number
  #timers: Timer[] = []
  /** The highest reading of the wall clock ever. */
  highest: number

  constructor(startMs: number) {
    this.#wallOffset = startMs
    this.highest = startMs
  }

  now(): number {
    return this.#monotonic + this.#wallOffset
  }

  /** The clock as a process sees it. */
  of(owner: object): Clock {
    return {
      now: () => this.now(),
      monotonicMs: () => this.#monotonic,
      after: (delayMs, run) => {
        const timer = { due: this.#monotonic + delayMs, owner, run }
        this.#timers.push(timer)
        return () => {
          this.#timers = this.#timers.filter((t) => t !== timer)
        }
      },
    }
  }

  forget(owner: object): void {
    this.#timers = this.#timers.filter((t) => t.owner !== owner)
  }

  /** How long until the next timer, if there is one. */
  untilNext(): number | undefined {
    if (this.#timers.length === 0) return undefined
    return Math.max(0, Math.min(...this.#timers.map((t) => t.due)) - this.#monotonic)
  }

  leap(ms: number): void {
    this.#monotonic += ms
    this.highest = Math.max(this.highest, this.now())
    const due = this.#timers.filter((t) => t.due <= this.#monotonic).sort((a, b) => a.due - b.due)
    this.#timers = this.#timers.filter((t) => t.due > this.#monotonic)
    for (const { run } of due) run()
  }

  /** Somebody sets the wall clock. */
  set(byMs: number): void {
    this.#wallOffset += byMs
    this.highest = Math.max(this.highest, this.now())
  }
}
