// Following an output stream: stretch by stretch from a place on, for as long as somebody wants it. Owns that loop.
//
// 1. The next stretch is read once the last has been taken: a reader that is behind costs the memory of one.

export interface Followed<P, E> {
  /** The next stretch, which may be empty; at the end `next` is `from` itself. */
  read(from: P): Promise<{ entries: readonly E[]; next: P }>
  /** Calls back whenever there may be more; the returned function ends that. */
  onAppend(listener: () => void): () => void
}

export interface Follower<E> {
  take(entries: readonly E[]): unknown
  failed(error: Error): void
}

export function follow<P, E>(source: Followed<P, E>, from: P, follower: Follower<E>): () => void {
  let at = from
  let stopped = false
  let reading = false
  let again = true
  const read = async (): Promise<void> => {
    again = true
    if (reading) return
    reading = true
    while (again && !stopped) {
      again = false
      const { entries, next } = await source.read(at)
      if (next !== at) again = true
      at = next
      if (entries.length > 0 && !stopped) await follower.take(entries)
    }
    reading = false
  }
  const failed = (error: Error): void => {
    if (!stopped) follower.failed(error)
  }
  const stopListening = source.onAppend(() => void read().catch(failed))
  read().catch(failed)
  return () => {
    stopped = true
    stopListening()
  }
}
