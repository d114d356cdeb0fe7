// The workload's events: an endless supply of plausible customers from one seed, the same bytes on every machine.
// Every draw below is in a fixed order; a draw more or less changes everything after it.
import { hex8, mix, pick, type Random, randomOf } from './random.ts'
import { carriesChannel, EVENT_NAMES, MONETARY_EVENTS, VALUES } from './vocabulary.ts'

export interface EventOptions {
  readonly n: number
  readonly users: number
  /** Exponent of the distribution of users. */
  readonly zipf: number
  readonly seed: number
  /** The instant after the newest event, ms. */
  readonly endMs: number
  readonly spanMs: number
  /** The first `users` events are one per user. */
  readonly cover: boolean
}

export const DEFAULT_EVENTS: EventOptions = {
  n: 1_000_000,
  users: 1_000_000,
  zipf: 1,
  seed: 1,
  endMs: Date.parse('2026-06-01T00:00:00.000Z'),
  spanMs: 40 * 86_400_000,
  cover: false,
}

/** The workload as lines of JSON, without line ends. */
export function* eventLines(options: Partial<EventOptions> = {}): Generator<string, void, undefined> {
  const o = { ...DEFAULT_EVENTS, ...options }
  if (o.cover && o.n <= o.users) throw new Error(`cover needs more events (${o.n}) than users (${o.users})`)
  const random = randomOf(o.seed)
  const drawRank = rankedBy(EVENT_NAMES.length, 0.9)
  const drawUser = rankedBy(o.users, o.zipf)
  for (let i = 0; i < o.n; i++) {
    const rank = drawRank(random)
    const covering = o.cover && i < o.users
    const user = covering ? coveredUser(i, o.users) : drawUser(random)
    const ids = identifiers(random, { user, users: o.users, covering })
    const timestamp = new Date(instant(random, i, o)).toISOString()
    const properties = propertiesOf(random, rank, user)
    const name = EVENT_NAMES[rank]
    yield `{"messageId":"${messageId(i, o.seed)}","type":"track","event":"${name}",${ids},"timestamp":"${timestamp}","properties":{${properties}}}`
  }
}

/** Draws a place below `count`, place i with weight 1/(i + 1)^exponent. */
function rankedBy(count: number, exponent: number): (random: Random) => number {
  const cumulative = new Float64Array(count)
  let sum = 0
  for (let i = 0; i < count; i++) {
    sum += 1 / (i + 1) ** exponent
    cumulative[i] = sum
  }
  for (let i = 0; i < count; i++) cumulative[i] = (cumulative[i] as number) / sum
  return (random) => {
    const drawn = random()
    let low = 0
    let high = count - 1
    while (low < high) {
      const middle = (low + high) >> 1
      if ((cumulative[middle] as number) > drawn) high = middle
      else low = middle + 1
    }
    return low
  }
}

/** A fixed permutation, so that neighbours in time aren't neighbours in rank. */
function coveredUser(i: number, users: number): number {
  return Number((BigInt(i) * 7919n + 17n) % BigInt(users))
}

function userId(user: number): string {
  return `u${String(user).padStart(8, '0')}`
}

/** One of the two devices of a user. */
function deviceId(user: number, device: number): string {
  return `a${hex8(mix(user, 11 + device))}${hex8(mix(user, 17 + device))}`
}

/** Somebody who never signs in. */
function visitorId(visitor: number): string {
  return `v${hex8(mix(visitor, 5))}${hex8(mix(visitor, 7))}`
}

function identifiers(random: Random, { user, users, covering }: { user: number; users: number; covering: boolean }): string {
  const kind = random()
  const device = random() < 0.7 ? 0 : 1
  const known = random() < 0.5
  if (!covering && kind < 0.1) {
    const id = known ? deviceId(user, device) : visitorId(Math.floor(random() * Math.max(1, users / 10)))
    return `"anonymousId":"${id}"`
  }
  // 0.045 of all events is 5 % of those with a user.
  const linking = kind < 0.145
  return `"userId":"${userId(user)}"${linking ? `,"anonymousId":"${deviceId(user, device)}"` : ''}`
}

/** Evenly over the span; one in a hundred comes up to an hour late. */
function instant(random: Random, i: number, { n, endMs, spanMs }: EventOptions): number {
  const onTime = endMs - spanMs + Math.floor(((i + 1) * spanMs) / n) - 1
  return random() < 0.01 ? onTime - Math.floor(random() * 3_600_000) : onTime
}

function propertiesOf(random: Random, rank: number, user: number): string {
  const plan = mostly(random, 0.02, VALUES.plan, mix(user, 1))
  const device = mostly(random, 0.2, VALUES.device, mix(user, 3))
  const third = carriesChannel(rank)
    ? `"channel":"${pick(random, VALUES.channel)}"`
    : `"country":"${mostly(random, 0.02, VALUES.country, mix(user, 2))}"`
  const category = VALUES.category[Math.floor(random() * random() * VALUES.category.length)]
  return `"plan":"${plan}",${third},"device":"${device}","category":"${category}"${measure(random, rank)}`
}

/** The value that is the user's own, but for a share `changing` of the draws. */
function mostly(random: Random, changing: number, values: readonly string[], own: number): string {
  return random() < changing ? pick(random, values) : (values[own % values.length] as string)
}

const MONETARY = new Set<string>(MONETARY_EVENTS)

function measure(random: Random, rank: number): string {
  if (MONETARY.has(EVENT_NAMES[rank] as string)) return `,"amount":${(1 + Math.floor(random() * random() * 29_900) / 100).toFixed(2)}`
  return random() < 0.5 ? `,"position":${Math.floor(random() * 40)}` : ''
}

/** Unique in a file, and in the shape of a version 4 UUID. */
function messageId(i: number, seed: number): string {
  const part = (salt: number, digits: number) => hex8(mix(i, salt)).slice(0, digits)
  return `${part(101, 8)}-${part(102, 4)}-4${part(103, 3)}-a${part(104, 3)}-${hex8(mix(seed, 105)).slice(0, 4)}${hex8(i)}`
}
