// Blocks of outputs for tests, made as tasks make them.
import { encodeBlock, JsonBlock, TransitionBlock } from '../../src/engine/outbox.ts'

export const SEGMENTS = ['vips', 'lapsing', 'buyers']
export const NAMES = { idOf: (n: number) => SEGMENTS[n] ?? `segment ${n}`, numberOf: (id: string) => Math.max(0, SEGMENTS.indexOf(id)) }

export interface MadeBlock {
  readonly firstSeq: number
  readonly lastSeq: number
  readonly payload: Buffer
}

/** The public ids of a few profiles that have their home in a partition. */
export const profileOf = (partition: number, n: number): string =>
  String.fromCharCode(0, 0, 1, 2, 3, 4, partition, n, 9, 9, 9, 9, 9, 9, 9, n)

export function transitionsBlock(partition: number, firstSeq: number, count: number, decidedAt = 1_000_000): MadeBlock {
  const block = new TransitionBlock()
  for (let seq = firstSeq; seq < firstSeq + count; seq++) {
    const publicId = profileOf(partition, seq % 7)
    const shared = { publicId, userId: seq % 2 === 0 ? `u${seq}` : '', cause: 'event' as const, causeId: `m${seq}`, decidedAt }
    block.add(shared, seq % SEGMENTS.length, 1, { seq, in: seq % 2 === 1, at: decidedAt - (seq % 3) })
  }
  return { firstSeq, lastSeq: firstSeq + count - 1, payload: encodeBlock({ firstSeq, count, entries: block.take() }) }
}

export function jsonBlock(firstSeq: number, entries: readonly unknown[]): MadeBlock {
  const block = new JsonBlock()
  for (const entry of entries) block.add(entry)
  const count = entries.length
  return { firstSeq, lastSeq: firstSeq + count - 1, payload: encodeBlock({ firstSeq, count, entries: block.take() }) }
}
