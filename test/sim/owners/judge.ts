// One partition's journal as an independent reader sees it: which of its visible records count. Shares no code with log/claimed.ts
// beyond the spelling of numbers.
import { Reader } from '../../../src/core/bytes.ts'
import type { SharedRecord } from '../../../src/log/claimed.ts'

const CLAIM = 1
/** A part that says from where the journal can be read. */
const STARTED_PART = 3

export interface JournalHead {
  readonly kind: 'claim' | 'part'
  /** Of a claim: the one before it; of a part: its owner's. */
  readonly claim: number
  readonly owner: string
}

export function headOf({ payload }: SharedRecord): JournalHead {
  const r = new Reader(payload)
  r.u8()
  const isClaim = r.u8() === CLAIM
  const claim = r.varint()
  return { kind: isClaim ? 'claim' : 'part', claim, owner: isClaim ? r.text() : '' }
}

export class Judge {
  /** Position of the claim in force, plus 1. */
  claim = 0
  /** When it became visible, by the machine's monotonic clock. */
  claimedAtMs = 0
  claims = 0
  /** By number: the claim under which that commit counts. */
  readonly counted: number[] = []
  /** Records that did not count. */
  ignored = 0
  #parts: Buffer[] = []

  /** The commit that this record completes, if it does. */
  take(record: SharedRecord, atMs: number): Buffer | undefined {
    const { kind, claim } = headOf(record)
    if (claim !== this.claim) {
      this.ignored++
      return undefined
    }
    if (kind === 'claim') {
      this.claim = record.position + 1
      this.claimedAtMs = atMs
      this.claims++
      this.#parts = []
      return undefined
    }
    return this.#part(record)
  }

  #part({ payload }: SharedRecord): Buffer | undefined {
    const r = new Reader(payload)
    r.u8()
    const kind = r.u8()
    r.varint()
    const [n, part, parts] = [r.varint(), r.varint(), r.varint()]
    if (kind === STARTED_PART) for (let i = 0; i < 3; i++) r.varint()
    if (n !== Math.max(1, this.counted.length) || part !== this.#parts.length) {
      this.ignored++
      return undefined
    }
    this.#parts.push(r.raw(r.end - r.at))
    if (part + 1 < parts) return undefined
    this.counted[n] = this.claim
    return Buffer.concat(this.#parts.splice(0))
  }
}
