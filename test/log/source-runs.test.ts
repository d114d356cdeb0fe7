// What a member of a group can vouch for: since when it has read on.
import { expect, test } from 'vitest'
import { Runs } from '../../src/log/source-runs.ts'

const PLACE = 'orders/0'
const at = (asked: number, rest: { first?: number; leader?: number; topicId?: string } = {}) => ({
  ...{ topicId: 'a', leader: 1, asked, first: asked },
  ...rest,
})

/** A member that has begun at 100 and done what is before 200. */
function begun(): Runs {
  const runs = new Runs()
  runs.joined()
  const run = runs.of(PLACE, at(100, { first: 103 }))
  expect(run.origin).toEqual({ topicId: 'a', leader: 1, from: 103 })
  run.next = 200
  return runs
}

test('in one session a run goes on, over what is not there any more too', () => {
  const runs = begun()
  expect(runs.isBack(PLACE, 200)).toBe(false)
  expect(runs.of(PLACE, at(200)).origin.from).toBe(103)
  expect(runs.of(PLACE, at(300)).origin.from).toBe(103)
})

test('in a later session a run goes on only where reading begins within it', () => {
  for (const [asked, from] of [
    [200, 103],
    [150, 103],
    [103, 103],
    [102, 102],
    // Somebody else has read on, or positions were moved.
    [201, 201],
  ] as const) {
    const runs = begun()
    runs.joined()
    expect(runs.isBack(PLACE, asked)).toBe(false)
    expect(runs.of(PLACE, at(asked)).origin.from).toBe(from)
  }
})

test('another leader, another topic of the same name, and a partition that goes back begin another run', () => {
  expect(begun().of(PLACE, at(200, { leader: 2 })).origin).toEqual({ topicId: 'a', leader: 2, from: 200 })
  expect(begun().of(PLACE, at(200, { topicId: 'b' })).origin).toEqual({ topicId: 'b', leader: 1, from: 200 })
  const runs = begun()
  expect(runs.isBack(PLACE, 50)).toBe(true)
  expect(runs.of(PLACE, at(50)).origin.from).toBe(50)
  expect(runs.of('orders/1', at(7)).origin.from).toBe(7)
})
