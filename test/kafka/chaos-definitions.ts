// The definitions of a run: those that it begins with, those that edits put in their place, and what the topic says has become of them.
// Owns the book of versions, by the rule that the topic is read by: a record counts iff its version is the next one.
import { must } from '../../src/core/assert.ts'
import type { DefinitionChange } from '../../src/engine/definitions.ts'
import { unpackValue } from '../../src/log/kafka-pack.ts'
import type { Where } from '../../src/operators/definition.ts'
import type { SeenRecord } from './chaos-topics.ts'

/** Windows are multiples of this. */
const segmentsOf = (unit: number): { readonly [id: string]: Where } => ({
  views: { event: 'View', within: `${unit}ms`, count: { gte: 2 } },
  buyers: { event: 'Order Completed', within: `${2 * unit}ms` },
  quiet: { not: { event: ['View', 'Order Completed'], within: `${3 * unit}ms` } },
  spenders: { event: 'Order Completed', sum: 'properties.total', gte: 150 },
  undecided: { all: [{ event: 'View' }, { event: 'Order Completed', within: `${2 * unit}ms`, count: { eq: 0 } }] },
  lapsed: { event: 'Order Completed', last: { before: `${unit}ms` } },
  scored: { all: [{ trait: 'score', gte: 50 }, { not: { trait: 'plan', in: ['free'] } }] },
})

/** What edits save: conditions that share accumulators with those above, ask for longer windows, or need the past. */
const othersOf = (unit: number): readonly Where[] => [
  { event: 'View', within: `${4 * unit}ms`, count: { gte: 3 } },
  { event: 'Order Completed', sum: 'properties.total', within: `${5 * unit}ms`, gte: 120 },
  { not: { event: 'View', within: `${2 * unit}ms` } },
  {
    any: [
      { trait: 'plan', in: ['pro'] },
      { event: 'View', where: { 'properties.page': { gte: 6 } } },
    ],
  },
  { all: [{ event: 'Order Completed' }, { not: { trait: 'score', gte: 30 } }] },
  { event: 'Order Completed', first: { before: `${unit}ms` } },
]

export interface Edit {
  readonly how: 'put' | 'change' | 'delete'
  /** Which of those there are, and what it becomes; counted round. */
  readonly which: number
  readonly what: number
}

/** So many stay. */
const FEWEST = 4

export class DefinitionBook {
  /** Those that count. */
  readonly changes: DefinitionChange[] = []
  /** Ids in the order in which they were saved first; each is here before it is saved. */
  readonly ids: string[] = []
  readonly #current = new Map<string, Where>()
  readonly #unit: number

  constructor(unit: number) {
    this.#unit = unit
  }

  /** The change that an edit comes to as things stand, which is to be made next. */
  draw({ how, which, what }: Edit): DefinitionChange {
    const others = othersOf(this.#unit)
    const ids = [...this.#current.keys()]
    const id = ids[which % Math.max(1, ids.length)]
    if (how === 'delete' && id !== undefined && ids.length > FEWEST) return this.#will({ delete: id })
    // One that was deleted may come again, under its old id.
    const gone = this.ids.filter((old) => !this.#current.has(old))
    const fresh = gone[which % (2 * gone.length + 1)] ?? `extra${this.ids.length}`
    const where = must(others[what % others.length], 'there are others')
    return this.#will({ put: { id: how === 'change' && id !== undefined ? id : fresh, where } })
  }

  /** The first ones. */
  begin(): readonly DefinitionChange[] {
    return Object.entries(segmentsOf(this.#unit)).map(([id, where]) => this.#will({ put: { id, where } }))
  }

  #will(change: DefinitionChange): DefinitionChange {
    if ('delete' in change) this.#current.delete(change.delete)
    else {
      const { id, where } = change.put
      this.#current.set(id, where)
      if (!this.ids.includes(id)) this.ids.push(id)
    }
    return change
  }

  take({ topic, partition, offset, value }: SeenRecord): void {
    const bytes = unpackValue(value, `${topic}/${partition}/${offset}`)
    const { version, ...said } = JSON.parse(String(bytes)) as { version?: number; put?: { id: string; where: Where }; delete?: string }
    if (version !== this.changes.length + 1) return
    if (said.put) this.changes.push({ put: said.put })
    else if (said.delete !== undefined) this.changes.push({ delete: said.delete })
  }

  /** Of those that were to be made. */
  get wanted(): ReadonlyMap<string, Where> {
    return this.#current
  }
}
