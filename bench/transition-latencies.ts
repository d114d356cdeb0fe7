// Latencies of transitions as a load finds them out: from the schedule of the event that set one off, whose message id tells which tick
// it was sent in, or from the instant at which time did.
import { Latencies, type Percentiles, wallMs } from './latency.ts'

/** What was sent: at startMs + (tick + 1) × everyMs, `batch` messages each time. */
export interface Schedule {
  readonly startMs: number
  readonly everyMs: number
  readonly batch: number
  /** Ticks that don't count. */
  readonly warmTicks: number
  /** What the message ids of this load have before their number. */
  readonly tag: string
}

interface Seen {
  readonly cause: string
  readonly causeId?: string
  readonly at: string
}

export interface TransitionFigures {
  /** From the schedule to a transition that the event set off. */
  readonly transitions: Percentiles
  /** From the instant at which time moved somebody to the news of it. */
  readonly timers: Percentiles
  readonly transitionsSeen: number
}

export class TransitionLatencies {
  readonly #transitions = new Latencies()
  readonly #timers = new Latencies()
  #seen = 0
  readonly #schedule: Schedule
  readonly #fromMs: number

  constructor(schedule: Schedule) {
    this.#schedule = schedule
    this.#fromMs = schedule.startMs + schedule.warmTicks * schedule.everyMs
  }

  /** A transition as it is shown, just now. */
  take(json: string): void {
    const now = wallMs()
    const t = JSON.parse(json) as Seen
    this.#seen++
    if (t.cause === 'timer') {
      const at = Date.parse(t.at)
      if (at >= this.#fromMs) this.#timers.add(now - at)
      return
    }
    const { tag, batch, startMs, everyMs, warmTicks } = this.#schedule
    if (t.causeId?.slice(-12, -8) !== tag) return
    const tick = Math.floor(Number.parseInt(t.causeId.slice(-8), 16) / batch)
    if (tick >= warmTicks) this.#transitions.add(now - (startMs + (tick + 1) * everyMs))
  }

  figures(): TransitionFigures {
    return { transitions: this.#transitions.percentiles(), timers: this.#timers.percentiles(), transitionsSeen: this.#seen }
  }
}
