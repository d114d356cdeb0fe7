// Causes: which accepted events still have something unapplied anywhere. A position is finished when its partition has
// committed it and no cause at or before it is open; `min-position`, `settle` and how far time may follow the clock rest on this.
// Owns the summary of one partition; embedded.ts combines those of all.
import type { CauseRef } from '../identity/messages.ts'
import { causesOf } from '../identity/root.ts'
import type { Sent } from './batch.ts'
import type { Profile } from './profile.ts'

/** Per origin partition, the first position that is still open. */
export type OpenCauses = Map<number, number>

export interface Openness {
  readonly open: OpenCauses
  /** The oldest acceptance stamp among the open causes; Infinity when none is open. */
  readonly oldestStamp: number
}

/** What a partition keeps open: messages not confirmed, roots with protocol work under way, and what `before` names. */
export function openness(sent: Iterable<Sent>, busy: Iterable<Profile>, before: Iterable<readonly CauseRef[]>): Openness {
  const open: OpenCauses = new Map()
  let oldestStamp = Number.POSITIVE_INFINITY
  const note = (cause: CauseRef): void => {
    const first = open.get(cause.partition)
    if (first === undefined || cause.position < first) open.set(cause.partition, cause.position)
    if (cause.stamp < oldestStamp) oldestStamp = cause.stamp
  }
  for (const s of sent) for (const cause of s.causes) note(cause)
  for (const cause of causesOfAll(busy)) note(cause)
  for (const causes of before) for (const cause of causes) note(cause)
  return { open, oldestStamp }
}

/** What these roots keep open. */
export function causesOfAll(busy: Iterable<Profile>): CauseRef[] {
  const causes: CauseRef[] = []
  for (const p of busy) causes.push(...causesOf(p.root))
  return causes
}
