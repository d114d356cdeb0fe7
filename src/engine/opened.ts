// What an opening has opened so far, to be closed again when the rest of it fails: descriptors left to garbage collection are closed
// at some time, with a warning. Owns the list only; once the opening has succeeded nobody asks for it.

interface Closable {
  close(): Promise<unknown>
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
