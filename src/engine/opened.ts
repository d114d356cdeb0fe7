// What an opening has opened so far, to be closed again when the rest of it fails: descriptors left to garbage collection are closed
// at some time, with a warning. Owns the list only; once the opening has succeeded nobody asks for it.

interface Closable {
  close(): Promise<unknown>
}

/** The outcomes of what is opened at once. What fails is told only when all have come to an end: what is open by then can be closed. */
export async function together<T extends readonly unknown[]>(openings: readonly [...{ [I in keyof T]: Promise<T[I]> }]): Promise<T> {
  await Promise.allSettled(openings)
  return (await Promise.all(openings)) as unknown as T
}

export class Opened {
  readonly #parts: Closable[] = []

  add(part: Closable): void {
    this.#parts.push(part)
  }

  async keep<T extends Closable>(opening: Promise<T>): Promise<T> {
    const part = await opening
    this.add(part)
    return part
  }

  /** The last one first. What fails to open is told; what then fails to close is not. */
  async close(): Promise<void> {
    for (const part of this.#parts.splice(0).reverse()) await part.close().catch(() => undefined)
  }
}
