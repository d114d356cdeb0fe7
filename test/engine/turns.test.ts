import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Turns } from '../../src/engine/turns.ts'

async function runAll(tasks: readonly (readonly [name: string, since: number, slices: number])[]): Promise<string> {
  const turns = new Turns(() => 0, 2)
  const log: string[] = []
  const done = Promise.all(
    tasks.map(async ([name, since, slices]) => {
      for (let i = 0; i < slices; i++) {
        await turns.pause(since)
        log.push(name)
      }
    }),
  )
  expect(log).toEqual([])
  for (let seen = 0; log.length < tasks.reduce((n, [, , slices]) => n + slices, 0); seen = log.length) {
    await nextTurn()
    expect(log.length - seen).toBeLessThanOrEqual(1)
  }
  await done
  return log.join('')
}

test('one goes on per turn of the loop, whoever began first until it has done', async () => {
  expect(
    await runAll([
      ['c', 3, 1],
      ['a', 1, 3],
      ['b', 2, 2],
    ]),
  ).toBe('aaabbc')
})

test('those who began together take turns', async () => {
  expect(
    await runAll([
      ['a', 5, 2],
      ['b', 5, 2],
      ['c', 5, 1],
    ]),
  ).toBe('abcab')
})

test('an emptied line begins again', async () => {
  const turns = new Turns(() => 0, 2)
  await turns.pause(2)
  await turns.pause(1)
})

test('a turn has one budget, which all share who work in it, and the next one has its own', async () => {
  let nowMs = 0
  const turns = new Turns(() => nowMs, 2)
  const spent: boolean[] = []
  const work = async (since: number): Promise<void> => {
    await turns.pause(since)
    for (let i = 0; i < 3; i++) {
      spent.push(turns.isSpent())
      nowMs += 1
    }
  }
  await Promise.all([work(1), work(2)])
  expect(spent).toEqual([false, false, true, false, false, true])
  await nextTurn()
  // Outside of the line: whoever asks first begins.
  nowMs += 100
  const first = [turns.isSpent(), turns.isSpent()]
  nowMs += 2
  const second = turns.isSpent()
  await nextTurn()
  expect([...first, second, turns.isSpent()]).toEqual([false, false, true, false])
})
