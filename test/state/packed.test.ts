// Batches on their way to a store: packed as their rows come, they are what packing the whole gives.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { toBinary } from '../../src/core/bytes.ts'
import { PackedBatch, packBatch, visitBatch } from '../../src/state/packed.ts'

const bytes = fc.uint8Array({ maxLength: 200 }).map((b) => Buffer.from(b))
const key = fc.uint8Array({ minLength: 1, maxLength: 100 }).map((b) => toBinary(Buffer.from(b)))
const rows = fc.array(fc.tuple(key, fc.option(bytes, { nil: undefined })), { maxLength: 40 })

/** As its receiver completes it. */
function sealed(packed: Buffer): Buffer {
  visitBatch(packed, { put: () => undefined, delete: () => undefined, deleteRange: () => undefined })
  return packed
}

function packedOf(puts: readonly (readonly [string, Buffer | undefined])[]): PackedBatch {
  const batch = new PackedBatch(16)
  // Values lie somewhere in a larger buffer.
  for (const [k, value] of puts) {
    const around = value && Buffer.concat([Buffer.from('xyz'), value, Buffer.from('z')])
    batch.put(k, around && { bytes: around, from: 3, to: around.length - 1 })
  }
  return batch
}

test('a batch packed row by row reads as the rows that were put, and is the bytes of the batch packed whole', () => {
  fc.assert(
    fc.property(rows, (puts) => {
      const batch = packedOf(puts)
      expect(batch.count).toBe(puts.length)
      expect(batch.puts).toEqual(puts)
      expect(sealed(packBatch(batch))).toEqual(sealed(packBatch({ puts })))
    }),
  )
})

test('a batch that was taken is empty, and what was taken is its taker’s', () => {
  const batch = packedOf([['a', Buffer.from('1')]])
  const taken = packBatch(batch)
  expect([batch.count, batch.puts]).toEqual([0, []])
  batch.put('b', undefined)
  expect(taken.readUInt32LE(4)).toBe(1)
  expect(taken.buffer.byteLength).toBe(taken.length)
})
