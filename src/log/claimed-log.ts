// The owner's side of a log that several processes append to (claimed.ts): claims it, appends commits, and knows of each only by
// having read it back. Owns its reading loop and the repeats; the rule of what counts is claimed.ts.
//
//   reading ──caught up──▶ claiming ──own claim read──▶ owning ──newer claim read──▶ fenced (for good)
//      └───────────────────────┴──────────────────────────┴──────── close ─────────▶ closed
//
// 1. Nothing follows from an answer to an append. A commit is done when it was read back as counted; until then the same bytes are
//    appended again and again, and so is the claim.
// 2. Whoever reads a newer claim that counts is fenced: nothing is appended any more, nothing resolves.
// 3. One commit at a time. The log is always being read, so a newer claim is noticed without commits too.
// 4. Commits carry the own claim and follow on the own last one, never on where the reader stands: it may have read a newer claim
//    already that nobody has drawn the conclusions of yet.
// 5. `owned` rests on the instant at which a read was *begun* that found the end and no newer claim: an answer may lie about
//    unread for as long as the process sleeps.
import { invariant, must } from '../core/assert.ts'
import type { Clock } from '../core/clock.ts'
import { TributaryError } from '../core/errors.ts'
import {
  type Base,
  ClaimedReader,
  type Counted,
  encodeClaim,
  encodeParts,
  type ReadProgress,
  type SharedLog,
  type Start,
} from './claimed.ts'

export interface ClaimTiming {
  /** A read waits so long for something new. */
  readonly waitMs: number
  /** What was answered and is not read back after so long is appended again … */
  readonly repeatMs: number
  /** … and what the log refused, or could not read, after so long. */
  readonly retryMs: number
  /** Ownership is to be seen anew after so long: half of the time after which another process may be told to take over. */
  readonly freshMs: number
}

export const CLAIM_TIMING: ClaimTiming = { waitMs: 500, repeatMs: 1000, retryMs: 100, freshMs: 3000 }

export interface ClaimOptions {
  readonly log: SharedLog
  /** A name that no other claimant of this log has, ever. */
  readonly owner: string
  readonly clock: Clock
  readonly timing?: Partial<ClaimTiming>
  /** The log refused something or can't be read: it is tried again. */
  readonly troubled?: (error: Error) => void
}

/** What is told about commits before the claim; what is returned is waited for. */
export type Visit = (n: number, payload: Buffer, position: number) => void | Promise<void>

export interface Opening {
  /** The position behind the counted commit that `base` is about, or 0. */
  readonly from: number
  /** Absent: nothing is known of the log, it is read from wherever it can be. */
  readonly base: Base | undefined
  readonly visit: Visit
  /** Told once, when ownership ends otherwise than by `close`. */
  readonly lost: (error: Error) => void
}

/** Records on their way, until all have counted. */
interface Outgoing {
  readonly records: readonly Buffer[]
  counted: number
  cancelRepeat: () => void
}

interface Committing extends Outgoing {
  readonly n: number
  readonly done: PromiseWithResolvers<number>
}

type Phase = 'new' | 'reading' | 'claiming' | 'owning' | 'fenced' | 'closed'

const NEXT: Readonly<Record<Phase, readonly Phase[]>> = {
  new: ['reading', 'closed'],
  reading: ['claiming', 'closed'],
  claiming: ['owning', 'closed'],
  owning: ['fenced', 'closed'],
  fenced: ['closed'],
  closed: [],
}

export class ClaimedLog {
  readonly #options: ClaimOptions
  readonly #timing: ClaimTiming
  #phase: Phase = 'new'
  #reader: ClaimedReader | undefined
  /** Why nothing can be done any more. */
  #error: Error | undefined
  #lost: (error: Error) => void = () => {}
  #claiming: Outgoing | undefined
  #committing: Committing | undefined
  /** The own claim, and the last commit behind it (4). */
  #own: Base | undefined
  /** Of the last commit that counted and was taken in. */
  #lastN = 0
  #heardMs = Number.NEGATIVE_INFINITY
  readonly #waiting: PromiseWithResolvers<void>[] = []
  /** Turns begun, ever. */
  #turns = 0
  /** Each waits for a turn that is begun later. */
  #verifying: { readonly turn: number; readonly done: PromiseWithResolvers<void> }[] = []

  constructor(options: ClaimOptions) {
    this.#options = options
    this.#timing = { ...CLAIM_TIMING, ...options.timing }
    invariant(2 * this.#timing.waitMs <= this.#timing.freshMs, 'an idle owner reads twice before its ownership is stale')
  }

  get phase(): Phase {
    return this.#phase
  }

  /** Reads what counts, claims, reads on up to the own claim; returns where the own commits begin. */
  async open(opening: Opening): Promise<Base> {
    const { from, base, visit } = opening
    this.#enter('reading')
    const { log, clock, troubled = () => {} } = this.#options
    const isStopped = (): boolean => this.#error !== undefined
    const reader = new ClaimedReader({ log, clock, retryMs: this.#timing.retryMs, troubled, isStopped }, from, base)
    this.#reader = reader
    this.#lastN = base?.n ?? 0
    try {
      await this.#take(reader, visit)
    } catch (error) {
      this.#halt(error as Error)
      throw error
    }
    this.#lost = opening.lost
    this.#follow().catch((error: Error) => this.#end(error))
    return this.#owning()
  }

  async #take(reader: ClaimedReader, visit: Visit): Promise<void> {
    while (this.#phase !== 'owning') {
      await this.#turn(this.#phase === 'reading' ? 0 : this.#timing.waitMs, visit)
      this.#mustBeOpen()
      if (this.#phase !== 'reading' || !reader.isCaughtUp) continue
      // Not before everything else was read: whoever owned the log works on meanwhile.
      this.#enter('claiming')
      this.#claim()
    }
  }

  /** Appends the commit that follows on the last one, and tells of `start`; resolves with its position once it counts (1). */
  commit(payload: Uint8Array, start?: Start): Promise<number> {
    if (this.#error) return Promise.reject(this.#error)
    invariant(this.#phase === 'owning' && this.#committing === undefined, 'an owner commits one at a time (3)')
    const base = this.#owning()
    const done = Promise.withResolvers<number>()
    this.#committing = { records: encodeParts(payload, base, start), counted: 0, cancelRepeat: () => {}, n: base.n + 1, done }
    this.#send(this.#committing)
    return done.promise
  }

  /** Undefined while ownership is known to be fresh (5); else resolves once it is, and rejects when it has ended. */
  owned(): Promise<void> | undefined {
    if (this.#error) return Promise.reject(this.#error)
    if (this.#isFresh()) return undefined
    const waiting = Promise.withResolvers<void>()
    this.#waiting.push(waiting)
    return waiting.promise
  }

  /** Resolves when a read that is begun after the call has found the end and no newer claim; rejects when ownership has ended. */
  verify(): Promise<void> {
    if (this.#error) return Promise.reject(this.#error)
    const done = Promise.withResolvers<void>()
    this.#verifying.push({ turn: this.#turns + 1, done })
    return done.promise
  }

  /** Whoever hands out ownership knew of this process at this instant of the monotonic clock. */
  heartbeat(atMs: number): void {
    this.#heardMs = Math.max(this.#heardMs, atMs)
    if (!this.#isFresh()) return
    for (const w of this.#waiting.splice(0)) w.resolve()
  }

  /** Of the reading; undefined before it has begun. */
  progress(): ReadProgress | undefined {
    return this.#reader?.progress
  }

  /** One past the last position read. */
  end(): number {
    return this.#read().position
  }

  async close(): Promise<void> {
    if (this.#phase === 'closed') return
    this.#halt(new TributaryError('shutting_down', 'the journal was closed'))
    this.#phase = 'closed'
    await this.#options.log.close()
  }

  #enter(phase: Phase): void {
    invariant(
      NEXT[this.#phase].includes(phase),
      `a claimed log goes from ${this.#phase} to ${NEXT[this.#phase].join(' or ')}, not to ${phase}`,
    )
    this.#phase = phase
  }

  #mustBeOpen(): void {
    if (this.#error) throw this.#error
  }

  #owning(): Base {
    return must(this.#own, 'an owner has a claim')
  }

  #read(): ClaimedReader {
    return must(this.#reader, 'an opened log has a reader')
  }

  #isFresh(): boolean {
    return this.#options.clock.monotonicMs() - this.#heardMs < this.#timing.freshMs
  }

  // ---- reading

  async #follow(): Promise<void> {
    while (!this.#error) await this.#turn(this.#timing.waitMs)
  }

  /** Reads one page and draws the conclusions. */
  async #turn(waitMs: number, visit?: Visit): Promise<void> {
    const reader = this.#read()
    const begunMs = this.#options.clock.monotonicMs()
    const turn = ++this.#turns
    for (const counted of await reader.next(waitMs)) {
      if (this.#error) return
      if (counted.t === 'claim') this.#tookClaim(counted)
      else if (this.#phase === 'owning') this.#tookOwn(counted)
      else if (counted.t === 'commit') {
        this.#lastN = counted.n
        await visit?.(counted.n, counted.payload, counted.position)
      }
    }
    if (!reader.isCaughtUp || this.#phase !== 'owning') return
    this.heartbeat(begunMs)
    for (const v of this.#verifying) if (v.turn <= turn) v.done.resolve()
    this.#verifying = this.#verifying.filter((v) => v.turn > turn)
  }

  #tookClaim(counted: Counted & { t: 'claim' }): void {
    const { owner } = this.#options
    if (this.#phase === 'claiming' && counted.owner === owner) {
      this.#claiming?.cancelRepeat()
      this.#claiming = undefined
      this.#own = { claim: counted.claim, n: this.#lastN }
      this.#enter('owning')
    } else if (this.#phase === 'owning') {
      this.#enter('fenced')
      this.#end(new TributaryError('fenced', `${counted.owner} has claimed the journal of ${owner}`))
    } else if (this.#phase === 'claiming') {
      // Ours names another one as the latest: it will never count.
      this.#claiming?.cancelRepeat()
      this.#claim()
    }
  }

  #tookOwn(counted: Counted & { t: 'part' | 'commit' }): void {
    const committing = must(this.#committing, 'after the own claim only own commits count')
    invariant(counted.n === committing.n, 'after the own claim only own commits count')
    committing.counted++
    if (counted.t === 'part') return
    invariant(committing.counted === committing.records.length, 'the last part of a commit counts last')
    committing.cancelRepeat()
    this.#committing = undefined
    this.#own = { ...this.#owning(), n: counted.n }
    committing.done.resolve(counted.position)
  }

  // ---- appending

  #claim(): void {
    const record = encodeClaim({ previous: this.#read().base.claim, owner: this.#options.owner })
    this.#claiming = { records: [record], counted: 0, cancelRepeat: () => {} }
    this.#send(this.#claiming)
  }

  /** Appends what has not counted yet, in order, and again after a while (1). */
  #send(outgoing: Outgoing): void {
    const { log, troubled } = this.#options
    const append = async (): Promise<void> => {
      for (let i = outgoing.counted; i < outgoing.records.length && this.#isWanted(outgoing); i++)
        await log.append(must(outgoing.records[i], 'index in range'))
    }
    append().then(
      () => this.#repeat(outgoing, this.#timing.repeatMs),
      (error: Error) => {
        if (this.#isWanted(outgoing)) troubled?.(error)
        this.#repeat(outgoing, this.#timing.retryMs)
      },
    )
  }

  #repeat(outgoing: Outgoing, delayMs: number): void {
    if (!this.#isWanted(outgoing)) return
    const { counted } = outgoing
    outgoing.cancelRepeat = this.#options.clock.after(delayMs, () => {
      // While parts come back, the others may be about to.
      if (outgoing.counted > counted) this.#repeat(outgoing, this.#timing.repeatMs)
      else this.#send(outgoing)
    })
  }

  #isWanted(outgoing: Outgoing): boolean {
    return !this.#error && (outgoing === this.#committing || outgoing === this.#claiming)
  }

  // ---- the end

  #end(error: Error): void {
    if (this.#error) return
    this.#halt(error)
    this.#lost(error)
  }

  #halt(error: Error): void {
    this.#error ??= error
    for (const outgoing of [this.#claiming, this.#committing]) outgoing?.cancelRepeat()
    // Whoever waits hears of it; where nobody does, `lost` tells.
    this.#committing?.done.promise.catch(() => undefined)
    this.#committing?.done.reject(this.#error)
    this.#committing = undefined
    for (const w of this.#waiting.splice(0)) w.reject(this.#error)
    for (const v of this.#verifying.splice(0)) v.done.reject(this.#error)
  }
}
