// The sequential reference of identity: one event at a time, its links one at a time in key order (DESIGN section 5). A feed in
// which every event is settled before the next must lead to exactly this; under the plain union policy any feed must.

export interface OracleIdentifier {
  readonly namespace: string
  /** Normalised. */
  readonly value: string
}

export interface IdentityRules {
  /** Key order: negative where `a` comes first. */
  order(a: OracleIdentifier, b: OracleIdentifier): number
  /** How many identifiers of a namespace a profile may hold; undefined: any number. */
  limit(namespace: string): number | undefined
  /** How many in total. */
  readonly total?: number
  /** To whom a refused identifier belongs from then on. */
  sharedDevice(namespace: string): 'first' | 'last'
  /** Whether the public id born as `a` is older than `b`'s, so that it survives a merge. */
  isOlder(a: Birth, b: Birth): boolean
}

/** One public profile id. */
export interface Birth {
  /** Of the event that founded it. */
  readonly messageId: string
  readonly founder: OracleIdentifier
  readonly at: number
}

/** One profile: a set of identifiers. It is absorbed when it merges into another. */
export class Person {
  readonly identifiers = new Map<string, OracleIdentifier>()
  readonly refused = new Set<string>()
  /** Undefined until it is born. */
  birth: Birth | undefined
}

/** What one event does, in order. */
export type IdentityStep =
  /** The event counts here; `birth` is the public id at that moment. */
  | { readonly kind: 'apply'; readonly person: Person; readonly birth: Birth }
  | { readonly kind: 'born'; readonly person: Person; readonly birth: Birth }
  | { readonly kind: 'linked' | 'refused'; readonly person: Person; readonly identifier: OracleIdentifier }
  | { readonly kind: 'moved'; readonly identifier: OracleIdentifier; readonly from: Person; readonly to: Person }
  /** An unborn profile takes over a born one, public id and all: no merge is seen. */
  | { readonly kind: 'adopted'; readonly into: Person; readonly from: Person }
  | {
      readonly kind: 'merged'
      readonly into: Person
      readonly from: Person
      readonly keep: 'mine' | 'theirs'
      readonly survivor: Birth
      readonly absorbed: Birth
    }

export interface LinkingEvent {
  readonly messageId: string
  readonly identifiers: readonly OracleIdentifier[]
  readonly at: number
}

const textOf = (id: OracleIdentifier): string => `${id.namespace}:${id.value}`

export class IdentityOracle {
  readonly #rules: IdentityRules
  readonly #owners = new Map<string, Person>()

  constructor(rules: IdentityRules) {
    this.#rules = rules
  }

  ownerOf(id: OracleIdentifier): Person | undefined {
    return this.#owners.get(textOf(id))
  }

  /** All profiles, each once. */
  get people(): Person[] {
    return [...new Set(this.#owners.values())]
  }

  /** Takes one event; returns what it does. */
  take(event: LinkingEvent): IdentityStep[] {
    const distinct = new Map(event.identifiers.map((id) => [textOf(id), id]))
    const [smallest, ...others] = [...distinct.values()].sort(this.#rules.order)
    if (smallest === undefined) return []
    const steps: IdentityStep[] = []
    let person = this.ownerOf(smallest)
    if (person?.birth) steps.push({ kind: 'apply', person, birth: person.birth })
    if (!person) {
      person = new Person()
      this.#give(person, smallest)
      steps.push({ kind: 'linked', person, identifier: smallest })
    }
    for (const id of others) this.#link(person, id, steps)
    if (!person.birth) {
      const birth = { messageId: event.messageId, founder: smallest, at: event.at }
      person.birth = birth
      steps.push({ kind: 'born', person, birth }, { kind: 'apply', person, birth })
    }
    return steps
  }

  #give(person: Person, id: OracleIdentifier): void {
    person.identifiers.set(textOf(id), id)
    this.#owners.set(textOf(id), person)
  }

  #link(person: Person, id: OracleIdentifier, steps: IdentityStep[]): void {
    const text = textOf(id)
    if (person.identifiers.has(text) || person.refused.has(text)) return
    if (!this.#isWithinLimits([...person.identifiers.values(), id])) return this.#refuse(person, id, steps)
    const other = this.ownerOf(id)
    if (!other) {
      this.#give(person, id)
      steps.push({ kind: 'linked', person, identifier: id })
    } else if (this.#isWithinLimits([...person.identifiers.values(), ...other.identifiers.values()])) {
      this.#merge(person, other, steps)
    } else if (
      this.#rules.sharedDevice(id.namespace) === 'last' &&
      [...person.identifiers.values()].some((x) => x.namespace === 'user_id')
    ) {
      other.identifiers.delete(text)
      this.#give(person, id)
      steps.push({ kind: 'moved', identifier: id, from: other, to: person })
    } else this.#refuse(person, id, steps)
  }

  #refuse(person: Person, id: OracleIdentifier, steps: IdentityStep[]): void {
    person.refused.add(textOf(id))
    steps.push({ kind: 'refused', person, identifier: id })
  }

  #merge(into: Person, from: Person, steps: IdentityStep[]): void {
    for (const id of from.identifiers.values()) this.#give(into, id)
    for (const text of from.refused) into.refused.add(text)
    const [mine, theirs] = [into.birth, from.birth]
    if (theirs === undefined) return
    if (mine === undefined) {
      into.birth = theirs
      // The event waited for its links; the profile that it meets is born, so it is applied there and then.
      steps.push({ kind: 'adopted', into, from }, { kind: 'apply', person: into, birth: theirs })
      return
    }
    const keep = this.#rules.isOlder(theirs, mine) ? 'theirs' : 'mine'
    const [survivor, absorbed] = keep === 'theirs' ? [theirs, mine] : [mine, theirs]
    into.birth = survivor
    steps.push({ kind: 'merged', into, from, keep, survivor, absorbed })
  }

  #isWithinLimits(ids: readonly OracleIdentifier[]): boolean {
    const distinct = new Map(ids.map((id) => [textOf(id), id.namespace]))
    if (this.#rules.total !== undefined && distinct.size > this.#rules.total) return false
    const counts = new Map<string, number>()
    for (const namespace of distinct.values()) counts.set(namespace, (counts.get(namespace) ?? 0) + 1)
    return [...counts].every(([namespace, count]) => count <= (this.#rules.limit(namespace) ?? Number.POSITIVE_INFINITY))
  }
}
