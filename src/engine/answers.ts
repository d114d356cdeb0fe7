// What the answers of several hosts and processes come to together. Owns that and whether they speak for all partitions; asks nobody.
import { must } from '../core/assert.ts'
import type { Answer, Owned } from './questions.ts'

interface Running {
  readonly partition: number
  readonly phase: string
  readonly state: { readonly claim: number }
}

/** What an answer of these tasks speaks for. */
export function ownedOf(tasks: Iterable<Running>): Owned {
  const owned: [number, number][] = []
  for (const task of tasks) if (task.phase === 'running') owned.push([task.partition, task.state.claim])
  return owned
}

/** Each partition once, none twice: then no owner is missing and none is out of date. */
export function coversAll(answers: readonly { readonly of: Owned }[], partitions: number): boolean {
  const owned = answers.flatMap((answer) => answer.of.map(([partition]) => partition))
  return owned.length === partitions && new Set(owned).size === partitions
}

/** Equal for two rounds of clean answers by the same owners, between which nothing moved (watches.ts 1). */
export function stateOf(answers: readonly (Answer & { kind: 'clean' })[]): string {
  return answers.map((answer) => `${answer.moved}:${claimsOf([answer])}`).join('|')
}

/** Who answered, as a text. */
export function claimsOf(answers: readonly { readonly of: Owned }[]): string {
  return answers
    .flatMap((answer) => answer.of)
    .toSorted(([a], [b]) => a - b)
    .join(';')
}

/** The answers of one process's hosts to one question, as one. */
export function together(answers: readonly Answer[]): Answer {
  return answers.reduce(both, must(answers[0], 'somebody has answered'))
}

function both(sum: Answer, next: Answer, i: number): Answer {
  if (i === 0) return sum
  if (sum.kind === 'status' && next.kind === 'status') return { ...sum, partitions: [...sum.partitions, ...next.partitions] }
  if (sum.kind === 'settled' && next.kind === 'settled') return { ...sum, of: [...sum.of, ...next.of] }
  if (sum.kind === 'preview' && next.kind === 'preview')
    return { ...sum, size: sum.size + next.size, total: sum.total + next.total, of: [...sum.of, ...next.of] }
  if (sum.kind === 'clean' && next.kind === 'clean')
    return {
      ...sum,
      clean: sum.clean && next.clean,
      moved: sum.moved + next.moved,
      of: [...sum.of, ...next.of],
      hosts: sum.hosts + next.hosts,
    }
  if (sum.kind === 'done' && next.kind === 'done') return sum
  throw new TypeError(`hosts answered ${sum.kind} and ${next.kind}`)
}

export function expectKind<K extends Answer['kind']>(answer: Answer, kind: K): Answer & { kind: K } {
  if (answer.kind !== kind) throw new TypeError(`a host answered ${answer.kind} instead of ${kind}`)
  return answer as Answer & { kind: K }
}
