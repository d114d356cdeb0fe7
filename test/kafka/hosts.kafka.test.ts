// Processes with several hosts each on a real broker: partitions are spread over the threads of a process, each of which has connections
// of its own; messages between partitions cross threads and processes alike.
import { randomUUID } from 'node:crypto'
import { afterEach, expect, inject, test } from 'vitest'
import { Deployment } from './deployment.ts'

const PARTITIONS = 8
const USERS = 40
const PER_REQUEST = 20

let deployment: Deployment
afterEach(() => deployment.close())

/** Each user is known by a device that turns out to be theirs, mostly of another partition, between two purchases. */
function story(part: number): object[] {
  return Array.from({ length: USERS }, (_, user) => [
    { type: 'track', event: 'Bought', messageId: `d${part}-${user}`, anonymousId: `a${part}-${user}` },
    { type: 'identify', messageId: `i${part}-${user}`, userId: `u${user}`, anonymousId: `a${part}-${user}` },
    { type: 'track', event: 'Bought', messageId: `t${part}-${user}`, userId: `u${user}` },
  ]).flat()
}

async function send(messages: readonly object[]): Promise<void> {
  for (let i = 0; i < messages.length; i += PER_REQUEST)
    await deployment.ask('/v1/batch', { method: 'POST', body: { batch: messages.slice(i, i + PER_REQUEST) } })
}

interface Shown {
  readonly id: string
  readonly identifiers: readonly unknown[]
  readonly segments: readonly string[]
}

/** Everybody is one person, with all that they bought. */
async function verify(parts: number): Promise<void> {
  await deployment.ask('/v1/admin/settle', { method: 'POST' })
  const { size } = await deployment.ask<{ size: number }>('/v1/segments/all')
  expect(size).toBe(USERS)
  for (let user = 0; user < USERS; user++) {
    const profile = await deployment.ask<Shown>(`/v1/profiles/user_id:u${user}`)
    expect(profile.segments).toEqual(['all', `bought-${2 * parts}`])
    expect(profile.identifiers.length).toBe(1 + parts)
  }
}

test('everybody is counted once, through a start, a kill and a join, with two hosts in each process', { timeout: 180_000 }, async () => {
  deployment = new Deployment({
    kafka: { brokers: inject('kafka'), prefix: `test-${randomUUID()}` },
    partitions: PARTITIONS,
    standby: true,
    flags: ['--hosts', '2'],
  })
  await deployment.start('a')
  await deployment.ask('/v1/segments/all', { method: 'PUT', body: { where: { all: [] } } })
  for (const n of [2, 4, 6])
    await deployment.ask(`/v1/segments/bought-${n}`, { method: 'PUT', body: { where: { event: 'Bought', count: { eq: n } } } })
  await send(story(0))
  await verify(1)
  await deployment.start('b')
  await send(story(1))
  await verify(2)
  // Each host follows those of its partitions that the other process has.
  for (const name of ['a', 'b']) expect(deployment.stores(name).length).toBe(PARTITIONS)
  await deployment.end('a', 'SIGKILL')
  await send(story(2))
  await verify(3)
})
