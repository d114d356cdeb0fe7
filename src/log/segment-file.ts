// A segment file: its name, its header, how it comes into being. Owns the header's bytes; records are frame.ts's.
//
//   "TRBLOG01" · crc u32 · partitions u32 · base f64 · createdAt f64 · salt u32 · 0 u32 · starts f64 × partitions · frames
//
// 1. A segment is named by its base, the ordinal of its first record; `starts` has every partition's next position there.
//    So the segments before the last need no scan on opening: each one's end is the next one's start.
// 2. A segment appears under its name with a durable header, and only after all earlier segments are durable.
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { invariant } from '../core/assert.ts'
import { TributaryError } from '../core/errors.ts'
import { type LogFile, type LogFiles, readFully, writeAll } from './files.ts'

export interface SegmentHeader {
  /** Ordinal of the first record. */
  readonly base: number
  /** When the segment was begun, ms: its predecessor has no younger record. */
  readonly createdAt: number
  /** Start value of the checksums. */
  readonly salt: number
  /** Next position of each partition where the segment begins. */
  readonly starts: Float64Array
}

export const TEMPORARY = '.tmp'
const MAGIC = Buffer.from('TRBLOG01', 'latin1')
const FIXED_BYTES = 40
const CRC_AT = 8
const NAME = /^(\d{20})\.log$/

export function headerBytes(partitions: number): number {
  return FIXED_BYTES + 8 * partitions
}

const baseName = (base: number): string => base.toString().padStart(20, '0')

export function segmentPath(directory: string, base: number): string {
  return join(directory, `${baseName(base)}.log`)
}

export function indexPath(directory: string, base: number): string {
  return join(directory, `${baseName(base)}.index`)
}

/** Bases of the segments among a directory's names, ascending. */
export function basesIn(names: readonly string[]): number[] {
  return names.flatMap((name) => NAME.exec(name)?.[1] ?? []).map(Number)
}

export function newHeader(base: number, createdAt: number, starts: Float64Array): SegmentHeader {
  return { base, createdAt, salt: randomBytes(4).readUInt32LE(0), starts: starts.slice() }
}

function encodeHeader(header: SegmentHeader): Buffer {
  const partitions = header.starts.length
  const b = Buffer.alloc(headerBytes(partitions))
  MAGIC.copy(b)
  b.writeUInt32LE(partitions, 12)
  b.writeDoubleLE(header.base, 16)
  b.writeDoubleLE(header.createdAt, 24)
  b.writeUInt32LE(header.salt, 32)
  for (let p = 0; p < partitions; p++) b.writeDoubleLE(header.starts[p] ?? 0, FIXED_BYTES + 8 * p)
  b.writeUInt32LE(crc32(b.subarray(CRC_AT + 4)), CRC_AT)
  return b
}

/** Reads and checks the header of the segment named `base`. */
export async function readHeader(file: LogFile, base: number, partitions: number): Promise<SegmentHeader> {
  const b = Buffer.alloc(headerBytes(partitions))
  const length = await readFully(file, b, 0, { position: 0, length: b.length })
  const damaged = (why: string): TributaryError => new TributaryError('data_corrupt', `segment ${baseName(base)}.log: ${why}`)
  if (length < FIXED_BYTES || !b.subarray(0, MAGIC.length).equals(MAGIC)) throw damaged('it does not begin with a header')
  const written = b.readUInt32LE(12)
  if (written !== partitions) {
    if (!(await isHeaderOf(file, written))) throw damaged('its header is damaged')
    throw new TributaryError(
      'fingerprint_mismatch',
      `segment ${baseName(base)}.log was written for ${written} partitions, not ${partitions}`,
    )
  }
  if (length < b.length || b.readUInt32LE(CRC_AT) !== crc32(b.subarray(CRC_AT + 4))) throw damaged('its header is damaged')
  if (b.readDoubleLE(16) !== base) throw damaged('its header names another base')
  const starts = new Float64Array(partitions)
  for (let p = 0; p < partitions; p++) starts[p] = b.readDoubleLE(FIXED_BYTES + 8 * p)
  return { base, createdAt: b.readDoubleLE(24), salt: b.readUInt32LE(32), starts }
}

/** True when the file begins with a whole header for so many partitions. */
async function isHeaderOf(file: LogFile, partitions: number): Promise<boolean> {
  if (headerBytes(partitions) > (await file.size())) return false
  const b = Buffer.alloc(headerBytes(partitions))
  const length = await readFully(file, b, 0, { position: 0, length: b.length })
  return length === b.length && b.readUInt32LE(CRC_AT) === crc32(b.subarray(CRC_AT + 4))
}

export interface WriteOptions {
  readonly files: LogFiles
  /** False when files need not survive the machine. */
  readonly durable: boolean
}

/** Begins a segment (2); the returned file is open for writing, its header written. */
export async function createSegment(directory: string, header: SegmentHeader, options: WriteOptions): Promise<LogFile> {
  const { files, durable } = options
  const path = segmentPath(directory, header.base)
  const b = encodeHeader(header)
  invariant(b.length === headerBytes(header.starts.length), 'a header has the size that its partitions give')
  const file = await files.open(path + TEMPORARY, 'create')
  try {
    await writeAll(file, b, b.length, 0)
    if (durable) await file.sync()
    await files.rename(path + TEMPORARY, path)
    if (durable) await files.syncDirectory(directory)
  } catch (error) {
    await file.close()
    throw error
  }
  return file
}
