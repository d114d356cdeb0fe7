// Records of a log that several processes append to, and the one rule that says which of them count: for the owner, its
// successor and whoever follows alike. Owns the record format and the counting; who appends when is claimed-log.ts.
//
// 1. A claim counts iff it names the latest claim that counts before it. So a claim that was repeated, or that lands late, when
//    others have claimed since, changes nothing: nobody is fenced by a process that is gone.
// 2. A commit's part counts iff the claim it carries is the latest that counts before it, its n is the last counted n + 1, and
//    the parts before it have counted since. The commit counts with its last part.
// 3. What counts is a function of the records before it alone, and (claim, n) after a counted commit says all about them that
//    the rule needs: so reading may begin behind any counted commit, and nowhere else.
// 4. An owner gives all records of one (claim, n, part) the same bytes.
import { invariant } from '../core/assert.ts'
import { Reader, Writer } from '../core/bytes.ts'
import { type Clock, sleep } from '../core/clock.ts'
import { TributaryError } from '../core/errors.ts'

/** One partition of a log that several processes append to, none of which can trust an answer. */
export interface SharedLog {
  /** First position still kept. */
  first(): Promise<number>
  /**
   * Asks for a record, whose bytes nobody changes any more. It may be there once, several times, later or never, whatever the answer:
   * resolved means that the log believes it is there, rejected that nobody knows. Settles in bounded time.
   */
  append(payload: Uint8Array): Promise<void>
  /**
   * Records from `from` on, in order, positions growing: only such as stay for good and are the same for everybody. Waits up to
   * `waitMs` for the first one. `end` is beyond everything that could be read when the call was made. May reject; can be asked again.
   */
  read(from: number, limits: SharedReadLimits): Promise<SharedPage>
  /** Reads and appends under way settle, in whichever way. */
  close(): Promise<void>
}

export interface SharedReadLimits {
  readonly maxRecords: number
  readonly maxBytes: number
  readonly waitMs: number
}

export interface SharedRecord {
  readonly position: number
  readonly payload: Buffer
}

export interface SharedPage {
  readonly records: readonly SharedRecord[]
  readonly end: number
}

/** Where counting stands after a counted commit (3); a new log begins with zeros. */
export interface Base {
  /** Position of the latest claim, plus 1; 0 before the first. */
  readonly claim: number
  /** Number of the last commit. */
  readonly n: number
}

/** No record is larger, head included. */
export const RECORD_BYTES = 250_000
/** Two bytes of version and kind, four numbers. */
const HEAD_BYTES = 2 + 4 * 8
const PART_BYTES = RECORD_BYTES - HEAD_BYTES

const VERSION = 1
const KIND = { claim: 1, part: 2 } as const

export interface Claim {
  /** The latest claim that its owner had read (1). */
  readonly previous: number
  /** Who claims; every claimant has another name. */
  readonly owner: string
}

export function encodeClaim(claim: Claim): Buffer {
  return new Writer(64).u8(VERSION).u8(KIND.claim).varint(claim.previous).text(claim.owner).take()
}

/** The records of the commit that follows on `base`: parts of its own copy of the payload (4). */
export function encodeParts(payload: Uint8Array, base: Base): Buffer[] {
  const parts = Math.max(1, Math.ceil(payload.length / PART_BYTES))
  return Array.from({ length: parts }, (_, part) => {
    const bytes = payload.subarray(part * PART_BYTES, (part + 1) * PART_BYTES)
    const w = new Writer(bytes.length + HEAD_BYTES).u8(VERSION).u8(KIND.part)
    return w
      .varint(base.claim)
      .varint(base.n + 1)
      .varint(part)
      .varint(parts)
      .raw(bytes)
      .take()
  })
}

export type Counted =
  | { readonly t: 'claim'; readonly claim: number; readonly owner: string }
  /** A commit's part, not its last. */
  | { readonly t: 'part'; readonly n: number }
  | { readonly t: 'commit'; readonly n: number; readonly position: number; readonly payload: Buffer }

/** Is given all records from some place on, in order, and says which count. */
export class Counting {
  #claim: number
  #n: number
  /** Of the commit n + 1, as far as they have counted. */
  #parts: Buffer[] = []

  constructor(base: Base) {
    this.#claim = base.claim
    this.#n = base.n
  }

  get claim(): number {
    return this.#claim
  }

  get n(): number {
    return this.#n
  }

  /** What this record brings about; undefined when it does not count. */
  take(record: SharedRecord): Counted | undefined {
    const r = new Reader(record.payload)
    const version = r.u8()
    if (version !== VERSION) throw new TributaryError('data_corrupt', `journal record of unknown version ${version} at ${record.position}`)
    const kind = r.u8()
    if (kind === KIND.claim) return this.#takeClaim(record.position, { previous: r.varint(), owner: r.text() })
    if (kind !== KIND.part) throw new TributaryError('data_corrupt', `journal record of unknown kind ${kind} at ${record.position}`)
    const [claim, n, part, parts] = [r.varint(), r.varint(), r.varint(), r.varint()]
    // (2)
    if (claim !== this.#claim || n !== this.#n + 1 || part !== this.#parts.length) return undefined
    this.#parts.push(r.raw(r.end - r.at))
    if (part + 1 < parts) return { t: 'part', n }
    const [first] = this.#parts
    const payload = parts === 1 && first ? first : Buffer.concat(this.#parts)
    this.#parts = []
    this.#n = n
    return { t: 'commit', n, position: record.position, payload }
  }

  #takeClaim(position: number, { previous, owner }: Claim): Counted | undefined {
    // (1)
    if (previous !== this.#claim) return undefined
    this.#claim = position + 1
    this.#parts = []
    return { t: 'claim', claim: this.#claim, owner }
  }
}

const PAGE_LIMITS = { maxRecords: 1000, maxBytes: 8 << 20 }

export interface ReaderOptions {
  readonly log: SharedLog
  readonly clock: Clock
  /** What could not be read is asked for again after so long. */
  readonly retryMs: number
  /** The log could not be read. */
  readonly troubled: (error: Error) => void
  /** Nobody wants to read any more: trouble is none then. */
  readonly isStopped: () => boolean
}

/** Reads a log page by page and gives what counts. */
export class ClaimedReader {
  readonly #options: ReaderOptions
  readonly #counting: Counting
  #next: number
  #isBegun = false
  #isCaughtUp = false

  /** `from` is the position behind the counted commit that `base` is about (3), or 0. */
  constructor(options: ReaderOptions, from: number, base: Base) {
    invariant(from > 0 || (base.claim === 0 && base.n === 0), 'a log is read from its beginning with nothing known')
    this.#options = options
    this.#next = from
    this.#counting = new Counting(base)
  }

  /** Where counting stands. */
  get base(): Base {
    return { claim: this.#counting.claim, n: this.#counting.n }
  }

  /** The next position to read. */
  get position(): number {
    return this.#next
  }

  /** True when the last page had everything that was there when it was asked for. */
  get isCaughtUp(): boolean {
    return this.#isCaughtUp
  }

  /** What counts in the next page, for which it waits up to `waitMs`; nothing, after a while, when the log has trouble. */
  async next(waitMs: number): Promise<Counted[]> {
    const page = await this.#page(waitMs)
    this.#isCaughtUp = false
    if (!page) return []
    const counted: Counted[] = []
    for (const record of page.records) {
      invariant(record.position >= this.#next, 'positions grow')
      const what = this.#counting.take(record)
      this.#next = record.position + 1
      if (what) counted.push(what)
    }
    this.#isCaughtUp = this.#next >= page.end
    return counted
  }

  async #page(waitMs: number): Promise<SharedPage | undefined> {
    const { log, clock, retryMs, troubled, isStopped } = this.#options
    try {
      if (!this.#isBegun) mustBeKept(this.#next, await log.first())
      this.#isBegun = true
      const page = await log.read(this.#next, { ...PAGE_LIMITS, waitMs })
      mustReach(this.#next, page.end)
      return page
    } catch (error) {
      // What is there is wrong, so there is nothing to wait for.
      if (error instanceof TributaryError && error.code === 'data_corrupt') throw error
      if (isStopped()) return undefined
      troubled(error as Error)
      await sleep(clock, retryMs)
      return undefined
    }
  }
}

function mustBeKept(next: number, first: number): void {
  if (next < first) throw new TributaryError('data_corrupt', `the journal begins at ${first}, but position ${next} is to be read`)
}

function mustReach(next: number, end: number): void {
  if (end < next) throw new TributaryError('data_corrupt', `the journal was read up to position ${next}, but it ends at ${end}`)
}
