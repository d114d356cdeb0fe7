import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parsePublicId, publicIdText } from '../../src/engine/public-id.ts'

const ids = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes).toString('latin1'))

test('a text is the number in base 32, reads back, and sorts as the id does', () => {
  fc.assert(
    fc.property(ids, ids, (a, b) => {
      const text = publicIdText(a)
      expect(text).toMatch(/^[0-7][0-9a-hjkmnp-tv-z]{25}$/)
      expect(parsePublicId(text)).toBe(a)
      expect(parsePublicId(text.toUpperCase())).toBe(a)
      expect(publicIdText(a) < publicIdText(b)).toBe(a < b)
    }),
  )
  expect(publicIdText('\xff'.repeat(16))).toBe('7zzzzzzzzzzzzzzzzzzzzzzzzz')
  expect(publicIdText(`${'\0'.repeat(15)}\x21`)).toBe('00000000000000000000000011')
})
