// What happens at the bounds of a root's queues: nothing is lost, nothing blocks, and what is refused is audited.
import { describe, expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import type { Limits } from '../../src/identity/guards.ts'
import type { Root } from '../../src/identity/root.ts'
import {
  HELD_PER_ROOT,
  LINKS_PER_ROOT,
  REFUSED_PER_ROOT,
  WAITING_BYTES_PER_ROOT,
  WAITING_PER_ROOT,
  WANTS_PER_ROOT,
} from '../../src/identity/rules.ts'
import { checkFinal } from './checks.ts'
import { identifiersOf, limitsOf } from './universes.ts'
import { carried, World } from './world.ts'

const ROOMY = limitsOf(10, 10_000, 10_000)

/** Users, e-mails, cookies; the first user lives in partition 0, the rest in 1, the chosen ones elsewhere. */
function newWorld(counts: readonly number[], elsewhere: { readonly [place: number]: number } = {}, limits: Limits = ROOMY): World {
  const identifiers = identifiersOf(counts)
  const homes = identifiers.map((_, place) => elsewhere[place] ?? (place === 0 ? 0 : 1))
  return new World({ partitions: 4, identifiers, homes, limits }, { inline: true })
}

function inject(world: World, ...ids: number[]): void {
  world.inject({ id: world.injected.length, ids })
}

/** Delivers until nothing is left, or nothing but what goes to the partition that sleeps. */
function settle(world: World, asleep?: number): void {
  for (;;) {
    const channel = world.liveChannels().find(({ target }) => target !== asleep)
    if (!channel) return
    world.deliver(channel)
  }
}

const rootOf = (world: World, place: number): Root => must(world.rootOf(place), 'known')
const full = (world: World): number => world.audits.filter((a) => a.action === 'refused' && a.reason === 'limit').length

describe('events that wait for a birth', () => {
  test('are not more than so many: then the profile is born, and merges later', () => {
    const world = newWorld([1, 0, 1], { 1: 2 })
    inject(world, 1)
    settle(world)
    inject(world, 0, 1)
    for (let i = 1; i < WAITING_PER_ROOT; i++) inject(world, 0)
    settle(world, 2)
    expect(rootOf(world, 0).isBorn).toBe(false)
    expect(rootOf(world, 0).waiting).toHaveLength(WAITING_PER_ROOT)
    inject(world, 0)
    settle(world, 2)
    expect(rootOf(world, 0).isBorn).toBe(true)
    expect(rootOf(world, 0).waiting).toHaveLength(0)
    settle(world)
    checkFinal(world)
    expect(world.merges).toHaveLength(1)
  })

  test('nor more than so many bytes', () => {
    const world = newWorld([1, 0, 1], { 1: 2 })
    const home = must(world.partitions[0], 'exists')
    const { record } = carried(0, world.universe.identifiers)
    const bytes = Buffer.alloc(WAITING_BYTES_PER_ROOT / 2)
    for (const isBorn of [false, false, true]) {
      home.step({ kind: 'arrive', event: { record, bytes }, cause: { partition: 0, position: 0, stamp: 0, messageId: '0' } })
      expect(rootOf(world, 0).isBorn).toBe(isBorn)
    }
  })
})

test('links beyond the bound are refused with an entry each, and made by a later event', () => {
  const more = 30
  const world = newWorld([1, 0, LINKS_PER_ROOT + 1 + more], { 1: 2 })
  inject(world, 0)
  settle(world)
  const last = LINKS_PER_ROOT + 1 + more
  for (let place = 1; place <= last; place++) inject(world, 0, place)
  settle(world, 2)
  expect(rootOf(world, 0).links).toHaveLength(LINKS_PER_ROOT)
  expect(full(world)).toBe(more)
  settle(world)
  checkFinal(world)
  expect(rootOf(world, 0).ids.size).toBe(1 + 1 + LINKS_PER_ROOT)
  inject(world, 0, last)
  settle(world)
  expect(world.rootOf(last)).toBe(rootOf(world, 0))
  checkFinal(world)
})

test('many events with one new identifier queue one link', () => {
  const world = newWorld([1, 0, 1], { 1: 2 })
  inject(world, 0)
  settle(world)
  for (let i = 0; i < 50; i++) inject(world, 0, 1)
  settle(world, 2)
  expect(rootOf(world, 0).links).toHaveLength(0)
  expect(rootOf(world, 0).doing.state).toBe('asked')
  settle(world)
  checkFinal(world)
})

/** User 1 proposes itself to user 0, whose partition sleeps: it is frozen, and holds the last cookie. */
function frozenWorld(counts: readonly [number, number, number]): World {
  const world = newWorld(counts)
  const last = counts[0] + counts[1] + counts[2] - 1
  inject(world, 1, last)
  for (let place = 2; place < last - 1; place++) inject(world, place)
  settle(world)
  inject(world, 0, last - 1)
  settle(world)
  inject(world, 1, last - 1)
  settle(world, 0)
  expect(rootOf(world, 1).doing.state).toBe('proposed')
  return world
}

test('proposals beyond the bound are refused, and made by a later event', () => {
  const more = 5
  const world = frozenWorld([2, 0, HELD_PER_ROOT + more + 2])
  const last = HELD_PER_ROOT + more + 3
  for (let place = 2; place < last - 1; place++) inject(world, place, last)
  settle(world, 0)
  expect(rootOf(world, 1).held).toHaveLength(HELD_PER_ROOT)
  expect(full(world)).toBe(more)
  settle(world)
  checkFinal(world)
  const left = world.roots().filter((root) => world.placeOf(root.key) !== 0)
  expect(left).toHaveLength(more)
  for (const root of left) inject(world, world.placeOf(root.key), last)
  settle(world)
  checkFinal(world)
  expect(world.roots()).toHaveLength(1)
})

test('roots beyond the bound that await a proposal are refused, and served after a later event', () => {
  const more = 5
  const emails = WANTS_PER_ROOT + more
  const cookie = 1 + emails
  const world = newWorld([1, emails, 2])
  inject(world, cookie)
  for (let place = 1; place <= emails; place++) inject(world, place)
  inject(world, 0, cookie + 1)
  settle(world)
  inject(world, cookie, cookie + 1)
  settle(world, 0)
  expect(rootOf(world, cookie).doing.state).toBe('proposed')
  for (let place = 1; place <= emails; place++) inject(world, place, cookie)
  settle(world, 0)
  expect(rootOf(world, cookie).wants).toHaveLength(WANTS_PER_ROOT)
  expect(full(world)).toBe(more)
  settle(world)
  checkFinal(world)
  const left = world.roots().filter((root) => world.placeOf(root.key) !== 0)
  expect(left).toHaveLength(more)
  for (const root of left) inject(world, world.placeOf(root.key), cookie)
  settle(world)
  checkFinal(world)
  expect(world.roots()).toHaveLength(1)
})

test('of refusals the newest are remembered; a forgotten one is told once more', () => {
  const world = newWorld([1, 0, REFUSED_PER_ROOT + 3], {}, limitsOf(1, 1, 1))
  const last = REFUSED_PER_ROOT + 3
  for (let place = 1; place <= last; place++) inject(world, 0, place)
  settle(world)
  expect(world.audits.filter((a) => a.action === 'refused')).toHaveLength(REFUSED_PER_ROOT + 2)
  expect(rootOf(world, 0).refused.size).toBe(REFUSED_PER_ROOT)
  inject(world, 0, last)
  settle(world)
  expect(world.audits.filter((a) => a.action === 'refused')).toHaveLength(REFUSED_PER_ROOT + 2)
  inject(world, 0, 2)
  settle(world)
  expect(world.audits.filter((a) => a.action === 'refused')).toHaveLength(REFUSED_PER_ROOT + 3)
})
