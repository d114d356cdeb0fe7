import fc from 'fast-check'
import { expect, test } from 'vitest'
import { isoText } from '../../src/core/iso-text.ts'

test('the text of an instant is that of Date, whatever came before it', () => {
  const near = fc.integer({ min: 0, max: 4e12 })
  const any = fc.integer({ min: -8.64e15, max: 8.64e15 })
  const parts = fc.double({ min: -1e12, max: 1e12, noNaN: true })
  fc.assert(
    fc.property(fc.array(fc.oneof(near, any, parts)), (instants) => {
      for (const ms of instants) expect(isoText(ms)).toBe(new Date(ms).toISOString())
    }),
    { numRuns: 500 },
  )
})

test('what is no instant throws as it does there', () => {
  for (const ms of [Number.NaN, Number.POSITIVE_INFINITY, 8.64e15 + 86_400_000]) expect(() => isoText(ms)).toThrow(RangeError)
})
