// Drives the server's manual clock along the instants of messages, in steps. Two orders:
//
//   messages first  what lies in a step is sent while it is ahead of the clock, then the clock moves to the step's end: each
//                   message takes effect at its own instant, because time reached it, so what it sets off has cause `timer`
//   clock first     the clock moves to the end of a step that holds messages, then they are sent: they are late by up to a
//                   step, and what they set off has cause `event`. A step of 1 ms makes both exact, and slow
import type { Clock } from '../core/clock.ts'
import { TributaryError } from '../core/errors.ts'
import type { Client } from './client.ts'
import { type Sender, sleepUnless } from './sender.ts'

export interface TimeLapseOptions {
  readonly client: Client
  readonly sender: Sender
  readonly clock: Clock
  readonly stepMs: number
  readonly clockFirst: boolean
  /** Simulated milliseconds per real one; undefined: as fast as the server is. */
  readonly speed: number | undefined
  readonly signal: AbortSignal
  readonly onStep?: (nowMs: number) => void
}

export class TimeLapse {
  readonly #options: TimeLapseOptions
  /** Where the server's clock stands. */
  nowMs: number
  /** Of the step under way. */
  #endMs = Number.NaN
  #started: { readonly realMs: number; readonly simulatedMs: number } | undefined

  private constructor(options: TimeLapseOptions, nowMs: number) {
    this.#options = options
    this.nowMs = nowMs
  }

  /** Throws clock_not_manual when the server's clock is the wall's. */
  static async open(options: TimeLapseOptions): Promise<TimeLapse> {
    const status = await options.client.json<{ clock?: string; now?: string }>('/v1/status', { signal: options.signal })
    if (status.clock !== 'manual')
      throw new TributaryError('clock_not_manual', 'The server follows the wall clock, so a replay cannot drive it.')
    return new TimeLapse(options, Date.parse(status.now ?? ''))
  }

  /** Moves time so that a message of `atMs` can be sent. One without an instant belongs to the step under way. */
  async reach(atMs: number): Promise<void> {
    if (Number.isNaN(atMs)) return
    const { stepMs, clockFirst } = this.#options
    if (!this.#started) await this.#start(atMs)
    if (clockFirst) {
      if (atMs > this.#endMs) await this.#endStep(Math.ceil(atMs / stepMs) * stepMs)
      return
    }
    while (atMs > this.#endMs) {
      await this.#endStep(this.#endMs)
      this.#endMs += stepMs
    }
  }

  /** Ends the step under way. */
  async finish(): Promise<void> {
    if (this.#started && !this.#options.clockFirst) await this.#endStep(this.#endMs)
    else await this.#options.sender.flush()
  }

  /** The clock stands far back, at 1970 perhaps: it starts just before the first message. */
  async #start(atMs: number): Promise<void> {
    const { stepMs, clockFirst, clock } = this.#options
    await this.#move(Math.max(this.nowMs, Math.floor(atMs / stepMs) * stepMs))
    this.#started = { realMs: clock.monotonicMs(), simulatedMs: this.nowMs }
    this.#endMs = clockFirst ? this.nowMs : this.nowMs + stepMs
  }

  async #endStep(toMs: number): Promise<void> {
    await this.#options.sender.flush()
    await this.#pace(toMs)
    await this.#move(toMs)
    this.#endMs = toMs
  }

  async #pace(simulatedMs: number): Promise<void> {
    const { clock, speed, signal } = this.#options
    if (speed === undefined || !this.#started) return
    const due = this.#started.realMs + (simulatedMs - this.#started.simulatedMs) / speed
    const early = due - clock.monotonicMs()
    if (early > 1) await sleepUnless(clock, early, signal)
  }

  async #move(toMs: number): Promise<void> {
    const { client, signal, onStep } = this.#options
    if (toMs > this.nowMs) await client.json('/v1/admin/clock', { method: 'POST', body: { now: toMs }, signal })
    this.nowMs = Math.max(this.nowMs, toMs)
    onStep?.(this.nowMs)
  }
}
