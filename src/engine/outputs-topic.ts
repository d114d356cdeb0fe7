// One output stream as it lies in a topic: pages from a place on, and the place of an id. Owns the order in which partitions are read;
// the newest records in memory are outputs-tail.ts's.
//
// 1. Within a partition entries come in their order; between partitions by the time at which they were written, as far as they are there.
// 2. No entry behind a place is missed. The place of an id may lie before entries that somebody who was given that id has had: what was
//    written up to MARGIN_MS before it may have come after it.
// 3. Where that is more than a page holds, the page has nothing that came after the id. Its cursor leads on; who asks for what is behind
//    its last id instead is sent back, again and again, and after a few times is told so.
import { must } from '../core/assert.ts'
import { TributaryError } from '../core/errors.ts'
import type { Topic, TopicRecord } from '../log/topic.ts'
import type { Page, PageQuery } from './engine.ts'
import { notAPlace, parseId, parseVector, type Vector, vectorText } from './outputs-vector.ts'

/** Of one partition at once. */
const READ_BYTES = 64 << 10
/** Entries looked at for one page before it is answered short, with a cursor to go on. */
const ENTRIES_PER_PAGE_SCAN = 100_000
/**
 * Clocks of processes may differ by 2 s, a record may be under way for the 10 s of a request, and a follower that gets nothing of a
 * partition stops after 10 s (outputs-tail.ts 2).
 */
const MARGIN_MS = 30_000
/** Whoever goes on by ids is sent back so often (3). */
const SENT_BACK_TIMES = 3
/** Of so many ids it is known how often whoever got them at the end of a page was sent back. */
const REMEMBERED_IDS = 1000
/** Records looked at for an id, per partition. */
const RECORDS_PER_SEARCH = 200_000

export interface Form<T> {
  /** Undefined where it is no entry of ours. */
  entryOf(record: TopicRecord): T | undefined
  /** When the entry came about, ms: not after it was first written, clocks aside. */
  cameAbout(entry: T): number
}

/** An entry, or nothing that is ours, with the place behind it. */
export interface Placed<T> {
  readonly entry: T | undefined
  readonly behind: Vector
  readonly record?: TopicRecord
}

interface Found {
  readonly record: TopicRecord
  readonly cameAboutMs: number
}

export class TopicStream<T extends { readonly id: string }> {
  readonly topic: Topic
  readonly #form: Form<T>
  /** (3) */
  readonly #sentBack = new Map<string, number>()

  constructor(topic: Topic, form: Form<T>) {
    this.topic = topic
    this.#form = form
  }

  async page(query: PageQuery, keep: (entry: T) => boolean): Promise<Page<T>> {
    const { place: from, found, times = 0 } = await this.#begin(query)
    const items: T[] = []
    let behind = from
    let looked = 0
    let isNew = found === undefined
    for await (const { entry, behind: next, record } of this.read(from)) {
      if (entry !== undefined && keep(entry)) {
        if (items.length === query.limit) {
          this.#remember(query, items, isNew ? times : times + 1)
          return { items, next: vectorText(behind) }
        }
        items.push(entry)
        isNew ||= record !== undefined && found !== undefined && isBehind(record, found.record)
      }
      behind = next
      if (++looked >= ENTRIES_PER_PAGE_SCAN) return { items, next: vectorText(behind) }
    }
    return { items }
  }

  async #begin({ after, limit }: PageQuery): Promise<{ place: Vector; found?: Found; times?: number }> {
    if (after === undefined) return { place: await this.topic.firsts() }
    const vector = parseVector(after, this.topic.partitions)
    if (vector) return { place: vector }
    const times = this.#sentBack.get(`${limit} ${after}`) ?? 0
    if (times >= SENT_BACK_TIMES)
      throw new TributaryError(
        'invalid_request',
        `after: in the half minute before the id ${after} more came than ${limit}; go on by the cursor, next, or ask for more at once`,
      )
    const found = await this.#find(after)
    return { place: await this.#placeOf(found), found, times }
  }

  /** (3) */
  #remember({ limit }: PageQuery, items: readonly T[], times: number): void {
    const last = items.at(-1)
    if (last === undefined || times === 0) return
    this.#sentBack.set(`${limit} ${last.id}`, times)
    for (const oldest of this.#sentBack.keys()) {
      if (this.#sentBack.size <= REMEMBERED_IDS) break
      this.#sentBack.delete(oldest)
    }
  }

  /** Everything behind a place that is there now (1); the last one told is behind all of it. */
  async *read(from: Vector): AsyncGenerator<Placed<T>> {
    const ends = await this.topic.ends()
    const heads = from.map(
      (next, partition) => new Head(this.topic, { partition, next, end: must(ends[partition], 'an end per partition') }),
    )
    const at = [...from]
    for (;;) {
      const empty = heads.filter((head) => head.isEmpty)
      if (empty.length > 0) await Promise.all(empty.map((head) => head.fill()))
      const first = oldest(heads)
      if (!first) break
      const record = first.take()
      at[record.partition] = record.offset + 1
      yield { entry: this.#form.entryOf(record), behind: [...at], record }
    }
    yield { entry: undefined, behind: at.map((next, p) => Math.max(next, must(ends[p], 'an end per partition'))) }
  }

  /** Some of what is behind a place; at the end `next` is `from` itself. */
  async stretch(from: Vector, entries: number): Promise<{ entries: Placed<T>[]; next: Vector }> {
    const list: Placed<T>[] = []
    let next = from
    for await (const placed of this.read(from)) {
      next = placed.behind
      if (placed.entry !== undefined && list.push(placed) >= entries) break
    }
    return { entries: list, next: next.every((offset, p) => offset === from[p]) ? from : next }
  }

  /** The place behind a cursor's or an id's text (2). */
  async locate(text: string): Promise<Vector> {
    return parseVector(text, this.topic.partitions) ?? this.#placeOf(await this.#find(text))
  }

  /** Some record with an id. */
  async #find(text: string): Promise<Found> {
    const { partitions } = this.topic
    const id = parseId(text)
    if (!id) throw notAPlace(text)
    const [firsts, ends] = await Promise.all([this.topic.firsts(), this.topic.ends()])
    const range = (p: number) => ({ low: must(firsts[p], 'a first per partition'), high: must(ends[p], 'an end per partition') })
    const searches = Array.from({ length: partitions }, (_, partition) => this.#search({ partition, ...id, ...range(partition) }))
    const found = (await Promise.all(searches)).find((f) => f !== undefined)
    if (!found) throw new TributaryError('not_found', `after: the id ${text} is not in this stream, or no longer kept`)
    return found
  }

  /**
   * Some record with this id. Seqs of an origin grow in each partition, and where a writer began again, it said all from there on again:
   * so whatever is seen of the origin says on which side there is one to be found, if there is any.
   */
  async #search(wanted: { partition: number; origin: number; seq: number; low: number; high: number }): Promise<Found | undefined> {
    const { partition, origin, seq } = wanted
    let { low, high } = wanted
    for (let looked = 0; low < high; ) {
      const middle = low + Math.floor((high - low) / 2)
      let seen: TopicRecord | undefined
      for (let at = middle; at < high && !seen; ) {
        const { records, next, isEnd } = await this.topic.read(partition, at, READ_BYTES)
        const ofOrigin = records.filter((r) => r.offset < high && r.origin === origin)
        const match = ofOrigin.find((r) => r.seq === seq)
        if (match) return this.#found(match)
        if (passesOver(ofOrigin, seq)) return undefined
        // The last one where all are smaller, so that less is left.
        seen = ofOrigin[0] && ofOrigin[0].seq < seq ? ofOrigin.at(-1) : ofOrigin[0]
        at = isEnd ? high : next
        looked += records.length
        if (looked > RECORDS_PER_SEARCH)
          throw new TributaryError('invalid_request', `after: the id ${origin}-${seq} takes too long to find; go on with a cursor`)
      }
      if (seen && seen.seq < seq) low = seen.offset + 1
      else high = middle
    }
    return undefined
  }

  #found(record: TopicRecord): Found | undefined {
    const entry = this.#form.entryOf(record)
    return entry === undefined ? undefined : { record, cameAboutMs: this.#form.cameAbout(entry) }
  }

  /** (2) What was found may be a repeat: the first time was not before the entry came about. */
  async #placeOf({ record, cameAboutMs }: Found): Promise<Vector> {
    const at = [...(await this.topic.since(Math.max(0, Math.min(record.stamp, cameAboutMs) - MARGIN_MS)))]
    const { partition, origin, seq } = record
    // In its own partition the place is known, once the first record with the id is.
    let next = must(at[partition], 'an offset per partition')
    for (let looked = 0; next <= record.offset && looked < RECORDS_PER_SEARCH; ) {
      const page = await this.topic.read(partition, next, READ_BYTES)
      const first = page.records.find((r) => r.origin === origin && r.seq === seq)
      if (first) {
        at[partition] = first.offset + 1
        break
      }
      if (page.isEnd) break
      next = page.next
      looked += page.records.length
    }
    return at
  }
}

/** True when it came after the other, for all that can be told. */
const isBehind = (record: TopicRecord, other: TopicRecord): boolean =>
  record.stamp > other.stamp || (record.partition === other.partition && record.offset > other.offset)

/** True when a seq is not where it would have to be. */
const passesOver = (ofOrigin: readonly TopicRecord[], seq: number): boolean =>
  ofOrigin.some((r, i) => r.seq > seq && (ofOrigin[i - 1]?.seq ?? seq) < seq)

/** The records of one partition that come next. */
class Head {
  readonly #topic: Topic
  readonly #partition: number
  readonly #end: number
  #next: number
  #records: readonly TopicRecord[] = []
  #taken = 0

  constructor(topic: Topic, { partition, next, end }: { partition: number; next: number; end: number }) {
    this.#topic = topic
    this.#partition = partition
    this.#next = next
    this.#end = end
  }

  get first(): TopicRecord | undefined {
    return this.#records[this.#taken]
  }

  /** True when there is more to be read before it has a record. */
  get isEmpty(): boolean {
    return this.#taken === this.#records.length && this.#next < this.#end
  }

  async fill(): Promise<void> {
    while (this.isEmpty) {
      const { records, next, isEnd } = await this.#topic.read(this.#partition, this.#next, READ_BYTES)
      this.#records = records
      this.#taken = 0
      this.#next = isEnd && records.length === 0 ? this.#end : next
    }
  }

  take(): TopicRecord {
    const record = must(this.first, 'only who has a record is asked for it')
    this.#taken++
    return record
  }
}

function oldest(heads: readonly Head[]): Head | undefined {
  let found: Head | undefined
  for (const head of heads) if (head.first && (found?.first === undefined || head.first.stamp < found.first.stamp)) found = head
  return found
}
