// What happens to the processes and the broker of a deployment while it works: plain data, drawn from a seed.
import { below, pick, type Random, seeded, shuffled } from '../identity/random.ts'
import type { Edit } from './chaos-definitions.ts'
import { SESSION_MS } from './deployment.ts'

/** Which of those that run now, counted round. */
interface Aimed {
  readonly who: number
}

export type Misfortune =
  /** Ended, and back after a while: with its disk, or on an empty one. */
  | (Aimed & {
      readonly do: 'kill' | 'leave'
      readonly downMs: number
      readonly disk: 'kept' | 'lost'
      readonly standby: boolean
      readonly hosts: number
    })
  /** Stands still; longer than the session, others take over meanwhile, and it wakes as a zombie. */
  | (Aimed & { readonly do: 'freeze' | 'blink'; readonly ms: number })
  /** Another one, on an empty disk, which stays. */
  | { readonly do: 'join'; readonly standby: boolean; readonly hosts: number }
  /** One goes for good. */
  | (Aimed & { readonly do: 'go'; readonly signal: 'SIGTERM' | 'SIGKILL' })
  /** The broker is away for a while. */
  | { readonly do: 'broker stops' | 'broker is killed'; readonly downMs: number }
  /** Somebody saves or deletes a segment, at whichever process answers. */
  | { readonly do: 'edit'; readonly edit: Edit }

export type Kind = Misfortune['do']

/** What happens at about the same time, each some time after the round begins. */
export interface Round {
  readonly parts: readonly (Misfortune & { readonly afterMs: number })[]
  /** Then all is well for so long. */
  readonly restMs: number
}

/** Processes at the beginning, and at most. */
export const FIRST = 3
export const MOST = 4

const KINDS: readonly Exclude<Kind, 'edit'>[] = ['freeze', 'kill', 'broker is killed', 'leave', 'join', 'blink', 'go', 'broker stops']
const EDITS: readonly Edit['how'][] = ['put', 'change', 'change', 'delete']
const EDIT_SHARE = 0.6
const isBroker = (kind: Kind): boolean => kind.startsWith('broker')

function drawMisfortune(random: Random, kind: Kind): Misfortune {
  const who = below(random, 1000)
  const hosts = drawHosts(random)
  switch (kind) {
    case 'kill':
    case 'leave': {
      const disk = random() < 0.4 ? 'lost' : 'kept'
      return { do: kind, who, downMs: below(random, SESSION_MS + 3000), disk, standby: random() < 0.4, hosts }
    }
    case 'freeze':
      return { do: kind, who, ms: SESSION_MS + 1500 + below(random, 4000) }
    case 'blink':
      return { do: kind, who, ms: 200 + below(random, SESSION_MS / 2) }
    case 'join':
      return { do: kind, standby: random() < 0.4, hosts }
    case 'go':
      return { do: kind, who, signal: pick(random, ['SIGTERM', 'SIGKILL']) }
    case 'edit':
      return { do: kind, edit: drawEdit(random, pick(random, EDITS)) }
    default:
      return { do: kind, downMs: below(random, 4000) }
  }
}

/** A process has one thread for its partitions, or two. */
export const drawHosts = (random: Random): number => (random() < 0.4 ? 2 : 1)

function drawEdit(random: Random, how: Edit['how']): Edit {
  return { how, which: below(random, 1000), what: below(random, 1000) }
}

/** A round per kind, in any order, each together with some other kind, and with an edit, where that is drawn. */
function* drawRounds(random: Random): Generator<Round> {
  for (;;) {
    for (const kind of shuffled(random, KINDS)) {
      const second =
        random() < 0.5
          ? pick(
              random,
              KINDS.filter((k) => isBroker(k) !== isBroker(kind) || (!isBroker(k) && k !== kind)),
            )
          : undefined
      const edits: Kind[] = random() < EDIT_SHARE ? ['edit'] : []
      const parts = [kind, ...(second === undefined ? [] : [second]), ...edits].map((k) => ({
        ...drawMisfortune(random, k),
        afterMs: below(random, 2500),
      }))
      yield { parts, restMs: 1000 + below(random, 5000) }
    }
  }
}

export function drawScript(seed: number, rounds: number): Round[] {
  return [...drawRounds(seeded(seed)).take(rounds)]
}

/** The short form for the suite: everything that matters most, once. */
export function shortScript(seed: number): Round[] {
  const random = seeded(seed)
  const round = (how: Edit['how'], ...kinds: Kind[]): Round => ({
    parts: [
      ...kinds.map((kind, i) => ({ ...drawMisfortune(random, kind), afterMs: 700 * i })),
      { do: 'edit', edit: drawEdit(random, how), afterMs: below(random, 1000) },
    ],
    restMs: 500,
  })
  return [
    round('put', 'freeze'),
    round('change', 'broker is killed', 'kill'),
    round('delete', 'leave', 'join'),
    round('put', 'broker stops', 'go'),
  ]
}
