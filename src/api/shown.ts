// Transitions as users see them: instants are texts.
import type { Transition } from '../core/transition.ts'
import { isoText } from '../intake/timestamp.ts'

export function shown(t: Transition): Omit<Transition, 'at' | 'decidedAt'> & { readonly at: string; readonly decidedAt: string } {
  const decidedAt = isoText(t.decidedAt)
  return { ...t, at: t.at === t.decidedAt ? decidedAt : isoText(t.at), decidedAt }
}
