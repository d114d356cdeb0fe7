// The ids that a cluster has given to topics: a topic that is deleted and made again has another one. Owns one request that the client
// library doesn't know (Metadata, version 10, with compact lengths and tagged fields); brokers have answered it since Kafka 2.8.
import { InvariantError, must } from '../core/assert.ts'

export const METADATA_KEY = 3
export const METADATA_VERSION = 10
const NO_ID = '0'.repeat(32)

/** What follows the request's header, whose last part (tagged fields: none) the library doesn't write. */
export function encodeTopicsRequest(topics: readonly string[]): Buffer {
  const parts: Buffer[] = [Buffer.from([0]), unsigned(topics.length + 1)]
  for (const topic of topics) {
    const name = Buffer.from(topic)
    parts.push(Buffer.alloc(16), unsigned(name.length + 1), name, Buffer.from([0]))
  }
  // No topic is made by asking; nothing about rights; no tagged fields.
  parts.push(Buffer.from([0, 0, 0, 0]))
  return Buffer.concat(parts)
}

/** Ids as hexadecimal texts, of the topics that are there. */
export function decodeTopicsAnswer(answer: Buffer): Map<string, string> {
  const r = new CompactReader(answer)
  r.tags()
  r.skip(4)
  r.list(() => {
    r.skip(4)
    r.text()
    r.skip(4)
    r.text()
    r.tags()
  })
  r.text()
  r.skip(4)
  const ids = new Map<string, string>()
  r.list(() => {
    r.skip(2)
    const topic = r.text()
    const id = r.hex(16)
    r.skip(1)
    r.list(() => {
      r.skip(2 + 4 + 4 + 4)
      for (let lists = 0; lists < 3; lists++) r.list(() => r.skip(4))
      r.tags()
    })
    r.skip(4)
    r.tags()
    if (id !== NO_ID) ids.set(topic, id)
  })
  return ids
}

function unsigned(x: number): Buffer {
  const bytes: number[] = []
  for (let rest = x; ; rest >>>= 7) {
    if (rest < 0x80) return Buffer.from([...bytes, rest])
    bytes.push((rest & 0x7f) | 0x80)
  }
}

class CompactReader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  skip(bytes: number): void {
    this.#at += bytes
    if (this.#at > this.#bytes.length) throw new InvariantError('an answer ends where its parts end')
  }

  hex(bytes: number): string {
    this.skip(bytes)
    return this.#bytes.toString('hex', this.#at - bytes, this.#at)
  }

  #unsigned(): number {
    let x = 0
    for (let shift = 0; ; shift += 7) {
      const byte = must(this.#bytes[this.#at++], 'an answer ends where its parts end')
      x += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return x
    }
  }

  /** Empty where there is none. */
  text(): string {
    const length = Math.max(0, this.#unsigned() - 1)
    this.skip(length)
    return this.#bytes.toString('utf8', this.#at - length, this.#at)
  }

  list(readOne: () => void): void {
    for (let left = this.#unsigned() - 1; left > 0; left--) readOne()
  }

  tags(): void {
    for (let left = this.#unsigned(); left > 0; left--) {
      this.#unsigned()
      this.skip(this.#unsigned())
    }
  }
}
