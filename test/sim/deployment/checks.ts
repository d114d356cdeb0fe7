// What is held against a deployment when it has come to rest, beyond what final.ts has. Owns nothing.

import type { DefinitionChange } from '../../../src/engine/definitions.ts'
import { publicIdText } from '../../../src/engine/public-id.ts'
import type { ProfileFacts } from '../../../src/engine/questions.ts'
import type { Task } from '../../../src/engine/task.ts'
import { checkCounted, checkGroups, checkTransitions } from '../final.ts'
import { Replay } from '../replay.ts'
import type { World } from '../world.ts'

export interface AtRest extends Pick<World, 'model' | 'fail'> {
  readonly changes: readonly DefinitionChange[]
  readonly now: number
  /** The owner's, of each partition. */
  readonly tasks: readonly Task[]
  /** By identifier: the profile that it resolves to. */
  readonly views: ReadonlyMap<string, ProfileFacts>
}

export function checkAtRest(world: AtRest): void {
  const { model, changes, fail } = world
  const replay = new Replay(model.history, changes)
  replay.advance(world.now)
  const [oddity] = replay.oddities
  if (oddity !== undefined) fail(8, oddity)
  for (const { version, publicId } of replay.living)
    if (version < changes.length) fail(16, `${publicIdText(publicId)} is filled to version ${version} of ${changes.length}`)
  checkCounted(world)
  checkTransitions(world, { changes, replay })
  checkSizes(world, replay)
  checkDrained(world)
  checkGroups(world, world.views)
  checkViews(world, replay)
}

/** (4, 16) */
function checkViews({ views, changes, fail }: AtRest, replay: Replay): void {
  const ids = [...new Set(changes.flatMap((change) => ('put' in change ? [change.put.id] : [])))]
  const living = new Map(replay.living.map((profile) => [publicIdText(profile.publicId), profile]))
  for (const [identifier, { id, segments, traits }] of views) {
    const profile = living.get(id)
    if (!profile) return fail(4, `${identifier} resolves to ${id}, which is not a living profile`)
    const { oracle } = profile
    const [seen, foretold] = [segments.map((number) => ids[number] ?? '?'), oracle.segments].map((list) => [...list].sort().join(' '))
    if (seen !== foretold) fail(16, `segments ${seen}, foretold ${foretold}, of ${id}`)
    const [seenTraits, foretoldTraits] = [Object.entries(traits), [...oracle.traits]].map((list) => textOf(list))
    if (seenTraits !== foretoldTraits) fail(16, `traits ${seenTraits}, foretold ${foretoldTraits}, of ${id}`)
  }
}

const textOf = (list: readonly unknown[]): string =>
  list
    .map((entry) => JSON.stringify(entry))
    .sort()
    .join(' ')

/** (16) */
function checkSizes({ tasks, changes, fail }: AtRest, replay: Replay): void {
  const ids = [...new Set(changes.flatMap((change) => ('put' in change ? [change.put.id] : [])))]
  for (const [number, id] of ids.entries()) {
    const size = tasks.reduce((sum, task) => sum + (task.sizes.get(number) ?? 0), 0)
    const members = replay.living.filter((profile) => profile.oracle.segments.includes(id)).length
    if (size !== members) fail(16, `segment ${id} has size ${size}, and ${members} members by the oracle`)
  }
  const profiles = tasks.reduce((sum, task) => sum + task.state.profiles, 0)
  if (profiles !== replay.living.length) fail(16, `${profiles} profiles are counted, the oracle has ${replay.living.length}`)
}

/** (10): what one partition has sent, the other has taken. */
function checkDrained({ tasks, fail }: AtRest): void {
  for (const { partition: origin, state } of tasks)
    for (const [target, sent] of state.sent.entries()) {
      const mark = tasks[target]?.state.marks[origin]
      if (mark !== sent) fail(10, `partition ${origin} has sent ${sent} messages to ${target}, which has taken ${mark}`)
    }
}
