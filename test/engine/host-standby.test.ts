// Partitions that a host follows and takes over, at any moment: their rows are open once.
import { expect, test } from 'vitest'
import { Writer } from '../../src/core/bytes.ts'
import { Followers } from '../../src/engine/host-standby.ts'
import { META_KEY } from '../../src/engine/keys.ts'
import { emptyTaskState, encodeTaskState } from '../../src/engine/task-state.ts'
import { type MemorySnapshot, MemoryStore } from '../../src/state/memory-store.ts'
import { PendingRows } from '../../src/state/pending.ts'
import { UnreliableLog } from '../log/unreliable-log.ts'
import { turns } from './disk.ts'
import { LeapingClock } from './leaping-clock.ts'

const RECORDS = 10
/** More microtasks than it takes to notice that the journal has lost its head, and to begin anew. */
const MOMENTS = 150

/** A store that stands at the journal's first commit. */
async function oldStore(): Promise<MemorySnapshot> {
  const store = new MemoryStore()
  const rows = await PendingRows.open(store, { withMark: META_KEY })
  rows.commit(0, [[META_KEY, encodeTaskState({ ...emptyTaskState(1), claim: 1, n: 1 }, new Writer(256))]], [])
  await rows.apply(0)
  return store.snapshot()
}

class Disk {
  store: MemoryStore
  isOpen = false
  discarded = 0
  readonly troubles: string[] = []

  constructor(snapshot: MemorySnapshot) {
    this.store = new MemoryStore(snapshot)
  }

  async open(): Promise<PendingRows> {
    if (this.isOpen) this.troubles.push('opened twice')
    this.isOpen = true
    return PendingRows.open(this.store, { withMark: META_KEY })
  }

  async close(): Promise<void> {
    await turns(1)
    this.isOpen = false
  }

  async discard(): Promise<void> {
    if (this.isOpen) this.troubles.push('discarded while it is open')
    await turns(1)
    this.store = new MemoryStore()
    this.discarded++
  }
}

/** A journal that has lost its head, which a store does not know. */
async function shortened(): Promise<UnreliableLog> {
  const log = new UnreliableLog({ schedule: (_, run) => queueMicrotask(run) })
  const writer = log.connect({ schedule: (_, run) => queueMicrotask(run), clock: new LeapingClock(0) })
  for (let i = 0; i < RECORDS; i++) await writer.append(Buffer.of(i))
  log.release(RECORDS / 2)
  return log
}

async function takenAfter(microtasks: number, snapshot: MemorySnapshot): Promise<Disk> {
  const disk = new Disk(snapshot)
  const log = await shortened()
  const clock = new LeapingClock(0)
  const followers = new Followers({
    partitions: 1,
    clock,
    journal: () => log.connect({ schedule: (_, run) => queueMicrotask(run), clock }),
    openRows: () => disk.open(),
    closeRows: () => disk.close(),
    discardRows: () => disk.discard(),
    troubled: () => undefined,
  })
  followers.begin(0)
  for (let i = 0; i < microtasks; i++) await Promise.resolve()
  // As a host does that is to run the partition.
  if (!(await followers.take(0))) await disk.open()
  await turns(20)
  if (!disk.isOpen) disk.troubles.push('closed under the task')
  await followers.close()
  return disk
}

test('rows of a partition that is taken over while its standby begins anew are open once', async () => {
  const snapshot = await oldStore()
  let discarded = 0
  for (let microtasks = 0; microtasks < MOMENTS; microtasks++) {
    const disk = await takenAfter(microtasks, snapshot)
    expect(disk.troubles, `after ${microtasks} microtasks`).toEqual([])
    discarded += disk.discarded
  }
  expect(discarded).toBeGreaterThan(0)
})
