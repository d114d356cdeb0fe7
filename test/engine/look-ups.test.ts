// Look-ups while a commit is under way: they show the last one that counts, and wait for none.
import { expect, test } from 'vitest'
import { testDisk, turns } from './disk.ts'
import { DAY, type Harness, harness } from './harness.ts'

const REF = { namespace: 'user_id', value: 'ann' }

/** A journal that keeps what it is given for itself until it is let go. */
async function held(): Promise<{ h: Harness; hold(): void; letGo(): void }> {
  const disk = testDisk(1, 1)
  const waiting: (() => void)[] = []
  let isHeld = false
  const [journal] = disk.faults.journals
  Object.assign(journal ?? {}, { schedule: (complete: () => void) => (isHeld ? waiting.push(complete) : queueMicrotask(complete)) })
  const h = await harness({ partitions: 1, disk })
  await h.engine.setClock(DAY)
  return {
    h,
    hold: () => {
      isHeld = true
    },
    letGo: () => {
      isHeld = false
      for (const complete of waiting.splice(0)) complete()
    },
  }
}

const identify = (messageId: string, traits: object): object => ({ type: 'identify', messageId, userId: 'ann', traits })

test('a look-up shows the last commit that counts, and does not wait for the one under way', async () => {
  const { h, hold, letGo } = await held()
  hold()
  const first = await h.send(identify('m1', { plan: 'free' }))
  await turns(50)
  expect(await h.engine.profile(REF)).toBeUndefined()
  letGo()
  const known = await h.engine.profile(REF, { minPosition: first.position })
  expect(known?.traits).toEqual({ plan: 'free' })

  hold()
  await h.send(identify('m2', { job: 'baker' }))
  const third = await h.send(identify('m3', { city: 'Bern' }))
  await turns(50)
  const during = await h.engine.profile(REF)
  expect(during).toEqual(known)
  expect((await h.engine.profileEvents(REF, { limit: 10 }))?.items.map((e) => e.messageId)).toEqual(['m1'])
  letGo()
  const after = await h.engine.profile(REF, { minPosition: third.position })
  expect(after?.traits).toEqual({ plan: 'free', job: 'baker', city: 'Bern' })
  const input = (view: typeof after): number => Number(view?.position.split(':')[1])
  expect(input(after)).toBeGreaterThan(input(during))
  await h.close()
})
