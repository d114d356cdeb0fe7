// An event of the log in line for its batch. Owns when it is decoded: not before it is executed, or looked at for that, because some
// thousand decoded events in line would be most of what garbage collection copies around. Until then its head is enough.
import { decodeEvent, type EventHead } from '../core/event.ts'
import type { IdentifierKey } from '../core/identifier.ts'
import type { OriginPlace, Reading } from '../core/origin.ts'
import type { CauseRef } from '../identity/messages.ts'
import { InputEvent } from './profile.ts'

/** Whoever has read it, and where. */
export interface ReadAt {
  readonly reading: Reading
  readonly place: OriginPlace
}

export interface LogEvent {
  readonly bytes: Buffer
  readonly head: EventHead
  /** The position behind it. */
  readonly next: number
  readonly place: Omit<CauseRef, 'messageId'>
  /** Where a source has read it. */
  readonly read?: ReadAt | undefined
}

export class EventInput {
  readonly kind = 'event'
  readonly next: number
  readonly messageHash: string
  readonly smallest: IdentifierKey
  readonly read: ReadAt | undefined
  /** The store has its hash: it was counted before. */
  repeated = false
  readonly #bytes: Buffer
  readonly #place: Omit<CauseRef, 'messageId'>
  #event: InputEvent | undefined
  #cause: CauseRef | undefined

  constructor({ bytes, head, next, place, read }: LogEvent) {
    this.next = next
    this.read = read
    this.messageHash = head.messageHash
    this.smallest = head.smallest
    this.#bytes = bytes
    this.#place = place
  }

  get stamp(): number {
    return this.#place.stamp
  }

  get event(): InputEvent {
    this.#event ??= new InputEvent(decodeEvent(this.#bytes), this.#bytes)
    return this.#event
  }

  /** It was executed: what it was decoded to goes, for it stays in line until its batch is done. */
  forget(): void {
    this.#event = undefined
    this.#cause = undefined
  }

  get cause(): CauseRef {
    this.#cause ??= { ...this.#place, messageId: this.event.record.messageId }
    return this.#cause
  }
}
