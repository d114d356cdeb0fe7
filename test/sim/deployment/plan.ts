// What a run of several processes on topics does, as plain data: how the engine is cut up, what clients send and define, what the
// group of the processes says, what befalls processes, stores and topics. Drawn from a seed.
//
// 1. Swarm: each plan switches a random subset of the troubles on.
import type { Where } from '../../../src/operators/definition.ts'
import { below, pick, type Random, seeded } from '../../identity/random.ts'
import { type Cut, drawCut, PLAIN_CUT } from '../cut.ts'
import { type Crowd, drawMessage, drawWhere, type Message } from '../workload.ts'

export const TOPICS = ['events', 'journal', 'exchange', 'definitions'] as const
export type TopicName = (typeof TOPICS)[number]

export type Doing =
  | { readonly do: 'send'; readonly messages: readonly Message[] }
  /** Some process saves a definition, or deletes it; hosts may hear late of it. */
  | { readonly do: 'put'; readonly id: string; readonly where: Where | null; readonly isLate: boolean }
  /** Some process moves the manual clock. */
  | { readonly do: 'move'; readonly ms: number }
  | { readonly do: 'wait'; readonly ms: number }
  | { readonly do: 'read'; readonly id: string }
  /** A process starts: with no stores, or those of another as it has them. */
  | { readonly do: 'start'; readonly isEmpty: boolean }
  /** A process closes in good order. */
  | { readonly do: 'close' }
  | { readonly do: 'kill'; readonly power: boolean }
  | { readonly do: 'freeze' }
  | { readonly do: 'thaw' }
  /** The group deals partitions out anew: among all, or without one that is frozen, which hears of it later. */
  | { readonly do: 'deal'; readonly noticesDeaths: boolean; readonly throwsOut: boolean; readonly isSticky: boolean }
  /** One more process is told to run a partition, which another one has and keeps. */
  | { readonly do: 'twice' }
  /** A partition of a topic gets another leader, which lacks some of what was not replicated, and has its own clock. */
  | { readonly do: 'lead'; readonly topic: TopicName; readonly skewMs: number }
  | { readonly do: 'hold'; readonly prefix: string; readonly steps: number }
  | { readonly do: 'failStore'; readonly how: 'read' | 'write' | 'written' }

export type Action = Doing & { readonly steps: number }

export interface DeploymentLayout extends Cut {
  readonly partitions: number
  readonly processes: number
  readonly clock: 'wall' | 'manual'
  readonly hosts: number
  readonly isStandby: boolean
  /** All partitions run before anything is done. */
  readonly isWarm: boolean
  /** How often owners delete what nobody needs; 0: never. */
  readonly deleteEveryMs: number
  /** Rounds of rewriting take few commits. */
  readonly rewritesFast: boolean
  /** Of appends to journals, to the exchange, and to the others: the share whose record is lost, repeated, or whose answer is. */
  readonly badJournal: number
  readonly badExchange: number
  readonly badOthers: number
  /** Of reads, the share that fails. */
  readonly badReads: number
}

export interface DeploymentPlan {
  readonly seed: number
  readonly layout: DeploymentLayout
  readonly actions: readonly Action[]
}

/** What is left when nothing of it is needed for a failure. */
export const PLAIN: Partial<DeploymentLayout> = {
  hosts: 1,
  isStandby: false,
  ...PLAIN_CUT,
  deleteEveryMs: 0,
  rewritesFast: false,
  badJournal: 0,
  badExchange: 0,
  badOthers: 0,
  badReads: 0,
}

const HOLDS = [
  'arrive',
  'arrive exchange',
  'replicate',
  'replicate exchange',
  'replicate journal',
  'answer',
  'read exchange',
  'read journal',
  'read events',
  'read definitions',
  'store',
  'relay',
  'group',
  'delete',
]
const SEGMENTS = ['s0', 's1', 's2', 's3']

function drawLayout(random: Random): DeploymentLayout {
  const partitions = pick(random, [1, 2, 2, 4, 4, 4])
  return {
    partitions,
    hosts: partitions > 1 ? pick(random, [1, 1, 2]) : 1,
    processes: pick(random, [1, 2, 2, 3, 3]),
    clock: pick(random, ['wall', 'manual', 'manual']),
    isStandby: random() < 0.3,
    isWarm: random() < 0.8,
    ...drawCut(random),
    deleteEveryMs: pick(random, [0, 50, 300]),
    rewritesFast: random() < 0.7,
    badJournal: pick(random, [0, 0, 0.3, 0.6]),
    badExchange: pick(random, [0, 0.3, 0.6]),
    badOthers: pick(random, [0, 0, 0.3]),
    badReads: pick(random, [0, 0, 0.1]),
  }
}

/** Draws actions one by one. */
class Drawing {
  readonly #random: Random
  readonly #crowd: Crowd
  readonly #troubles: readonly (() => Doing)[]
  readonly #isManual: boolean
  #nextId = 0

  constructor(random: Random, isManual: boolean) {
    this.#random = random
    this.#isManual = isManual
    this.#crowd = { links: pick(random, [1, 2, 3, 3]), people: 4 }
    const share = pick(random, [0.3, 0.6, 1])
    this.#troubles = troublesOf(random).filter(() => random() < share)
  }

  doing(): Doing {
    const random = this.#random
    const x = random()
    if (x < 0.45) return this.#send()
    if (x < 0.52)
      return this.#isManual ? { do: 'move', ms: pick(random, [1, 10, 50, 101]) } : { do: 'wait', ms: pick(random, [1, 10, 50, 101]) }
    if (x < 0.6) return { do: 'put', id: pick(random, SEGMENTS), where: random() < 0.2 ? null : drawWhere(random), isLate: random() < 0.3 }
    if (x < 0.64) return { do: 'read', id: `${pick(random, ['u', 'e', 'a'])}${below(random, 4)}` }
    if (x < 0.75) return { do: 'deal', noticesDeaths: random() < 0.7, throwsOut: random() < 0.5, isSticky: random() < 0.6 }
    return this.#troubles.length > 0 ? pick(random, this.#troubles)() : this.#send()
  }

  #send(): Doing {
    const messages = Array.from({ length: 1 + below(this.#random, 4) }, () => drawMessage(this.#random, this.#crowd, this.#nextId++))
    return { do: 'send', messages }
  }
}

function troublesOf(random: Random): (() => Doing)[] {
  return [
    () => ({ do: 'start', isEmpty: random() < 0.4 }),
    () => ({ do: 'close' }),
    () => ({ do: 'kill', power: random() < 0.4 }),
    () => ({ do: 'freeze' }),
    () => ({ do: 'freeze' }),
    () => ({ do: 'thaw' }),
    () => ({ do: 'thaw' }),
    () => ({ do: 'twice' }),
    () => ({ do: 'lead', topic: pick(random, ['journal', 'exchange']), skewMs: 0 }),
    () => ({ do: 'lead', topic: pick(random, TOPICS), skewMs: pick(random, [0, 0, -20, 20, 300]) }),
    () => ({ do: 'hold', prefix: pick(random, HOLDS), steps: 10 + below(random, 150) }),
    () => ({ do: 'wait', ms: pick(random, [30, 100, 300, 700, 1500]) }),
    () => ({ do: 'failStore', how: pick(random, ['read', 'write', 'written']) }),
  ]
}

/** The plan of a seed, with so many actions. */
export function drawDeploymentPlan(seed: number, length: number): DeploymentPlan {
  const random = seeded(seed)
  const layout = drawLayout(random)
  const drawing = new Drawing(random, layout.clock === 'manual')
  const pace = pick(random, [8, 20, 60, 120])
  const puts = Array.from(
    { length: 1 + below(random, 3) },
    (_, i): Doing => ({ do: 'put', id: `s${i}`, where: drawWhere(random), isLate: false }),
  )
  const doings = [...puts, ...Array.from({ length }, () => drawing.doing())]
  return { seed: below(random, 2 ** 31), layout, actions: doings.map((doing) => ({ ...doing, steps: below(random, pace) })) }
}
