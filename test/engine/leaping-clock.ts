// A clock for tests that moves only when told, and then at once: what fell due in between runs late, as on a machine that slept.
import type { Clock } from '../../src/core/clock.ts'

export class LeapingClock implements Clock {
  #now: number
  #timers: { due: number; run: () => void }[] = []
  constructor(startMs: number) {
    this.#now = startMs
  }
  now(): number {
    return this.#now
  }
  monotonicMs(): number {
    return this.#now
  }
  after(delayMs: number, run: () => void): () => void {
    const timer = { due: this.#now + delayMs, run }
    this.#timers.push(timer)
    return () => {
      this.#timers = this.#timers.filter((t) => t !== timer)
    }
  }
  advance(ms: number): void {
    this.#now += ms
    const due = this.#timers.filter((t) => t.due <= this.#now).sort((a, b) => a.due - b.due)
    this.#timers = this.#timers.filter((t) => t.due > this.#now)
    for (const { run } of due) run()
  }
}
