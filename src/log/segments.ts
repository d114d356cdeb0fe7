// The segments of one log, as one thread knows them: which records are kept, and in which segment each lies. Owns the list and
// the ends; reads and writes no files.
//
// 1. Only durable records are in here. The last segment is the active one; it alone grows, and its index is always in memory.
// 2. Segments lie end to end: one's base and starts are its predecessor's ends. They leave at the head only.
import { invariant, must } from '../core/assert.ts'
import { TributaryError } from '../core/errors.ts'
import { headerBytes, type SegmentHeader } from './segment-file.ts'
import { SegmentIndex } from './segment-index.ts'

export interface Segment {
  readonly header: SegmentHeader
  /** Bytes of its file, as far as they are known durable; only a writer knows them for the segments before the active one. */
  bytes: number
  /** How many records it has, once it is no longer the active one. */
  records: number
}

/** A segment of which no more than the header is known. */
export function segmentWith(header: SegmentHeader): Segment {
  return { header, bytes: headerBytes(header.starts.length), records: 0 }
}

/** Checks that segments lie end to end (2), and notes their sizes. */
function chained(segments: readonly Segment[]): Segment[] {
  segments.forEach((segment, i) => {
    const next = segments[i + 1]
    if (!next) return
    segment.records = next.header.base - segment.header.base
    let records = 0
    next.header.starts.forEach((start, p) => {
      records += start - (segment.header.starts[p] ?? 0)
    })
    if (records !== segment.records) {
      throw new TributaryError(
        'data_corrupt',
        `the log has a gap between the segments that begin at ordinals ${segment.header.base} and ${next.header.base}`,
      )
    }
  })
  return [...segments]
}

export class Segments {
  readonly partitions: number
  #list: Segment[]
  #ends: Float64Array
  #endOrdinal: number
  #index: SegmentIndex
  /** Called for every segment that is no longer kept. */
  onDrop: (segment: Segment) => void = () => undefined

  constructor(segments: readonly Segment[]) {
    const last = must(segments[segments.length - 1], 'a log has a segment')
    this.partitions = last.header.starts.length
    this.#list = chained(segments)
    this.#ends = last.header.starts.slice()
    this.#endOrdinal = last.header.base
    this.#index = new SegmentIndex(this.partitions, headerBytes(this.partitions))
  }

  get head(): Segment {
    return this.#list[0] as Segment
  }

  get active(): Segment {
    return this.#list[this.#list.length - 1] as Segment
  }

  get activeIndex(): SegmentIndex {
    return this.#index
  }

  get count(): number {
    return this.#list.length
  }

  get firstOrdinal(): number {
    return this.head.header.base
  }

  get endOrdinal(): number {
    return this.#endOrdinal
  }

  get bytes(): number {
    let bytes = 0
    for (const segment of this.#list) bytes += segment.bytes
    return bytes
  }

  /** The segment behind the head, if there is one. */
  get second(): Segment | undefined {
    return this.#list[1]
  }

  first(partition: number): number {
    return this.head.header.starts[partition] as number
  }

  end(partition: number): number {
    return this.#ends[partition] as number
  }

  /** A copy of all partitions' ends. */
  ends(): Float64Array {
    return this.#ends.slice()
  }

  /** Adds the next durable record, which ends at `endOffset` of the active segment's file. */
  add(partition: number, endOffset: number): void {
    this.#index.add(partition, endOffset)
    this.#ends[partition] = this.end(partition) + 1
    this.#endOrdinal++
    this.active.bytes = endOffset
  }

  /** Takes over the index of what the active segment already has. */
  adopt(index: SegmentIndex): void {
    invariant(this.#index.records === 0, 'only a segment just opened is given an index')
    this.#index = index
    for (let p = 0; p < this.partitions; p++) this.#ends[p] = this.end(p) + index.countOf(p)
    this.#endOrdinal += index.records
    this.active.bytes = index.endOffset
  }

  /** Goes on in a new segment. */
  roll(segment: Segment): void {
    invariant(segment.header.base === this.#endOrdinal, 'a segment begins where the one before it ends (2)')
    invariant(
      segment.header.starts.every((start, p) => start === this.#ends[p]),
      'a segment begins at the ends of the one before it (2)',
    )
    this.active.records = this.#index.records
    this.#list.push(segment)
    this.#index = new SegmentIndex(this.partitions, headerBytes(this.partitions))
  }

  dropHead(): Segment {
    const head = this.head
    invariant(this.#list.length > 1, 'the active segment is never dropped')
    this.#list.shift()
    this.onDrop(head)
    return head
  }

  /** Starts over from later segments: those in between were dropped before this thread had seen them. */
  restart(segments: readonly Segment[]): void {
    const last = must(segments[segments.length - 1], 'a log has a segment')
    invariant(must(segments[0], 'a log has a segment').header.base >= this.#endOrdinal, 'a restart only moves on')
    for (const segment of this.#list) this.onDrop(segment)
    this.#list = chained(segments)
    this.#ends = last.header.starts.slice()
    this.#endOrdinal = last.header.base
    this.#index = new SegmentIndex(this.partitions, headerBytes(this.partitions))
  }

  /** The segment with this position, which must be kept and durable. */
  withPosition(partition: number, position: number): Segment {
    return this.#lastThat((s) => (s.header.starts[partition] as number) <= position)
  }

  withOrdinal(ordinal: number): Segment {
    return this.#lastThat((s) => s.header.base <= ordinal)
  }

  /** Binary search: `holds` is true for a head part of the list. Answers the last of it. */
  #lastThat(holds: (s: Segment) => boolean): Segment {
    let low = 0
    let high = this.#list.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (holds(this.#list[middle] as Segment)) low = middle + 1
      else high = middle
    }
    return must(this.#list[low - 1], 'only places in kept segments are looked up')
  }
}
