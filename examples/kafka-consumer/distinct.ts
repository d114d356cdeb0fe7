// How a consumer sees each entry once although Kafka may hold it twice: seqs of one origin grow, so whatever is not above the highest
// that was seen is a repeat. One number per origin and partition is all that must be remembered, and it goes where the results go.

export interface Place {
  /** The partition of the topic that it was read from. */
  readonly partition: number
  readonly origin: number
  readonly seq: number
}

export class Distinct {
  readonly #highest: Map<string, number>

  constructor(kept: Iterable<readonly [string, number]> = []) {
    this.#highest = new Map(kept)
  }

  /** False for what was taken before. */
  isNew({ partition, origin, seq }: Place): boolean {
    return seq > (this.#highest.get(`${partition}/${origin}`) ?? 0)
  }

  /** True the first time. */
  take(place: Place): boolean {
    if (!this.isNew(place)) return false
    this.#highest.set(`${place.partition}/${place.origin}`, place.seq)
    return true
  }

  /** What to keep beside the results, and to begin with after a restart. */
  entries(): [string, number][] {
    return [...this.#highest]
  }
}
