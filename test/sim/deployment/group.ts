// The group of a deployment's processes, as a consumer group deals partitions out: who is a member, who is told what, and when a death
// is noticed. Owns what it has told each; who does own a partition, the journals decide.
//
// 1. What a member is told comes to it in order, at a time of its own.
import { must } from '../../../src/core/assert.ts'
import { below, pick } from '../../identity/random.ts'
import type { Scheduler } from '../scheduler.ts'
import type { DeploymentProcess } from './process.ts'

export interface Dealing {
  readonly noticesDeaths: boolean
  readonly throwsOut: boolean
  readonly isSticky: boolean
}

export class Group {
  readonly #scheduler: Scheduler
  readonly #partitions: number
  #members: DeploymentProcess[] = []

  constructor(scheduler: Scheduler, partitions: number) {
    this.#scheduler = scheduler
    this.#partitions = partitions
  }

  join(process: DeploymentProcess): void {
    this.#members.push(process)
  }

  leave(process: DeploymentProcess): void {
    this.#members = this.#members.filter((member) => member !== process)
  }

  /** Deals anew; returns whom it has thrown out while it lived. */
  deal({ noticesDeaths, throwsOut, isSticky }: Dealing): DeploymentProcess | undefined {
    const { random } = this.#scheduler
    if (noticesDeaths) this.#members = this.#members.filter((member) => !member.isDead)
    const out = throwsOut ? this.#members.find((member) => member.isFrozen && !member.isDead) : undefined
    const members = this.#members.filter((member) => member !== out)
    if (members.length === 0) return undefined
    const wanted = new Map(members.map((member) => [member, new Set<number>()] as const))
    for (let p = 0; p < this.#partitions; p++) {
      const now = members.find((member) => member.told.has(p))
      const next = now && isSticky && below(random, 4) > 0 ? now : pick(random, members)
      must(wanted.get(next), 'a member was picked').add(p)
    }
    for (const [member, partitions] of wanted) this.#tell(member, partitions)
    return out
  }

  /** One more is told to run a partition; false when nobody is left for it. */
  twice(): boolean {
    const { random } = this.#scheduler
    const partition = below(random, this.#partitions)
    const others = this.#members.filter((member) => !member.told.has(partition))
    if (others.length === 0 || others.length === this.#members.length) return false
    const member = pick(random, others)
    this.#tell(member, new Set([...member.told, partition]))
    return true
  }

  #tell(member: DeploymentProcess, partitions: ReadonlySet<number>): void {
    for (const partition of [...member.told])
      if (!partitions.has(partition)) {
        member.told.delete(partition)
        member.post(partition, { t: 'revoke', partition }, 'group')
      }
    for (const partition of partitions)
      if (!member.told.has(partition)) {
        member.told.add(partition)
        member.post(partition, { t: 'assign', partition }, 'group')
      }
  }
}
