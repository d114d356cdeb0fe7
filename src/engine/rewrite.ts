// The rolling rewrite of a journal that several processes append to (journal-claimed.ts): besides the rows that it changes, every commit
// carries some that nobody has changed for long (cold rows), so that the journal can lose its head and still has every row. Owns the
// rounds: where each began, how far it is, which rows are next. What is no longer needed, release.ts deletes.
//
//   between rounds ──a page of the store is read──▶ in a round ──the cursor has passed the last key, with a commit──▶ between rounds
//
// 1. A round's start is the position behind the commit of the store's mark as the round began, with what counting needs there
//    (claimed.ts 5). So a row that was last written before the start is in the store, with nothing newer in memory.
// 2. The cursor passes the store's keys in order, and a row that it passes is written by a commit behind the start: as a cold one, or
//    because something newer of it waited in memory when the page was read, or because a commit has touched it since, the one at hand
//    included. What waits in memory was written behind the start, since no page is read while the store's mark lies before it: this is
//    what whoever takes a round over has to wait for.
// 3. A cold row is as of the commit that carries it: a candidate is dropped as soon as a commit puts or deletes it, by itself or by a
//    range. So a row that is gone never comes back, whether the range or the row is replayed first.
// 4. A round is complete with the commit with which the cursor passes the last key. Every row that lives as of then, or later, was
//    written at or behind its start: by (2) if it lived when the round began, and else when it was put. Deletes and ranges need no
//    rewriting: where the put of what they deleted is read, they are read too, and where they are not, it is not. So the head of the
//    journal may go up to the start of the last completed round, as of a commit that counts, whoever says so and however late.
// 5. Start, cursor and the last completed start are a row of the task, in each commit: they survive whatever rows survive.
// 6. No commit, no rewriting. A commit carries about `ratio` bytes of cold rows per byte of others, and a few on top, but `mostBytes` at
//    most; what it falls short of that, because no page was there yet, the next ones make up for, as far as `mostOwedBytes` go. So a round
//    writes live × (1 + 1/ratio) bytes, live being those of all rows, and what is committed between its start and its first page; the two
//    that are kept at worst take twice that.
import { Reader, Writer } from '../core/bytes.ts'
import { TributaryError } from '../core/errors.ts'
import type { Start } from '../log/claimed.ts'
import type { PendingRows } from '../state/pending.ts'
import { RowBlock } from '../state/row-block.ts'

/** What a round may take of a commit, and of memory (6). */
export interface RewriteLimits {
  /** Bytes of cold rows per byte of others, and what comes on top of that with each commit. */
  readonly ratio: number
  readonly leastBytes: number
  readonly mostBytes: number
  readonly mostOwedBytes: number
  /** More candidates are read when there are fewer bytes of them than this … */
  readonly lowBytes: number
  /** … and so many of them, in pages of so many rows. */
  readonly fetchBytes: number
  readonly pageRows: number
}

export const REWRITE_LIMITS: RewriteLimits = {
  ratio: 0.5,
  leastBytes: 512,
  mostBytes: 512 << 10,
  mostOwedBytes: 4 << 20,
  lowBytes: 128 << 10,
  fetchBytes: 256 << 10,
  pageRows: 128,
}

/** The row of the rounds (5). */
export const REWRITE_KEY = 'mrewrite'
/** Above all keys (keys.ts). */
const KEYS_END = '\u007f'
/** The task's own rows: they are in every commit, and the store's marks are nobody else's. */
const OWN = 109 /* m */
/** Key and value have a size each. */
const ROW_HEAD_BYTES = 4
const VERSION = 1

export interface Rounds {
  /** Of the round under way. */
  readonly start: Start | undefined
  /** Of the last one that was completed. */
  readonly completed: Start | undefined
  /** Keys below it have been passed. */
  readonly cursor: string
}

export interface RewriteOptions {
  readonly rows: PendingRows
  readonly pause: () => Promise<void> | undefined
  /** The store can't be read. */
  readonly failed: (error: Error) => void
  readonly limits?: RewriteLimits
}

interface Fetching {
  /** Of the commits that counted since the page was asked for. */
  readonly keys: Set<string>
  readonly ranges: (readonly [string, string])[]
}

export class Rewrite {
  readonly #options: RewriteOptions
  readonly #limits: RewriteLimits
  #rounds: Rounds = { start: undefined, completed: undefined, cursor: '' }
  /** In the order of their keys, all above the cursor. */
  readonly #candidates = new Map<string, Buffer>()
  #bytes = 0
  /** The page at hand ends here. */
  #ahead = ''
  /** There is nothing above `#ahead`. */
  #isAtEnd = false
  #fetching: Fetching | undefined
  #fetched: Promise<void> = Promise.resolve()
  #owedBytes = 0
  readonly #cold = new RowBlock()
  /** Behind the last commit that counts. */
  #last: Start | undefined
  /** Where the store's mark is, or may soon be. */
  #marks: Start[] = []
  #joined: Start | undefined
  #durable: Start | undefined
  #isClosed = false

  constructor(options: RewriteOptions) {
    this.#options = options
    this.#limits = options.limits ?? REWRITE_LIMITS
  }

  /** The journal before this is not needed by anybody: as of the last commit that counts (4). */
  get releasable(): number {
    return this.#durable?.from ?? 0
  }

  /** What commits are to tell those who know nothing of the journal (claimed.ts 5). */
  get start(): Start | undefined {
    return this.#rounds.start ?? this.#rounds.completed
  }

  /** Takes up where the last commit left off, of whomever (5). */
  async open(): Promise<void> {
    const [row] = await this.#options.rows.getMany([REWRITE_KEY])
    if (row) this.#rounds = decodeRounds(row)
    this.#ahead = this.#rounds.cursor
    this.#durable = this.#rounds.completed
  }

  /** A commit counts, at this position. */
  reached(position: number, { claim, n }: { readonly claim: number; readonly n: number }): void {
    this.#last = { from: position + 1, claim, n }
  }

  /** The store is about to be brought to the last commit that counts. */
  applying(): void {
    if (this.#last) this.#marks.push(this.#last)
  }

  /** Cold rows for the commit of these rows, to which the row of the rounds is added. They are valid until the next call. */
  join(rows: RowBlock, ranges: readonly (readonly [string, string])[]): RowBlock | undefined {
    this.#drop(rows, ranges)
    const { ratio, leastBytes, mostOwedBytes } = this.#limits
    this.#owedBytes = Math.min(mostOwedBytes, this.#owedBytes + leastBytes + Math.ceil(ratio * rows.bytes.length))
    const { start } = this.#rounds
    const cold = start && this.#take()
    if (start && this.#isAtEnd && this.#candidates.size === 0) {
      this.#rounds = { start: undefined, completed: start, cursor: '' }
      this.#ahead = ''
      this.#isAtEnd = false
    }
    this.#joined = this.#rounds.completed
    if (this.start) rows.put(REWRITE_KEY, encodeRounds(this.#rounds))
    return cold
  }

  #take(): RowBlock {
    const cold = this.#cold
    cold.reset()
    const mostBytes = Math.min(this.#owedBytes, this.#limits.mostBytes)
    let cursor = this.#rounds.cursor
    let bytes = 0
    for (const [key, value] of this.#candidates) {
      if (bytes >= mostBytes) break
      cold.put(key, value)
      bytes += sizeOf(key, value)
      this.#forget(key)
      cursor = `${key}\u0000`
    }
    this.#owedBytes = Math.max(0, this.#owedBytes - bytes)
    // What is passed without being written was touched (2).
    this.#rounds = { ...this.#rounds, cursor: this.#candidates.size === 0 ? this.#ahead : cursor }
    return cold
  }

  /** The commit that was joined counts, at this position. */
  committed(position: number, base: { readonly claim: number; readonly n: number }): void {
    this.reached(position, base)
    this.#durable = this.#joined
    if (this.#fetching || this.#isAtEnd || this.#isClosed || this.#bytes >= this.#limits.lowBytes || !this.#mayRead()) return
    const fetching: Fetching = { keys: new Set(), ranges: [] }
    this.#fetching = fetching
    this.#fetched = this.#fetch(fetching).catch((error: Error) => {
      if (!this.#isClosed) this.#options.failed(error)
    })
  }

  /** In a round, which this begins if none is under way (1), and with the store at or behind its start (2). */
  #mayRead(): boolean {
    const from = this.#options.rows.appliedPosition() + 1
    this.#marks = this.#marks.filter((mark) => mark.from >= from)
    if (this.#rounds.start) return from >= this.#rounds.start.from
    const start = this.#marks.find((mark) => mark.from === from)
    if (!start) return false
    this.#rounds = { ...this.#rounds, start }
    return true
  }

  async #fetch(fetching: Fetching): Promise<void> {
    const { fetchBytes, pageRows } = this.#limits
    const scan = this.#options.rows.scanStored({ gte: this.#ahead, lt: KEYS_END })
    const found: (readonly [string, Buffer])[] = []
    let isAtEnd = false
    try {
      for (let bytes = 0; bytes < fetchBytes && !isAtEnd && !this.#isClosed; ) {
        const page = await scan.next(pageRows)
        isAtEnd = page.length === 0
        for (const [key, value] of page) {
          bytes += sizeOf(key, value)
          found.push([key, value])
        }
        await this.#options.pause()
      }
    } finally {
      await scan.close()
    }
    this.#fetching = undefined
    this.#isAtEnd = isAtEnd
    for (const [key, value] of found) {
      this.#ahead = `${key}\u0000`
      if (key.charCodeAt(0) === OWN || fetching.keys.has(key) || isIn(key, fetching.ranges)) continue
      this.#candidates.set(key, value)
      this.#bytes += sizeOf(key, value)
    }
  }

  /** These have been written anew, or deleted (3). */
  #drop(rows: RowBlock, ranges: readonly (readonly [string, string])[]): void {
    const fetching = this.#fetching
    if (!fetching && this.#candidates.size === 0) return
    for (let i = 0; i < rows.count; i++) {
      const key = rows.key(i)
      if (key < this.#rounds.cursor) continue
      this.#forget(key)
      fetching?.keys.add(key)
    }
    if (ranges.length === 0) return
    for (const key of this.#candidates.keys()) if (isIn(key, ranges)) this.#forget(key)
    fetching?.ranges.push(...ranges)
  }

  #forget(key: string): void {
    const value = this.#candidates.get(key)
    if (!value) return
    this.#candidates.delete(key)
    this.#bytes -= sizeOf(key, value)
  }

  /** Nothing of the store is being read any more. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.#fetched
  }
}

const sizeOf = (key: string, value: Buffer): number => key.length + value.length + ROW_HEAD_BYTES

function isIn(key: string, ranges: readonly (readonly [string, string])[]): boolean {
  for (const [from, to] of ranges) if (key >= from && key < to) return true
  return false
}

function encodeRounds({ start, completed, cursor }: Rounds): Buffer {
  const w = new Writer(96).u8(VERSION)
  for (const at of [start, completed]) {
    w.u8(at ? 1 : 0)
    if (at) w.varint(at.from).varint(at.claim).varint(at.n)
  }
  return w.varint(cursor.length).binary(cursor).take()
}

function decodeRounds(row: Buffer): Rounds {
  const r = new Reader(row)
  const version = r.u8()
  if (version !== VERSION) throw new TributaryError('data_corrupt', `row of rewriting of unknown version ${version}`)
  const start = (): Start | undefined => (r.u8() === 0 ? undefined : { from: r.varint(), claim: r.varint(), n: r.varint() })
  return { start: start(), completed: start(), cursor: r.binary(r.varint()) }
}
