// Turns of a host's event loop: given out one at a time, each with a budget of time. Owns nothing but the line of those who wait and
// when the turn at hand began.
//
// 1. Of the tasks that wait for a turn one goes on per turn: what comes from outside (a question, a row, a finished sync) waits for one
//    slice, not for one of every task.
// 2. Whoever began first goes on first: a batch is worked off whole before a younger one, so that it is durable sooner and none waits longer.
// 3. A turn has one budget, whoever works in it: what comes from outside may set several tasks going at once.

interface Waiting {
  readonly since: number
  readonly goOn: () => void
}

export class Turns {
  readonly #line: Waiting[] = []
  readonly #monotonicMs: () => number
  readonly #sliceMs: number
  /** When somebody first worked in the turn at hand. */
  #began: number | undefined
  #isDue = false

  constructor(monotonicMs: () => number, sliceMs: number) {
    this.#monotonicMs = monotonicMs
    this.#sliceMs = sliceMs
  }

  /** True when others should get their turn (3). Asked before a piece of work, and now and then in a long one. */
  isSpent(): boolean {
    const now = this.#monotonicMs()
    if (this.#began !== undefined) return now - this.#began >= this.#sliceMs
    this.#began = now
    setImmediate(() => this.#ends())
    return false
  }

  /** Resolves in a later turn of the loop; `since` is when the work began of which this is a part. */
  pause(since: number): Promise<void> {
    return new Promise((goOn) => {
      let at = this.#line.length
      while (at > 0 && (this.#line[at - 1]?.since ?? since) > since) at--
      this.#line.splice(at, 0, { since, goOn })
      if (!this.#isDue) this.#next()
    })
  }

  #next(): void {
    this.#isDue = true
    setImmediate(() => {
      // What came from outside has used up a part already.
      this.#began ??= this.#monotonicMs()
      this.#line.shift()?.goOn()
    })
    // Between the two run the microtasks of who has gone on.
    setImmediate(() => {
      this.#isDue = false
      this.#ends()
      if (this.#line.length > 0) this.#next()
    })
  }

  /** The turn is over, unless somebody in line has yet to go on in it. */
  #ends(): void {
    if (!this.#isDue) this.#began = undefined
  }
}
