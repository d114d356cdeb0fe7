// What every Store must bear: an apply that is torn at any of its writes. Part of conformance.ts.
import { expect, test } from 'vitest'
import { PendingRows } from '../../src/state/pending.ts'
import type { Store, StoreBatch } from '../../src/state/store.ts'

const STATE = 'mtask'
const ROUNDS = 4
const ROWS = 9
/** Slices of two rows: an apply is many writes. */
const SLICES = { sliceRows: 2, sliceBytes: 1 << 20, withMark: STATE }

type Rows = (readonly [key: string, value: Buffer | undefined])[]

/** Each round writes some keys anew, deletes one, and says which round it is. */
function commitOf(round: number): Rows {
  const rows: Rows = Array.from({ length: ROWS }, (_, i) => [`p${(i * (round + 1)) % 13}`, Buffer.from(`${round}.${i}`)])
  return [...rows, [`p${round}`, undefined], [STATE, Buffer.from(String(round))]]
}

/** What all rounds before `end` leave. */
function model(end: number): Map<string, string> {
  const rows = new Map<string, string>()
  for (let round = 0; round < end; round++) {
    for (const [key, value] of commitOf(round)) {
      if (value === undefined) rows.delete(key)
      else rows.set(key, value.toString())
    }
  }
  return rows
}

async function contents(rows: PendingRows): Promise<Map<string, string>> {
  const keys = [STATE, ...Array.from({ length: 13 }, (_, i) => `p${i}`)]
  const values = await rows.getMany(keys)
  return new Map(keys.flatMap((key, i) => (values[i] ? [[key, values[i].toString()] as const] : [])))
}

const sorted = (rows: Map<string, string>): [string, string][] => [...rows].sort(([a], [b]) => (a < b ? -1 : 1))

async function replayed(store: Store, from: number, to: number): Promise<PendingRows> {
  const rows = await PendingRows.open(store, SLICES)
  for (let round = Math.max(from, rows.appliedPosition() + 1); round < to; round++) rows.commit(round, commitOf(round))
  return rows
}

/** A store whose writes end with the `left`-th: it is carried out and nobody learns of it, or it is not. */
function dying(store: Store, left: number, isLastDone: boolean): Store {
  let writes = 0
  return {
    getMany: (keys) => store.getMany(keys),
    scan: (range) => store.scan(range),
    sync: () => store.sync(),
    bytes: () => store.bytes(),
    close: () => store.close(),
    async write(batch: StoreBatch) {
      if (writes++ < left) return store.write(batch)
      if (isLastDone) await store.write(batch)
      throw new Error('the process is gone')
    },
  }
}

export function applyTests(store: () => Store, reopen: () => Promise<void>): void {
  for (const isLastDone of [false, true]) {
    test(`an apply torn at any write, ${isLastDone ? 'behind' : 'before'} it, is made whole by the journal`, async () => {
      let torn = 0
      for (let left = 0, isOver = false; !isOver; left++) {
        await store().write({ puts: [], deletedRanges: [['a', 'z']] })
        await (await replayed(store(), 0, 2)).apply(1)
        const rows = await replayed(dying(store(), left, isLastDone), 0, ROUNDS)
        isOver = await rows.apply(ROUNDS - 1).then(
          () => true,
          () => false,
        )
        if (!isOver) torn++
        await reopen()
        const again = await PendingRows.open(store(), SLICES)
        const applied = again.appliedPosition()
        expect([1, ROUNDS - 1]).toContain(applied)
        // The row that goes with the mark is as of the mark, whatever was torn.
        expect((await again.getMany([STATE]))[0]?.toString()).toBe(String(applied))
        const repaired = await replayed(store(), 0, ROUNDS)
        expect(sorted(await contents(repaired)), `torn at write ${left}`).toEqual(sorted(model(ROUNDS)))
        await repaired.apply(ROUNDS - 1)
        expect(sorted(await contents(await PendingRows.open(store(), SLICES)))).toEqual(sorted(model(ROUNDS)))
      }
      expect(torn).toBeGreaterThan(4)
    })
  }
}
