// Entries of output streams as users see them. Pure.
import { isoText } from '../core/iso-text.ts'
import type { Transition } from '../core/transition.ts'
import type { DeadLetter, MergeRecord } from './engine.ts'
import type { TransitionEntry } from './outbox.ts'
import type { DeadLetterEntry, MergeEntry, SegmentNames } from './outputs-port.ts'
import { publicIdText } from './public-id.ts'

export function transitionOf(id: string, entry: TransitionEntry, names: SegmentNames): Transition {
  return {
    id,
    segment: names.idOf(entry.segment),
    version: entry.version,
    profile: publicIdText(entry.publicId),
    ...(entry.userId === '' ? {} : { userId: entry.userId }),
    transition: entry.entered ? 'entered' : 'exited',
    cause: entry.cause,
    ...(entry.causeId === '' ? {} : { causeId: entry.causeId }),
    seq: entry.seq,
    at: entry.at,
    decidedAt: entry.decidedAt,
  }
}

/** In JSON: instants are texts. */
export type ShownTransition = Omit<Transition, 'at' | 'decidedAt'> & { readonly at: string; readonly decidedAt: string }

export function shown(t: Transition): ShownTransition {
  const decidedAt = isoText(t.decidedAt)
  return { ...t, at: t.at === t.decidedAt ? decidedAt : isoText(t.at), decidedAt }
}

export const mergeOf = (id: string, entry: MergeEntry): MergeRecord => ({ id, ...entry, at: isoText(entry.at) })

export const deadLetterOf = (id: string, entry: DeadLetterEntry): DeadLetter => ({ id, ...entry, at: isoText(entry.at) })
