// Compressions that the client lacks, on bytes that kafka-clients 4.3.1 (snappy-java, lz4-java, zstd-jni) and the tool lz4 1.9.4 made.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import kafkajs from 'kafkajs'
import { expect, test } from 'vitest'
import { addCodecs, unlz4, unsnappy } from '../../src/log/kafka-codecs.ts'

interface Packed {
  readonly what: string
  readonly codec: 'Snappy' | 'LZ4' | 'ZSTD'
  readonly text: 'lines' | 'repeats'
  readonly packed: string
}

const FIXTURES = JSON.parse(readFileSync(join(import.meta.dirname, '../fixtures/kafka-codecs.json'), 'utf8')) as Packed[]
const TEXTS = {
  lines: Array.from({ length: 60 }, (_, n) => `${JSON.stringify({ n, user: `u${(n * 7919) % 1000}` })}\n`).join(''),
  repeats: Array.from({ length: 40_000 }, (_, i) => 'abcdefgh'.slice(0, i % 4096 === 0 ? 8 : 4)).join(''),
}

/** As the client finds them when it meets a batch that is packed so. */
function decompress(codec: Packed['codec'], bytes: Buffer): Promise<Buffer> {
  addCodecs()
  const codecs = kafkajs.CompressionCodecs as unknown as Record<number, () => { decompress(bytes: Buffer): Promise<Buffer> }>
  const made = codecs[kafkajs.CompressionTypes[codec]]
  if (!made) throw new Error(`there is no codec ${codec}`)
  return made().decompress(bytes)
}

test.each(FIXTURES)('$what becomes what it was', async ({ codec, text, packed }) => {
  expect((await decompress(codec, Buffer.from(packed, 'base64'))).toString()).toBe(TEXTS[text])
})

test.each(FIXTURES)('$what that was cut off ends in an error', async ({ codec, packed }) => {
  const bytes = Buffer.from(packed, 'base64')
  // The last bytes may be a checksum, at which nobody looks.
  for (let length = 0; length < bytes.length - 8; length += 7) await expect(decompress(codec, bytes.subarray(0, length))).rejects.toThrow()
})

test('bytes that are damaged anywhere end in an error or in something, and never go on for ever', () => {
  const inPlace = FIXTURES.filter((f) => f.codec !== 'ZSTD').map((f) => [f.codec, Buffer.from(f.packed, 'base64')] as const)
  const damage = fc.array(fc.tuple(fc.nat(1000), fc.nat(255)), { minLength: 1, maxLength: 4 })
  let refused = 0
  fc.assert(
    fc.property(fc.constantFrom(...inPlace), damage, ([codec, bytes], flips) => {
      const damaged = Buffer.from(bytes)
      for (const [at, value] of flips) damaged[at % damaged.length] = value
      try {
        expect((codec === 'LZ4' ? unlz4 : unsnappy)(damaged).length).toBeLessThan(128 << 20)
      } catch (error) {
        refused++
        expect((error as Error).message).toContain('damaged')
      }
    }),
    { numRuns: 500 },
  )
  expect(refused).toBeGreaterThan(50)
})
