// What a task does first when it has much to do: a little, so that there is a result soon, then more and more.
import { expect, test } from 'vitest'
import { FIRST_BATCH_EVENTS } from '../../src/engine/config.ts'
import { testDisk, turns } from './disk.ts'
import { DAY, harness } from './harness.ts'

const PEOPLE = 1000

test('the first batch is small, and each that was full doubles the next, up to the limit', async () => {
  const disk = testDisk(1, 1)
  const commits: (() => void)[] = []
  const [journal] = disk.faults.journals
  const h = await harness({ partitions: 1, disk, limits: { batchEvents: 300 } })
  await h.engine.setClock(DAY)
  Object.assign(journal ?? {}, { schedule: (complete: () => void) => commits.push(complete) })
  await h.send(...Array.from({ length: PEOPLE }, (_, i) => ({ type: 'identify', messageId: `m${i}`, userId: `u${i}` })))
  const known = async (): Promise<number> => {
    for (let i = 0; i < PEOPLE; i++) if (!(await h.engine.profile({ namespace: 'user_id', value: `u${i}` }))) return i
    return PEOPLE
  }
  const seen: number[] = []
  while (seen.at(-1) !== PEOPLE) {
    await turns(50)
    commits.shift()?.()
    await turns(50)
    const count = await known()
    if (count !== seen.at(-1)) seen.push(count)
  }
  const [first, second] = [FIRST_BATCH_EVENTS, 3 * FIRST_BATCH_EVENTS]
  expect(seen).toEqual([first, second, second + 256, second + 256 + 300, PEOPLE])
  for (const complete of commits.splice(0)) complete()
  Object.assign(journal ?? {}, { schedule: (complete: () => void) => queueMicrotask(complete) })
  await h.close()
})
