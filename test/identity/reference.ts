// The same policy without messages: one event at a time, one identifier at a time, everything in one place.
import type { Identifier } from '../../src/core/identifier.ts'
import { isWithin } from './checks.ts'
import type { EventSpec, Universe, World } from './world.ts'

export interface Summary {
  /** Per profile: its identifiers, then its events. */
  readonly profiles: string[]
  /** Refused identifiers in order. */
  readonly refusals: string[]
  readonly minted: number
  readonly merges: number
}

interface Person {
  readonly ids: Set<number>
  readonly events: number[]
  readonly refused: Set<number>
  born: boolean
}

const sorted = (list: Iterable<number>): string => [...list].sort((a, b) => a - b).join(' ')

export function reference(universe: Universe, events: readonly EventSpec[]): Summary {
  const owner = new Map<number, Person>()
  const refusals: string[] = []
  let minted = 0
  let merges = 0
  const fits = (...sets: Iterable<number>[]): boolean =>
    isWithin(
      universe.limits,
      sets.flatMap((set) => [...set]).map((place) => universe.identifiers[place] as Identifier),
    )

  const link = (person: Person, place: number): void => {
    if (person.ids.has(place) || person.refused.has(place)) return
    const other = owner.get(place)
    if (!fits(person.ids, [place]) || !fits(person.ids, other?.ids ?? [])) {
      person.refused.add(place)
      refusals.push((universe.identifiers[place] as Identifier).value)
      return
    }
    for (const y of other?.ids ?? [place]) {
      person.ids.add(y)
      owner.set(y, person)
    }
    if (!other) return
    if (person.born && other.born) merges++
    person.born ||= other.born
    person.events.push(...other.events)
    for (const y of other.refused) person.refused.add(y)
  }

  for (const event of events) {
    const [smallest, ...others] = [...new Set(event.ids)].sort((a, b) => a - b) as [number, ...number[]]
    const person = owner.get(smallest) ?? { ids: new Set([smallest]), events: [], refused: new Set(), born: false }
    owner.set(smallest, person)
    for (const place of others) link(person, place)
    if (!person.born) minted++
    person.born = true
    person.events.push(event.id)
  }
  const profiles = [...new Set(owner.values())].map((p) => `${sorted(p.ids)} | ${sorted(p.events)}`)
  return { profiles: profiles.sort(), refusals, minted, merges }
}

export function summaryOf(world: World): Summary {
  const profiles = world.roots().map((root) => {
    const ids = [...root.ids.keys()].map((key) => world.placeOf(key))
    return `${sorted(ids)} | ${sorted(world.bodies.get(root.key)?.applied ?? [])}`
  })
  const refusals = world.audits.filter((a) => a.action === 'refused').map((a) => a.identifier?.value ?? '')
  return { profiles: profiles.sort(), refusals, minted: world.minted.length, merges: world.merges.length }
}
