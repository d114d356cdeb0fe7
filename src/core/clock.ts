// The only place (with main.ts) that reads the machine's clock or arms a timer; everything else is given a Clock.

export interface Clock {
  /** Milliseconds since 1970, as this machine believes. */
  now(): number
  /** Milliseconds of a monotonic clock, for durations only. */
  monotonicMs(): number
  /** Calls `run` once after `delayMs`; the returned function cancels it. */
  after(delayMs: number, run: () => void): () => void
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs)
    return () => clearTimeout(timer)
  },
}

/** Resolves after `delayMs` of `clock`. */
export function sleep(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    clock.after(delayMs, resolve)
  })
}

/** A clock that moves only when told; `after` fires during `advance`. For tests. */
export class VirtualClock implements Clock {
  #now: number
  #timers: { due: number; run: () => void }[] = []
  constructor(startMs = 0) {
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
  /** Moves on by `ms`, running what falls due in order. */
  advance(ms: number): void {
    const end = this.#now + ms
    for (;;) {
      let first: { due: number; run: () => void } | undefined
      for (const t of this.#timers) if (t.due <= end && (!first || t.due < first.due)) first = t
      if (!first) break
      const fire = first
      this.#timers = this.#timers.filter((t) => t !== fire)
      this.#now = Math.max(this.#now, fire.due)
      fire.run()
    }
    this.#now = end
  }
}
