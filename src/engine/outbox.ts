// Blocks of the outbox: what one commit says to one stream, packed. A block is a row until its stream's log has it, and is
// appended to that log as it is: {firstSeq, count, entries}. Owns the encoding of entries; the relay (task.ts) owns their order.
//
// 1. Entry i of a block has the seq firstSeq + i; seqs of a stream and partition are contiguous from 1.
// 2. Blocks are immutable: what is relayed twice is equal to the byte.
import { must } from '../core/assert.ts'
import { Reader, Writer } from '../core/bytes.ts'
import { PROFILE_KEY_BYTES, type ProfileKey } from '../core/identifier.ts'
import { CAUSES, type Cause } from '../core/transition.ts'

export const STREAMS = ['transitions', 'merges', 'deadLetters'] as const
export type Stream = (typeof STREAMS)[number]
/** Of profiles the outbox has keys alone: what leaves is the state committed by then. */
export const OUTBOX_STREAMS = [...STREAMS, 'profiles'] as const
export type OutboxStream = (typeof OUTBOX_STREAMS)[number]
/** The letter of a stream in row keys. */
export const STREAM_LETTER: Record<OutboxStream, string> = { transitions: 't', merges: 'm', deadLetters: 'd', profiles: 'p' }

export interface Block {
  readonly firstSeq: number
  readonly count: number
  readonly entries: Buffer
}

export function encodeBlock(block: Block): Buffer {
  return new Writer(block.entries.length + 16).varint(block.firstSeq).varint(block.count).raw(block.entries).take()
}

export function decodeBlock(payload: Buffer): Block {
  const r = new Reader(payload)
  const firstSeq = r.varint()
  const count = r.varint()
  return { firstSeq, count, entries: payload.subarray(r.at) }
}

/** What the transitions of one run share. */
export interface TransitionRun {
  readonly publicId: string
  readonly userId: string
  readonly cause: Cause
  readonly causeId: string
  readonly decidedAt: number
}

/** One transition inside; names are resolved from numbers by the reader's definitions. */
export interface TransitionEntry extends TransitionRun {
  readonly segment: number
  readonly version: number
  readonly entered: boolean
  readonly seq: number
  readonly at: number
}

/** Collects the transitions of one batch: consecutive ones of one profile and cause share a run. */
export class TransitionBlock {
  #w = new Writer(4096)
  #run = new Writer(256)
  #shared: TransitionRun | undefined
  #inRun = 0
  count = 0

  add(shared: TransitionRun, segment: number, version: number, membership: { seq: number; in: boolean; at: number }): void {
    const last = this.#shared
    const same =
      last !== undefined &&
      (last === shared ||
        (last.publicId === shared.publicId &&
          last.causeId === shared.causeId &&
          last.cause === shared.cause &&
          last.decidedAt === shared.decidedAt))
    if (!same) {
      this.#closeRun()
      this.#shared = shared
    }
    this.#run
      .varint(segment)
      .varint(version)
      .varint(membership.seq * 2 + (membership.in ? 1 : 0))
      .zigzag(shared.decidedAt - membership.at)
    this.#inRun++
    this.count++
  }

  #closeRun(): void {
    const shared = this.#shared
    if (!shared || this.#inRun === 0) return
    this.#w
      .binary(shared.publicId)
      .text(shared.userId)
      .u8(CAUSES.indexOf(shared.cause))
      .text(shared.causeId)
      .varint(shared.decidedAt)
      .varint(this.#inRun)
      .raw(this.#run.view())
    this.#run.reset()
    this.#inRun = 0
    this.#shared = undefined
  }

  /** The entries collected, and starts anew. */
  take(): Buffer {
    this.#closeRun()
    const out = this.#w.take()
    this.#w.reset()
    this.count = 0
    return out
  }

  /** Forgets what was collected (a batch that failed). */
  clear(): void {
    this.#w.reset()
    this.#run.reset()
    this.#shared = undefined
    this.#inRun = 0
    this.count = 0
  }
}

/** Calls `visit` for every transition of a block with its place in the block. */
export function readTransitions(entries: Buffer, visit: (entry: TransitionEntry, place: number) => void): void {
  const r = new Reader(entries)
  let place = 0
  while (!r.done) {
    const publicId = r.binary(16)
    const userId = r.text()
    const cause = must(CAUSES[r.u8()], 'a cause of the registry')
    const causeId = r.text()
    const decidedAt = r.varint()
    for (let n = r.varint(); n > 0; n--) {
      const segment = r.varint()
      const version = r.varint()
      const seqIn = r.varint()
      const at = decidedAt - r.zigzag()
      visit(
        { publicId, userId, cause, causeId, decidedAt, segment, version, entered: seqIn % 2 === 1, seq: Math.floor(seqIn / 2), at },
        place++,
      )
    }
  }
}

/** A profile that has changed, or the public id of one that is gone. */
export interface ProfileChange {
  readonly publicId: string
  readonly key: ProfileKey | undefined
}

/** Collects which profiles one batch has changed; costs nothing while there are none. */
export class ProfileBlock {
  #w: Writer | undefined
  count = 0

  changed(publicId: string, key: ProfileKey): void {
    this.#begin().binary(publicId).u8(1).binary(key)
  }

  gone(publicId: string): void {
    this.#begin().binary(publicId).u8(0)
  }

  #begin(): Writer {
    this.count++
    this.#w ??= new Writer(256)
    return this.#w
  }

  take(): Buffer {
    const out = this.#begin().take()
    this.#w = undefined
    this.count = 0
    return out
  }
}

export function readProfileChanges(entries: Buffer): ProfileChange[] {
  const r = new Reader(entries)
  const list: ProfileChange[] = []
  while (!r.done) {
    const publicId = r.binary(16)
    list.push({ publicId, key: r.u8() === 1 ? r.binary(PROFILE_KEY_BYTES) : undefined })
  }
  return list
}

/** JSON entries (merges, dead letters): rare, so readable. */
export class JsonBlock {
  #w = new Writer(256)
  count = 0

  add(entry: unknown): void {
    this.#w.text(JSON.stringify(entry))
    this.count++
  }

  take(): Buffer {
    const out = this.#w.take()
    this.clear()
    return out
  }

  clear(): void {
    this.#w.reset()
    this.count = 0
  }
}

export function readJsonEntries(entries: Buffer): unknown[] {
  const r = new Reader(entries)
  const out: unknown[] = []
  while (!r.done) out.push(JSON.parse(r.text()))
  return out
}

/** The public form of an entry's id: origin partition and seq. */
export const entryId = (partition: number, seq: number): string => `${partition}-${seq}`

export function parseEntryId(id: string): { partition: number; seq: number } | undefined {
  const m = /^(\d{1,5})-(\d{1,15})$/.exec(id)
  return m ? { partition: Number(m[1]), seq: Number(m[2]) } : undefined
}
