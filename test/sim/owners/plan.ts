// What a run with several owners does, as plain data: how the engine is cut up, what clients send, which processes open the
// partitions, freeze, thaw and die. Drawn from a seed.
import type { DefinitionChange } from '../../../src/engine/definitions.ts'
import { below, pick, type Random, seeded } from '../../identity/random.ts'
import { type Cut, drawCut } from '../cut.ts'
import { drawMessage, drawWhere, type Message } from '../workload.ts'

export type Doing =
  | { readonly do: 'send'; readonly messages: readonly Message[] }
  /** The manual clock moves: every partition is told by a control record. */
  | { readonly do: 'move'; readonly ms: number }
  /** Machine time passes: ownership grows stale. */
  | { readonly do: 'wait'; readonly ms: number }
  /** Another process opens all partitions, with stores of its own. */
  | { readonly do: 'open'; readonly meanwhile: 'frozen' | 'running' | 'killed'; readonly isEmpty: boolean }
  | { readonly do: 'freeze' }
  | { readonly do: 'thaw' }
  | { readonly do: 'kill' }
  /** A journal gets another leader, which lacks some of what was not replicated. */
  | { readonly do: 'lead' }
  | { readonly do: 'read'; readonly id: string }
  | { readonly do: 'hold'; readonly prefix: string; readonly steps: number }

export type Action = Doing & { readonly steps: number }

export interface OwnersLayout extends Cut {
  readonly partitions: number
  readonly hosts: number
  /** Of appends to journals, the share whose record is lost, repeated, or whose answer is. */
  readonly badness: number
}

export interface OwnersPlan {
  readonly seed: number
  readonly layout: OwnersLayout
  readonly definitions: readonly DefinitionChange[]
  readonly actions: readonly Action[]
}

function drawLayout(random: Random): OwnersLayout {
  const partitions = pick(random, [1, 2, 2, 4])
  return {
    partitions,
    hosts: random() < 0.6 ? partitions : 1,
    ...drawCut(random),
    badness: pick(random, [0, 0.3, 0.6]),
  }
}

const HOLDS = ['arrive', 'replicate', 'answer', 'read journal', 'store', 'relay', 'post'] as const

function drawOwners(random: Random): Doing {
  const x = random()
  if (x < 0.35) return { do: 'open', meanwhile: pick(random, ['frozen', 'frozen', 'running', 'killed']), isEmpty: random() < 0.4 }
  if (x < 0.5) return { do: 'freeze' }
  if (x < 0.8) return { do: 'thaw' }
  return x < 0.87 ? { do: 'kill' } : { do: 'lead' }
}

/** The plan of a seed, with so many actions. */
export function drawOwnersPlan(seed: number, length: number): OwnersPlan {
  const random = seeded(seed)
  const layout = drawLayout(random)
  const definitions: DefinitionChange[] = Array.from({ length: 1 + below(random, 4) }, (_, i) => ({
    put: { id: `s${i}`, where: drawWhere(random) },
  }))
  const crowd = { links: pick(random, [1, 2, 3]), people: 4 }
  const pace = pick(random, [8, 20, 60])
  let nextId = 0
  const doing = (): Doing => {
    const x = random()
    if (x < 0.45) return { do: 'send', messages: Array.from({ length: 1 + below(random, 4) }, () => drawMessage(random, crowd, nextId++)) }
    if (x < 0.55) return { do: 'move', ms: pick(random, [1, 10, 50, 101]) }
    if (x < 0.62) return { do: 'wait', ms: pick(random, [5, 30, 99, 100, 250]) }
    if (x < 0.72) return { do: 'read', id: `${pick(random, ['u', 'e', 'a'])}${below(random, 4)}` }
    if (x < 0.78) return { do: 'hold', prefix: pick(random, HOLDS), steps: 10 + below(random, 60) }
    return drawOwners(random)
  }
  const actions: Action[] = Array.from({ length }, () => ({ ...doing(), steps: below(random, pace) }))
  return { seed: below(random, 2 ** 31), layout, definitions, actions }
}
