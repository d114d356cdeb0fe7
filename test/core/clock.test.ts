import { describe, expect, test } from 'vitest'
import { type Clock, GuardedClock } from '../../src/core/clock.ts'

/** A machine whose two clocks are set by hand. */
class Machine implements Clock {
  wall = 1_000_000
  monotonic = 0
  now = (): number => this.wall
  monotonicMs = (): number => this.monotonic
  after = (): (() => void) => () => {}
  pass(ms: number): void {
    this.wall += ms
    this.monotonic += ms
  }
}

const HOUR = 3_600_000

function guarded(): { machine: Machine; clock: GuardedClock; alarms: string[] } {
  const machine = new Machine()
  const alarms: string[] = []
  return { machine, alarms, clock: new GuardedClock(machine, HOUR, (message) => alarms.push(message)) }
}

describe('a guarded clock', () => {
  test('follows the machine, however long it was not asked', () => {
    const { machine, clock, alarms } = guarded()
    machine.pass(48 * HOUR)
    expect(clock.now()).toBe(machine.wall)
    machine.wall += HOUR
    expect(clock.now()).toBe(machine.wall)
    machine.wall -= 3 * HOUR
    expect(clock.now()).toBe(machine.wall)
    expect(alarms).toEqual([])
  })

  test('stands still after a step beyond the limit, with one alarm, until it is confirmed', () => {
    const { machine, clock, alarms } = guarded()
    const before = clock.now()
    machine.wall += HOUR + 1
    expect(clock.now()).toBe(before)
    machine.pass(500)
    expect(clock.now()).toBe(before)
    expect(clock.isStopped).toBe(true)
    expect(alarms).toHaveLength(1)
    clock.confirm()
    expect(clock.isStopped).toBe(false)
    expect(clock.now()).toBe(machine.wall)
    machine.pass(10)
    expect(clock.now()).toBe(machine.wall)
  })

  test('goes on by itself when the step is undone', () => {
    const { machine, clock } = guarded()
    machine.wall += 24 * HOUR
    clock.now()
    machine.pass(1000)
    machine.wall -= 24 * HOUR
    expect(clock.now()).toBe(machine.wall)
    expect(clock.isStopped).toBe(false)
  })
})
