// Turns of a host's event loop, given out one at a time. Owns nothing but the line of those who wait.
//
// 1. Of the tasks that wait for a turn one goes on per turn: what comes from outside (a question, a row, a finished sync) waits for one
//    slice, not for one of every task.
// 2. Whoever began first goes on first: a batch is worked off whole before a younger one, so that it is durable sooner and none waits longer.

interface Waiting {
  readonly since: number
  readonly goOn: () => void
}

export class Turns {
  readonly #line: Waiting[] = []

  /** Resolves in a later turn of the loop; `since` is when the work began of which this is a part. */
  pause(since: number): Promise<void> {
    return new Promise((goOn) => {
      let at = this.#line.length
      while (at > 0 && (this.#line[at - 1]?.since ?? since) > since) at--
      this.#line.splice(at, 0, { since, goOn })
      if (this.#line.length === 1) this.#next()
    })
  }

  #next(): void {
    setImmediate(() => {
      this.#line.shift()?.goOn()
      if (this.#line.length > 0) this.#next()
    })
  }
}
