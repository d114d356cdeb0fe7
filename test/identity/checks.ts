// What must hold of a world, written without the rules' own code: at every step, and when nothing is under way.
import type { Identifier } from '../../src/core/identifier.ts'
import { decodeMessage } from '../../src/identity/codec.ts'
import type { Limits } from '../../src/identity/guards.ts'
import { causesIn } from '../../src/identity/messages.ts'
import { causesOf, type Root } from '../../src/identity/root.ts'
import { type EventSpec, fail, type World } from './world.ts'

export function isWithin(limits: Limits, identifiers: readonly { readonly key: string; readonly namespace: string }[]): boolean {
  const distinct = new Map(identifiers.map((x) => [x.key, x.namespace]))
  if (distinct.size > limits.total) return false
  const namespaces = [...distinct.values()]
  return namespaces.every((name) => namespaces.filter((other) => other === name).length <= (limits.of.get(name) ?? limits.others))
}

/** ids ∪ asked ∪ granted. */
function reserved(root: Root): { key: string; namespace: string }[] {
  const all: { key: string; namespace: string }[] = [...root.ids.values()].map(({ identifier }) => identifier)
  if (root.doing.state === 'asked' || root.doing.state === 'proposed') all.push(root.doing.x)
  for (const { ids } of root.granted.values()) all.push(...ids)
  return all
}

function leavesByRoot(world: World): Map<Root, number[]> {
  const by = new Map<Root, number[]>()
  for (const place of world.universe.identifiers.keys()) {
    const root = world.rootOf(place)
    if (!root) continue
    const list = by.get(root)
    if (list) list.push(place)
    else by.set(root, [place])
  }
  return by
}

/** At every step: the guards hold of what roots have and reserve, and of the leaves; forwards descend. */
export function checkStep(world: World): void {
  const { identifiers, limits } = world.universe
  for (const root of world.roots()) {
    if (!isWithin(limits, reserved(root))) fail(`guards exceeded at ${world.name(root.key)}`)
    if (root.isBorn && root.waiting.length > 0) fail(`events wait in the born ${world.name(root.key)}`)
  }
  for (const [root, places] of leavesByRoot(world)) {
    if (
      !isWithin(
        limits,
        places.map((place) => identifiers[place] as Identifier),
      )
    )
      fail(`guards exceeded by the leaves of ${world.name(root.key)}`)
  }
}

/** At every step: an event whose position counts as finished has had all its effects. */
export function checkFinished(world: World): void {
  const open = new Map<number, number>()
  const note = (cause: { partition: number; position: number }): void => {
    open.set(cause.partition, Math.min(open.get(cause.partition) ?? Number.POSITIVE_INFINITY, cause.position))
  }
  for (const { queue } of world.channels.values())
    for (const { bytes } of queue) for (const cause of causesIn(decodeMessage(bytes))) note(cause)
  for (const root of world.roots()) for (const cause of causesOf(root)) note(cause)
  for (const event of world.injected) {
    const { partition, position } = world.causeOf(event)
    if ((open.get(partition) ?? Number.POSITIVE_INFINITY) > position) checkEffects(world, event)
  }
}

function checkEffects(world: World, event: EventSpec): void {
  const at = world.appliedAt.get(event.id)
  if (at === undefined) return fail(`event ${event.id} is not applied`)
  const root = world.resolve(at)
  if (world.rootOf(Math.min(...event.ids)) !== root) fail(`event ${event.id} is not with its smallest identifier`)
  for (const place of event.ids) {
    if (world.rootOf(place) !== root && !isRefusedAt(world, root, place))
      fail(`identifier ${place} of event ${event.id} is neither linked nor refused`)
  }
}

function isRefusedAt(world: World, root: Root, place: number): boolean {
  const { namespace, value } = world.universe.identifiers[place] as Identifier
  return world.audits.some(
    (a) => a.action === 'refused' && a.identifier?.namespace === namespace && a.identifier.value === value && world.resolve(a.key) === root,
  )
}

/** Nothing is under way: nothing is left, lost, doubled or out of place. */
export function checkFinal(world: World): void {
  if (world.aside.length > 0) fail('messages held back for ever')
  const seen = new Set<number>()
  const leaves = leavesByRoot(world)
  for (const root of world.roots()) {
    checkSettled(world, root)
    const ids = [...root.ids.keys()].map((key) => world.placeOf(key)).sort((a, b) => a - b)
    if (ids.join() !== (leaves.get(root) ?? []).join()) fail(`${world.name(root.key)} has ${ids}, its leaves are ${leaves.get(root)}`)
    for (const id of world.bodies.get(root.key)?.applied ?? []) {
      if (seen.has(id)) fail(`event ${id} is applied twice`)
      seen.add(id)
      if (world.resolve(world.appliedAt.get(id) ?? '') !== root) fail(`event ${id} is not where it was applied`)
    }
    checkPublicIds(world, root)
  }
  if (seen.size !== world.injected.length) fail('events are lost')
  for (const event of world.injected) checkEffects(world, event)
  checkAudit(world)
  if (world.universe.limits.total === Number.POSITIVE_INFINITY && world.universe.limits.of.size === 0) checkUnion(world)
}

function checkSettled(world: World, root: Root): void {
  const { doing, granted, links, wants, held, waiting } = root
  const left = [granted.size, links.length, wants.length, held.length, waiting.length]
  if (doing.state !== 'idle' || !root.isBorn || left.some((n) => n > 0)) {
    fail(
      `${world.name(root.key)} is stuck: ${doing.state}, ${root.isBorn ? 'born' : 'unborn'}, granted, links, wants, held, waiting: ${left}`,
    )
  }
}

function checkPublicIds(world: World, root: Root): void {
  const all = world.bodies.get(root.key)?.publicIds ?? []
  const oldest = all.map(({ id }) => id).sort()[0]
  if (oldest !== root.publicId) fail(`the public id of ${world.name(root.key)} is not the oldest`)
  for (const { key } of all) if (world.resolve(key) !== root) fail('an old public id does not resolve')
}

/** A profile's trail tells of each of its identifiers once, of one founding, and of each merge. */
function checkAudit(world: World): void {
  for (const root of world.roots()) {
    const trail = world.audits.filter((a) => world.resolve(a.key) === root)
    const told = trail
      .filter((a) => a.action === 'created' || a.action === 'linked')
      .map((a) => `${a.identifier?.namespace}:${a.identifier?.value}`)
    const held = [...root.ids.values()].map(({ identifier }) => `${identifier.namespace}:${identifier.value}`)
    if (told.sort().join() !== held.sort().join()) fail(`the trail of ${world.name(root.key)} tells of ${told}, it has ${held}`)
    const count = (action: string): number => trail.filter((a) => a.action === action).length
    if (count('created') !== count('merged') + 1)
      fail(`the trail of ${world.name(root.key)} has ${count('created')} foundings, ${count('merged')} merges`)
  }
  if (world.minted.length !== world.roots().length + world.merges.length) fail('public ids, profiles and merges disagree')
}

/** Without guards: profiles are the connected components, each with the key of its smallest identifier. */
function checkUnion(world: World): void {
  const parent = world.universe.identifiers.map((_, place) => place)
  const find = (place: number): number => (parent[place] === place ? place : find(parent[place] as number))
  for (const { ids } of world.injected) {
    for (const place of ids) {
      const [a, b] = [find(ids[0] as number), find(place)]
      parent[Math.max(a, b)] = Math.min(a, b)
    }
  }
  for (const place of new Set(world.injected.flatMap(({ ids }) => [...ids]))) {
    const root = world.rootOf(place)
    if (!root || world.placeOf(root.key) !== find(place)) fail(`identifier ${place} is not in the component of ${find(place)}`)
  }
  if (world.audits.some((a) => a.action === 'refused')) fail('a refusal without guards')
}
