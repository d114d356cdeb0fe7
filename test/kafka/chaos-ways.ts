// Where a journal leaves open what came first in a commit that makes newer definitions active: all ways that it may have been, and the
// first of them that explains what came out. Judges nothing: what no way explains is at odds with every one, and a law says so.
//
// 1. All of a commit is under definitions that were active before or after it; for one profile they only become newer.
// 2. Profiles that merge are looked at together: what one was filled for, the other was told.
// 3. A fill that made somebody enter or exit says when it was; another was at the beginning of the commit or at its end, between which
//    time may have been moved.
import type { ShownTransition } from '../../src/cli/follow.ts'
import { must } from '../../src/core/assert.ts'
import type { ProfileKey } from '../../src/core/identifier.ts'
import type { DefinitionChange } from '../../src/engine/definitions.ts'
import { mintPublicId, publicIdText } from '../../src/engine/public-id.ts'
import { type Foretold, Replay } from '../sim/replay.ts'
import type { Op } from '../sim/tape.ts'
import type { CommitFacts } from './chaos-journal.ts'

/** What one commit did to one profile. */
export interface Part {
  readonly ways: readonly (readonly Op[])[]
  chosen: number
}

interface Before {
  readonly publicId: string | undefined
  readonly version: number
}

/** Of a group of profiles that merge, at most. */
const WAYS_TRIED = 20_000

export function waysOf(commit: CommitFacts, { publicId, version }: Before, ops: readonly Op[]): readonly (readonly Op[])[] {
  const { before, after } = commit.versions
  const isOpen = before < after || ops.some((op) => op.kind === 'touch')
  if (!isOpen) return [ops]
  let ways: (readonly Op[])[] = [[]]
  const first = ops[0]
  // It may have been filled for what was active before, as the first thing.
  if (first && before < after && version > 0 && version < before)
    ways.push([{ kind: 'touch', key: first.key, now: commit.before, version: before }])
  for (const op of ops) ways = ways.flatMap((way) => placesOf(op, commit, { way, publicId }).map((placed) => [...way, placed]))
  return ways
}

function placesOf(op: Op, commit: CommitFacts, { way, publicId }: { way: readonly Op[]; publicId: string | undefined }): Op[] {
  if (op.version === undefined) return [op]
  if (op.kind === 'touch') {
    const told = commit.defined.get(publicId ?? '')
    const instants = told === undefined ? [...new Set([commit.after, commit.before])] : [told]
    return instants.map((now) => ({ ...op, now }))
  }
  const { before, after } = commit.versions
  const least = Math.max(before, way.at(-1)?.version ?? 0)
  const most = Math.max(least, Math.min(after, commit.filled.get(op.key) ?? after))
  return Array.from({ length: most - least + 1 }, (_, i) => ({ ...op, version: least + i }))
}

export const lineOf = (t: Foretold | ShownTransition): string =>
  `${t.profile} ${t.segment} ${t.seq} ${t.transition} at ${new Date(t.at).toISOString()} by ${t.cause} ${t.causeId ?? ''}`

export const opsOf = (parts: readonly Part[]): Op[] => parts.flatMap(({ ways, chosen }) => must(ways[chosen], 'a way is chosen'))

interface ToExplain {
  readonly parts: ReadonlyMap<ProfileKey, readonly Part[]>
  readonly changes: readonly DefinitionChange[]
  readonly transitions: readonly ShownTransition[]
  /** The time in the end. */
  readonly now: number
}

/** Chooses, for each group of profiles that merge, the first ways that explain what came out; returns how many groups had several. */
export function explain(all: ToExplain): number {
  const told = Map.groupBy(all.transitions, (t) => t.profile)
  let open = 0
  for (const keys of groupsOf(all.parts)) {
    const group = new Map(keys.map((key) => [key, all.parts.get(key) ?? []]))
    const choices = [...group.values()].flat().filter(({ ways }) => ways.length > 1)
    if (choices.length === 0) continue
    open++
    const seen = publicIdsOf(group).flatMap((id) => told.get(id) ?? [])
    const expected = textOf(seen)
    let tries = 0
    while (foretoldText(group, all) !== expected && ++tries < WAYS_TRIED && next(choices)) {}
  }
  return open
}

const textOf = (transitions: readonly (Foretold | ShownTransition)[]): string => transitions.map(lineOf).sort().join('\n')

function foretoldText(group: ReadonlyMap<ProfileKey, readonly Part[]>, { changes, now }: ToExplain): string {
  const replay = new Replay(new Map([...group].map(([key, parts]) => [key, opsOf(parts)])), changes)
  replay.advance(now)
  return [textOf(replay.transitions), ...replay.oddities].join('\n')
}

/** The next combination; false, and all as at first, after the last. */
function next(choices: readonly Part[]): boolean {
  for (const part of choices) {
    part.chosen = (part.chosen + 1) % part.ways.length
    if (part.chosen > 0) return true
  }
  return false
}

function publicIdsOf(group: ReadonlyMap<ProfileKey, readonly Part[]>): string[] {
  const born = [...group.values()].flat().flatMap(({ ways }) => ways[0] ?? [])
  return born.flatMap((op) => (op.kind === 'born' ? [publicIdText(mintPublicId(op.key, op.first.acceptedAt))] : []))
}

/** (2) */
function groupsOf(parts: ReadonlyMap<ProfileKey, readonly Part[]>): ProfileKey[][] {
  const into = new Map<ProfileKey, ProfileKey>()
  for (const [key, list] of parts)
    for (const op of list.flatMap(({ ways }) => ways[0] ?? [])) if (op.kind === 'absorb') into.set(op.from, key)
  const lastOf = (key: ProfileKey): ProfileKey => {
    let last = key
    for (let to = into.get(last); to !== undefined; to = into.get(last)) last = to
    return last
  }
  return [...Map.groupBy(parts.keys(), lastOf).values()]
}
