// Messages to another thread. Owns those of the turn at hand, which go together: a wake-up of the other side costs more than a message.
//
// 1. Messages arrive in the order in which they were posted.

export class Mail<T> {
  #messages: T[] = []
  #transfer: ArrayBuffer[] = []
  readonly #send: (messages: readonly T[], transfer: ArrayBuffer[]) => void

  constructor(send: (messages: readonly T[], transfer: ArrayBuffer[]) => void) {
    this.#send = send
  }

  /** `transfer` is handed over, not copied. */
  post(message: T, transfer?: ArrayBuffer): void {
    if (this.#messages.length === 0) process.nextTick(() => this.flush())
    this.#messages.push(message)
    if (transfer !== undefined) this.#transfer.push(transfer)
  }

  /** Sends at once what was posted. */
  flush(): void {
    if (this.#messages.length === 0) return
    const [messages, transfer] = [this.#messages, this.#transfer]
    this.#messages = []
    this.#transfer = []
    this.#send(messages, transfer)
  }
}

/** A copy in memory of its own, to be handed over: a view that is posted takes along all that it lies in, a slab of small buffers say. */
export const alone = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => new Uint8Array(bytes)
