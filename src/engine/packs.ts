// Events of an ingestion as records of their home partitions: packs of many, within what a record and a position have room for.
import { must } from '../core/assert.ts'
import { Writer } from '../core/bytes.ts'
import { type EventRecord, encodeEvent } from '../core/event.ts'
import { homeOf } from '../core/identifier.ts'
import type { Read } from '../core/origin.ts'
import { EVENTS_PER_RECORD, Pack } from './inputs.ts'

export interface PackedRecord {
  readonly partition: number
  readonly count: number
  readonly payload: Buffer
}

export class Packs {
  readonly #packs: readonly Pack[]
  readonly #maxBytes: number
  readonly #w = new Writer(4096)

  /** Events of one record have at most so many bytes, if there is more than one. */
  constructor(partitions: number, maxBytes = Number.POSITIVE_INFINITY) {
    this.#packs = Array.from({ length: partitions }, () => new Pack())
    this.#maxBytes = maxBytes
  }

  homeOf(event: EventRecord): number {
    return homeOf(event.identifiers[0]?.key ?? '', this.#packs.length)
  }

  /** The records of these events, stamped as accepted at `stamp`; with their places where a source has read them. */
  records(events: readonly EventRecord[], stamp: number, read?: Read): PackedRecord[] {
    const touched = new Set<number>()
    const records: PackedRecord[] = []
    const close = (partition: number, pack: Pack): void => {
      records.push({ partition, count: pack.count, payload: pack.take() })
    }
    for (const [i, event] of events.entries()) {
      const partition = this.homeOf(event)
      const pack = this.#of(partition)
      encodeEvent(event, this.#w.reset(), stamp)
      const bytes = this.#w.view()
      // A position has no room for more events of one record.
      if (pack.count === EVENTS_PER_RECORD || (pack.count > 0 && pack.bytes + bytes.length > this.#maxBytes)) close(partition, pack)
      touched.add(partition)
      if (read) pack.addRead(bytes, read.reading, must(read.places[i], 'each event has a place'))
      else pack.add(bytes)
    }
    for (const partition of touched) close(partition, this.#of(partition))
    return records
  }

  #of(partition: number): Pack {
    return must(this.#packs[partition], `there is a partition ${partition}`)
  }
}
