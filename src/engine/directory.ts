// Which process of a cluster owns which partition, as far as is known here, and how each is asked. Owns neither: the membership knows
// the one, a transport does the other; the file also has a directory that is told what it says.
//
// 1. A directory may be out of date. Who is asked for a partition that it doesn't own says so, and the asker looks again.
// 2. A listener is called after every change, when the directory says the new.
import type { Answer, Question } from './questions.ts'

export interface Member {
  readonly name: string
  /** Where it answers other processes. */
  readonly address: string
  readonly partitions: readonly number[]
}

export interface Directory {
  /** This process's name among the members; undefined while it is none. */
  readonly self: string | undefined
  /** Every member, this process included. */
  members(): readonly Member[]
  /** The member that is to own a partition; undefined while nobody is. */
  ownerOf(partition: number): Member | undefined
  onChange(listener: () => void): () => void
}

/** Another process, as far as it answers questions. */
export interface Peer {
  ask(question: Question): Promise<Answer>
}

/** The other processes of a cluster. */
export interface Cluster {
  /** This process's name in logs that several write: no other has it, ever. */
  readonly name: string
  readonly directory: Directory
  connect(address: string): Peer
}

/** Says what it was told last. */
export class ToldDirectory implements Directory {
  #self: string | undefined
  #members: readonly Member[] = []
  #owners = new Map<number, Member>()
  readonly #listeners = new Set<() => void>()

  get self(): string | undefined {
    return this.#self
  }

  members(): readonly Member[] {
    return this.#members
  }

  ownerOf(partition: number): Member | undefined {
    return this.#owners.get(partition)
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  tell(self: string | undefined, members: readonly Member[]): void {
    this.#self = self
    this.#members = members
    this.#owners = new Map(members.flatMap((member) => member.partitions.map((partition) => [partition, member] as const)))
    for (const listener of [...this.#listeners]) listener()
  }
}
