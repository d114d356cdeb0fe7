// Makes a failing plan small: fewer actions, fewer messages, a plainer layout, as long as the same invariant breaks.
//
// 1. Whatever is left out moves all later draws of the scheduler; so each candidate is tried under a few seeds.
import type { Broken } from './model.ts'

/** Runs that shrinking may take. */
const RUNS = 600
const SEEDS_PER_CANDIDATE = 3

interface AnyPlan {
  readonly seed: number
  readonly layout: { readonly partitions: number }
  readonly actions: readonly { readonly do: string; readonly messages?: readonly unknown[] }[]
}

/** What is to be known of a kind of plans. */
export interface Shrinkable<P extends AnyPlan> {
  run(plan: P): Promise<{ readonly broken: Broken | undefined }>
  /** Parts of a layout as they are where they don't matter. */
  readonly plain: Partial<P['layout']>
  /** A layout with fewer partitions. */
  fewer(layout: P['layout'], partitions: number): P['layout']
}

export interface Shrunk<P> {
  readonly plan: P
  readonly broken: Broken
}

class Shrinking<P extends AnyPlan> {
  best: Shrunk<P>
  readonly #how: Shrinkable<P>
  #runs = 0

  constructor(start: Shrunk<P>, how: Shrinkable<P>) {
    this.best = start
    this.#how = how
  }

  get isOver(): boolean {
    return this.#runs >= RUNS
  }

  /** True when the candidate fails alike; then it is the best. */
  async try(candidate: P): Promise<boolean> {
    for (let i = 0; i < SEEDS_PER_CANDIDATE && !this.isOver; i++) {
      this.#runs++
      const plan = { ...candidate, seed: candidate.seed + i }
      const { broken } = await this.#how.run(plan)
      if (broken?.invariant !== this.best.broken.invariant) continue
      this.best = { plan, broken }
      return true
    }
    return false
  }

  async actions(): Promise<boolean> {
    let hasShrunk = false
    for (let size = Math.ceil(this.best.plan.actions.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
      for (let from = 0; from < this.best.plan.actions.length && !this.isOver; ) {
        const actions = this.best.plan.actions.toSpliced(from, size)
        if (await this.try({ ...this.best.plan, actions })) hasShrunk = true
        else from += size
      }
    }
    return hasShrunk
  }

  async messages(): Promise<void> {
    for (let i = 0; i < this.best.plan.actions.length; i++) {
      for (let j = 0; ; ) {
        const action = this.best.plan.actions[i]
        if (!action?.messages || j >= action.messages.length || action.messages.length === 1 || this.isOver) break
        const actions = this.best.plan.actions.with(i, { ...action, messages: action.messages.toSpliced(j, 1) })
        if (!(await this.try({ ...this.best.plan, actions }))) j++
      }
    }
  }

  async layout(): Promise<void> {
    for (const [name, value] of Object.entries(this.#how.plain)) {
      const { layout } = this.best.plan
      if (this.isOver || layout[name as keyof typeof layout] === value) continue
      await this.try({ ...this.best.plan, layout: { ...layout, [name]: value } })
    }
    for (const partitions of [1, 2]) {
      const { layout } = this.best.plan
      if (layout.partitions <= partitions || this.isOver) continue
      if (await this.try({ ...this.best.plan, layout: this.#how.fewer(layout, partitions) })) break
    }
  }
}

export async function shrink<P extends AnyPlan>(plan: P, broken: Broken, how: Shrinkable<P>): Promise<Shrunk<P>> {
  const shrinking = new Shrinking({ plan, broken }, how)
  await shrinking.layout()
  while (await shrinking.actions()) await shrinking.messages()
  await shrinking.layout()
  return shrinking.best
}
