// A kill and some other faults of the table under load, others each time; faults.long.test.ts goes through all of them again and again.
// The seed makes the load, the faults and their moments, not the timing of the machine.
import { expect, test } from 'vitest'
import { must } from '../../src/core/assert.ts'
import { seeded, shuffled } from '../identity/random.ts'
import { FAULT_NAMES, needsDisk } from './faults.ts'
import { faultRounds, faultsOf, type RoundsOptions, type Seen } from './rounds.ts'
import { SmallDisk } from './small-disk.ts'

const seed = Number(process.env.TRIBUTARY_SEED ?? Math.floor(Math.random() * 1e6))
const MEGABYTES = 256
/** Beside the kill. */
const OTHERS = 3

/** Where nothing can be mounted, a disk can't be filled: those two faults are left out, and it is said. */
function manualRounds(): Pick<RoundsOptions, 'faults' | 'disk'> {
  const trial = SmallDisk.mount('tmpfs', 1)
  trial?.remove()
  if (!trial) console.log('nothing can be mounted here (this takes root): no disk is filled')
  const random = seeded(seed)
  const others = FAULT_NAMES.filter((name) => name !== 'killed' && (trial || !needsDisk(name)))
  const faults = shuffled(random, ['killed', ...shuffled(random, others).slice(0, OTHERS)] as const)
  return trial ? { faults, disk: { kind: 'tmpfs', megabytes: MEGABYTES } } : { faults }
}

test('nothing is lost, nothing counts twice, and every law can fail', async () => {
  const say = (what: string): void => console.log(what)
  const { faults, figures, seen } = await faultRounds({
    seed,
    ...manualRounds(),
    clock: 'manual',
    people: 25,
    lifeMs: 200,
    thinkMs: 100,
    say,
  })
  console.log(`seed ${seed}: ${JSON.stringify(figures)}`)
  expect(faults.slice(0, 20)).toEqual([])
  expect(figures.acknowledged).toBeGreaterThan(100)
  expect(figures.merges).toBeGreaterThan(0)
  expect(figures.streamConnections).toBeGreaterThan(1)
  for (const [law, plant] of PLANTED) {
    const found = faultsOf({ ...seen, ...plant(seen) })
    expect(found[law], law).not.toEqual([])
  }
})

/** A fault each, in what was seen, and the law that must find it. */
const PLANTED: readonly (readonly [law: string, plant: (seen: Seen) => Partial<Seen>])[] = [
  // An acknowledged message is missing.
  ['timelines', (seen) => withEvents(seen, (events) => events.slice(1))],
  // A message counts twice.
  ['timelines', (seen) => withEvents(seen, (events) => [...events, ...events.slice(0, 1)])],
  ['timelines', (seen) => ({ world: { ...seen.world, status: { ...seen.world.status, profiles: seen.world.status.profiles + 1 } } })],
  ['memberships', (seen) => withEvents(seen, () => [])],
  ['memberships', (seen) => ({ now: seen.now - 20 * 86_400_000 })],
  ['traits', (seen) => withEvents(seen, () => [])],
  // A transition is missing, twice, out of order, or only in one place.
  ['sequences', (seen) => withTransitions(seen, (list) => list.slice(1))],
  ['sequences', (seen) => withTransitions(seen, (list) => list.slice(0, -1))],
  ['sequences', (seen) => withTransitions(seen, (list) => [...list, ...list.slice(-1)])],
  ['sequences', (seen) => withTransitions(seen, (list) => list.toReversed())],
  ['sequences', (seen) => ({ world: { ...seen.world, members: new Map() } })],
  ['follower', (seen) => ({ received: seen.received.slice(1) })],
  ['follower', (seen) => ({ received: seen.received.toReversed() })],
  ['follower', (seen) => ({ received: seen.received.map((t, i) => (i === 3 ? { ...t, seq: t.seq + 1 } : t)) })],
]

type Events = Seen['world']['profiles'] extends ReadonlyMap<string, infer P> ? (P extends { events: infer E } ? E : never) : never

/** With other events of the profile that has most of them, of those with traits. */
function withEvents({ world }: Seen, change: (events: Events) => Events): Partial<Seen> {
  const busiest = must(
    [...world.profiles.values()].filter((p) => Object.keys(p.traits).length > 0).sort((a, b) => b.events.length - a.events.length)[0],
    'there is a profile',
  )
  return { world: { ...world, profiles: new Map([...world.profiles, [busiest.id, { ...busiest, events: change(busiest.events) }]]) } }
}

function withTransitions({ world }: Seen, change: (list: Seen['received']) => Seen['received']): Partial<Seen> {
  return { world: { ...world, transitions: change(world.transitions) } }
}
