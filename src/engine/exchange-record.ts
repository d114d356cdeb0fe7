// Records of the exchange topic: what processes say to the owner of a partition. Owns their encoding and how they are packed.
//
//   record   version u8 · entry*                    addressed to the owner of the partition in which it lies
//   message  1 · origin · seq · part · parts · bytes
//   confirm  2 · target · seq                       everything up to seq is durable there
//   again    3 · target                             say again what target has not confirmed
//
// 1. No record is larger than RECORD_BYTES; a message that is takes several parts, in order, each an entry.
import { Reader, Writer } from '../core/bytes.ts'
import { TributaryError } from '../core/errors.ts'
import { RECORD_BYTES } from '../log/claimed.ts'

export type ExchangeEntry =
  | {
      readonly t: 'message'
      readonly origin: number
      readonly seq: number
      readonly part: number
      readonly parts: number
      readonly bytes: Buffer
    }
  | { readonly t: 'confirm'; readonly target: number; readonly seq: number }
  | { readonly t: 'again'; readonly target: number }

const VERSION = 1
const [MESSAGE, CONFIRM, AGAIN] = [1, 2, 3]
/** Kind, four numbers and a length. */
const HEAD_BYTES = 1 + 5 * 8
const PART_BYTES = RECORD_BYTES - HEAD_BYTES - 1

/** Packs entries into records, in order. */
export class ExchangePack {
  #w = new Writer(1024)
  #records: Buffer[] = []

  message(origin: number, seq: number, bytes: Uint8Array): void {
    const parts = Math.max(1, Math.ceil(bytes.length / PART_BYTES))
    for (let part = 0; part < parts; part++) {
      const own = bytes.subarray(part * PART_BYTES, (part + 1) * PART_BYTES)
      this.#entry(own.length).u8(MESSAGE).varint(origin).varint(seq).varint(part).varint(parts).bytes(own)
    }
  }

  confirm(target: number, seq: number): void {
    this.#entry(0).u8(CONFIRM).varint(target).varint(seq)
  }

  again(target: number): void {
    this.#entry(0).u8(AGAIN).varint(target)
  }

  take(): Buffer[] {
    this.#close()
    const records = this.#records
    this.#records = []
    return records
  }

  #entry(bytes: number): Writer {
    if (this.#w.length + bytes + HEAD_BYTES > RECORD_BYTES) this.#close()
    return this.#w.length === 0 ? this.#w.u8(VERSION) : this.#w
  }

  #close(): void {
    if (this.#w.length === 0) return
    this.#records.push(this.#w.take())
    this.#w.reset()
  }
}

export function decodeExchange(payload: Buffer): ExchangeEntry[] {
  const r = new Reader(payload)
  const version = r.u8()
  if (version !== VERSION) throw new TributaryError('data_corrupt', `exchange record of unknown version ${version}`)
  const entries: ExchangeEntry[] = []
  while (!r.done) {
    const kind = r.u8()
    if (kind === MESSAGE)
      entries.push({ t: 'message', origin: r.varint(), seq: r.varint(), part: r.varint(), parts: r.varint(), bytes: r.bytes() })
    else if (kind === CONFIRM) entries.push({ t: 'confirm', target: r.varint(), seq: r.varint() })
    else if (kind === AGAIN) entries.push({ t: 'again', target: r.varint() })
    else throw new TributaryError('data_corrupt', `exchange entry of unknown kind ${kind}`)
  }
  return entries
}
