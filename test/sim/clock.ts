// The machine's clock of a simulation: moves when the scheduler says so. Wall and monotonic time are two things: the former may be set.
//
// 1. A timer that fell due while time leapt, or its process was frozen, runs late, and once, as on a machine that slept.
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
  readonly #frozen = new Set<object>()
  /** The highest reading of the wall clock ever. */
  highest: number

  constructor(startMs: number) {
    this.#wallOffset = startMs
    this.highest = startMs
  }

  now(): number {
    return this.#monotonic + this.#wallOffset
  }

  get monotonicMs(): number {
    return this.#monotonic
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

  /** Its timers wait (1). */
  freeze(owner: object): void {
    this.#frozen.add(owner)
  }

  thaw(owner: object): void {
    this.#frozen.delete(owner)
  }

  /** How long until the next timer, if there is one. */
  untilNext(): number | undefined {
    let next = Number.POSITIVE_INFINITY
    for (const { due, owner } of this.#timers) if (due < next && !this.#frozen.has(owner)) next = due
    return next === Number.POSITIVE_INFINITY ? undefined : Math.max(0, next - this.#monotonic)
  }

  leap(ms: number): void {
    this.#monotonic += ms
    this.highest = Math.max(this.highest, this.now())
    const isDue = (t: Timer): boolean => t.due <= this.#monotonic && !this.#frozen.has(t.owner)
    const due = this.#timers.filter(isDue).sort((a, b) => a.due - b.due)
    this.#timers = this.#timers.filter((t) => !isDue(t))
    for (const { run } of due) run()
  }

  /** Somebody sets the wall clock. */
  set(byMs: number): void {
    this.#wallOffset += byMs
    this.highest = Math.max(this.highest, this.now())
  }
}
