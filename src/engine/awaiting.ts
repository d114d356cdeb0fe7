// Those who wait until what they have seen is durable. Owns nothing else: which commit that is, the task says.
interface Waiting {
  readonly n: number
  resolve(): void
  reject(error: Error): void
}

export class Awaiting {
  #waiting: Waiting[] = []

  /** Resolves with the commit of this number, rejects if it never comes. */
  durable(n: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ n, resolve, reject })
    })
  }

  /** Commits up to this number are durable. */
  reached(n: number): void {
    const waiting = this.#waiting
    if (waiting.length === 0) return
    this.#waiting = waiting.filter((w) => w.n > n)
    for (const w of waiting) if (w.n <= n) w.resolve()
  }

  /** No commit comes any more. */
  ended(error: Error): void {
    for (const w of this.#waiting.splice(0)) w.reject(error)
  }
}
