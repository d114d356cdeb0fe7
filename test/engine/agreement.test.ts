// Logs that lost their durable end, or are older than what was built on them: the order events ≥ journal ≥ outputs, journal ≥ store
// is looked at when a partition is opened. What a crash may leave goes on; anything else is corruption, and said: that partition is
// stopped, the others run.
import { beforeAll, expect, test } from 'vitest'
import { homeOf, identifierKey } from '../../src/core/identifier.ts'
import { seeded } from '../identity/random.ts'
import { crashed, type TestDisk, within } from './disk.ts'
import { type Harness, harness } from './harness.ts'

const T0 = Date.parse('2026-05-01T00:00:00.000Z')
const STEP = 5
const PARTITIONS = 2
/** Everything new happens in partition 0. */
const [BUSY, QUIET] = [0, 1].map((home) => usersAt(home, 2 * STEP + 1)) as [string[], string[]]
let early: TestDisk
let late: TestDisk

const order = (userId: string): object => ({ type: 'track', event: 'Order', userId, timestamp: new Date(T0).toISOString() })

const opened = (disk?: TestDisk): Promise<Harness> => within(harness({ partitions: PARTITIONS, ...(disk ? { disk } : {}) }))
const killed = (disk: TestDisk): TestDisk => crashed(disk, seeded(1))

function usersAt(home: number, count: number): string[] {
  const users: string[] = []
  for (let n = 0; users.length < count; n++) if (homeOf(identifierKey(0, 'user_id', `u${n}`), PARTITIONS) === home) users.push(`u${n}`)
  return users
}

/** Some commits; the last ones know that the outputs of the others were relayed, and the store has them. */
async function step(h: Harness, from: number): Promise<void> {
  for (let i = from; i < from + STEP; i++) {
    await h.send(order(BUSY[i] ?? ''))
    await h.engine.settle()
  }
  await h.run(3000)
  await h.send({ ...order(BUSY[0] ?? ''), event: 'Nothing' })
  await h.engine.settle()
  await h.run(3000)
  h.abandon()
}

beforeAll(async () => {
  const first = await opened()
  await first.engine.setClock(T0)
  await first.engine.putSegment('buyers', { where: { event: 'Order' } })
  await first.send(order(QUIET[0] ?? ''))
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

/** What partition 0 says, and that the other one runs. */
async function onlyBusyStopped(h: Harness): Promise<string> {
  const { ready, partitions } = await h.engine.status()
  expect(ready).toBe(false)
  expect(partitions.map((p) => p.state)).toEqual(['stopped', 'running'])
  expect(h.stopped).toEqual([expect.stringMatching(/^0: TributaryError: /)])
  return partitions[0]?.reason ?? ''
}

test.each<[old: Part[], why: string]>([
  [['events'], 'events were read up to'],
  [['journals', 'streams'], 'its store is at journal position'],
  [['streams'], 'transitions were relayed up to 10, but their log ends at 5'],
  [['journals', 'stores'], 'the log of transitions is at 10, but the journal knows 5 only'],
])('with old %s a partition does not run, and the others do', async (old, why) => {
  const h = await opened(mixed(...old))
  const reason = await onlyBusyStopped(h)
  expect(reason).toContain(why)
  await expect(h.engine.profile({ namespace: 'user_id', value: BUSY[0] ?? '' })).rejects.toMatchObject({ code: 'partition_stopped' })
  const before = (await h.transitions()).length
  await h.send(order(QUIET[1] ?? ''))
  await h.run(100)
  expect((await h.transitions()).slice(before).map((t) => t.userId)).toEqual([QUIET[1]])
  expect((await h.engine.profile({ namespace: 'user_id', value: QUIET[1] ?? '' }))?.segments).toEqual(['buyers'])
  // What came in meanwhile doesn't hide it: the next process finds the same, and keeps all there is.
  await h.run(3000)
  h.abandon()
  const next = await opened(killed(h.disk))
  expect(await onlyBusyStopped(next)).toBe(reason)
  next.abandon()
})

test('a partition whose log has lost events takes no others, which would lie where it has read already', async () => {
  const h = await opened(mixed('events'))
  const [end] = (await h.engine.status()).partitions.map((p) => p.end)
  const told = { code: 'partition_stopped', message: expect.stringContaining('its log has lost some') }
  await expect(h.send(order(QUIET[1] ?? ''), order(BUSY[0] ?? ''))).rejects.toMatchObject(told)
  await expect(h.engine.setClock(T0 + 1000)).rejects.toMatchObject({ code: 'partition_stopped' })
  expect((await h.engine.status()).partitions[0]?.end).toBe(end)
  h.abandon()
})

test.each<[old: Part[]]>([[[]], [['stores']], [['stores', 'journals', 'streams']]])(
  'with old %s, as a crash may leave them, it goes on',
  async (old) => {
    const h = await opened(mixed(...old))
    await h.engine.settle()
    await h.send(order(BUSY[2 * STEP] ?? ''))
    await h.engine.settle()
    const users = (await h.transitions()).map((t) => t.userId)
    expect(users.filter((user) => user !== QUIET[0])).toEqual(BUSY)
    await h.close()
  },
)
