// The segments benchmark, tiny: so that it can't rot, and so that the index can't be lost unnoticed.
import { expect, test } from 'vitest'
import { segmentCost } from '../../bench/segments.ts'

const SMALL = { n: 3000, users: 300 }

test('segments that never match change neither the result nor what is kept', () => {
  const few = segmentCost({ ...SMALL, segments: 50, others: 0 })
  const many = segmentCost({ ...SMALL, segments: 50, others: 2000 })
  expect(few.transitionsPerEvent).toBeGreaterThan(0)
  expect(many.transitionsPerEvent).toBe(few.transitionsPerEvent)
  // Not the same: numbers take more bytes.
  expect(many.rowBytes as number).toBeLessThan((few.rowBytes as number) * 1.3)
})
