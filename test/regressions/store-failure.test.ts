// A store that failed while rows piled up left its task waiting, in one turn of the loop, for an apply that was over: nothing else of
// the host ever ran again.
import { expect, test, vi } from 'vitest'
import { PendingRows } from '../../src/state/pending.ts'
import { turns } from '../engine/disk.ts'
import { harness } from '../engine/harness.ts'

test('a partition whose store fails while it is full stops, and lets others run', async () => {
  const h = await harness({ partitions: 1, limits: { applyBytes: 1, applyMs: 0 } })
  let looks = 0
  const real = Object.getOwnPropertyDescriptor(PendingRows.prototype, 'isFull')?.get
  vi.spyOn(PendingRows.prototype, 'isFull', 'get').mockImplementation(function (this: PendingRows) {
    // A wait that never ends would end the test process otherwise.
    if (++looks > 1000) throw new Error('the task spins')
    return real?.call(this) as boolean
  })
  for (const store of h.disk.stores) {
    // Late enough for a batch to wait for it.
    store.faults.beforeWrite = async () => {
      await turns(30)
      throw new Error('the disk is gone')
    }
  }
  for (let i = 0; i < 20; i++) {
    h.send({ type: 'track', event: 'A', userId: `u${i}`, messageId: `m${i}` }).catch(() => undefined)
    await turns(5)
  }
  await turns(50)
  vi.restoreAllMocks()
  expect(h.stopped).toEqual([expect.stringContaining('the disk is gone')])
  expect(looks).toBeLessThan(1000)
  h.abandon()
})
