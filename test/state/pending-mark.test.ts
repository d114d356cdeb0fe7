// The row that says where replaying begins is in the store exactly as of the mark: after an apply beside commits, and after a torn one.
import { expect, test } from 'vitest'
import { MemoryStore } from '../../src/state/memory-store.ts'
import { PendingRows } from '../../src/state/pending.ts'
import type { StoreBatch } from '../../src/state/store.ts'

const STATE = 'mtask'
const bytes = (text: string): Buffer => Buffer.from(text)

async function filled(store: MemoryStore): Promise<PendingRows> {
  const rows = await PendingRows.open(store, { sliceRows: 1, withMark: STATE })
  rows.commit(0, [
    [STATE, bytes('0')],
    ['pa', bytes('a0')],
    ['pb', bytes('b0')],
  ])
  await rows.apply(0)
  rows.commit(1, [
    [STATE, bytes('1')],
    ['pa', bytes('a1')],
    ['pb', bytes('b1')],
  ])
  return rows
}

async function stored(store: MemoryStore): Promise<[applied: number, state: string | undefined]> {
  const again = await PendingRows.open(store, { withMark: STATE })
  return [again.appliedPosition(), (await again.getMany([STATE]))[0]?.toString()]
}

test('newer rows that wait do not keep it from the store', async () => {
  const store = new MemoryStore()
  const rows = await filled(store)
  const applying = rows.apply(1)
  rows.commit(2, [
    [STATE, bytes('2')],
    ['pa', bytes('a2')],
  ])
  expect((await rows.getMany([STATE]))[0]?.toString()).toBe('2')
  await applying
  expect(await stored(store)).toEqual([1, '1'])
})

test('an apply that is torn leaves it where the mark is', async () => {
  for (let writes = 0; writes < 3; writes++) {
    const store = new MemoryStore()
    const rows = await filled(store)
    const write = store.write.bind(store)
    let left = writes
    store.write = async (batch: StoreBatch): Promise<void> => {
      if (left-- === 0) throw new Error('torn')
      return write(batch)
    }
    await expect(rows.apply(1)).rejects.toThrow('torn')
    store.write = write
    expect(await stored(store)).toEqual([0, '0'])
  }
})

test('a store that is good for nothing after power loss is closed as one that is good for nothing', async () => {
  const store = new MemoryStore()
  const before = await PendingRows.open(store, { withMark: STATE, bootId: 'first' })
  before.commit(0, [[STATE, bytes('0')]])
  await before.apply(0)
  // Another boot, before any barrier, and the journal has lost its end as well.
  const after = await PendingRows.open(store, { withMark: STATE, bootId: 'second' })
  expect(after.appliedPosition()).toBe(-1)
  await after.apply(-1)
  const again = await PendingRows.open(store, { withMark: STATE, bootId: 'second' })
  expect(again.appliedPosition()).toBe(-1)
  expect(await again.getMany([STATE])).toEqual([undefined])
  again.commit(0, [[STATE, bytes('1')]])
  await again.apply(0)
  expect(await stored(store)).toEqual([0, '1'])
})
