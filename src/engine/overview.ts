// What this process knows of all partitions of a cluster, by what their owners said last. Owns that memory, which may be a second old,
// and the lag and the manual clock that follow from it.
import type { Asker } from './asker.ts'
import type { Cluster } from './directory.ts'
import { recordOf } from './inputs.ts'
import type { Lag } from './lag.ts'
import type { PartitionFacts } from './questions.ts'

/** A partition's facts, and the member that told them. */
export type Told = PartitionFacts & { readonly owner?: string }

export interface OverviewPorts {
  readonly asker: Pick<Asker, 'known'>
  readonly lag: Pick<Lag, 'told'>
  readonly partitions: number
  readonly cluster?: Cluster | undefined
}

export class Overview {
  readonly #ports: OverviewPorts
  readonly #last = new Map<number, Told>()
  #silent: readonly string[] = []

  constructor(ports: OverviewPorts) {
    this.#ports = ports
  }

  /** The newest instant that any partition has told. */
  get now(): number {
    return Math.max(0, ...[...this.#last.values()].map(({ now }) => now))
  }

  /** Whether anybody who runs a partition has ever told where it stands. */
  get hasHeard(): boolean {
    return [...this.#last.values()].some(({ phase }) => phase === 'running')
  }

  /** Asks everybody; whoever is silent is remembered as it was. Returns all partitions. */
  async look(): Promise<Told[]> {
    const { asker, lag, cluster, partitions } = this.#ports
    const { facts, silent } = await asker.known()
    this.#silent = silent
    for (const told of facts) {
      this.#last.set(told.partition, told)
      if (told.owner !== cluster?.directory.self) lag.told(told.partition, recordOf(told.input), recordOf(told.end))
    }
    const heard = new Set(facts.map(({ partition }) => partition))
    return Array.from({ length: partitions }, (_, p) => {
      const told = this.#last.get(p) ?? unknown(p)
      return heard.has(p) ? told : this.#moving(told)
    })
  }

  /** As it was told last; its owner is who is to have it. */
  #moving({ owner: _, ...told }: Told): Told {
    const next = this.#ports.cluster?.directory.ownerOf(told.partition)
    return { ...told, phase: 'moving', ...(next ? { owner: next.name } : {}) }
  }

  members(): { name: string; address: string; partitions: readonly number[]; silent?: true }[] {
    const members = this.#ports.cluster?.directory.members() ?? []
    return members.map((member) => (this.#silent.includes(member.name) ? { ...member, silent: true } : { ...member }))
  }
}

function unknown(partition: number): Told {
  const nothing = { claim: 0, input: 0, end: 0, now: 0, profiles: 0, activeVersion: -1, sweptVersion: -1, progress: 0 }
  return { partition, phase: 'moving', ...nothing, sizes: [], metrics: {} }
}
