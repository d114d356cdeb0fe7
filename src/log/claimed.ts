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
// 5. A log that has lost its head says itself where it can be read from: a start in a part, whoever wrote it and whether it counts or
//    not, is true for good, since its writer had read that place as counted. The head may go up to a start of which a part that counts
//    has told, and less of it may be gone than was asked for: a reader takes the first start that still lies in the log.
import { invariant, must } from '../core/assert.ts'
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

/** Reading may begin at `from`, with this base: the position behind the counted commit that it is about (5). */
export interface Start extends Base {
  readonly from: number
}

/** No record is larger, head included. */
export const RECORD_BYTES = 250_000
const NUMBER_BYTES = 8
/** Two bytes of version and kind, four numbers. */
const HEAD_BYTES = 2 + 4 * NUMBER_BYTES
/** And the three of a start. */
const STARTED_HEAD_BYTES = HEAD_BYTES + 3 * NUMBER_BYTES

const VERSION = 1
const KIND = { claim: 1, part: 2, startedPart: 3 } as const

export interface Claim {
  /** The latest claim that its owner had read (1). */
  readonly previous: number
  /** Who claims; every claimant has another name. */
  readonly owner: string
}

export function encodeClaim(claim: Claim): Buffer {
  return new Writer(64).u8(VERSION).u8(KIND.claim).varint(claim.previous).text(claim.owner).take()
}

/** The records of the commit that follows on `base`: parts of its own copy of the payload (4); each tells of `start` (5). */
export function encodeParts(payload: Uint8Array, base: Base, start?: Start): Buffer[] {
  const headBytes = start ? STARTED_HEAD_BYTES : HEAD_BYTES
  const partBytes = RECORD_BYTES - headBytes
  const parts = Math.max(1, Math.ceil(payload.length / partBytes))
  return Array.from({ length: parts }, (_, part) => {
    const bytes = payload.subarray(part * partBytes, (part + 1) * partBytes)
    const w = new Writer(bytes.length + headBytes).u8(VERSION).u8(start ? KIND.startedPart : KIND.part)
    for (const x of [base.claim, base.n + 1, part, parts]) w.varint(x)
    if (start) for (const x of [start.from, start.claim, start.n]) w.varint(x)
    return w.raw(bytes).take()
  })
}

/** The start that a record tells of (5). */
function startIn(record: SharedRecord): Start | undefined {
  const r = new Reader(record.payload)
  if (kindOf(r, record.position) !== KIND.startedPart) return undefined
  for (let i = 0; i < 4; i++) r.varint()
  return { from: r.varint(), claim: r.varint(), n: r.varint() }
}

function kindOf(r: Reader, position: number): number {
  const version = r.u8()
  if (version !== VERSION) throw new TributaryError('data_corrupt', `journal record of unknown version ${version} at ${position}`)
  const kind = r.u8()
  if (kind < KIND.claim || kind > KIND.startedPart)
    throw new TributaryError('data_corrupt', `journal record of unknown kind ${kind} at ${position}`)
  return kind
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
    const kind = kindOf(r, record.position)
    if (kind === KIND.claim) return this.#takeClaim(record.position, { previous: r.varint(), owner: r.text() })
    const [claim, n, part, parts] = [r.varint(), r.varint(), r.varint(), r.varint()]
    // (2)
    if (claim !== this.#claim || n !== this.#n + 1 || part !== this.#parts.length) return undefined
    if (kind === KIND.startedPart) for (let i = 0; i < 3; i++) r.varint()
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

/** How far a reader is. */
export interface ReadProgress {
  /** Records passed since it began, and all there were to be passed as it last looked. */
  readonly read: number
  readonly total: number
  /** Of the records read. */
  readonly bytes: number
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

/**
 * Reads a log page by page and gives what counts.
 *
 *   searching ──a start that still lies in the log──▶ counting      Only where nothing is known and the log has lost its head (5).
 */
export class ClaimedReader {
  readonly #options: ReaderOptions
  /** Undefined while searching. */
  #counting: Counting | undefined
  #next: number
  /** As it was when reading began. */
  #first = 0
  #isBegun = false
  #isCaughtUp = false
  #from = 0
  #end = 0
  #bytes = 0

  /** `from` is the position behind the counted commit that `base` is about (3), or 0. Without a base nothing is known of the log. */
  constructor(options: ReaderOptions, from: number, base: Base | undefined) {
    invariant(from > 0 || !base || (base.claim === 0 && base.n === 0), 'a log is read from its beginning with nothing known')
    this.#options = options
    this.#next = base ? from : 0
    this.#counting = base && new Counting(base)
  }

  /** Where counting stands. */
  get base(): Base {
    const counting = must(this.#counting, 'what is known of a log is known once reading has begun to count')
    return { claim: counting.claim, n: counting.n }
  }

  /** The next position to read. */
  get position(): number {
    return this.#next
  }

  get progress(): ReadProgress {
    return { read: this.#next - this.#from, total: Math.max(this.#end, this.#next) - this.#from, bytes: this.#bytes }
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
    this.#end = page.end
    for (const { payload } of page.records) this.#bytes += payload.length
    if (!this.#counting) {
      this.#search(page)
      return []
    }
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

  /** (5) */
  #search(page: SharedPage): void {
    for (const record of page.records) {
      this.#next = record.position + 1
      const start = startIn(record)
      if (!start || start.from < this.#first) continue
      this.#counting = new Counting(start)
      this.#next = start.from
      this.#from = start.from
      return
    }
    if (this.#next >= page.end)
      throw new TributaryError('data_corrupt', `the journal begins at ${this.#first}, and nothing in it says where it can be read from`)
  }

  async #page(waitMs: number): Promise<SharedPage | undefined> {
    const { log, clock, retryMs, troubled, isStopped } = this.#options
    try {
      if (!this.#isBegun) await this.#begin()
      const page = await log.read(this.#next, { ...PAGE_LIMITS, waitMs })
      mustReach(this.#next, page.end)
      return page
    } catch (error) {
      if (isStopped()) return undefined
      // What is there is wrong, or what is wanted is gone: there is nothing to wait for.
      if (isFinal(error)) throw await this.#explained(error)
      troubled(error as Error)
      await sleep(clock, retryMs)
      return undefined
    }
  }

  async #begin(): Promise<void> {
    this.#first = await this.#options.log.first()
    if (!this.#counting && this.#first === 0) this.#counting = new Counting(NOTHING)
    if (!this.#counting) this.#next = this.#first
    mustBeKept(this.#next, this.#first)
    this.#from = this.#next
    this.#isBegun = true
  }

  /** What can't be read may be no longer kept. */
  async #explained(error: TributaryError): Promise<TributaryError> {
    const first = await this.#options.log.first().catch(() => 0)
    return this.#next < first ? cut(this.#next, first) : error
  }
}

const NOTHING: Base = { claim: 0, n: 0 }

const isFinal = (error: unknown): error is TributaryError =>
  error instanceof TributaryError && (error.code === 'data_corrupt' || error.code === 'journal_cut')

const cut = (next: number, first: number): TributaryError =>
  new TributaryError('journal_cut', `the journal begins at ${first}, but position ${next} is to be read`)

function mustBeKept(next: number, first: number): void {
  if (next < first) throw cut(next, first)
}

function mustReach(next: number, end: number): void {
  if (end < next) throw new TributaryError('data_corrupt', `the journal was read up to position ${next}, but it ends at ${end}`)
}
