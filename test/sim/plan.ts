// What a run does, as plain data: how the engine is cut up, what clients and the machine do, which faults befall it. Drawn from a seed;
// a failing plan can be made smaller and kept. Owns the fault table.
//
// 1. Swarm: each plan switches a random subset of the faults on, so that rare combinations of few get their turn.
import type { Where } from '../../src/operators/definition.ts'
import { below, pick, type Random, seeded } from '../identity/random.ts'
import { type Cut, PLAIN_CUT } from './cut.ts'
import type { DiskCrash } from './disk.ts'
import { type Crowd, drawMessage, drawWhere, type Message } from './workload.ts'

/** Where the process may be killed: at the awaited operation that marks the step of the loop. */
export const CRASH_POINTS = [
  'after read',
  'in prefetch',
  'in execute',
  'before commit',
  'commit torn',
  'commit durable, answer lost',
  'before relay',
  'half relayed',
  'relayed, not recorded',
  'exchange on its way',
  'confirmation on its way',
  'intake unsynced',
  'definition unsynced',
  'in apply',
  'applied, answer lost',
  'in barrier',
  'in opening',
  'anywhere',
] as const
export type CrashPoint = (typeof CRASH_POINTS)[number]
/** Passed so seldom that they are asked for more often. */
const RARE: readonly CrashPoint[] = ['half relayed', 'exchange on its way', 'confirmation on its way']
const SELDOM: readonly CrashPoint[] = ['before relay', 'relayed, not recorded', 'definition unsynced', 'in barrier']
const WEIGHED: readonly CrashPoint[] = [...CRASH_POINTS, ...SELDOM, ...SELDOM, ...RARE, ...RARE, ...RARE, ...RARE]

export const FAULTS = [
  'crash',
  'power failure',
  'log write fails',
  'log sync fails',
  'store read fails',
  'store write fails',
  'store write fails after writing',
  'disk full',
  'slow commit',
  'slow events',
  'slow relay',
  'slow store',
  'delayed exchange',
  'repeated exchange',
  'clock leap',
  'clock set back',
  'clock set ahead',
  'old store',
  'poisoned event',
  'repeated message',
  'merge storm',
  'definition edits',
] as const
export type Fault = (typeof FAULTS)[number]

export type Doing =
  | { readonly do: 'send'; readonly messages: readonly Message[] }
  /** The message that was sent as the so-manieth, modulo how many there were, comes again. */
  | { readonly do: 'repeat'; readonly nth: number }
  | { readonly do: 'put'; readonly id: string; readonly where: Where | null }
  | { readonly do: 'wait'; readonly ms: number }
  | { readonly do: 'read'; readonly id: string; readonly isPinned: boolean }
  | { readonly do: 'settle' }
  | { readonly do: 'crash'; readonly at: CrashPoint; readonly power: boolean }
  | { readonly do: 'hold'; readonly what: Fault; readonly prefix: string; readonly steps: number }
  | { readonly do: 'failLog'; readonly log: string; readonly how: 'write' | 'sync' }
  | { readonly do: 'failStore'; readonly how: 'read' | 'write' | 'written' }
  | { readonly do: 'setWall'; readonly byMs: number }
  | { readonly do: 'full'; readonly isFull: boolean }
  | { readonly do: 'oldStore'; readonly isEmpty: boolean }

export type Action = Doing & {
  /** So many steps of the scheduler follow. */
  readonly steps: number
}

export interface Layout extends Cut {
  readonly partitions: number
  readonly hosts: number
  readonly clock: 'wall' | 'manual'
  readonly guarded: boolean
  readonly batchBytes: number
  readonly timerHorizonMs: number
  readonly journalBytes: number
  /** Of exchange messages, the share that arrives twice. */
  readonly repeats: number
}

export interface Plan {
  /** Of the scheduler, and of what a crash leaves. */
  readonly seed: number
  readonly layout: Layout
  readonly actions: readonly Action[]
}

/** What is left when nothing of it is needed for a failure. */
export const PLAIN: Partial<Layout> = {
  repeats: 0,
  guarded: false,
  hosts: 1,
  ...PLAIN_CUT,
  batchBytes: 4 << 20,
  timerHorizonMs: 60_000,
  journalBytes: 1e9,
}

function drawLayout(random: Random, faults: ReadonlySet<Fault>): Layout {
  const partitions = pick(random, [1, 2, 2, 4])
  return {
    partitions,
    hosts: random() < 0.6 ? partitions : 1,
    clock: pick(random, ['wall', 'manual']),
    guarded: random() < 0.25,
    batchEvents: pick(random, [1, 2, 3, 1000, 1000]),
    batchBytes: pick(random, [4 << 20, 300]),
    sliceMs: pick(random, [1e9, 0]),
    splitBytes: pick(random, [4096, 60, 0]),
    timerHorizonMs: pick(random, [60_000, 20, 1]),
    cacheBytes: pick(random, [64 << 20, 5000, 0]),
    applyMs: pick(random, [1000, 5, 0]),
    applyBytes: pick(random, [4 << 20, 3000, 1]),
    sliceRows: pick(random, [1, 4, 1000]),
    journalBytes: pick(random, [1e9, 4000, 1]),
    repeats: faults.has('repeated exchange') ? 0.2 : 0,
  }
}

const HOLDS: readonly (readonly [Fault, string])[] = [
  ['slow commit', 'sync journal'],
  ['slow events', 'sync events'],
  ['slow relay', 'sync transitions'],
  ['slow store', 'store'],
  ['delayed exchange', 'post'],
]
/** Of the faults of a plan that has crashes. */
const CRASH_SHARE = 0.5
const SEGMENTS = ['s0', 's1', 's2', 's3']
const LOGS = ['events', 'journal', 'definitions', 'transitions', 'merges']

/** Draws actions one by one. */
class Drawing {
  readonly #random: Random
  readonly #faults: ReadonlySet<Fault>
  readonly #crowd: Crowd
  #nextId = 0

  constructor(random: Random, faults: ReadonlySet<Fault>) {
    this.#random = random
    this.#faults = faults
    this.#crowd = faults.has('merge storm')
      ? { links: 3, people: pick(random, [2, 3, 4]) }
      : { links: pick(random, [1, 1, 2, 3]), people: 4 }
  }

  message(): Message {
    const message = drawMessage(this.#random, this.#crowd, this.#nextId++)
    return this.#faults.has('poisoned event') && this.#random() < 0.1 ? { ...message, isPoison: true } : message
  }

  #send(): Doing {
    const messages: Message[] = []
    for (let n = this.#random() < 0.3 ? 2 + below(this.#random, 5) : 1; n > 0; n--) messages.push(this.message())
    return { do: 'send', messages }
  }

  doing(): Doing {
    const random = this.#random
    if (random() < 0.2) return this.#fault() ?? this.#send()
    const x = random()
    if (x < 0.6) return this.#send()
    if (x < 0.8) return { do: 'wait', ms: pick(random, [0, 1, 3, 9, 10, 11, 20, 50, 99, 100, 101]) }
    if (x < 0.9) return { do: 'read', id: `${pick(random, ['u', 'e', 'a'])}${below(random, 4)}`, isPinned: random() < 0.6 }
    if (x < 0.95 && this.#faults.has('definition edits')) return this.#put()
    if (x < 0.97) return { do: 'settle' }
    return this.#send()
  }

  #put(): Doing {
    const random = this.#random
    return { do: 'put', id: pick(random, SEGMENTS), where: random() < 0.2 ? null : drawWhere(random) }
  }

  #fault(): Doing | undefined {
    const on = FAULTS.filter((fault) => this.#faults.has(fault))
    if (on.length === 0) return undefined
    // Of crashes there are eighteen kinds.
    const crashes = on.filter((fault) => fault === 'crash' || fault === 'power failure')
    return this.#doingOf(pick(this.#random, crashes.length > 0 && this.#random() < CRASH_SHARE ? crashes : on))
  }

  #doingOf(fault: Fault): Doing | undefined {
    const random = this.#random
    const held = HOLDS.find(([name]) => name === fault)
    if (held) return { do: 'hold', what: fault, prefix: held[1], steps: 10 + below(random, 60) }
    switch (fault) {
      case 'crash':
      case 'power failure':
        return { do: 'crash', at: pick(random, WEIGHED), power: fault === 'power failure' }
      case 'log write fails':
      case 'log sync fails':
        return { do: 'failLog', log: pick(random, LOGS), how: fault === 'log sync fails' ? 'sync' : 'write' }
      case 'store read fails':
        return { do: 'failStore', how: 'read' }
      case 'store write fails':
        return { do: 'failStore', how: 'write' }
      case 'store write fails after writing':
        return { do: 'failStore', how: 'written' }
      case 'disk full':
        return { do: 'full', isFull: random() < 0.5 }
      case 'clock leap':
        return { do: 'wait', ms: pick(random, [300, 1000, 5000]) }
      case 'clock set back':
        return { do: 'setWall', byMs: -pick(random, [1, 10, 100, 1000]) }
      case 'clock set ahead':
        return { do: 'setWall', byMs: pick(random, [1, 10, 100, 1000]) }
      case 'old store':
        return { do: 'oldStore', isEmpty: random() < 0.6 }
      case 'repeated message':
        return { do: 'repeat', nth: below(random, 100) }
      case 'definition edits':
        return this.#put()
      case 'poisoned event':
        return { do: 'send', messages: [{ ...this.message(), isPoison: true }] }
      case 'merge storm':
        return { do: 'send', messages: Array.from({ length: 4 + below(random, 5) }, () => this.message()) }
      default:
        return undefined
    }
  }
}

/** What is left of logs at a crash that is to show something. */
export function keepOf(at: CrashPoint): Pick<DiskCrash, 'keep'> {
  switch (at) {
    case 'before commit':
      return { keep: { log: 'journal', records: 'none', torn: false } }
    case 'commit torn':
      return { keep: { log: 'journal', records: 'some', torn: true } }
    case 'commit durable, answer lost':
      return { keep: { log: 'journal', records: 'all', torn: false } }
    case 'before relay':
      return { keep: { log: 'transitions', records: 'none', torn: false } }
    case 'half relayed':
      return { keep: { log: 'transitions', records: 'some', torn: false } }
    default:
      return {}
  }
}

/** The plan of a seed, with so many actions. */
export function drawPlan(seed: number, length: number): Plan {
  const random = seeded(seed)
  const share = pick(random, [0, 0.2, 0.5, 1])
  const faults = new Set(FAULTS.filter(() => random() < share))
  const layout = drawLayout(random, faults)
  const drawing = new Drawing(random, faults)
  const actions: Action[] = []
  for (let i = 0; i < 1 + below(random, 4); i++)
    actions.push({ do: 'put', id: must(SEGMENTS, i), where: drawWhere(random), steps: below(random, 30) })
  // Some feeds are floods, others wait for each answer.
  const pace = pick(random, [2, 8, 20, 40])
  for (let i = 0; i < length; i++) actions.push({ ...drawing.doing(), steps: random() < 0.2 ? 0 : below(random, pace) })
  return { seed: below(random, 2 ** 31), layout, actions }
}

function must(list: readonly string[], i: number): string {
  return list[i % list.length] ?? ''
}
