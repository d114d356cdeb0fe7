// Transitions as users see them: instants are texts.
import type { Transition } from '../core/transition.ts'
import { isoText } from '../intake/timestamp.ts'

export function shown(t: Transition): Omit<Transition, 'at' | 'decidedAt'> & { readonly at: string; readonly decidedAt: string } {
  return { ...t, at: isoText(t.at), decidedAt: isoText(t.decidedAt) }
}
