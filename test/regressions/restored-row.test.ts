// After power loss the task's row of the last barrier waits in memory. With no commit behind the barrier no apply took it, and with
// little room for rows its task waited for one, in one turn of the loop, for ever.
import { expect, test } from 'vitest'
import { MemoryStore } from '../../src/state/memory-store.ts'
import { PendingRows } from '../../src/state/pending.ts'

test('an apply takes in the row that a barrier has restored, though no commit came', async () => {
  const store = new MemoryStore()
  const options = { withMark: 'mtask', applyBytes: 1 }
  const before = await PendingRows.open(store, { ...options, bootId: 'one' })
  before.commit(7, [['mtask', Buffer.from('state')]])
  await before.apply(7)
  expect(await before.barrier()).toBe(7)
  const after = await PendingRows.open(store, { ...options, bootId: 'two' })
  expect(after.isFull).toBe(true)
  await after.apply(after.appliedPosition())
  expect(after.isFull).toBe(false)
  expect(await after.getMany(['mtask'])).toEqual([Buffer.from('state')])
})
