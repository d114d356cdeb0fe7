// What the verifier of test:chaos takes for possible within one commit that makes newer definitions active, and that it takes nothing else.
import { expect, test } from 'vitest'
import type { EventRecord } from '../../src/core/event.ts'
import type { Op } from '../sim/tape.ts'
import type { CommitFacts } from './chaos-journal.ts'
import { waysOf } from './chaos-ways.ts'

const KEY = 'k'
const [BEFORE, AFTER] = [1000, 2000]

const event = (version: number): Op => ({ kind: 'event', key: KEY, now: BEFORE, version, record: {} as EventRecord, causeId: '' })
const touch = (version: number): Op => ({ kind: 'touch', key: KEY, now: AFTER, version })

function commit({ from, to, filled = to, definedAt }: { from: number; to: number; filled?: number; definedAt?: number }): CommitFacts {
  const nothing = { partition: 0, items: [], forwards: new Map(), handed: new Map(), merges: [] }
  const defined = new Map(definedAt === undefined ? [] : [['id', definedAt]])
  const versions = { before: from, after: to }
  return { ...nothing, before: BEFORE, after: AFTER, versions, filled: new Map([[KEY, filled]]), defined }
}

const textOf = (ways: readonly (readonly Op[])[]): string[] =>
  ways.map((way) => way.map((op) => `${op.kind} ${op.version}${op.kind === 'touch' ? ` at ${op.now}` : ''}`).join(', '))

test('where the definitions stay the same there is one way', () => {
  const ways = waysOf(commit({ from: 3, to: 3 }), { publicId: 'id', version: 3 }, [event(3), event(3)])
  expect(textOf(ways)).toEqual(['event 3, event 3'])
})

test('definitions only become newer, at some place among the events of the commit', () => {
  const ways = waysOf(commit({ from: 3, to: 4 }), { publicId: 'id', version: 3 }, [event(4), event(4)])
  expect(textOf(ways)).toEqual(['event 3, event 3', 'event 3, event 4', 'event 4, event 4'])
})

test('a profile whose row is still filled for the old ones had all its events before', () => {
  const ways = waysOf(commit({ from: 3, to: 4, filled: 3 }), { publicId: 'id', version: 3 }, [event(4)])
  expect(textOf(ways)).toEqual(['event 3'])
})

test('a profile that was behind may have been filled for what was active before, first of all', () => {
  const ways = waysOf(commit({ from: 3, to: 4 }), { publicId: 'id', version: 2 }, [event(4)])
  expect(textOf(ways)).toEqual(['event 3', 'event 4', 'touch 3 at 1000, event 3', 'touch 3 at 1000, event 4'])
})

test('a fill is at the end or at the beginning of the commit, unless what it set off says when', () => {
  const before = { publicId: 'id', version: 3 }
  expect(textOf(waysOf(commit({ from: 4, to: 4 }), before, [touch(4)]))).toEqual(['touch 4 at 2000', 'touch 4 at 1000'])
  expect(textOf(waysOf(commit({ from: 4, to: 4, definedAt: 1500 }), before, [touch(4)]))).toEqual(['touch 4 at 1500'])
})
