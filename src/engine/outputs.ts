// The output streams of one process: transitions, merges, dead letters, each in a log of its own. Owns those logs and the
// cursors into them; what goes in comes from the partitions' outboxes.
//
// 1. A block at or below the last seq of its origin is refused: a repeat after a crash changes nothing.
// 2. A stream's log has one total order; a cursor is a place in it, and an entry's id leads to one too.
// 3. Only what is durable is read. The newest records are read from memory.
// 4. Seqs go on for ever: marks, records without entries, say anew how far each origin is, before retention takes the last that does.
import { invariant, must } from '../core/assert.ts'
import { TributaryError } from '../core/errors.ts'
import type { Transition } from '../core/transition.ts'
import type { LogReader, LogWriter } from '../log/log.ts'
import type { OutputEnds } from './agreement.ts'
import { type Cursor, cursorText, type Decode, entriesOf, type Numbered, parseCursor } from './cursor.ts'
import type { DeadLetter, MergeRecord, Page, PageQuery } from './engine.ts'
import {
  decodeBlock,
  encodeBlock,
  entryId,
  JsonBlock,
  type OutboxStream,
  parseEntryId,
  readJsonEntries,
  readTransitions,
  type Stream,
  type TransitionEntry,
} from './outbox.ts'
import { follow } from './outputs-follow.ts'
import type { DeadLetterEntry, FollowOptions, MergeEntry, OutputPort, SegmentNames } from './outputs-port.ts'
import { deadLetterOf, mergeOf, transitionOf } from './outputs-shown.ts'
import { Recent } from './recent.ts'

export interface StreamLog {
  readonly writer: LogWriter
  readonly reader: LogReader
}

/** Read at once, so that others get their turn in between: some thousand transitions. */
const READ = { maxRecords: 64, maxBytes: 64 << 10 }
/** Entries looked at for one page before it is answered short, with a cursor to go on. */
const ENTRIES_PER_PAGE_SCAN = 100_000

const EMPTY = Buffer.alloc(0)

export class OutputStream<T> {
  readonly #log: StreamLog
  readonly #decode: Decode<T>
  readonly #last: number[] = []
  /** Origins whose last seq was written since the last mark. */
  readonly #told = new Set<number>()
  #recent: Recent<T>
  /** Ordinals behind what was appended, and behind what is durable. */
  #appended = 0
  #durable = 0
  readonly #listeners = new Set<() => void>()

  constructor(log: StreamLog, decode: Decode<T>) {
    this.#log = log
    this.#decode = decode
    this.#recent = new Recent(0, decode)
  }

  async open(): Promise<void> {
    const { writer, reader } = this.#log
    for (let p = 0; p < writer.partitions; p++) {
      const record = await reader.last(p)
      const block = record && decodeBlock(record.payload)
      this.#last[p] = block ? block.firstSeq + block.count - 1 : 0
    }
    this.#appended = reader.endOrdinal()
    this.#durable = this.#appended
    this.#recent = new Recent(this.#appended, this.#decode)
  }

  /** Appends a block unless the log has it (1); resolves when it is durable. */
  async take(partition: number, payload: Uint8Array, lastSeq: number): Promise<void> {
    if (lastSeq > (this.#last[partition] ?? 0)) {
      this.#last[partition] = lastSeq
      this.#append(partition, payload)
    }
    await this.#sync()
    for (const listener of this.#listeners) listener()
  }

  #append(partition: number, payload: Uint8Array): void {
    this.#log.writer.append(partition, payload)
    this.#recent.add({ ordinal: this.#appended++, partition, payload: Buffer.from(payload) })
    this.#told.add(partition)
  }

  async #sync(): Promise<void> {
    const end = this.#appended
    await this.#log.writer.sync()
    this.#durable = Math.max(this.#durable, end)
  }

  /** Marks every origin that nothing was appended of since the last call (4). */
  async mark(): Promise<void> {
    for (const [partition, last] of this.#last.entries()) {
      if (last === 0 || this.#told.has(partition)) continue
      this.#append(partition, encodeBlock({ firstSeq: last + 1, count: 0, entries: EMPTY }))
    }
    this.#told.clear()
    await this.#sync()
  }

  lastSeq(partition: number): number {
    return this.#last[partition] ?? 0
  }

  /** As of opening: the last seq of a partition, or undefined when retention has dropped the record that would tell. */
  endOf(partition: number): number | undefined {
    const isDropped = this.#last[partition] === 0 && this.#log.reader.end(partition) > 0
    return isDropped ? undefined : this.lastSeq(partition)
  }

  onAppend(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** The place behind all that is durable. */
  end(): Cursor {
    return { ordinal: this.#durable, place: 0 }
  }

  /** Entries behind a cursor or an entry's id that `keep` accepts. */
  async page(
    query: { after?: string | undefined; limit: number },
    keep: (entry: T) => boolean,
  ): Promise<{ items: Numbered<T>[]; next?: string }> {
    let at = query.after === undefined ? { ordinal: this.#log.reader.firstOrdinal(), place: 0 } : await this.locate(query.after)
    const items: Numbered<T>[] = []
    for (let looked = 0; at.ordinal < this.#durable; ) {
      const read = await this.read(at)
      for (const numbered of read.entries) {
        looked++
        if (keep(numbered.entry)) {
          if (items.length === query.limit) return { items, next: cursorText((items[items.length - 1] ?? numbered).behind) }
          items.push(numbered)
        }
        if (looked >= ENTRIES_PER_PAGE_SCAN) return { items, next: cursorText(numbered.behind) }
      }
      if (read.next === at) break
      at = read.next
    }
    return { items }
  }

  /** The next stretch of entries from a cursor on, which may be empty; at the end `next` is `from` itself. */
  async read(from: Cursor): Promise<{ entries: Numbered<T>[]; next: Cursor }> {
    const entries: Numbered<T>[] = []
    let ordinal = from.ordinal
    const add = (list: readonly Numbered<T>[]): void => {
      const skip = ordinal === from.ordinal ? from.place : 0
      for (let i = skip; i < list.length; i++) entries.push(list[i] as Numbered<T>)
      ordinal++
    }
    const end = Math.min(this.#durable, ordinal + READ.maxRecords)
    for (let recent: readonly Numbered<T>[] | undefined; ordinal < end; ) {
      recent = this.#recent.entries(ordinal)
      if (recent === undefined) break
      add(recent)
    }
    if (ordinal === from.ordinal && ordinal < this.#durable) {
      ordinal = Math.max(ordinal, this.#log.reader.firstOrdinal())
      for (const record of await this.#log.reader.readAll(ordinal, READ)) add(entriesOf(record, this.#decode))
    }
    return { entries, next: ordinal === from.ordinal ? from : { ordinal, place: 0 } }
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

  /** Among the partition's records, whose first seqs ascend nearly evenly: looks where it should be, and halves in turn where that goes wrong. */
  async #locateId(partition: number, seq: number): Promise<Cursor> {
    const recent = this.#recent.find(partition, seq)
    if (recent) return recent
    const { reader } = this.#log
    let low = { position: reader.first(partition), seq: 1 }
    let high = { position: reader.end(partition), seq: this.lastSeq(partition) + 1 }
    for (let step = 0; low.position < high.position && seq < high.seq; step++) {
      const share = step % 2 === 0 ? (seq - low.seq) / (high.seq - low.seq) : 0.5
      const likely = low.position + Math.floor(share * (high.position - low.position))
      const from = Math.min(high.position - 1, Math.max(low.position, likely - READ.maxRecords / 2))
      const records = await reader.read(partition, from, READ)
      for (const [i, { ordinal, payload }] of records.entries()) {
        const { firstSeq, count } = decodeBlock(payload)
        if (seq < firstSeq) {
          high = i === 0 ? { position: from, seq: firstSeq } : low
          break
        }
        if (seq < firstSeq + count) return { ordinal, place: seq - firstSeq + 1 }
        low = { position: from + i + 1, seq: firstSeq + count }
      }
      if (records.length === 0) break
    }
    throw new TributaryError('not_found', `after: the id ${entryId(partition, seq)} is not in this stream, or no longer kept`)
  }

  async close(): Promise<void> {
    await this.#log.writer.close()
    await this.#log.reader.close()
  }
}

export class Outputs implements OutputPort {
  readonly transitions: OutputStream<TransitionEntry>
  readonly merges: OutputStream<MergeEntry>
  readonly deadLetters: OutputStream<DeadLetterEntry>
  /** The origin of intake's dead letters, behind those of the partitions. */
  readonly #intake: number
  #opened: SegmentNames | undefined

  constructor(logs: Record<Stream, StreamLog>) {
    this.transitions = new OutputStream(logs.transitions, (entries) => {
      const list: TransitionEntry[] = []
      readTransitions(entries, (entry) => list.push(entry))
      return list
    })
    this.merges = new OutputStream(logs.merges, (entries) => readJsonEntries(entries) as MergeEntry[])
    this.deadLetters = new OutputStream(logs.deadLetters, (entries) => readJsonEntries(entries) as DeadLetterEntry[])
    this.#intake = logs.deadLetters.writer.partitions - 1
  }

  async open(names: SegmentNames): Promise<void> {
    this.#opened = names
    await Promise.all([this.transitions.open(), this.merges.open(), this.deadLetters.open()])
  }

  get #names(): SegmentNames {
    return must(this.#opened, 'streams are open before they are read')
  }

  take(stream: OutboxStream, partition: number, payload: Uint8Array, lastSeq: number): Promise<void> {
    invariant(stream !== 'profiles', 'profiles are told to topics only')
    return this[stream].take(partition, payload, lastSeq)
  }

  async reject(letters: readonly DeadLetterEntry[]): Promise<void> {
    const block = new JsonBlock()
    for (const letter of letters) block.add(letter)
    const count = block.count
    const firstSeq = this.deadLetters.lastSeq(this.#intake) + 1
    await this.deadLetters.take(this.#intake, encodeBlock({ firstSeq, count, entries: block.take() }), firstSeq + count - 1)
  }

  ends(partition: number): OutputEnds {
    const { transitions, merges, deadLetters } = this
    return { transitions: transitions.endOf(partition), merges: merges.endOf(partition), deadLetters: deadLetters.endOf(partition) }
  }

  async mark(): Promise<void> {
    await Promise.all([this.transitions.mark(), this.merges.mark(), this.deadLetters.mark()])
  }

  // ---- reading

  /** Which entries a query for a segment keeps; a segment never known keeps none. */
  #keeps(segment: string | undefined): (entry: TransitionEntry) => boolean {
    if (segment === undefined) return () => true
    return (entry) => entry.segment === this.#names.numberOf(segment)
  }

  async transitionsPage(query: PageQuery & { segment?: string }): Promise<Page<Transition>> {
    const page = await this.transitions.page(query, this.#keeps(query.segment))
    return shownPage(page, (id, entry) => transitionOf(id, entry, this.#names))
  }

  async followTransitions({ after, segment, deliver, failed }: FollowOptions): Promise<() => void> {
    const stream = this.transitions
    const keep = this.#keeps(segment)
    const from = after === undefined ? stream.end() : await stream.locate(after)
    const take = (entries: readonly Numbered<TransitionEntry>[]): unknown => {
      const kept = entries.filter((n) => keep(n.entry)).map((n) => transitionOf(n.id, n.entry, this.#names))
      return kept.length > 0 ? deliver(kept) : undefined
    }
    return follow(stream, from, { take, failed })
  }

  async transitionsEnd(): Promise<string> {
    return cursorText(this.transitions.end())
  }

  async mergesPage(query: PageQuery): Promise<Page<MergeRecord>> {
    return shownPage(await this.merges.page(query, () => true), mergeOf)
  }

  async deadLettersPage(query: PageQuery): Promise<Page<DeadLetter>> {
    return shownPage(await this.deadLetters.page(query, () => true), deadLetterOf)
  }

  async close(): Promise<void> {
    await Promise.all([this.transitions.close(), this.merges.close(), this.deadLetters.close()])
  }
}

function shownPage<T, S>({ items, next }: Page<Numbered<T>>, show: (id: string, entry: T) => S): Page<S> {
  const list = items.map(({ id, entry }) => show(id, entry))
  return next === undefined ? { items: list } : { items: list, next }
}
