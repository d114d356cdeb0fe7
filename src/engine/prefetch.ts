// Loads rows into memory, in rounds of batched multi-gets. Owns what is asked for; never changes a row.
//
// 1. A row that is in memory is newer than the store's: loading never replaces it.
// 2. Scans (timelines, audit trails) see committed rows only: the task waits for its commits before it asks for one.
import { must } from '../core/assert.ts'
import { homeOf, type IdentifierKey, type ProfileKey, profileKey } from '../core/identifier.ts'
import { rowsOf } from '../identity/messages.ts'
import type { Batch } from './batch.ts'
import type { EventInput } from './event-input.ts'
import type { Input, Wanted } from './execute.ts'
import { dedupeKey, groupKey, leafKey, prefixRange, profileRowKey } from './keys.ts'
import { Profile, type Suffixed } from './profile.ts'
import * as segmentState from './segment-state.ts'
import type { TaskView } from './task-view.ts'

export class Prefetch {
  readonly #task: TaskView
  /** Inputs looked up since the last cut. */
  readonly #seen = new WeakSet<Input>()

  constructor(task: TaskView) {
    this.#task = task
  }

  /** Brings in what a batch of inputs will want, as far as it can be told beforehand. */
  async inputs(inputs: readonly Input[]): Promise<void> {
    const leaves = new Set<IdentifierKey>()
    const rows = new Set<ProfileKey>()
    const fresh: EventInput[] = []
    let open: EventInput[] = []
    for (const input of inputs) {
      if (this.#seen.has(input)) continue
      this.#seen.add(input)
      if (input.kind === 'event') {
        fresh.push(input)
        if (!this.#noteEvent(input, leaves, rows)) open.push(input)
      } else this.#note(input, leaves, rows)
    }
    await this.#load(fresh, leaves, rows)
    // Further rounds: where the leaves point to, and roots behind forwards, as far as it is this partition.
    for (;;) {
      rows.clear()
      open = open.filter((input) => !this.#noteEvent(input, leaves, rows))
      if (rows.size === 0) return
      await this.rows([...rows])
    }
  }

  /** Notes the next row on an event's way to its root; true when there is none to load. */
  #noteEvent({ smallest }: EventInput, leaves: Set<IdentifierKey>, rows: Set<ProfileKey>): boolean {
    const { memory } = this.#task
    const leaf = memory.leaf(smallest)
    if (leaf === null) {
      leaves.add(smallest)
      this.#noteRow(profileKey(smallest, 0), rows)
      return false
    }
    let key = leaf?.key ?? profileKey(smallest, 0)
    for (;;) {
      const forward = memory.forward(key)
      if (forward === null) {
        this.#noteRow(key, rows)
        return !rows.has(key)
      }
      if (forward === undefined) return true
      key = forward
    }
  }

  /** Inputs that a cut leaves over are looked up again: what was committed meanwhile may repeat them. */
  again(inputs: readonly Input[]): void {
    for (const input of inputs) this.#seen.delete(input)
  }

  #note(input: Input, leaves: Set<IdentifierKey>, rows: Set<ProfileKey>): void {
    const { memory } = this.#task
    const noteLeaf = (x: IdentifierKey): void => {
      if (!memory.hasLeaf(x)) leaves.add(x)
    }
    switch (input.kind) {
      case 'exchange': {
        const { leaf, row, founding } = rowsOf(input.message)
        if (leaf !== undefined) noteLeaf(leaf)
        if (row !== undefined) this.#noteRow(row, rows)
        if (founding !== undefined) this.#noteRow(profileKey(founding, 0), rows)
        return
      }
      case 'timer':
      case 'fill':
      case 'trim':
        this.#noteRow(input.key, rows)
        return
      default:
    }
  }

  #noteRow(key: ProfileKey, rows: Set<ProfileKey>): void {
    const { memory, partition, limits } = this.#task
    if (!memory.hasRow(key) && homeOf(key, limits.partitions) === partition) rows.add(key)
  }

  async #load(events: EventInput[], leaves: Set<IdentifierKey>, rows: Set<ProfileKey>): Promise<void> {
    if (events.length === 0 && leaves.size === 0 && rows.size === 0) return
    const { generation } = this.#task.state
    const leafList = [...leaves]
    const rowList = [...rows]
    const keys: string[] = []
    for (const e of events) keys.push(dedupeKey(generation, e.messageHash))
    if (generation > 0) for (const e of events) keys.push(dedupeKey(generation - 1, e.messageHash))
    for (const x of leafList) keys.push(leafKey(x))
    for (const key of rowList) keys.push(profileRowKey(key))
    this.#task.metrics.rowsRead += keys.length
    const values = await this.#task.rows.getMany(keys)
    await this.#task.breathe()
    let at = 0
    for (const e of events) e.repeated = values[at++] !== undefined
    // Not `||=`, which would not take the value of a repeat.
    if (generation > 0) for (const e of events) e.repeated = values[at++] !== undefined || e.repeated
    for (const x of leafList) this.#task.memory.loadLeaf(x, values[at++])
    for (const key of rowList) this.#task.memory.load(key, values[at++])
  }

  /** Loads profile rows. */
  async rows(keys: readonly ProfileKey[]): Promise<void> {
    const missing = keys.filter((key) => !this.#task.memory.hasRow(key))
    if (missing.length === 0) return
    this.#task.metrics.rowsRead += missing.length
    const values = await this.#task.rows.getMany(missing.map(profileRowKey))
    await this.#task.breathe()
    for (const [i, key] of missing.entries()) this.#task.memory.load(key, values[i])
  }

  /** Brings in what an input said that it wants. */
  async wanted(wanted: Wanted, batch: Batch): Promise<void> {
    await this.#load([], wanted.leaves, wanted.rows)
    const work: Promise<void>[] = []
    // What was evicted meanwhile will be wanted again, row and all.
    for (const [key, groups] of wanted.groups) work.push(this.#groups(key, groups))
    for (const key of wanted.timelines) work.push(this.#timeline(key, batch))
    for (const key of wanted.audits) work.push(this.#audit(key, batch))
    await Promise.all(work)
  }

  async #timeline(key: ProfileKey, batch: Batch): Promise<void> {
    const p = this.#task.memory.row(key)
    if (!(p instanceof Profile)) return
    p.timeline = await this.#suffixed(`t${key}`)
    batch.withTimeline.add(p)
  }

  async #audit(key: ProfileKey, batch: Batch): Promise<void> {
    const p = this.#task.memory.row(key)
    if (!(p instanceof Profile)) return
    p.audit = await this.#suffixed(`u${key}`)
    batch.withTimeline.add(p)
  }

  async #groups(key: ProfileKey, groups: readonly number[]): Promise<void> {
    const p = this.#task.memory.row(key)
    if (!(p instanceof Profile)) return
    this.#task.metrics.rowsRead += groups.length
    const values = await this.#task.rows.getMany(groups.map((g) => groupKey(key, g)))
    const state = must(p.segments, 'groups belong to a born root')
    for (const [i, group] of groups.entries()) {
      const body = must(values[i], 'a split-off group has a row')
      this.#task.memory.setGroup(key, group, body)
      segmentState.attachGroup(state, group, body)
    }
  }

  async #suffixed(prefix: string): Promise<Suffixed[]> {
    const out: Suffixed[] = []
    const scan = this.#task.rows.scan(prefixRange(prefix))
    for (;;) {
      const page = await scan.next(1000)
      if (page.length === 0) break
      for (const [key, value] of page) out.push([key.slice(prefix.length), value])
    }
    await scan.close()
    this.#task.metrics.rowsRead += out.length
    return out
  }
}
