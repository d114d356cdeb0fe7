// What must hold of any stream of transitions, whatever led to it.
import { expect } from 'vitest'
import type { Transition } from '../../src/core/transition.ts'

/** Ids are unique; per profile and segment, entries and exits alternate, gap-free from 1, in the order of the stream. Returns who is in. */
export function checkStream(transitions: readonly Transition[]): Map<string, Set<string>> {
  const ids = new Set<string>()
  const seqs = new Map<string, number>()
  const members = new Map<string, Set<string>>()
  for (const t of transitions) {
    expect(ids.has(t.id), `${t.id} is there once`).toBe(false)
    ids.add(t.id)
    const who = `${t.profile} in ${t.segment}`
    const seq = (seqs.get(who) ?? 0) + 1
    expect({ who, seq: t.seq, transition: t.transition }).toEqual({ who, seq, transition: seq % 2 === 1 ? 'entered' : 'exited' })
    seqs.set(who, seq)
    expect(t.at, `${t.id} is decided at or after its instant`).toBeLessThanOrEqual(t.decidedAt)
    const list = members.get(t.segment) ?? new Set()
    members.set(t.segment, list)
    if (t.transition === 'entered') list.add(t.profile)
    else list.delete(t.profile)
  }
  return members
}
