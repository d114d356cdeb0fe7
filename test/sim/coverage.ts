// How often each fault was hit, over all runs: a fault that never happens proves nothing.
import { CRASH_POINTS, FAULTS } from './plan.ts'

/** Rows of the table beyond the faults of a plan. */
const OUTCOMES = ['old store refused', 'restart after trouble'] as const

export class Coverage {
  readonly hits = new Map<string, number>()

  constructor() {
    const faults = FAULTS.filter((fault) => fault !== 'crash' && fault !== 'merge storm')
    for (const name of [...faults, ...CRASH_POINTS.map((at) => `crash ${at}`), ...OUTCOMES]) this.hits.set(name, 0)
  }

  hit(name: string): void {
    this.hits.set(name, (this.hits.get(name) ?? 0) + 1)
  }

  get rows(): [name: string, hits: number][] {
    return [...this.hits]
  }

  /** The fault that was hit least. */
  get least(): number {
    return Math.min(...this.hits.values())
  }
}
