// Kafka's default choice of a partition for a key, as the Java client makes it: murmur2 over the key's bytes. Pure.

const SEED = 0x9747b28c
const M = 0x5bd1e995
const R = 24

/** As a signed 32-bit number, like Java's. */
export function murmur2(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  let h = SEED ^ bytes.length
  let at = 0
  for (; at + 4 <= bytes.length; at += 4) {
    let k = Math.imul(view.getInt32(at, true), M)
    k ^= k >>> R
    h = Math.imul(h, M) ^ Math.imul(k, M)
  }
  const left = bytes.length - at
  if (left >= 3) h ^= view.getUint8(at + 2) << 16
  if (left >= 2) h ^= view.getUint8(at + 1) << 8
  if (left >= 1) h = Math.imul(h ^ view.getUint8(at), M)
  h = Math.imul(h ^ (h >>> 13), M)
  return h ^ (h >>> 15)
}

export function partitionOfKey(key: string, partitions: number): number {
  return (murmur2(Buffer.from(key)) & 0x7fffffff) % partitions
}
