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

/**
 * A clock that stops, with an alarm, when the machine's steps ahead by more than `stepLimitMs`: time can't be taken back, so
 * somebody must say that it is right (`confirm`) or set it right, upon which it goes on by itself.
 */
export class GuardedClock implements Clock {
  readonly #inner: Clock
  readonly #stepLimitMs: number
  readonly #alarm: (message: string) => void
  /** The last reading that was believed, and the monotonic clock then. */
  #wall: number
  #monotonic: number
  #stoppedAt: number | undefined

  constructor(inner: Clock, stepLimitMs: number, alarm: (message: string) => void) {
    this.#inner = inner
    this.#stepLimitMs = stepLimitMs
    this.#alarm = alarm
    this.#wall = inner.now()
    this.#monotonic = inner.monotonicMs()
  }

  /** True while time stands still. */
  get isStopped(): boolean {
    this.now()
    return this.#stoppedAt !== undefined
  }

  now(): number {
    const wall = this.#inner.now()
    const monotonic = this.#inner.monotonicMs()
    const stepMs = wall - this.#wall - (monotonic - this.#monotonic)
    if (stepMs > this.#stepLimitMs) {
      if (this.#stoppedAt === undefined) {
        this.#stoppedAt = this.#wall
        this.#alarm(
          `the machine's clock has stepped ahead by ${Math.round(stepMs / 1000)} s: time stands still until this is confirmed or undone`,
        )
      }
      return this.#stoppedAt
    }
    this.#stoppedAt = undefined
    this.#wall = wall
    this.#monotonic = monotonic
    return wall
  }

  /** The machine's clock is right: time goes on from what it shows. */
  confirm(): void {
    this.#stoppedAt = undefined
    this.#wall = this.#inner.now()
    this.#monotonic = this.#inner.monotonicMs()
  }

  monotonicMs(): number {
    return this.#inner.monotonicMs()
  }

  after(delayMs: number, run: () => void): () => void {
    return this.#inner.after(delayMs, run)
  }
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
