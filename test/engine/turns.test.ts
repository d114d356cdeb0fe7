import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Turns } from '../../src/engine/turns.ts'

async function runAll(tasks: readonly (readonly [name: string, since: number, slices: number])[]): Promise<string> {
  const turns = new Turns()
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
  const turns = new Turns()
  await turns.pause(2)
  await turns.pause(1)
})
