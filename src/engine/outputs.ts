// The output streams of one process: transitions, merges, dead letters, each in a log of its own. Owns those logs and the
// cursors into them; what goes in comes from the partitions' outboxes.
//
// 1. A block at or below the last seq of its origin is refused: a repeat after a crash changes nothing.
// 2. A stream's log has one total order; a cursor is a place in it, and an entry's id leads to one too.
import { TributaryError } from '../core/errors.ts'
import type { LogReader, LogRecord, LogWriter } from '../log/log.ts'
import type { OutputEnds } from './agreement.ts'
import {
  type Block,
  decodeBlock,
  encodeBlock,
  entryId,
  JsonBlock,
  parseEntryId,
  readJsonEntries,
  readTransitions,
  type Stream,
  type TransitionEntry,
} from './outbox.ts'

export interface StreamLog {
  readonly writer: LogWriter
  readonly reader: LogReader
}

/** An entry with its id and the place behind it. */
export interface Numbered<T> {
  readonly id: string
  readonly behind: Cursor
  readonly entry: T
}

/** Read at once, so that others get their turn in between: some thousand transitions. */
const READ = { maxRecords: 64, maxBytes: 64 << 10 }
/** Entries looked at for one page before it is answered short, with a cursor to go on. */
const ENTRIES_PER_PAGE_SCAN = 100_000

type Decode<T> = (entries: Buffer) => T[]

export class OutputStream<T> {
  readonly #log: StreamLog
  readonly #decode: Decode<T>
  readonly #last: number[] = []
  #listeners = new Set<() => void>()

  constructor(log: StreamLog, decode: Decode<T>) {
    this.#log = log
    this.#decode = decode
  }

  async open(): Promise<void> {
    for (let p = 0; p < this.#log.writer.partitions; p++) {
      const record = await this.#log.reader.last(p)
      const block = record && decodeBlock(record.payload)
      this.#last[p] = block ? block.firstSeq + block.count - 1 : 0
    }
  }

  /** Appends a block unless the log has it (1); resolves when it is durable. */
  async take(partition: number, payload: Uint8Array, lastSeq: number): Promise<void> {
    if (lastSeq > (this.#last[partition] ?? 0)) {
      this.#last[partition] = lastSeq
      this.#log.writer.append(partition, payload)
    }
    await this.#log.writer.sync()
    for (const listener of this.#listeners) listener()
  }

  lastSeq(partition: number): number {
    return this.#last[partition] ?? 0
  }

  /** As of opening: the last seq of a partition, or undefined when retention has dropped the record that would tell. */
  end(partition: number): number | undefined {
    const isDropped = this.#last[partition] === 0 && this.#log.reader.end(partition) > 0
    return isDropped ? undefined : this.lastSeq(partition)
  }

  onAppend(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  async endCursor(): Promise<Cursor> {
    await this.#log.reader.refresh?.()
    return { ordinal: this.#log.reader.endOrdinal(), place: 0 }
  }

  /** Entries behind a cursor or an entry's id that `keep` accepts. */
  async page(
    query: { after?: string | undefined; limit: number },
    keep: (entry: T) => boolean,
  ): Promise<{ items: Numbered<T>[]; next?: string }> {
    let at = query.after === undefined ? { ordinal: this.#log.reader.firstOrdinal(), place: 0 } : await this.locate(query.after)
    const items: Numbered<T>[] = []
    for (let looked = 0; ; ) {
      const read = await this.read(at)
      if (read.entries.length === 0) return { items }
      for (const numbered of read.entries) {
        looked++
        if (keep(numbered.entry)) {
          if (items.length === query.limit) return { items, next: cursorText((items[items.length - 1] ?? numbered).behind) }
          items.push(numbered)
        }
        if (looked >= ENTRIES_PER_PAGE_SCAN) return { items, next: cursorText(numbered.behind) }
      }
      at = read.next
    }
  }

  /** The next stretch of entries from a cursor on. */
  async read(from: Cursor): Promise<{ entries: Numbered<T>[]; next: Cursor }> {
    const first = Math.max(from.ordinal, this.#log.reader.firstOrdinal())
    const records = await this.#log.reader.readAll(first, READ)
    const entries: Numbered<T>[] = []
    for (const record of records) {
      const skip = record.ordinal === from.ordinal ? from.place : 0
      for (const numbered of this.#entries(record).slice(skip)) entries.push(numbered)
    }
    const last = records[records.length - 1]
    return { entries, next: last ? { ordinal: last.ordinal + 1, place: 0 } : from }
  }

  #entries(record: LogRecord): Numbered<T>[] {
    const block: Block = decodeBlock(record.payload)
    return this.#decode(block.entries).map((entry, place) => ({
      id: entryId(record.partition, block.firstSeq + place),
      behind: { ordinal: record.ordinal, place: place + 1 },
      entry,
    }))
  }

  /** The place behind a cursor's or an entry's text. */
  async locate(text: string): Promise<Cursor> {
    const cursor = parseCursor(text)
    if (cursor) return cursor
    const id = parseEntryId(text)
    if (!id || id.partition >= this.#log.writer.partitions)
      throw new TributaryError('invalid_request', `after: "${text}" is neither a cursor of this list nor an id in it`)
    return this.#locateId(id.partition, id.seq)
  }

  /** Binary search among the partition's records: their first seqs ascend. */
  async #locateId(partition: number, seq: number): Promise<Cursor> {
    const { reader } = this.#log
    let low = reader.first(partition)
    let high = reader.end(partition)
    while (low < high) {
      const middle = Math.floor((low + high) / 2)
      const [record] = await reader.read(partition, middle, { maxRecords: 1, maxBytes: 1 })
      if (!record) break
      const block = decodeBlock(record.payload)
      if (seq < block.firstSeq) high = middle
      else if (seq >= block.firstSeq + block.count) low = middle + 1
      else return { ordinal: record.ordinal, place: seq - block.firstSeq + 1 }
    }
    throw new TributaryError('not_found', `after: the id ${entryId(partition, seq)} is not in this stream, or no longer kept`)
  }

  async close(): Promise<void> {
    await this.#log.writer.close()
    await this.#log.reader.close()
  }
}

export interface Cursor {
  readonly ordinal: number
  readonly place: number
}

const cursorText = (c: Cursor): string => `c${c.ordinal.toString(36)}.${c.place.toString(36)}`

function parseCursor(text: string): Cursor | undefined {
  const m = /^c([0-9a-z]{1,10})\.([0-9a-z]{1,6})$/.exec(text)
  return m ? { ordinal: Number.parseInt(m[1] ?? '', 36), place: Number.parseInt(m[2] ?? '', 36) } : undefined
}

export interface MergeEntry {
  readonly survivor: string
  readonly absorbed: string
  readonly at: number
  readonly messageId?: string
}

export interface DeadLetterEntry {
  readonly code: string
  readonly reason: string
  readonly at: number
  readonly message?: unknown
}

export class Outputs {
  readonly transitions: OutputStream<TransitionEntry>
  readonly merges: OutputStream<MergeEntry>
  readonly deadLetters: OutputStream<DeadLetterEntry>

  constructor(logs: Record<Stream, StreamLog>) {
    this.transitions = new OutputStream(logs.transitions, (entries) => {
      const list: TransitionEntry[] = []
      readTransitions(entries, (entry) => list.push(entry))
      return list
    })
    this.merges = new OutputStream(logs.merges, (entries) => readJsonEntries(entries) as MergeEntry[])
    this.deadLetters = new OutputStream(logs.deadLetters, (entries) => readJsonEntries(entries) as DeadLetterEntry[])
  }

  async open(): Promise<void> {
    await Promise.all([this.transitions.open(), this.merges.open(), this.deadLetters.open()])
  }

  take(stream: Stream, partition: number, payload: Uint8Array, lastSeq: number): Promise<void> {
    return this[stream].take(partition, payload, lastSeq)
  }

  ends(partition: number): OutputEnds {
    const { transitions, merges, deadLetters } = this
    return { transitions: transitions.end(partition), merges: merges.end(partition), deadLetters: deadLetters.end(partition) }
  }

  /** Dead letters of intake: an origin of its own, behind those of the partitions. */
  async reject(origin: number, letters: readonly DeadLetterEntry[]): Promise<void> {
    const block = new JsonBlock()
    for (const letter of letters) block.add(letter)
    const count = block.count
    const firstSeq = this.deadLetters.lastSeq(origin) + 1
    await this.deadLetters.take(origin, encodeBlock({ firstSeq, count, entries: block.take() }), firstSeq + count - 1)
  }

  async close(): Promise<void> {
    await Promise.all([this.transitions.close(), this.merges.close(), this.deadLetters.close()])
  }
}
