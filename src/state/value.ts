// The stored form of a value: version(1) payload crc32(4). Owns the checksum; what a payload means is its row's business.
//
// 1. The checksum covers version and payload and is written low byte first, so that the checksum of the whole is a constant.
// 2. A value that fails the check is never handed out.
import { crc32 } from 'node:zlib'
import { TributaryError } from '../core/errors.ts'

/** Bytes that the stored form adds. */
export const VALUE_FRAME_BYTES = 5
/** Where the payload begins in the stored form. */
export const VALUE_PAYLOAD_AT = 1

const VERSION = 1
const CHECKSUM_BYTES = 4
/** CRC-32 of any bytes followed by their own CRC-32. */
const RESIDUE = 0x2144df1c

/** Completes the stored form in bytes[from, to), whose payload is already in place. */
export function sealValue(bytes: Buffer, from: number, to: number): void {
  bytes[from] = VERSION
  bytes.writeUInt32LE(crc32(bytes.subarray(from, to - CHECKSUM_BYTES)), to - CHECKSUM_BYTES)
}

/** The stored form of a payload. */
export function storedValue(payload: Uint8Array): Buffer {
  const stored = Buffer.allocUnsafeSlow(payload.length + VALUE_FRAME_BYTES)
  stored.set(payload, VALUE_PAYLOAD_AT)
  sealValue(stored, 0, stored.length)
  return stored
}

/** The payload of a stored value: a view. Throws data_corrupt, naming the key, when the check fails. */
export function openValue(key: string, stored: Buffer): Buffer {
  if (stored.length < VALUE_FRAME_BYTES || crc32(stored) !== RESIDUE) {
    throw new TributaryError('data_corrupt', `value of key ${hex(key)} fails its checksum`)
  }
  if (stored[0] !== VERSION) throw new TributaryError('data_corrupt', `value of key ${hex(key)} has unknown version ${stored[0]}`)
  return stored.subarray(VALUE_PAYLOAD_AT, stored.length - CHECKSUM_BYTES)
}

function hex(key: string): string {
  return Buffer.from(key, 'latin1').toString('hex')
}
