// What a task says to its host, and asks of it. Owns nothing; host.ts is the implementation.
import type { Clock } from '../core/clock.ts'
import type { IdentityMessage } from '../identity/messages.ts'
import type { Sent } from './batch.ts'
import type { OutboxStream } from './outbox.ts'

/** What the host does for its tasks. */
export interface TaskHost {
  readonly clock: Clock
  /** How far `now` may follow the clock with inputs drained: never past an unfinished acceptance anywhere in the process. */
  allowedNow(): number
  relay(partition: number, stream: OutboxStream, payload: Buffer, lastSeq: number): void
  exchange(origin: number, sent: Sent): void
  /** Tells the origin that everything up to `seq` is durable here. */
  confirm(origin: number, target: number, seq: number): void
  committed(partition: number, input: number, stamp: number): void
  /** Is told, before anything else follows from it, of exchange messages that a durable commit has taken in. */
  tookIn(messages: readonly IdentityMessage[]): void
  /** The task has nothing to do until it is woken. */
  idle(partition: number): void
  stopped(partition: number, reason: Error): void
  /** The turn at hand is used up. */
  isSpent(): boolean
  /** Lets other tasks and reads run; `since` is when the batch was begun. */
  pause(since: number): Promise<void>
}
