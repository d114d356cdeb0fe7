// Logs that lost their durable end, or are older than what was built on them: the order events ≥ journal ≥ outputs, journal ≥ store
// is looked at when a partition is opened. What a crash may leave goes on; anything else is corruption, and said.
import { beforeAll, expect, test } from 'vitest'
import { seeded } from '../identity/random.ts'
import { crashed, type TestDisk, within } from './disk.ts'
import { type Harness, harness } from './harness.ts'

const T0 = Date.parse('2026-05-01T00:00:00.000Z')
const STEP = 5
let early: TestDisk
let late: TestDisk

const order = (userId: string): object => ({ type: 'track', event: 'Order', userId, timestamp: new Date(T0).toISOString() })

const opened = (disk?: TestDisk): Promise<Harness> => within(harness({ partitions: 1, ...(disk ? { disk } : {}) }))
const killed = (disk: TestDisk): TestDisk => crashed(disk, seeded(1))

/** Some commits; the last ones know that the outputs of the others were relayed, and the store has them. */
async function step(h: Harness, from: number): Promise<void> {
  for (let i = from; i < from + STEP; i++) {
    await h.send(order(`u${i}`))
    await h.engine.settle()
  }
  await h.run(3000)
  await h.send({ ...order('u0'), event: 'Nothing' })
  await h.engine.settle()
  await h.run(3000)
  h.abandon()
}

beforeAll(async () => {
  const first = await opened()
  await first.engine.setClock(T0)
  await first.engine.putSegment('buyers', { where: { event: 'Order' } })
  await step(first, 0)
  early = first.disk
  const second = await opened(killed(early))
  await step(second, STEP)
  late = second.disk
})

type Part = 'events' | 'journals' | 'stores' | 'streams'

/** The later disk with some of its parts as they were before. */
function mixed(...old: Part[]): TestDisk {
  const [before, after] = [killed(early), killed(late)]
  const disk = { ...after }
  for (const part of old) Object.assign(disk, { [part]: before[part] })
  return disk
}

test.each<[old: Part[], why: string]>([
  [['events'], 'events were read up to'],
  [['journals', 'streams'], 'its store is at journal position'],
  [['streams'], 'transitions were relayed up to 10, but their log ends at 5'],
  [['journals', 'stores'], 'the log of transitions is at 10, but the journal knows 5 only'],
])('with old %s a partition does not open', async (old, why) => {
  await expect(opened(mixed(...old))).rejects.toMatchObject({ code: 'data_corrupt', message: expect.stringContaining(why) })
})

test.each<[old: Part[]]>([[[]], [['stores']], [['stores', 'journals', 'streams']]])(
  'with old %s, as a crash may leave them, it goes on',
  async (old) => {
    const h = await opened(mixed(...old))
    await h.engine.settle()
    await h.send(order('last'))
    await h.engine.settle()
    const users = (await h.transitions()).map((t) => t.userId)
    expect(users).toEqual([...Array.from({ length: 2 * STEP }, (_, i) => `u${i}`), 'last'])
    await h.close()
  },
)
