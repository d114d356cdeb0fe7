// How one record lies in a segment file. Owns the bytes of a frame; knows nothing of files.
//
//   magic u32 · crc u32 · size u32 · partition u32 · position f64 · ordinal f64 · synced f64 · payload      (little-endian)
//
// 1. `crc` covers everything behind it and starts from the segment's salt, so neither an older file's bytes nor a payload
//    that looks like a frame passes for one.
// 2. `synced` is the ordinal below which all records were known durable when this one was written. It is set when the frame
//    goes to the disk, not when it is appended: every round of writes vouches for the whole round before it.
import { crc32 } from 'node:zlib'

export const FRAME_BYTES = 40
export const MAX_PAYLOAD_BYTES = 256 << 20

const MAGIC = 0xb7f15ca3
/** The magic as it lies in a file, to search for. */
export const MAGIC_BYTES = Buffer.from([MAGIC & 255, (MAGIC >>> 8) & 255, (MAGIC >>> 16) & 255, MAGIC >>> 24])

const CRC_AT = 4
const SIZE_AT = 8
const PARTITION_AT = 12
const POSITION_AT = 16
const ORDINAL_AT = 24
const SYNCED_AT = 32

/** Results of `frameEnd` that are no offsets. */
export const FRAME_SHORT = -1
export const FRAME_BAD = -2

export interface FrameFields {
  readonly partition: number
  readonly position: number
  readonly ordinal: number
}

/** Writes a frame without its seal at `at`; there must be room. */
export function writeFrame(buffer: Buffer, at: number, fields: FrameFields, payload: Uint8Array): void {
  buffer.writeUInt32LE(MAGIC, at)
  buffer.writeUInt32LE(payload.length, at + SIZE_AT)
  buffer.writeUInt32LE(fields.partition, at + PARTITION_AT)
  buffer.writeDoubleLE(fields.position, at + POSITION_AT)
  buffer.writeDoubleLE(fields.ordinal, at + ORDINAL_AT)
  buffer.set(payload, at + FRAME_BYTES)
}

/** Completes the frame in [at, end): its `synced` mark (2) and its checksum (1). */
export function sealFrame(buffer: Buffer, range: { at: number; end: number }, synced: number, salt: number): void {
  buffer.writeDoubleLE(synced, range.at + SYNCED_AT)
  buffer.writeUInt32LE(crc32(buffer.subarray(range.at + SIZE_AT, range.end), salt), range.at + CRC_AT)
}

/** Where the frame at `at` ends by its own size; FRAME_SHORT when its head lies beyond `limit`, FRAME_BAD when it is none. The end may lie beyond `limit`. */
export function frameEnd(buffer: Buffer, at: number, limit: number): number {
  if (at + FRAME_BYTES > limit) return FRAME_SHORT
  if (buffer.readUInt32LE(at) !== MAGIC) return FRAME_BAD
  const size = buffer.readUInt32LE(at + SIZE_AT)
  return size > MAX_PAYLOAD_BYTES ? FRAME_BAD : at + FRAME_BYTES + size
}

/** True when the checksum of the frame in [at, end) holds. */
export function isSealed(buffer: Buffer, at: number, end: number, salt: number): boolean {
  return crc32(buffer.subarray(at + SIZE_AT, end), salt) === buffer.readUInt32LE(at + CRC_AT)
}

export function framePartition(buffer: Buffer, at: number): number {
  return buffer.readUInt32LE(at + PARTITION_AT)
}

export function framePosition(buffer: Buffer, at: number): number {
  return buffer.readDoubleLE(at + POSITION_AT)
}

export function frameOrdinal(buffer: Buffer, at: number): number {
  return buffer.readDoubleLE(at + ORDINAL_AT)
}

export function frameSynced(buffer: Buffer, at: number): number {
  return buffer.readDoubleLE(at + SYNCED_AT)
}
