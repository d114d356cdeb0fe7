// The sticky assigner: its laws over random histories of groups, and the cases that it is there for.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { assignSticky, decodeClaims, encodeClaims, type Member } from '../../src/log/kafka-assigner.ts'

const member = (id: string, owned: readonly number[], holder = id): Member => ({ id, holder, owned })
const shares = (result: ReadonlyMap<string, readonly number[]>): Record<string, readonly number[]> => Object.fromEntries(result)

test('the first member gets everything, the second half of it, and the rest stays', () => {
  expect(shares(assignSticky([member('a', [])], 4))).toEqual({ a: [0, 1, 2, 3] })
  expect(shares(assignSticky([member('a', [0, 1, 2, 3]), member('b', [])], 4))).toEqual({ a: [0, 1], b: [2, 3] })
})

test('what two claim stays with the one that claims under the name it has', () => {
  const result = assignSticky([member('a', [0, 1], 'a-before'), member('b', [0, 1])], 4)
  expect(shares(result)).toEqual({ a: [2, 3], b: [0, 1] })
})

test('claims of another version are none', () => {
  for (const text of ['', 'x', '[]', '{"owned":"all"}', '{"holder":3,"owned":[1.5,"2",null]}'])
    expect(decodeClaims(Buffer.from(text))).toEqual({ holder: '', owned: [] })
  expect(decodeClaims(encodeClaims('a', [3, 1]))).toEqual({ holder: 'a', owned: [3, 1] })
})

const groups = fc.record({
  partitions: fc.integer({ min: 1, max: 40 }),
  members: fc.uniqueArray(
    fc.record({
      id: fc.string({ minLength: 1, maxLength: 3 }),
      owned: fc.array(fc.integer({ min: -1, max: 45 })),
      isNamesake: fc.boolean(),
    }),
    { selector: (m) => m.id, minLength: 1, maxLength: 9 },
  ),
})

test('every partition has one owner, shares differ by one at most, and order makes no difference', () => {
  fc.assert(
    fc.property(groups, ({ partitions, members }) => {
      const given = members.map((m) => member(m.id, m.owned, m.isNamesake ? m.id : 'other'))
      const result = assignSticky(given, partitions)
      const all = [...result.values()].flat().sort((a, b) => a - b)
      expect(all).toEqual(Array.from({ length: partitions }, (_, p) => p))
      const sizes = [...result.values()].map((own) => own.length)
      expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1)
      expect(shares(assignSticky(given.toReversed(), partitions))).toEqual(shares(result))
    }),
  )
})

test('a join or a leave moves no more partitions than it must', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 64 }), fc.array(fc.boolean(), { maxLength: 12 }), (partitions, joins) => {
      let group = new Map([['m0', assignSticky([member('m0', [])], partitions).get('m0') ?? []]])
      for (const [i, isJoin] of joins.entries()) {
        const before = new Map(group)
        const ids = isJoin || group.size === 1 ? [...group.keys(), `m${i + 1}`] : [...group.keys()].slice(1)
        group = assignSticky(
          ids.map((id) => member(id, group.get(id) ?? [])),
          partitions,
        )
        const stayed = ids.reduce((n, id) => n + (before.get(id) ?? []).filter((p) => group.get(id)?.includes(p)).length, 0)
        const had = ids.reduce((n, id) => n + (before.get(id)?.length ?? 0), 0)
        const share = Math.floor(partitions / ids.length)
        // Whoever joins needs a share; whoever leaves leaves theirs: nothing else moves.
        expect(had - stayed).toBeLessThanOrEqual(ids.length > before.size ? share + 1 : 0)
      }
    }),
  )
})
