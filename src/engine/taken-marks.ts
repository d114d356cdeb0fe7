// Up to where a partition has taken in the messages of each origin: durably, and what of that it has told them. Owns these two lists;
// where the state itself stands is the task's.

/** Marks that have moved. */
export type Taken = readonly (readonly [origin: number, mark: number])[]

export class TakenMarks {
  /** What was told or is about to be. */
  readonly #told: number[]
  readonly #durable: number[]

  constructor(partitions: number) {
    this.#told = new Array(partitions).fill(0)
    this.#durable = [...this.#told]
  }

  /** Those that have moved since the last call: to be told, and noted as durable, once the commit with them is. */
  take(marks: readonly number[]): Taken {
    const taken: [number, number][] = []
    for (const [origin, mark] of marks.entries()) {
      if (mark === this.#told[origin]) continue
      this.#told[origin] = mark
      taken.push([origin, mark])
    }
    return taken
  }

  reached(taken: Taken): void {
    for (const [origin, mark] of taken) this.#durable[origin] = mark
  }

  /** Up to where the messages of an origin are durable here. */
  durable(origin: number): number {
    return this.#durable[origin] ?? 0
  }
}
