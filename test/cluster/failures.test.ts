// What goes wrong in a cluster: processes that are killed, partitions that nobody owns, owners that don't keep up.
import { afterEach, describe, expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import { turns } from '../engine/disk.ts'
import { HOUR } from '../engine/harness.ts'
import { type Cluster, type ClusterOptions, type ClusterProcess, cluster, MAX_LAG, valueAt } from './world.ts'

let opened: Cluster | undefined

afterEach(async () => {
  await opened?.close()
  opened = undefined
})

/** Without a third process, `c` is the second one. */
async function open(options: ClusterOptions): Promise<{ world: Cluster; a: ClusterProcess; b: ClusterProcess; c: ClusterProcess }> {
  opened = await cluster(options)
  const [a, b, c = b] = opened.processes
  return { world: opened, a: must(a, 'the first'), b: must(b, 'the second'), c: must(c, 'the last') }
}

const order = (user: string): object => ({ type: 'track', event: 'Order', userId: user, messageId: user })
const MOST_TURNS = 20_000

async function until(check: () => Promise<boolean>): Promise<void> {
  for (let i = 0; !(await check()); i++) {
    expect(i).toBeLessThan(MOST_TURNS)
    await turns(1)
  }
}

test('a process that is killed is taken over from: nothing that was acknowledged is lost', async () => {
  const { world, a, b, c } = await open({ processes: 3 })
  await a.engine.putSegment('buyers', { where: { event: 'Order' } })
  for (let k = 0; k < 20; k++) await world.send(c, order(`u${k}`))
  world.kill(c)
  const { position } = await world.send(a, order('last'))
  world.spread()
  expect(await b.engine.profile({ namespace: 'user_id', value: 'last' }, { minPosition: position })).toMatchObject({ segments: ['buyers'] })
  await b.engine.settle()
  expect((await a.engine.segmentMembers('buyers', { limit: 100 }))?.items.length).toBe(21)
  expect((await b.engine.segment('buyers'))?.size).toBe(21)
})

describe('a definition whose activation is cut short', () => {
  test('is activated by the others', async () => {
    const { world, a, b, c } = await open({ processes: 3 })
    await world.send(a, order('u1'))
    c.losesEvents = true
    // It is saved; what is to activate it gets nowhere.
    c.engine.putSegment('buyers', { where: { event: 'Order' } }).catch(() => undefined)
    await until(async () => (await a.engine.segment('buyers')) !== undefined)
    world.kill(c)
    world.spread()
    await until(async () => (await a.engine.segment('buyers'))?.status === 'live')
    expect((await b.engine.segmentMembers('buyers', { limit: 9 }))?.items.length).toBe(1)
  })

  test('comes to a partition with who is handed over to it, and whoever takes the partition over waits for it', async () => {
    const { world, a, b, c } = await open({ processes: 3 })
    world.move(2, b)
    world.move(3, b)
    const [userId, anonymousId] = [valueAt(world, 'user_id', 0), valueAt(world, 'anonymous_id', 1)]
    await world.send(b, { ...order(''), userId: undefined, anonymousId, messageId: 'first' })
    await b.engine.settle()
    c.isDeaf = true
    // Who owns partition 0 can activate it nowhere; the other says it again to what is its own.
    a.losesEvents = true
    a.engine.putSegment('buyers', { where: { event: 'Order' } }).catch(() => undefined)
    const anonymous = { namespace: 'anonymous_id', value: anonymousId }
    await until(async () => (await b.engine.profile(anonymous))?.segments.length === 1)
    const { position } = await world.send(b, { type: 'identify', userId, anonymousId, messageId: 'known' })
    const known = { namespace: 'user_id', value: userId }
    const before = await b.engine.profile(known, { minPosition: position })
    expect(before?.segments).toEqual(['buyers'])
    world.kill(a)
    world.move(0, c)
    await turns(500)
    expect((await b.engine.status()).partitions[0]).toMatchObject({ state: 'moving' })
    c.isDeaf = false
    expect(await b.engine.profile(known)).toEqual(before)
    expect([a, b, c].map(({ stopped }) => stopped)).toEqual([[], [], []])
  })

  test('and so is the manual clock', async () => {
    const { world, a, b } = await open({ processes: 2 })
    await b.engine.setClock(HOUR)
    // One partition alone hears of it: as when a process is killed in between.
    const [one] = [...a.directory.members()].flatMap(({ partitions }) => partitions)
    const { encodeClock } = await import('../../src/engine/inputs.ts')
    world.events.writer.append(must(one, 'somebody owns something'), encodeClock(2 * HOUR))
    await world.events.writer.sync()
    await until(async () => (await a.engine.status()).partitions.every(({ now }) => now === new Date(2 * HOUR).toISOString()))
    await until(async () => (await b.engine.status()).now === new Date(2 * HOUR).toISOString())
    await expect(b.engine.setClock(HOUR)).rejects.toMatchObject({ code: 'clock_backwards' })
  })
})

test('a new process takes nothing in, and is not ready, before it knows where the manual clock stands', async () => {
  const { world, a } = await open({ processes: 2 })
  await a.engine.setClock(HOUR)
  const c = await world.add()
  expect(c.engine.pressure()).toMatchObject({ code: 'back_pressure' })
  expect(await c.engine.isReady()).toBe(false)
  await until(() => c.engine.isReady())
  expect(c.engine.pressure()).toBe(undefined)
  expect(c.engine.acceptanceTime()).toBe(HOUR)
})

test('two processes that save definitions at one time both do, under two versions', async () => {
  const { a, b, c } = await open({ processes: 3 })
  const views = await Promise.all([
    a.engine.putSegment('buyers', { where: { event: 'Order' } }),
    b.engine.putSegment('lookers', { where: { event: 'Look' } }),
    c.engine.putSegment('buyers', { where: { event: 'Order' } }),
  ])
  expect(new Set(views.map(({ version }) => version))).toEqual(new Set([1, 2]))
  for (const { engine } of [a, b, c]) expect((await engine.segments()).map(({ id }) => id)).toEqual(['buyers', 'lookers'])
})

describe('a partition that nobody owns', () => {
  test('is waited for, and after a while reported as moving', async () => {
    const { world, a, b } = await open({ processes: 2 })
    for (let k = 0; k < 20; k++) await world.send(a, order(`u${k}`))
    await a.engine.settle()
    world.move(0)
    const outcomes = await Promise.allSettled(
      Array.from({ length: 20 }, (_, k) => b.engine.profile({ namespace: 'user_id', value: `u${k}` })),
    )
    const failed = outcomes.flatMap((o) => (o.status === 'rejected' ? [o.reason] : []))
    expect(failed.length).toBeGreaterThan(0)
    expect(failed.length).toBeLessThan(20)
    for (const error of failed) expect(error).toMatchObject({ code: 'partition_moving', status: 503 })
    for (const work of [a.engine.settle(), a.engine.segments(), b.engine.previewSegment({ event: 'Order' })])
      await expect(work).rejects.toMatchObject({ code: 'partition_moving' })
    const { partitions, ready } = await b.engine.status()
    expect(partitions.map(({ state }) => state)).toEqual(['moving', 'running', 'running', 'running'])
    expect(ready).toBe(true)
    world.move(0, b)
    await b.engine.settle()
    expect((await a.engine.status()).partitions.map(({ owner }) => owner)).toEqual([b.name, b.name, a.name, b.name])
  })

  test('is found again as soon as somebody runs it, also by those whose directory is out of date', async () => {
    const { world, a, b, c } = await open({ processes: 3 })
    const { position } = await world.send(a, order('u'))
    const asked = Array.from({ length: 4 }, (_, p) => {
      world.move(p, c)
      return p
    })
    expect(asked.length).toBe(4)
    // As b was told before: it asks whoever doesn't have it any more, and again.
    b.directory.tell(b.name, [
      { name: a.name, address: a.address, partitions: [0, 1, 2, 3] },
      { name: b.name, address: b.address, partitions: [] },
    ])
    const read = b.engine.profile({ namespace: 'user_id', value: 'u' }, { minPosition: position })
    await turns(50)
    world.tell()
    expect(await read).toMatchObject({ identifiers: [{ namespace: 'user_id', value: 'u' }] })
  })
})

test('a partition that has stopped is told everywhere, until another process takes it over', async () => {
  const { world, a, b } = await open({ processes: 2 })
  await a.engine.settle()
  b.stop(1)
  for (const { engine } of [a, b]) await expect(engine.settle()).rejects.toMatchObject({ code: 'partition_stopped' })
  expect((await a.engine.status()).partitions[1]).toMatchObject({ state: 'stopped', owner: b.name, reason: 'an invariant is broken' })
  expect([await a.engine.isReady(), await b.engine.isReady()]).toEqual([true, false])
  world.move(1, a)
  for (const { engine } of [a, b]) await engine.settle()
  expect([await a.engine.isReady(), await b.engine.isReady()]).toEqual([true, true])
  expect(b.stopped).toEqual(['1: Error: an invariant is broken'])
})

test('a process stays ready while partitions open that came to it later, and a new one is ready once all of its own run', async () => {
  const { world, a, b } = await open({ processes: 2 })
  await a.engine.settle()
  expect(await b.engine.isReady()).toBe(true)
  const c = await world.add()
  const gate = Promise.withResolvers<void>()
  for (const process of [b, c]) process.mayOpen = gate.promise
  world.move(0, b)
  world.move(2, c)
  await until(async () => (await a.engine.status()).partitions[0]?.state !== 'running')
  expect([await b.engine.isReady(), await c.engine.isReady()]).toEqual([true, false])
  gate.resolve()
  await until(() => c.engine.isReady())
})

describe('back-pressure', () => {
  test('is felt by every process when an owner does not keep up', async () => {
    const { world, a, b } = await open({ processes: 2 })
    b.isSlow = true
    await until(async () => a.engine.pressure() === undefined)
    // Each record counts for one at least, also where it was another process that accepted it.
    for (let k = 0; k < 5 * MAX_LAG; k++) await world.send(a, order(`u${k}`))
    expect(a.engine.pressure()).toMatchObject({ code: 'back_pressure' })
    const c = await world.add()
    await until(async () => (await c.engine.status()).partitions.every(({ state }) => state === 'running'))
    expect(c.engine.pressure()).toMatchObject({ code: 'back_pressure' })
    b.isSlow = false
    await a.engine.settle()
    await until(async () => [a, b, c].every(({ engine }) => engine.pressure() === undefined))
  })
})

test('a process says which one it is, and what the others have', async () => {
  const { world, a, b } = await open({ processes: 2 })
  const { process, processes, partitions } = await a.engine.status()
  expect(process).toBe(a.name)
  expect(processes).toEqual([
    { name: a.name, address: a.address, partitions: [0, 2] },
    { name: b.name, address: b.address, partitions: [1, 3] },
  ])
  expect(partitions.map(({ owner }) => owner)).toEqual([a.name, b.name, a.name, b.name])
  b.kill()
  expect((await a.engine.status()).processes?.[1]).toMatchObject({ name: b.name, silent: true })
  expect(await a.engine.isReady()).toBe(true)
  world.spread()
})
