// The workload as event records, to fill an events log without HTTP. Each goes through the product's own mapping, so a record
// has the bytes that a request would have left.
import type { EventRecord } from '../../src/core/event.ts'
import { Namespaces } from '../../src/core/namespace.ts'
import type { IdentifierSource } from '../../src/intake/identifiers.ts'
import { mapMessage, Refusal } from '../../src/intake/message.ts'
import { messageOf, type WorkloadEvent } from './map.ts'

const FUTURE_LIMIT_MS = 86_400_000

/**
 * Records in the order of the lines. An event is accepted at the newest event time so far: at its own, or, where it comes late,
 * at that of the event before it, since acceptance times never go back.
 */
export function* recordsOf(
  lines: Iterable<string>,
  namespaces: IdentifierSource = new Namespaces(),
): Generator<EventRecord, void, undefined> {
  let acceptedAt = 0
  for (const line of lines) {
    const event = JSON.parse(line) as WorkloadEvent
    acceptedAt = Math.max(acceptedAt, Date.parse(event.timestamp))
    yield recordOf(event, acceptedAt, namespaces)
  }
}

function recordOf(event: WorkloadEvent, acceptedAt: number, namespaces: IdentifierSource): EventRecord {
  const envelope = { messages: [], single: true }
  const record = mapMessage(messageOf(event), envelope, { acceptedAt, sourcePriority: 0, futureLimit: FUTURE_LIMIT_MS, namespaces })
  if (record instanceof Refusal) throw new Error(`${event.messageId}: ${record.message}`)
  return record
}

/** What decides between two values of a trait set at one instant: the greater wins. For check.ts. */
export function hashTies(namespaces: IdentifierSource = new Namespaces()): (event: WorkloadEvent) => string {
  return (event) => recordOf(event, Date.parse(event.timestamp), namespaces).messageHash
}
