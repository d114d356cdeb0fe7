// Makes a failing plan small: fewer actions, fewer messages, a plainer layout, as long as the same invariant breaks.
//
// 1. Whatever is left out moves all later draws of the scheduler; so each candidate is tried under a few seeds.
import type { Broken } from './model.ts'
import type { Action, Layout, Plan } from './plan.ts'
import { runPlan } from './run.ts'

/** Runs that shrinking may take. */
const RUNS = 600
const SEEDS_PER_CANDIDATE = 3

const PLAIN: Partial<Layout> = {
  repeats: 0,
  guarded: false,
  hosts: 1,
  batchEvents: 1000,
  batchBytes: 4 << 20,
  sliceMs: 1e9,
  splitBytes: 4096,
  timerHorizonMs: 60_000,
  cacheBytes: 64 << 20,
  applyMs: 1000,
  applyBytes: 4 << 20,
  sliceRows: 1000,
  journalBytes: 1e9,
}

export interface Shrunk {
  readonly plan: Plan
  readonly broken: Broken
}

class Shrinking {
  best: Shrunk
  #runs = 0

  constructor(start: Shrunk) {
    this.best = start
  }

  get isOver(): boolean {
    return this.#runs >= RUNS
  }

  /** True when the candidate fails alike; then it is the best. */
  async try(candidate: Plan): Promise<boolean> {
    for (let i = 0; i < SEEDS_PER_CANDIDATE && !this.isOver; i++) {
      this.#runs++
      const plan = { ...candidate, seed: candidate.seed + i }
      const { broken } = await runPlan(plan)
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
        const actions = [...this.best.plan.actions]
        actions.splice(from, size)
        if (await this.try({ ...this.best.plan, actions })) hasShrunk = true
        else from += size
      }
    }
    return hasShrunk
  }

  async messages(): Promise<void> {
    for (let i = 0; i < this.best.plan.actions.length; i++) {
      for (let j = 0; ; ) {
        const actions = [...this.best.plan.actions]
        const action = actions[i]
        if (action?.do !== 'send' || j >= action.messages.length || action.messages.length === 1 || this.isOver) break
        actions[i] = { ...action, messages: action.messages.toSpliced(j, 1) } satisfies Action
        if (!(await this.try({ ...this.best.plan, actions }))) j++
      }
    }
  }

  async layout(): Promise<void> {
    for (const [name, value] of Object.entries(PLAIN)) {
      const { layout } = this.best.plan
      if (this.isOver || layout[name as keyof Layout] === value) continue
      await this.try({ ...this.best.plan, layout: { ...layout, [name]: value } })
    }
    for (const partitions of [1, 2]) {
      const { layout } = this.best.plan
      if (layout.partitions <= partitions || this.isOver) continue
      if (await this.try({ ...this.best.plan, layout: { ...layout, partitions, hosts: Math.min(layout.hosts, partitions) } })) break
    }
  }
}

export async function shrink(plan: Plan, broken: Broken): Promise<Shrunk> {
  const shrinking = new Shrinking({ plan, broken })
  await shrinking.layout()
  while (await shrinking.actions()) await shrinking.messages()
  await shrinking.layout()
  return shrinking.best
}
