// Latencies, kept one by one: percentiles are read off, not estimated.
import { rounded } from './report.ts'

export interface Percentiles {
  readonly count: number
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

/** Milliseconds, as many as come. */
export class Latencies {
  #values = new Float64Array(4096)
  #count = 0

  add(ms: number): void {
    if (this.#count === this.#values.length) {
      const more = new Float64Array(this.#count * 2)
      more.set(this.#values)
      this.#values = more
    }
    this.#values[this.#count++] = ms
  }

  percentiles(): Percentiles {
    const sorted = this.#values.slice(0, this.#count).sort()
    const at = (share: number) => rounded(sorted[Math.min(this.#count - 1, Math.floor(this.#count * share))] ?? 0)
    return { count: this.#count, p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1) }
  }
}

/** `{p50Ms, p90Ms, …}` under a name. */
export function named(name: string, p: Percentiles): { readonly [name: string]: number } {
  return Object.fromEntries(
    Object.entries(p).map(([k, v]) => [`${name}${k[0]?.toUpperCase()}${k.slice(1)}${k === 'count' ? '' : 'Ms'}`, v]),
  )
}

/** The wall clock in fractions of a millisecond, steady within a process. */
export const wallMs = (): number => performance.timeOrigin + performance.now()

/** Calls `send` for each k at startMs + (k + 1) × everyMs, as punctually as timers allow, never earlier and never skipping one. */
export function onSchedule(startMs: number, everyMs: number, count: number, send: (k: number, dueMs: number) => void): Promise<void> {
  return new Promise((resolve) => {
    let k = 0
    const dueMs = (i: number) => startMs + (i + 1) * everyMs
    const tick = (): void => {
      const now = wallMs()
      for (; k < count && dueMs(k) <= now; k++) send(k, dueMs(k))
      if (k === count) resolve()
      else setTimeout(tick, Math.max(0, dueMs(k) - wallMs()))
    }
    tick()
  })
}
