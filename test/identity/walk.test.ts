// The protocol message by message: small stories in which the order of everything is given.
import { describe, expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import type { Identifier } from '../../src/core/identifier.ts'
import { decodeMessage } from '../../src/identity/codec.ts'
import type { Limits } from '../../src/identity/guards.ts'
import { isIdle, type Root } from '../../src/identity/root.ts'
import { checkFinal } from './checks.ts'
import { identifiersOf, limitsOf } from './universes.ts'
import { UNLIMITED, World } from './world.ts'

// Places: users 0 and 1, e-mails 2 and 3, cookies 4 to 6. Each has a partition of its own unless a test says otherwise.
const identifiers = identifiersOf([2, 2, 3])
const [U0, U1, E2, E3, A4, A5] = [0, 1, 2, 3, 4, 5]

function newWorld(limits: Limits = UNLIMITED): World {
  return new World({ partitions: identifiers.length, identifiers, homes: identifiers.map((_, place) => place), limits })
}

/** Delivers the oldest message of each channel in turn; returns the kinds of all messages in order. */
function settle(world: World): string[] {
  const kinds: string[] = []
  for (;;) {
    const live = world.liveChannels()
    if (live.length === 0) return kinds
    for (const channel of live) {
      kinds.push(decodeMessage(must(channel.queue[0], 'a live channel').bytes).kind)
      world.deliver(channel)
    }
  }
}

function feed(world: World, ...ids: number[]): string[] {
  world.inject({ id: world.injected.length, ids })
  return settle(world).slice(1)
}

const idsOf = (world: World, place: number): number[] =>
  [...must(world.rootOf(place), 'known').ids.keys()].map((key) => world.placeOf(key)).sort()

/** Delivers what origin sent to target, all of it. */
function flush(world: World, origin: number | 'log', target: number): void {
  const channel = must(world.channels.get(`${origin}>${target}`), `a channel ${origin}>${target}`)
  while (channel.queue.length > 0) world.deliver(channel)
}

describe('costs', () => {
  test('an event whose identifiers are all known costs its own message only, and touches nothing', () => {
    const world = newWorld()
    feed(world, U0, A4)
    const touches = world.touches
    expect(feed(world, U0, A4)).toEqual(['event'])
    expect(world.touches).toBe(touches)
  })

  test('a new identifier costs two messages, a merge five, a refusal four, and only once', () => {
    const world = newWorld(limitsOf(1, 5, 5))
    expect(feed(world, U0, A4)).toEqual(['link', 'linked'])
    expect(feed(world, U1)).toEqual([])
    expect(feed(world, U1, A4)).toEqual(['event', 'link', 'known', 'propose', 'refuse'])
    expect(feed(world, U1, A4)).toEqual(['event'])
    feed(world, E2)
    expect(feed(world, U0, E2)).toEqual(['event', 'link', 'meet', 'propose', 'accept', 'handover'])
    checkFinal(world)
    expect(world.audits.filter((a) => a.action === 'refused')).toMatchObject([{ identifier: { value: 'v4' }, reason: 'guard:user_id' }])
  })

  test('a leaf is repointed by the first event that comes through a forward, and by no other', () => {
    const world = newWorld()
    feed(world, A4)
    feed(world, U0, A4)
    expect(feed(world, A4)).toEqual(['event', 'event', 'repoint'])
    expect(feed(world, A4)).toEqual(['event'])
    checkFinal(world)
  })
})

describe('traps', () => {
  test('1: a newborn larger than the profile it meets hands itself over; no forward ascends', () => {
    const world = newWorld()
    feed(world, U0, A4)
    feed(world, E3, A4)
    expect(idsOf(world, E3)).toEqual([U0, E3, A4])
    expect(world.minted).toHaveLength(1)
    checkFinal(world)
  })

  test('3: a link may end at the asker itself, whose leaf is stale by then', () => {
    const world = newWorld()
    feed(world, U0, A5)
    feed(world, A4)
    // Both sides ask at once: the visitor for the cookie that the user has, the user for the visitor's.
    world.inject({ id: 2, ids: [A4, A5] })
    world.inject({ id: 3, ids: [U0, A4] })
    const kinds = settle(world)
    expect(kinds.filter((kind) => kind === 'meet' || kind === 'handover')).toEqual(['meet', 'handover', 'meet'])
    expect(isIdle(must(world.rootOf(U0), 'known'))).toBe(true)
    expect(idsOf(world, U0)).toEqual([U0, A4, A5])
    checkFinal(world)
  })

  test('13: an event counts with its smallest identifier, also where its other one is refused', () => {
    const world = newWorld(limitsOf(1, 1, 5))
    feed(world, E2, A4)
    feed(world, E3, A4)
    expect(idsOf(world, E3)).toEqual([E3])
    expect(idsOf(world, A4)).toEqual([E2, A4])
    checkFinal(world)
  })

  test('4: links go one at a time in key order, so the merge comes before what would stand in its way', () => {
    const world = newWorld({ ...limitsOf(1, 1, 1) })
    feed(world, E3, A5)
    feed(world, U1, E3, A4)
    expect(idsOf(world, U1)).toEqual([U1, E3, A5])
    checkFinal(world)
  })
})

describe('birth', () => {
  test('a visitor who logs in keeps her public id, and nothing else is ever minted', () => {
    const world = newWorld()
    feed(world, A4)
    const id = must(world.rootOf(A4), 'known').publicId
    feed(world, U0, A4)
    expect(must(world.rootOf(U0), 'known').publicId).toBe(id)
    expect(world.minted).toHaveLength(1)
    expect(world.merges).toHaveLength(0)
    expect(world.audits.map((a) => [a.action, a.identifier?.value])).toEqual([
      ['created', 'v4'],
      ['linked', 'v0'],
    ])
  })

  test('two born profiles that meet keep the older id, and one merge is told', () => {
    const world = newWorld()
    feed(world, A4)
    feed(world, U0)
    const older = must(world.rootOf(A4), 'known').publicId
    const younger = must(world.rootOf(U0), 'known').publicId
    feed(world, U0, A4)
    expect(must(world.rootOf(U0), 'known').publicId).toBe(older)
    expect(world.merges).toEqual([[younger, older]])
    expect(world.audits.at(-1)).toMatchObject({ action: 'merged', profile: younger, identifier: { value: 'v4' } })
  })

  test('events wait for the links of the first one', () => {
    const world = newWorld()
    world.inject({ id: 0, ids: [U0, A4] })
    world.inject({ id: 1, ids: [U0] })
    flush(world, 'log', U0)
    const root = must(world.rootOf(U0), 'founded')
    // The second event is on its way within the partition: known leaf, unborn root.
    flush(world, U0, U0)
    expect(root.isBorn).toBe(false)
    expect(root.waiting).toHaveLength(2)
    settle(world)
    checkFinal(world)
    expect(world.bodies.get(root.key)?.applied).toEqual([0, 1])
  })
})

test('a late repoint does not undo a newer one', () => {
  const world = newWorld()
  feed(world, A4)
  feed(world, E2, A4)
  const stale = must(world.row(must(world.rootOf(E2), 'known').key), 'there') as Root
  feed(world, U0, E2)
  feed(world, A4)
  const home = must(world.partitions[A4], 'exists')
  const leaf = must(home.leaves.get(must(identifiers[A4], 'exists').key), 'known')
  const cause = world.causeOf({ id: 9, ids: [A4] })
  home.step({ kind: 'repoint', x: must(identifiers[A4], 'exists').key, was: stale.key, to: stale.key, cause })
  expect(home.leaves.get(must(identifiers[A4], 'exists').key)).toEqual(leaf)
  checkFinal(world)
})

test('what is not expected stops the partition instead of being patched up', () => {
  const world = newWorld()
  feed(world, U0)
  const root = must(world.rootOf(U0), 'known')
  const home = must(world.partitions[U0], 'exists')
  const cause = world.causeOf({ id: 9, ids: [U0] })
  const x = (identifiers[A4] as Identifier).key
  expect(() => home.step({ kind: 'linked', to: root.key, x, v: 1, cause })).toThrow('an answer finds its link asked')
  expect(() => home.step({ kind: 'accept', to: root.key, by: root.key, x, own: true, cause })).toThrow('an acceptance finds its proposal')
  expect(() => home.step({ kind: 'propose', to: root.key, x, from: root.key, ids: [], own: true, cause })).toThrow(
    'the smaller root decides',
  )
})
