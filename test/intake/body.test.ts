import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { inflate, parseBody } from '../../src/intake/body.ts'
import { MAX_BODY_BYTES } from '../../src/intake/limits.ts'

const MESSAGE = { type: 'track', event: 'Grüße + 1', userId: 'u1' }
const TEXT = JSON.stringify(MESSAGE)
const code = (c: string) => expect.objectContaining({ code: c })

const read = async (raw: Buffer | string, encoding?: string) => parseBody(await inflate(Buffer.from(raw), encoding))

describe('what a body may look like', () => {
  test.each([
    ['plain', TEXT],
    ['with a byte order mark', `\uFEFF${TEXT}`],
    ['with space around it', ` \r\n${TEXT}\n`],
    ['a form with data', `data=${encodeURIComponent(TEXT)}`],
    ['a form with base64', `data=${encodeURIComponent(Buffer.from(TEXT).toString('base64'))}&compression=base64`],
    ['a form with unescaped base64', `data=${Buffer.from(`${TEXT}      `).toString('base64')}`],
    ['a form with fields', new URLSearchParams(MESSAGE).toString()],
    ['base64', Buffer.from(TEXT).toString('base64')],
    ['URL-encoded', encodeURIComponent(TEXT)],
  ])('%s', async (_, body) => {
    expect(await read(body)).toEqual(MESSAGE)
  })

  test('a form whose fields hold JSON', async () => {
    expect(await read(`userId=u1&properties=${encodeURIComponent('{"a":1}')}`)).toEqual({ userId: 'u1', properties: { a: 1 } })
  })

  test.each(['', '   ', 'hello', '{"a":', '\u0000\u0001', 'data=', 'data=%7Bnot', '"text"', '12', '%7Bbad%'])(
    '%j is unreadable',
    async (body) => {
      await expect(read(body)).rejects.toThrow(code('unreadable'))
    },
  )
})

describe('compression', () => {
  test.each([
    ['gzip, declared', gzipSync(TEXT), 'gzip'],
    ['gzip, not declared', gzipSync(TEXT), undefined],
    ['gzip, declared as something else', gzipSync(TEXT), 'deflate'],
    ['deflate', deflateSync(TEXT), 'deflate'],
    ['brotli', brotliCompressSync(TEXT), ' BR '],
    ['none, though declared', Buffer.from(TEXT), 'gzip'],
    ['an unknown one that is none', Buffer.from(TEXT), 'zstd'],
  ])('%s', async (_, raw, encoding) => {
    expect(await read(raw, encoding)).toEqual(MESSAGE)
  })

  test('large bodies inflate too', async () => {
    const pad = Array.from({ length: 60_000 }, (_, i) => (i * 7919) % 10007).join(',')
    const body = gzipSync(JSON.stringify({ ...MESSAGE, pad }))
    expect(body.length).toBeGreaterThan(16 * 1024)
    expect(await read(body)).toEqual({ ...MESSAGE, pad })
  })

  test.each([
    ['small', Buffer.concat([gzipSync(TEXT).subarray(0, 30)])],
    ['large', Buffer.concat([gzipSync(TEXT).subarray(0, 12), Buffer.alloc(20_000, 7)])],
  ])('a damaged %s one is unreadable', async (_, raw) => {
    await expect(read(raw, 'gzip')).rejects.toThrow(code('unreadable'))
  })

  test('inflating stops at the limit', async () => {
    const bomb = gzipSync(Buffer.alloc(200 * 1024 * 1024, 32))
    expect(bomb.length).toBeLessThan(MAX_BODY_BYTES)
    const before = process.memoryUsage().rss
    await expect(read(bomb)).rejects.toThrow(code('too_large'))
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1024 * 1024)
    // One that is small enough to be inflated in place.
    const small = gzipSync(Buffer.alloc(8 * 1024 * 1024, 32))
    expect(small.length).toBeLessThan(16 * 1024)
    await expect(read(small)).rejects.toThrow(code('too_large'))
  })

  test('exactly 4 MiB passes, one byte more does not', async () => {
    const fill = (size: number) => `{"a":"${'x'.repeat(size - 8)}"}`
    expect(await read(gzipSync(fill(MAX_BODY_BYTES)))).toHaveProperty('a')
    await expect(read(gzipSync(fill(MAX_BODY_BYTES + 1)))).rejects.toThrow(code('too_large'))
    await expect(read(fill(MAX_BODY_BYTES + 1))).rejects.toThrow(code('too_large'))
  })
})
