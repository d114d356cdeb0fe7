// What is waited for is known to have moved, and nothing else is.
import { expect, test } from 'vitest'
import { Watches } from '../../src/engine/watches.ts'
import type { IdentityMessage } from '../../src/identity/messages.ts'

const caused = (partition: number, position: number): IdentityMessage => ({
  kind: 'linked',
  to: 'key',
  x: 'identifier',
  v: 1,
  cause: { partition, position, stamp: 0, messageId: 'm' },
})

test('a count stays as it is until a commit takes in a message that was caused before the ends', () => {
  const watches = new Watches()
  const ends = [
    [1, 100],
    [2, 50],
  ] as const
  const first = watches.count('a', ends, 0)
  watches.committed([caused(1, 100), caused(2, 51), caused(3, 1)])
  expect(watches.count('a', ends, 1)).toBe(first)
  watches.committed([caused(3, 1), caused(2, 49)])
  const second = watches.count('a', ends, 2)
  expect(second).toBeGreaterThan(first)
  expect(watches.count('a', ends, 3)).toBe(second)
})

test('a hand-over counts for everything that it brings along', () => {
  const watches = new Watches()
  const before = watches.count('a', [[1, 100]], 0)
  const message = caused(2, 7)
  const { cause } = caused(1, 99)
  const root = { publicId: undefined, ids: [], refused: [], links: [], waiting: [{ event: {} as never, cause }] }
  watches.committed([{ ...message, kind: 'handover', from: 'key', x: 'x', own: true, root, state: Buffer.alloc(0) } as IdentityMessage])
  expect(watches.count('a', [[1, 100]], 1)).toBeGreaterThan(before)
})

test('a watch that was forgotten begins with a count that it never had', () => {
  const watches = new Watches()
  const ends = [[1, 100]] as const
  const before = watches.count('a', ends, 0)
  watches.count('b', ends, 1500)
  watches.committed([caused(1, 5)])
  expect(watches.count('a', ends, 1600)).toBeGreaterThan(before)
})
