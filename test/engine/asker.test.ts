// What "finished" takes in a cluster of two, each of which owns half of four partitions, by scripted answers.
import { describe, expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import { TributaryError } from '../../src/core/errors.ts'
import { type AskedLinks, Asker } from '../../src/engine/asker.ts'
import { ToldDirectory } from '../../src/engine/directory.ts'
import type { Answer, Owned, Question } from '../../src/engine/questions.ts'
import { turns } from './disk.ts'
import { LeapingClock } from './leaping-clock.ts'

const TIMEOUT_MS = 1000
const MINE: Owned = [
  [0, 1],
  [1, 1],
]
const THEIRS: Owned = [
  [2, 5],
  [3, 5],
]
const clean = (of: Owned, moved = 1): Answer => ({ kind: 'clean', clean: true, moved, of, hosts: of.length > 0 ? 1 : 0 })
const dirty = (of: Owned): Answer => ({ kind: 'clean', clean: false, moved: 0, of, hosts: of.length > 0 ? 1 : 0 })
const settled = (of: Owned): Answer => ({ kind: 'settled', of })

class World {
  readonly clock = new LeapingClock(0)
  readonly asker: Asker
  /** Questions to the other process, by kind. */
  readonly asked: string[] = []

  /** Each list is worked off from its beginning; its last answer is given again and again. */
  constructor(here: readonly Answer[], there: readonly (Answer | 'silent')[]) {
    const directory = new ToldDirectory()
    directory.tell('a', [
      { name: 'a', address: 'memory:a', partitions: [0, 1] },
      { name: 'b', address: 'memory:b', partitions: [2, 3] },
    ])
    const mine = [...here]
    const theirs = [...there]
    const next = <T>(list: T[]): T => must(list.length > 1 ? list.shift() : list[0], 'there is an answer')
    const links: AskedLinks = {
      hosts: 1,
      hasStopped: false,
      askHosts: () => [Promise.resolve(next(mine))],
      answer: async () => next(mine),
      unlessStopped: (work) => work(),
    }
    const ask = async ({ kind }: Question): Promise<Answer> => {
      this.asked.push(kind)
      const answer = next(theirs)
      if (answer === 'silent') throw new TributaryError('partition_moving', 'b does not answer')
      return answer
    }
    const cluster = { name: 'a', directory, connect: () => ({ ask }) }
    this.asker = new Asker({ links, clock: this.clock, partitions: 4, readTimeoutMs: TIMEOUT_MS, cluster })
  }

  /** Moves time on by so much at most; tells whether the work is done by then. */
  async within(work: Promise<void>, ms: number): Promise<'done' | 'waits' | Error> {
    let outcome: 'done' | 'waits' | Error = 'waits'
    work.then(
      () => {
        outcome = 'done'
      },
      (error: Error) => {
        outcome = error
      },
    )
    for (let passed = 0; passed < ms && outcome === 'waits'; passed++) {
      await turns(2)
      this.clock.advance(1)
    }
    await turns(2)
    return outcome
  }
}

describe('finished', () => {
  test('takes two looks that found nothing open, and nothing moved in between', async () => {
    const world = new World([clean(MINE)], [clean(THEIRS, 7), clean(THEIRS, 8), clean(THEIRS, 8)])
    expect(await world.within(world.asker.finished([]), 100)).toBe('done')
    expect(world.asked.length).toBe(3)
  })

  test('takes one look where one host answers for all', async () => {
    const world = new World([clean([...MINE, ...THEIRS])], [clean([])])
    expect(await world.within(world.asker.finished([]), 100)).toBe('done')
    expect(world.asked.length).toBe(1)
  })

  test('takes two looks where one process answers for all, with several hosts: they looked one after the other', async () => {
    const both = (moved: number): Answer => ({ ...clean([...MINE, ...THEIRS], moved), hosts: 2 }) as Answer
    const world = new World([clean([])], [both(3), both(4), both(4)])
    expect(await world.within(world.asker.finished([]), 100)).toBe('done')
    expect(world.asked.length).toBe(3)
  })

  test('takes the same owners both times', async () => {
    const taken = clean([
      [2, 6],
      [3, 5],
    ])
    const world = new World([clean(MINE)], [clean(THEIRS), taken, taken])
    expect(await world.within(world.asker.finished([]), 100)).toBe('done')
    expect(world.asked.length).toBe(3)
  })

  test('waits for as long as something is open', async () => {
    const world = new World([clean(MINE)], [dirty(THEIRS)])
    expect(await world.within(world.asker.finished([]), 3 * TIMEOUT_MS)).toBe('waits')
    world.asker.close()
  })

  test.each<[string, Answer[], (Answer | 'silent')[]]>([
    ['nobody answers for', [clean(MINE)], [clean([[2, 5]])]],
    ['two answer for', [clean([...MINE, [2, 4]])], [clean(THEIRS)]],
    ['a silent process owns', [clean(MINE)], ['silent']],
  ])('does not wait for ever for a partition that %s', async (_, here, there) => {
    const world = new World(here, there)
    const work = world.asker.finished([])
    expect(await world.within(work, TIMEOUT_MS / 2)).toBe('waits')
    expect(await world.within(work, TIMEOUT_MS)).toMatchObject({ code: 'partition_moving' })
  })

  test('goes on where a process was silent for a while', async () => {
    const world = new World([clean(MINE)], ['silent', 'silent', 'silent', clean(THEIRS)])
    expect(await world.within(world.asker.finished([]), TIMEOUT_MS)).toBe('done')
  })

  test('ends when nobody wants to know any more', async () => {
    const world = new World([clean(MINE)], [dirty(THEIRS)])
    const aborting = new AbortController()
    const work = world.asker.finished([], aborting.signal)
    expect(await world.within(work, 50)).toBe('waits')
    aborting.abort()
    expect(await world.within(work, 200)).toBeInstanceOf(Error)
  })
})

describe('settled', () => {
  const here = [clean(MINE), clean(MINE), settled(MINE), clean(MINE), clean(MINE)]

  test('takes that those who were settled are clean afterwards', async () => {
    const world = new World(here, [clean(THEIRS), clean(THEIRS), settled(THEIRS), clean(THEIRS)])
    expect(await world.within(world.asker.settled([]), 100)).toBe('done')
    expect(world.asked).toEqual(['isFinished', 'isFinished', 'settled', 'isFinished', 'isFinished'])
  })

  test('is asked for again when another process has taken over since', async () => {
    const after: Owned = [
      [2, 9],
      [3, 5],
    ]
    const theirs = [clean(THEIRS), clean(THEIRS), settled(THEIRS), clean(after), clean(after)]
    const again = [clean(after), clean(after), settled(after), clean(after)]
    const world = new World([...here, ...here], [...theirs, ...again])
    expect(await world.within(world.asker.settled([]), 100)).toBe('done')
    expect(world.asked.filter((kind) => kind === 'settled').length).toBe(2)
  })

  test('may take longer than an answer may', async () => {
    const slow = Array.from({ length: 4 }, () => [clean(THEIRS), clean(THEIRS), 'silent' as const]).flat()
    const mine = Array.from({ length: 4 }, () => [clean(MINE), clean(MINE), settled(MINE)]).flat()
    const world = new World([...mine, ...here], [...slow, clean(THEIRS), clean(THEIRS), settled(THEIRS), clean(THEIRS)])
    expect(await world.within(world.asker.settled([]), 300)).toBe('done')
    expect(world.asked.filter((kind) => kind === 'settled').length).toBe(5)
  })
})
