// Random universes, feeds and schedules.
import type { Identifier } from '../../src/core/identifier.ts'
import type { Limits } from '../../src/identity/guards.ts'
import { checkFinal, checkFinished, checkStep } from './checks.ts'
import { below, pick, type Random, seeded } from './random.ts'
import { type EventSpec, fail, UNLIMITED, type Universe, World, type WorldOptions } from './world.ts'

export const NAMES = ['user_id', 'email', 'anonymous_id'] as const

/** Identifiers with keys in the order of their places: as many of each namespace as the counts say. */
export function identifiersOf(counts: readonly number[]): Identifier[] {
  const out: Identifier[] = []
  for (const [priority, count] of counts.entries()) {
    for (let i = 0; i < count; i++) {
      const key = String.fromCharCode(priority) + String(out.length).padStart(16, '0')
      out.push({ key, namespace: NAMES[priority] as string, value: `v${out.length}` })
    }
  }
  return out
}

export type Guards = 'none' | 'always' | 'sometimes'

export function limitsOf(user: number, email: number, anonymous: number, total = Number.POSITIVE_INFINITY): Limits {
  return {
    total,
    of: new Map([
      ['user_id', user],
      ['email', email],
      ['anonymous_id', anonymous],
    ]),
    others: 1,
  }
}

export function randomUniverse(random: Random, guards: Guards): Universe {
  const partitions = 1 + below(random, 4)
  const identifiers = identifiersOf([below(random, 4), below(random, 4), 1 + below(random, 4)])
  const guarded = guards === 'always' || (guards === 'sometimes' && random() < 0.6)
  const limits = guarded
    ? limitsOf(1, 1 + below(random, 2), 1 + below(random, 3), random() < 0.4 ? 2 + below(random, 4) : undefined)
    : UNLIMITED
  return { partitions, identifiers, homes: identifiers.map(() => below(random, partitions)), limits }
}

const FEEDS: readonly ((random: Random, all: number[], of: (namespace: string) => number[], at: number) => number[])[] = [
  // anything with anything
  (random, all) => {
    const ids = [pick(random, all)]
    while (random() < 0.5) ids.push(pick(random, all))
    return ids
  },
  // shared devices and logins
  (random, _, of) => {
    const ids = [pick(random, of('anonymous_id'))]
    for (const [namespace, chance] of [
      ['user_id', 0.5],
      ['email', 0.2],
    ] as const) {
      if (of(namespace).length > 0 && random() < chance) ids.push(pick(random, of(namespace)))
    }
    return ids
  },
  // chains and rings
  (random, all) => {
    const a = below(random, all.length)
    return random() < 0.3 ? [a] : [a, (a + 1) % all.length]
  },
  // stars around changing hubs
  (random, all) => [pick(random, all.slice(0, 2)), pick(random, all)],
  // lone foundings, then merges
  (random, all, _, at) => (at < all.length ? [at] : [pick(random, all), pick(random, all), pick(random, all)]),
  // fan-in
  (random, all) => (random() < 0.7 ? [all.length - 1, pick(random, all)] : [all.length - 1]),
]

export function randomFeed(random: Random, { identifiers }: Universe): EventSpec[] {
  const feed = pick(random, FEEDS)
  const all = identifiers.map((_, place) => place)
  const of = (namespace: string): number[] => all.filter((place) => identifiers[place]?.namespace === namespace)
  return Array.from({ length: 3 + below(random, 13) }, (_, id) => ({ id, ids: feed(random, all, of, id) }))
}

const MAX_STEPS = 20_000

export interface ScheduleOptions {
  readonly check?: boolean
  readonly checkCauses?: boolean
}

/** Injects the events and delivers messages in a random order until nothing is under way. */
export function runSchedule(world: World, random: Random, events: readonly EventSpec[], options: ScheduleOptions = {}): void {
  const mode = pick(random, ['uniform', 'skewed', 'weighted', 'strict'] as const)
  const [late, repeats] = [random() < 0.5, random() < 0.3]
  const weights = new Map<string, number>()
  const weightOf = ({ origin, target }: { origin: string; target: number }): number => {
    const name = `${origin}>${target}`
    const known = weights.get(name)
    if (known !== undefined) return known
    const weight = mode === 'uniform' ? 1 : mode === 'skewed' ? 2 ** (-8 * random()) : random()
    weights.set(name, weight)
    return weight
  }
  const rest = [...events]
  if (!late) for (const event of rest.splice(0)) world.inject(event)
  for (let step = 0; step < MAX_STEPS; step++) {
    const live = world.liveChannels()
    if (rest.length > 0 && (live.length === 0 || random() < 0.25)) {
      world.inject(rest.shift() as EventSpec)
      continue
    }
    if (live.length === 0) return
    if (mode === 'strict' && random() < 0.05) weights.clear()
    const channel = mode === 'strict' ? live.reduce((a, b) => (weightOf(a) >= weightOf(b) ? a : b)) : byWeight(random, live, weightOf)
    world.deliver(channel, repeats && random() < 0.1)
    if (options.check ?? true) checkStep(world)
    if (options.checkCauses) checkFinished(world)
  }
  fail(`still busy after ${MAX_STEPS} steps`)
}

function byWeight<T>(random: Random, list: readonly T[], weightOf: (one: T) => number): T {
  let sum = 0
  for (const one of list) sum += weightOf(one)
  let rest = random() * sum
  for (const one of list) {
    rest -= weightOf(one)
    if (rest <= 0) return one
  }
  return list[list.length - 1] as T
}

export interface RunOptions extends WorldOptions {
  readonly guards?: Guards
  readonly universe?: (random: Random) => Universe
  readonly feed?: (random: Random, universe: Universe) => EventSpec[]
}

/** One random universe under one random schedule, with all checks. Every choice follows from the seed. */
export function run(seed: number, options: RunOptions = {}): World {
  const random = seeded(seed)
  const universe = options.universe?.(random) ?? randomUniverse(random, options.guards ?? 'sometimes')
  const events = options.feed?.(random, universe) ?? randomFeed(random, universe)
  const defaults = { inline: random() < 0.3, persist: random() < 0.3 }
  const checkCauses = random() < 0.3
  const world = new World(universe, { ...defaults, ...options })
  runSchedule(world, random, events, { checkCauses })
  checkFinal(world)
  return world
}
