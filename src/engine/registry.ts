// The definitions log on the main thread: which segments exist, since which version. Owns the versions; the plan (plan.ts) owns
// what they compile to.
//
// 1. A version is the place in the log, from 1. The log is a registry: activation is by control records in the events log.
// 2. A change is durable before anybody hears of it.
import { TributaryError } from '../core/errors.ts'
import type { LogReader, LogWriter } from '../log/log.ts'
import { canonicalText } from '../operators/canonical.ts'
import type { Where } from '../operators/definition.ts'
import { type DefinitionChange, Definitions } from './definitions.ts'
import type { DeletingSegment, SegmentView } from './engine.ts'
import type { PartitionFacts } from './questions.ts'

interface Current {
  readonly id: string
  readonly number: number
  readonly version: number
  readonly name?: string
  readonly where: Where
}

/** Segments that may exist at one time. */
const SEGMENTS = 20_000
const READ = { maxRecords: 1000, maxBytes: 8 << 20 }

export class Registry {
  readonly #writer: LogWriter
  readonly #reader: LogReader
  readonly #definitions = new Definitions()
  readonly #current = new Map<string, Current>()
  /** Deleted ids, by the version that did it, until every member has left. */
  readonly #leaving = new Map<string, number>()
  readonly changes: DefinitionChange[] = []
  /** Changes are made one after another. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(writer: LogWriter, reader: LogReader) {
    this.#writer = writer
    this.#reader = reader
  }

  get version(): number {
    return this.changes.length
  }

  async open(): Promise<void> {
    for (let position = this.#reader.first(0); ; ) {
      const records = await this.#reader.read(0, position, READ)
      if (records.length === 0) return
      for (const record of records) {
        this.#learn(JSON.parse(record.payload.toString('utf8')) as DefinitionChange)
        position = record.position + 1
      }
    }
  }

  #learn(change: DefinitionChange): void {
    this.changes.push(change)
    const version = this.changes.length
    this.#definitions.apply(version, change)
    if ('delete' in change) {
      this.#current.delete(change.delete)
      this.#leaving.set(change.delete, version)
      return
    }
    const { id, name, where } = change.put
    this.#leaving.delete(id)
    const number = this.#definitions.numberOf(id)
    this.#current.set(id, { id, number, version, ...(name === undefined ? {} : { name }), where })
  }

  async #append(change: DefinitionChange): Promise<{ version: number; change: DefinitionChange }> {
    this.#writer.append(0, Buffer.from(JSON.stringify(change)))
    await this.#writer.sync()
    this.#learn(change)
    return { version: this.version, change }
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work)
    this.#turn = result.catch(() => {})
    return result
  }

  /** Saves a definition; undefined when it is saved already, word for word in canonical form. */
  put(id: string, definition: { name?: string; where: Where }): Promise<{ version: number; change: DefinitionChange } | undefined> {
    return this.#inTurn(async () => {
      const old = this.#current.get(id)
      if (old && old.name === definition.name && canonicalText(old.where) === canonicalText(definition.where)) return undefined
      if (!old && this.#current.size >= SEGMENTS) throw new TributaryError('invalid_definition', `there are ${SEGMENTS} segments already`)
      return this.#append({ put: { id, ...definition } })
    })
  }

  remove(id: string): Promise<{ version: number; change: DefinitionChange } | undefined> {
    return this.#inTurn(async () => (this.#current.has(id) ? this.#append({ delete: id }) : undefined))
  }

  current(): Current[] {
    return [...this.#current.values()].sort((a, b) => (a.id < b.id ? -1 : 1))
  }

  get(id: string): Current | undefined {
    return this.#current.get(id)
  }

  /** The id behind a number; deleted segments included. */
  idOf(number: number): string {
    return this.#definitions.idOf(number)
  }

  /** The number of an id that was ever used, else undefined. */
  numberOf(id: string): number | undefined {
    return this.#definitions.knows(id) ? this.#definitions.numberOf(id) : undefined
  }

  warningFor(where: Where): string | undefined {
    if (!this.#definitions.holdsForEmpty(where)) return undefined
    return 'This definition holds for a profile without any event: every new profile enters at its first event, unless that event says otherwise.'
  }

  /** What was deleted and is not yet out of every profile; forgets what is. */
  deleting(facts: readonly PartitionFacts[]): DeletingSegment[] {
    const list: DeletingSegment[] = []
    for (const [id, version] of this.#leaving) {
      const progress = progressOf(version, facts)
      if (progress === 1) this.#leaving.delete(id)
      else list.push({ id, version, progress })
    }
    return list
  }

  view(s: Current, facts: readonly PartitionFacts[]): SegmentView {
    let size = 0
    for (const f of facts) for (const [segment, n] of f.sizes) if (segment === s.number) size += n
    const progress = progressOf(s.version, facts)
    const warning = this.warningFor(s.where)
    return {
      id: s.id,
      ...(s.name === undefined ? {} : { name: s.name }),
      where: s.where,
      version: s.version,
      status: progress === 1 ? 'live' : 'filling',
      progress,
      size,
      ...(warning === undefined ? {} : { warning }),
    }
  }
}

/** How far all profiles are filled to a version; 1 only when each of them is. */
function progressOf(version: number, facts: readonly PartitionFacts[]): number {
  if (facts.every((f) => f.sweptVersion >= version)) return 1
  let progress = 0
  for (const f of facts) {
    if (f.sweptVersion >= version) progress += 1
    else if (f.activeVersion >= version) progress += f.progress
  }
  return Math.min(0.99, Math.floor((progress / facts.length) * 100) / 100)
}
