import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Timer, Timers } from '../../src/engine/timers.ts'

const LAST_KEY = 'z'

const isBefore = (a: Timer, b: Timer): boolean => a.due < b.due || (a.due === b.due && a.key < b.key)
const inOrder = (a: Timer, b: Timer): number => (isBefore(a, b) ? -1 : isBefore(b, a) ? 1 : 0)

/** What a task's store and its memory of timers hold. */
class Rows {
  readonly timers = new Timers()
  /** Armed and not taken. */
  left: Timer[] = []
  #rows: Timer[] = []
  #n = 0

  arm(timer: Timer): void {
    // A row is there once.
    if (this.#rows.some((row) => row.due === timer.due && row.key === timer.key)) return
    this.#rows.push(timer)
    this.left.push(timer)
    this.timers.arm(timer, ++this.#n)
    this.timers.committed(this.#n)
  }

  load(until: number, limit: number): void {
    const from = this.timers.loadedThrough
    this.timers.scanBegins()
    const page = this.#rows
      .filter((t) => isBefore(from, t) && t.due <= until)
      .sort(inOrder)
      .slice(0, limit)
    const last = page.at(-1)
    this.timers.loaded(page, page.length < limit || !last ? { due: until, key: LAST_KEY } : last)
  }

  take(now: number): Timer | undefined {
    const timer = this.timers.takeDue(now)
    if (timer) this.left.splice(this.left.indexOf(timer), 1)
    return timer
  }
}

const timer = fc.record({ due: fc.nat(20), key: fc.constantFrom('a', 'b', 'c', 'd') })
const step = fc.oneof(
  fc.record({ kind: fc.constant('arm' as const), timer }),
  fc.record({ kind: fc.constant('take' as const), now: fc.nat(20) }),
  fc.record({ kind: fc.constant('load' as const), until: fc.nat(25), limit: fc.integer({ min: 1, max: 4 }) }),
)

test('timers come in the order of their instants and keys, those armed meanwhile in their places, and none is left behind', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const rows = new Rows()
      for (const s of steps) {
        if (s.kind === 'arm') rows.arm(s.timer)
        else if (s.kind === 'load') rows.load(Math.max(s.until, rows.timers.loadedThrough.due), s.limit)
        else {
          const through = rows.timers.loadedThrough
          const due = rows.left.filter((t) => t.due <= s.now && !isBefore(through, t)).sort(inOrder)
          expect(rows.timers.nextDue() <= s.now).toBe(due.length > 0)
          expect(rows.take(s.now)).toEqual(due[0])
        }
      }
      for (let taken = 0; rows.left.length > 0; taken++) {
        expect(taken).toBeLessThan(200)
        if (rows.take(100) === undefined) rows.load(100, 3)
      }
      expect(rows.timers.inMemory).toBe(0)
    }),
    { numRuns: 300 },
  )
})
