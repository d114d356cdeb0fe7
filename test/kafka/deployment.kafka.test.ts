// The whole product on a real broker: processes that share partitions, join, leave, are killed and stand still, while messages come in.
// A verifier compares what was accepted with what came out: nothing lost, nothing twice, repeats only with equal ids.
import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, expect, inject, test } from 'vitest'
import type { Transition } from '../../src/core/transition.ts'
import { below, pick, type Random, seeded, shuffled } from '../identity/random.ts'
import { pause } from '../process/server.ts'
import { Deployment, SESSION_MS } from './deployment.ts'

const PARTITIONS = 8
const USERS = 60
const MOST = 8
const TIME_MS = 3000

const cluster = () => ({ brokers: inject('kafka'), prefix: `test-${randomUUID()}` })

let deployment: Deployment
beforeEach(() => {
  deployment = new Deployment({ kafka: cluster(), partitions: PARTITIONS })
})
afterEach(() => deployment.close())

interface Message {
  readonly type: string
  readonly messageId: string
  readonly [key: string]: unknown
}

const purchasesOf = (user: number): number => (user % MOST) + 1

/** Each user buys a known number of times, under any of three identifiers, which are linked before, in between or afterwards. */
function story(random: Random): Message[] {
  const messages: Message[] = []
  for (let user = 0; user < USERS; user++) {
    const names = [{ userId: `u${user}` }, { anonymousId: `a${user}` }, { anonymousId: `b${user}` }]
    for (let i = 0; i < purchasesOf(user); i++)
      messages.push({ type: 'track', event: 'Bought', messageId: `t${user}-${i}`, ...pick(random, names) })
    for (const anonymousId of [`a${user}`, `b${user}`])
      messages.push({ type: 'identify', messageId: `i-${anonymousId}`, userId: `u${user}`, anonymousId })
  }
  return shuffled(random, messages)
}

async function defineSegments(): Promise<void> {
  for (let n = 1; n <= MOST; n++)
    await deployment.ask(`/v1/segments/at-least-${n}`, { method: 'PUT', body: { where: { event: 'Bought', count: { gte: n } } } })
}

/** Sends all, from several clients, `perSecond` at most; each until it is accepted. */
async function sendAll(messages: readonly Message[], perSecond: number): Promise<void> {
  const queue = [...messages]
  const clients = Array.from({ length: 4 }, async () => {
    for (let message = queue.shift(); message; message = queue.shift()) {
      const begun = performance.now()
      await deployment.ask('/v1/batch', { method: 'POST', body: { batch: [message] } })
      await pause(Math.max(0, 4000 / perSecond - (performance.now() - begun)))
    }
  })
  await Promise.all(clients)
}

/** Repeats are equal, each segment of a profile has its numbers without gaps, entries and exits alternate. Returns who is in what. */
function verified(transitions: readonly Transition[]): Map<string, Set<string>> {
  const byId = new Map<string, Transition>()
  for (const t of transitions) {
    const known = byId.get(t.id)
    if (known) expect(t).toEqual(known)
    byId.set(t.id, t)
  }
  const bySubject = Map.groupBy(byId.values(), (t) => `${t.profile} ${t.segment}`)
  const members = new Map<string, Set<string>>()
  for (const list of bySubject.values()) {
    list.sort((a, b) => a.seq - b.seq)
    expect(list.map((t) => t.seq)).toEqual(list.map((_, i) => i + 1))
    expect(list.map((t) => t.transition)).toEqual(list.map((_, i) => (i % 2 === 0 ? 'entered' : 'exited')))
    const last = list.at(-1)
    if (last?.transition !== 'entered') continue
    const segments = members.get(last.profile) ?? new Set()
    members.set(last.profile, segments.add(last.segment))
  }
  return members
}

/** What every user has to be in, by the profile and by the transitions. */
async function verify(): Promise<void> {
  await deployment.ask('/v1/admin/settle', { method: 'POST' })
  // A message that came by way of another partition may lie ahead of its own one's time, which is held back while partitions move.
  await pause(TIME_MS)
  await deployment.ask('/v1/admin/settle', { method: 'POST' })
  const members = verified(await deployment.transitions())
  for (let user = 0; user < USERS; user++) {
    const profile = await deployment.ask<{ id: string; segments: string[] }>(`/v1/profiles/user_id:u${user}`)
    const expected = Array.from({ length: purchasesOf(user) }, (_, i) => `at-least-${i + 1}`)
    expect(profile.segments.toSorted()).toEqual(expected)
    expect([...(members.get(profile.id) ?? [])].sort()).toEqual(expected)
    members.delete(profile.id)
  }
  // Profiles that were merged into others are in nothing.
  expect([...members]).toEqual([])
}

test('one process: killed with -9, it goes on, with its disk and without', { timeout: 120_000 }, async () => {
  const messages = story(seeded(1))
  const third = Math.floor(messages.length / 3)
  await deployment.start('a')
  await defineSegments()
  await sendAll(messages.slice(0, third), 400)
  await deployment.end('a', 'SIGKILL')
  await deployment.start('a')
  await sendAll(messages.slice(third, 2 * third), 400)
  await deployment.end('a', 'SIGKILL')
  deployment.loseDisk('a')
  await deployment.start('a')
  await sendAll(messages.slice(2 * third), 400)
  await verify()
})

test('a process that follows the others takes over what they had', { timeout: 120_000 }, async () => {
  deployment = new Deployment({ kafka: cluster(), partitions: PARTITIONS, standby: true })
  const messages = story(seeded(4))
  const half = Math.floor(messages.length / 2)
  await deployment.start('a')
  await deployment.start('b')
  await defineSegments()
  await sendAll(messages.slice(0, half), 200)
  await deployment.ask('/v1/admin/settle', { method: 'POST' })
  // Each has a store of every partition, though it runs half of them.
  for (const name of ['a', 'b']) expect(deployment.stores(name).length).toBe(PARTITIONS)
  await deployment.end('a', 'SIGKILL')
  await sendAll(messages.slice(half), 200)
  await verify()
})

/** Something happens to one of the three, and it is back before the next thing happens. */
async function misfortune(random: Random, name: string): Promise<void> {
  const kind = pick(random, ['kill', 'lose', 'stop', 'leave', 'blink'] as const)
  if (kind === 'stop' || kind === 'blink') {
    deployment.signal(name, 'SIGSTOP')
    // Longer than the session: it is thought dead. Or shorter: nobody notices.
    await pause(kind === 'stop' ? SESSION_MS + 500 + below(random, 3000) : below(random, SESSION_MS / 2))
    deployment.signal(name, 'SIGCONT')
  } else {
    await deployment.end(name, kind === 'leave' ? 'SIGTERM' : 'SIGKILL')
    await pause(below(random, SESSION_MS + 2000))
    if (kind === 'lose') deployment.loseDisk(name)
    await deployment.start(name)
  }
  await pause(below(random, 2000))
}

test('whatever happens, in whichever order, nothing is lost and nothing counts twice', { timeout: 1_800_000 }, async () => {
  const rounds = Number(process.env.TRIBUTARY_FAULT_ROUNDS ?? 4)
  const random = seeded(Number(process.env.TRIBUTARY_SEED ?? 3))
  for (const name of ['a', 'b', 'c']) await deployment.start(name)
  await defineSegments()
  let isOver = false
  const fates = (async () => {
    for (let i = 0; i < rounds; i++) await misfortune(random, pick(random, ['a', 'b', 'c']))
    isOver = true
  })()
  const messages = story(random)
  const each = Math.ceil(messages.length / (rounds * 8))
  // As slowly as it takes: there is something under way in each round.
  for (let i = 0; i < messages.length; i += each) {
    await sendAll(messages.slice(i, i + each), 100)
    if (!isOver) await pause(500)
  }
  await fates
  await verify()
})
