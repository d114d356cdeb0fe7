// A scan over the store and the rows that wait in memory: the latter win, and range deletes that wait hide rows of the store.
//
// 1. The waiting rows are those of the moment at which the scan of the store was begun; they don't change afterwards.
import { invariant } from '../core/assert.ts'
import type { KeyRange, PendingRow } from './row-map.ts'
import type { StoreRow, StoreScan } from './store.ts'

export interface MergedParts {
  readonly stored: StoreScan
  /** The first page of `stored`, asked for already. */
  readonly firstPage: Promise<StoreRow[]>
  /** In any order. */
  readonly waiting: PendingRow[]
  readonly hidden: readonly KeyRange[]
  readonly isReverse: boolean
}

export class MergedScan implements StoreScan {
  readonly #stored: StoreScan
  readonly #hidden: readonly KeyRange[]
  readonly #waiting: readonly PendingRow[]
  readonly #isReverse: boolean
  #firstPage: Promise<StoreRow[]> | undefined
  #waitingAt = 0
  #page: readonly StoreRow[] = []
  #pageAt = 0
  #isStoreDone = false
  #isClosed = false

  constructor(parts: MergedParts) {
    this.#stored = parts.stored
    this.#hidden = parts.hidden
    this.#isReverse = parts.isReverse
    this.#firstPage = parts.firstPage
    // Reported by `next`, if anybody asks; without this a scan that is dropped would end the process.
    parts.firstPage.catch(() => {})
    const sign = parts.isReverse ? -1 : 1
    this.#waiting = parts.waiting.sort((a, b) => (a[0] < b[0] ? -sign : sign))
  }

  async next(limit: number): Promise<StoreRow[]> {
    invariant(limit > 0, 'a page has room for a row')
    const rows: StoreRow[] = []
    while (!this.#isClosed && rows.length < limit) {
      if (this.#pageAt === this.#page.length && !this.#isStoreDone) {
        await this.#fetch(limit - rows.length)
        continue
      }
      const stored = this.#page[this.#pageAt]
      const waiting = this.#waiting[this.#waitingAt]
      if (!stored && !waiting) break
      if (waiting && (!stored || !this.#isBefore(stored[0], waiting[0]))) {
        this.#waitingAt++
        if (stored?.[0] === waiting[0]) this.#pageAt++
        if (waiting[1] !== undefined) rows.push([waiting[0], waiting[1]])
      } else if (stored) {
        this.#pageAt++
        if (!this.#isHidden(stored[0])) rows.push(stored)
      }
    }
    return rows
  }

  async #fetch(limit: number): Promise<void> {
    this.#page = await (this.#firstPage ?? this.#stored.next(limit))
    this.#firstPage = undefined
    this.#pageAt = 0
    this.#isStoreDone = this.#page.length === 0
  }

  #isBefore(a: string, b: string): boolean {
    return this.#isReverse ? a > b : a < b
  }

  #isHidden(key: string): boolean {
    for (const [from, to] of this.#hidden) if (key >= from && key < to) return true
    return false
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await this.#firstPage?.catch(() => {})
    await this.#stored.close()
  }
}
